"""What is finished of a search, a file a part, and what each part cost: a second call goes on from there."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import files, typed
from harness.errors import OutputError

OBJECTIVE = "objective"
"""What a request calls the conditions of which latencies count."""
_PARTS = "parts"
_REQUEST = "request.json"
_SPENT = "spent.json"


class Parts:
    """The parts of one search in a folder."""

    def __init__(self, out: Path, request: Mapping[str, Any]) -> None:
        """Claim `out` for a search.

        Args:
            out: the search's folder, made where there is none.
            request: what the search depends on, in JSON values by what they are called in messages.

        Raises:
            OutputError: the folder cannot be written, or holds another search or something else.
        """
        self.folder = out / _PARTS
        held = asked_before(out)
        files.require_own(out, *([_PARTS] if held else []))
        files.make_writable_folder(self.folder)
        asked = json.loads(json.dumps(dict(request)))
        if held:
            unlike = [name for name, value in asked.items() if name in held and _differ(name, held, asked)]
            if unlike:
                raise OutputError(
                    f"The folder {out} holds a search with another {', another '.join(unlike)}: choose "
                    "another --out, or repeat the command that began it."
                )
        if asked.keys() - held.keys():
            files.write_json(self.folder / _REQUEST, asked | held)

    @property
    def seconds(self) -> dict[str, float]:
        """What each part has cost, interrupted calls included."""
        path = self.folder / _SPENT
        return _table(path, float) if path.exists() else {}

    def kept(self, name: str, make: Callable[[], Any], **effort: Any) -> Any:
        """Return a part in JSON values: what an earlier call made, or else what `make` makes now.

        `effort` is what was spent on it, or what else may change from call to call: a part is kept for each.
        """
        path = self._path(name, effort)
        if not path.exists():
            with self.timed(name):
                made = make()
            files.write_json(path, made)
        return _read(path)

    def keep(self, name: str, value: Any) -> None:
        """Keep what was made together with other parts, and timed with them."""
        files.write_json(self._path(name, {}), value)

    def held(self, name: str) -> Any:
        """Return a part that an earlier call made; see `has`."""
        return _read(self._path(name, {}))

    def has(self, name: str, **effort: Any) -> bool:
        """Return whether an earlier call made a part; see `kept`."""
        return self._path(name, effort).exists()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time spent inside to the cost of a part, also if it breaks off."""
        started = time.monotonic()
        try:
            yield
        finally:
            spent = self.seconds
            spent[name] = spent.get(name, 0.0) + time.monotonic() - started
            files.write_json(self.folder / _SPENT, spent)

    def _path(self, name: str, effort: Mapping[str, Any]) -> Path:
        return self.folder / f"{named(name, **effort)}.json"


def _differ(name: str, held: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Return whether two values are unlike; what an older objective does not say counts as equal."""
    if name == OBJECTIVE:
        return bool(asked[name] | held[name] != asked[name])
    return bool(held[name] != asked[name])


def asked_before(out: Path) -> dict[str, Any]:
    """Return what the search in `out` depends on, as `Parts` was given it; nothing where there is none.

    Raises:
        OutputError: it cannot be read.
    """
    path = out / _PARTS / _REQUEST
    return _table(path) if path.exists() else {}


def named(name: str, **effort: Any) -> str:
    """Return the name, of a file or folder, that tells what was spent on what it holds."""
    return "-".join([name, *(f"{key}-{value}" for key, value in sorted(effort.items()))])


def _table(path: Path, kind: Any = Any) -> dict[str, Any]:
    try:
        return typed.structure(_read(path), dict[str, kind])
    except typed.Misfit as error:
        raise OutputError(f"{path} is damaged ({error}): delete it to repeat that part.") from error


def _read(path: Path) -> Any:
    try:
        return files.read_json(path)
    except (OSError, ValueError) as error:
        raise OutputError(f"Cannot read {path} ({error}): delete it to repeat that part.") from error
