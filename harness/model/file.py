"""From a model card to the model: where its file lies, how it gets there, and what OpenVINO reads from it."""

import hashlib
import importlib.util
import json
import shutil
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import __version__
from harness.console import note
from harness.errors import ModelError, OutputError, lines_of
from harness.files import locked, make_writable_folder, replacing, staging
from harness.mlperf.benchmark import BENCHMARKS
from harness.model import builders, resnet
from harness.model.card import CARD_NAME, SPEED_ONLY, Card, read_card, write_card
from harness.model.download import DownloadFailed, download
from harness.model.hashing import hash_of
from harness.model.onnx_file import external_files
from harness.resources import cache_folder
from harness.task import task_of

if TYPE_CHECKING:
    import openvino as ov

BUILT_IN = "built in"
PRESENT = "present"
NOT_FETCHED = "not fetched"
NOT_INSTALLED = "not installed"
MISSING = "missing"

_FRONTENDS = {".xml": "ir", ".onnx": "onnx", ".tflite": "tflite", ".pb": "tf", ".pdmodel": "paddle"}
_SAVED_MODEL = "saved_model.pb"


def locate(card: Card) -> Path | None:
    """Return where the card's file lies or would lie; None for a model built from its seed.

    That of a package lies in it, unless the model cache holds one that was put there by hand.
    """
    if card.path is not None:
        return card.path
    source = card.file.url or card.file.path
    if source is None:
        return None
    kept = cache_folder() / "models" / card.name / source.split("?")[0].rsplit("/", 1)[-1]
    if card.file.package is None or kept.is_file():
        return kept
    found = importlib.util.find_spec(card.file.package.partition(".")[0])
    if found is None or not found.submodule_search_locations:
        return kept
    folder = Path(found.submodule_search_locations[0], *card.file.package.split(".")[1:])
    return folder / source


def files(card: Card) -> list[Path]:
    """Return all files that OpenVINO reads for the model, the one that the card names first.

    None if the model is built from its seed; .xml and .bin of an IR; an ONNX file with the files that it
    names for its weights, and those that exporters put beside it; a Paddle model with its parameters.

    Raises:
        ModelError: one of them is not there, or a folder is in its place.
    """
    path = locate(card)
    if path is None:
        return []
    if path.is_dir() or (path.name == _SAVED_MODEL and path.is_file()):
        raise _no_file(card, path)
    paths = [path, *_beside(card, path)]
    for item in paths:
        if not item.is_file():
            raise _missing(card, path, item)
    return paths


def save(model: "ov.Model", path: Path) -> None:
    """Write an IR, `path` (.xml) and its .bin, in the stead of one that is there and may be in use.

    OpenVINO maps weights into memory: a file that is written over changes under those who read it. Under a
    lock, for the sake of `files.staging`.

    Raises:
        OSError, RuntimeError: it cannot be written.
    """
    import openvino as ov

    with staging(path.parent, path.stem) as folder:
        # FP16 storage would change what is in floating point.
        ov.save_model(model, folder / path.name, compress_to_fp16=False)
        (folder / path.name).with_suffix(".bin").replace(path.with_suffix(".bin"))
        (folder / path.name).replace(path)


def copied(card: Card, name: str, folder: Path) -> Card:
    """Copy a card, under another name, and all that its model is read from to a folder of their own.

    It takes the place of what that folder held, once it is whole.

    Raises:
        ModelError: a file is not there.
        OutputError: the folder cannot be written.
    """
    record = card.quantization.get("record") if card.quantized_here else None
    first, *others = files(card)
    make_writable_folder(folder.parent)
    try:
        with staging(folder.parent, folder.name) as staged:
            whole = staged / "whole"
            for path in (first, *others, *([card.folder / record] if record else [])):
                # An ONNX file may name its weights in folders below its own.
                inner = path.relative_to(first.parent) if path.is_relative_to(first.parent) else path.name
                (whole / inner).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, whole / inner)
            source = replace(card.file, path=first.name, package=None, url=None)
            write_card(replace(card, name=name, file=source, folder=whole), whole / CARD_NAME)
            shutil.rmtree(folder, ignore_errors=True)
            whole.replace(folder)
    except OSError as error:
        raise OutputError(
            f"Cannot copy model '{card.name}' to {folder} ({error}): free some space."
        ) from error
    return read_card(folder / CARD_NAME)


def state(card: Card) -> str:
    """Return BUILT_IN, PRESENT, NOT_FETCHED or MISSING; the file's content is not looked at."""
    if locate(card) is None:
        return BUILT_IN
    try:
        files(card)
    except ModelError:
        if card.file.package is not None:
            return NOT_INSTALLED
        return MISSING if card.file.url is None else NOT_FETCHED
    return PRESENT


