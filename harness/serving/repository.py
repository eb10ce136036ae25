"""The folder of a server's models: versions are added to it, whole and at once, and none is ever changed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness import files
from harness.errors import OutputError
from harness.serving.layout import Files

SUMS = "SHA256SUMS"


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder on the same disk, beside the models' folder and out of sight of a server.

    Raises:
        OutputError: another process exports into the same folder, or nothing can be written there.
    """
    files.make_writable_folder(folder)
    files.make_writable_folder(folder.parent)
    # A server may look at every name in the folder, so the lock lies beside it.
    lock = folder.with_name(f".{folder.name}{files.LOCK}")
    with files.alone(folder, "export", lock=lock), files.staging(folder.parent, folder.name) as staging:
        yield staging


def next_version(model_folder: Path, wanted: int | None) -> int:
    """Return the version to write: the one after the highest that is there.

    Args:
        model_folder: holds a folder for each version; it need not exist.
        wanted: the version that was asked for; None takes the next one.

    Raises:
        OutputError: the version asked for is not the next one.
    """
    held = versions(model_folder)
    following = max(held, default=0) + 1
    if wanted is None or wanted == following or not held:
        return wanted or following
    there = "is there already" if wanted in held else f"would not follow {following - 1}"
    raise OutputError(
        f"Version {wanted} in {model_folder} {there}, and what may be served is never changed: leave out "
        f"--version, or give {following}."
    )


def versions(model_folder: Path) -> list[int]:
    """Return the versions that a model has, which need not have a folder."""
    if not model_folder.is_dir():
        return []
    return sorted(int(path.name) for path in model_folder.iterdir() if path.name.isdecimal())


def write_sums(version_folder: Path) -> None:
    """Write the SHA-256 of each file of a version, as `sha256sum -c` reads it."""
    paths = sorted(path for path in version_folder.iterdir() if path.name != SUMS)
    lines = [f"{files.sha256_file(path)}  {path.name}\n" for path in paths]
    files.write_text(version_folder / SUMS, "".join(lines))


def require_same(model_folder: Path, shared: Mapping[str, str]) -> None:
    """Hold the files that all versions share against those that are there.

    Raises:
        OutputError: one says something else.
    """
    for name, text in shared.items():
        path = model_folder / name
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise OutputError(
                f"{path} has other settings, which all versions share: export into another --out, or with "
                f"the settings that are there."
            )


def place(staged: Path, folder: Path, name: str, version: int, added: Files, readme: str) -> Path:
    """Put a version that is finished into its place, and return it.

    The version comes first, then what names it: a server never finds a name without a model.

    Args:
        staged: the version's folder, in that of `writing`.
        folder: the models' folder.
        name: the model's.
        version: its number, of which there is none.
        added: what the format adds; `of_version` lies in `staged` already.
        readme: how to use it.

    Raises:
        OutputError: it cannot be written, or another process was faster.
    """
    model_folder = folder / name
    target = model_folder / str(version)
    shared = {**added.of_model, "README.md": readme}
    try:
        if model_folder.exists():
            for text_name, text in shared.items():
                files.write_text(model_folder / text_name, text)
            staged.rename(target)
        else:
            whole = staged.parent / "model"
            whole.mkdir()
            for text_name, text in shared.items():
                files.write_text(whole / text_name, text)
            staged.rename(whole / str(version))
            whole.rename(model_folder)
    except OSError as error:
        raise OutputError(f"Cannot write {target} ({error.strerror}): give another --out.") from error
    for text_name, text in added.of_folder.items():
        files.write_text(folder / text_name, text)
    return target