def fetch(card: Card, *, force: bool = False, carried: Path | None = None) -> Path | None:
    """Bring the card's file into the model cache, unless it is there already, and return its path.

    A download that broke off goes on where it stopped. A card without a URL needs no fetching: the path of
    its local file is returned, or None if it is built from its seed.

    Args:
        card: what is wanted.
        force: whether to fetch again what is there already.
        carried: the file, brought here by hand, that is copied into the cache in place of a download.

    Raises:
        ModelError: the file did not arrive, is not the one that the card describes, or keeps its weights in
            another, which has no address.
        OutputError: the cache cannot be written, or has no room.
    """
    path, url = locate(card), card.file.url
    if carried is not None:
        return _adopt(card, carried)
    if path is None or url is None:
        return path if files(card) else None
    if not force and path.is_file() and _fault(card, [path]) is None:
        return files(card)[0]

    def check(part: Path) -> None:
        if fault := _fault(card, [part]):
            raise DownloadFailed(f"what arrived {fault}")

    try:
        download(url, path, check, again=force)
    except DownloadFailed as error:
        kind, digest = _digest(card)
        raise ModelError(
            f"Cannot fetch {url} ({error}): try again later, "
            f"or put the file by hand at {path} ({kind} {digest})."
        ) from error
    return files(card)[0]


def _adopt(card: Card, carried: Path) -> Path:
    source = card.file.url or (card.file.path if card.file.package else None)
    if source is None:
        raise ModelError(
            f"Model '{card.name}' takes no file from elsewhere: leave out --weights, or name it in a card."
        )
    if not carried.is_file():
        raise ModelError(f"No weights file at {carried}: check --weights.")
    if fault := _fault(card, [carried]):
        raise ModelError(f"The file {carried} {fault}: give the one that model '{card.name}' names.")
    folder = make_writable_folder(cache_folder() / "models" / card.name)
    kept = folder / source.split("?")[0].rsplit("/", 1)[-1]
    with replacing(kept) as temporary:
        shutil.copyfile(carried, temporary)
    return kept


def sha256(card: Card) -> str:
    """Return the hex digest of the model's files, or of the names and bytes of its seeded weights.

    A process computes it once, unless a file changes.

    Raises:
        ModelError: a file is not there.
    """
    if paths := files(card):
        return hash_of("sha256", *paths)
    assert card.file.seed is not None
    return _seeded_sha256(card.file.seed)


def identity(card: Card) -> list[Any]:
    """Return, in JSON values, what a model's answers hang on: its files, and what its card says of both ends.

    Raises:
        ModelError: a file is not there.
    """
    ends = json.dumps([card.input.to_dict(), asdict(card.output)])
    return [sha256(card), *json.loads(ends)]


@cache
def _seeded_sha256(seed: int) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(resnet.seeded_state(seed).items()):
        digest.update(name.encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def read(card: Card) -> "ov.Model":
    """Return the model as its file has it, or as its builder makes it: original input, nothing folded in.

    Raises:
        ModelError: the file is missing, is not the one of the card's checksum, or cannot be read; or the
            weights need PyTorch, which is not installed.
    """
    paths = files(card)
    if paths and (fault := _fault(card, paths)):
        cure = "correct the card" if card.path is not None else _cure(card)
        raise ModelError(f"The file {paths[0]} of model '{card.name}' {fault}: replace the file or {cure}.")
    if card.file.builder is None:
        return _read_openvino(card, paths)
    path = paths[0] if paths else None
    return builders.build(card, path) if path is None or not builders.is_slow(path) else _built(card, path)


def _built(card: Card, path: Path) -> "ov.Model":
    """Return the model that its builder makes; what it once made of these weights is kept in the cache."""
    spec, given = card.file, card.input
    digest = hash_of("sha256", path)
    kept = cache_folder() / "built" / f"{spec.builder}-{given.size}-{__version__}-{digest[:12]}.xml"
    if not kept.is_file():
        model = builders.build(card, path)
        try:
            make_writable_folder(kept.parent)
            with locked(kept.with_suffix(".lock"), _Saving()):
                save(model, kept)
        except OutputError as error:
            note(f"The next time {card.name} is built again: {error}")
        except _Saving:
            pass  # another process saves the same
        return model
    model = _read_openvino(card, [kept, _weights_of_ir(kept)])
    model.set_friendly_name(card.name)
    return model


class _Saving(Exception):
    """Another process is saving the same model."""


def facts(card: Card) -> dict[str, Any]:
    """Return what `harness model` tells of a model, ready for JSON; accuracies are fractions."""
    path, place = locate(card), state(card)
    given, wanted, target = card.input, card.output, card.accuracy
    rules = BENCHMARKS[card.benchmark]
    return {
        "name": card.name,
        "description": card.description,
        "licence": card.licence,
        "task": card.task,
        "benchmark": card.benchmark,
        "state": place,
        "file": None if path is None else str(path),
        "size_bytes": sum(item.stat().st_size for item in files(card)) if place == PRESENT else None,
        "url": card.file.url,
        "package": card.file.package,
        "sha256": card.file.sha256,
        "md5": card.file.md5,
        "seed": card.file.seed,
        "input": {
            **given.recipe.to_dict(),
            "layout": given.layout,
            "element_type": given.element_type,
            "channels": given.channels,
            "preprocessing": given.recipe.words,
            "mean": list(given.mean),
            "scale": list(given.scale),
        },
        "output": {name: value for name, value in asdict(wanted).items() if name != "tensor"},
        "answer": wanted.words,
        "metric": task_of(card).METRIC,
        "reference_accuracy": None if target is None else target.reference,
        "reference_source": None if target is None else target.source,
        "target_accuracy": None if card.speed_only else (target.target if target else rules.target_accuracy),
        # A card without one is held to MLPerf's, and that only on MLPerf's data.
        "target_dataset": None if card.speed_only or target else rules.dataset,
        "note": SPEED_ONLY if card.speed_only else None,
    }


def _cure(card: Card) -> str:
    """Return what brings the card's file."""
    kind, digest = _digest(card)
    if card.file.package is not None:
        kept = cache_folder() / "models" / card.name / str(card.file.path).rpartition("/")[2]
        return (
            f"run `pip install {card.file.package.partition('.')[0]}`, or put the file by hand at {kept} "
            f"({kind} {digest})"
        )
    return "check the path" if card.file.url is None else f"run `harness model fetch {card.named}`"


def _digest(card: Card) -> tuple[str, str | None]:
    return ("sha256", card.file.sha256) if card.file.sha256 else ("md5", card.file.md5)


def is_whole(card: Card) -> bool:
    """Return whether the card's files are there and are those that it names."""
    return state(card) == PRESENT and _fault(card, files(card)) is None


def _fault(card: Card, paths: list[Path]) -> str | None:
    """Return how the files differ from the card's checksum, or None if they agree or it has none."""
    for kind, wanted in (("sha256", card.file.sha256), ("md5", card.file.md5)):
        if wanted is not None and (digest := hash_of(kind, *paths)) != wanted:
            return f"has {kind} {digest} where the card says {wanted}"
    return None


def _beside(card: Card, path: Path) -> list[Path]:
    """Return the files that OpenVINO reads beside the one that the card names."""
    match path.suffix.lower():
        case ".xml":
            return [_weights_of_ir(path)]
        case ".pdmodel":
            return [one for one in (path.with_suffix(".pdiparams"),) if one.is_file()]
        case ".onnx" if path.is_file():
            # Under these names weights counted before the file itself was asked, whose hashes stay the same.
            usual = (path.with_name(path.name + ".data"), path.with_name(path.name + "_data"))
            found = [one for one in (*usual, path.with_suffix(".data")) if one.is_file()]
            known = {one.resolve() for one in found}
            try:
                named = external_files(path)
            except OSError as error:
                raise ModelError(f"Cannot read {path} ({error.strerror}): check its permissions.") from error
            return found + [one for one in named if one.resolve() not in known]
    return []


def _weights_of_ir(path: Path) -> Path:
    """Return the .bin of an .xml; .BIN where only that is there."""
    usual = path.with_suffix(".bin")
    upper = path.with_suffix(".BIN")
    return upper if upper.is_file() and not usual.is_file() else usual


def _no_file(card: Card, path: Path) -> ModelError:
    folder = path if path.is_dir() else path.parent
    if (folder / _SAVED_MODEL).is_file():
        return ModelError(
            f"{folder} of model '{card.name}' is a SavedModel of TensorFlow, which is not supported: convert "
            f"it with `ovc {folder} --output_model model.xml --compress_to_fp16=False` and name model.xml in "
            f"the card."
        )
    return ModelError(f"{path} of model '{card.name}' is no model file: name the file in the card.")


def _missing(card: Card, path: Path, item: Path) -> ModelError:
    what = "file" if item == path else "weights"
    if item == path or card.file.package is not None:
        cure = _cure(card)
    elif card.file.url is None:
        cure = f"put them beside {path.name}"
    else:
        cure = (
            "download both files by hand and name the first as 'path' in the card, not its address as 'url'"
        )
    return ModelError(f"The {what} {item} of model '{card.name}' cannot be found: {cure}.")


def _read_openvino(card: Card, paths: list[Path]) -> "ov.Model":
    import openvino as ov
    from openvino.frontend import FrontEndManager

    path, suffix = paths[0], paths[0].suffix.lower()
    if suffix not in _FRONTENDS:
        raise ModelError(
            f"OpenVINO reads no '{path.suffix}' file ({path}, model '{card.name}'): "
            f"use one of {', '.join(_FRONTENDS)}, or name a builder and its weights in the card."
        )
    unreadable = f"OpenVINO cannot read {path} of model '{card.name}'"
    # Core.read_model would try every other front end too, and each prints its own complaint.
    if not FrontEndManager().load_by_framework(_FRONTENDS[suffix]).supported(str(path)):
        if suffix != path.suffix:
            raise ModelError(f"{unreadable}: its suffix must be '{suffix}', in lower case; rename the file.")
        raise ModelError(f"{unreadable}: it is damaged, or not what its suffix '{path.suffix}' says.")
    try:
        return ov.Core().read_model(*paths) if suffix == ".xml" else ov.Core().read_model(path)
    except RuntimeError as error:
        reason = lines_of(error)[-1].rstrip(".!")
        raise ModelError(f"{unreadable} ({reason}): export or fetch the model again.") from error
