"""From a model card to the model: where its file lies, how it gets there, and what OpenVINO reads from it."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from harness.errors import ModelError
from harness.files import hex_digest, staging
from harness.mlperf.benchmark import BENCHMARKS
from harness.model import resnet
from harness.model.card import SPEED_ONLY, Card
from harness.model.download import DownloadFailed, download
from harness.model.onnx_file import external_files
from harness.resources import cache_folder

if TYPE_CHECKING:
    import openvino as ov

BUILT_IN = "built in"
PRESENT = "present"
NOT_FETCHED = "not fetched"
MISSING = "missing"

_FRONTENDS = {".xml": "ir", ".onnx": "onnx", ".tflite": "tflite", ".pb": "tf", ".pdmodel": "paddle"}
_SAVED_MODEL = "saved_model.pb"


def locate(card: Card) -> Path | None:
    """Return where the card's file lies or would lie; None for a model built from its seed."""
    if card.path is not None:
        return card.path
    if card.file.url is None:
        return None
    name = card.file.url.split("?")[0].rsplit("/", 1)[-1]
    return cache_folder() / "models" / card.name / name


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


def state(card: Card) -> str:
    """Return BUILT_IN, PRESENT, NOT_FETCHED or MISSING; the file's content is not looked at."""
    if locate(card) is None:
        return BUILT_IN
    try:
        files(card)
    except ModelError:
        return MISSING if card.file.url is None else NOT_FETCHED
    return PRESENT


def fetch(card: Card, *, force: bool = False) -> Path | None:
    """Bring the card's file into the model cache, unless it is there already, and return its path.

    A download that broke off goes on where it stopped. A card without a URL needs no fetching: the path of
    its local file is returned, or None if it is built from its seed.

    Raises:
        ModelError: the file did not arrive, is not the one that the card describes, or keeps its weights in
            another, which has no address.
        OutputError: the cache cannot be written, or has no room.
    """
    path, url = locate(card), card.file.url
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


def sha256(card: Card) -> str:
    """Return the hex digest of the model's files, or of the names and bytes of its seeded weights.

    A process computes it once, unless a file changes.

    Raises:
        ModelError: a file is not there.
    """
    if paths := files(card):
        return _hash("sha256", paths)
    assert card.file.seed is not None
    return _seeded_sha256(card.file.seed)


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
        cure = "correct the card" if card.file.url is None else f"run `harness model fetch {card.name}`"
        raise ModelError(f"The file {paths[0]} of model '{card.name}' {fault}: replace the file or {cure}.")
    if card.file.builder is None:
        return _read_openvino(card, paths)
    try:
        return resnet.build(_weights(card), card.input.size, name=card.name)
    except ModelError as error:
        raise ModelError(f"Model '{card.name}': {error}") from error


def facts(card: Card) -> dict[str, Any]:
    """Return what `harness model` tells of a model, ready for JSON; accuracies are fractions."""
    path, place = locate(card), state(card)
    given, wanted, target = card.input, card.output, card.accuracy
    rules = BENCHMARKS[card.benchmark]
    return {
        "name": card.name,
        "description": card.description,
        "licence": card.licence,
        "benchmark": card.benchmark,
        "state": place,
        "file": None if path is None else str(path),
        "size_bytes": sum(item.stat().st_size for item in files(card)) if place == PRESENT else None,
        "url": card.file.url,
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
        "output": {"kind": wanted.kind, "classes": wanted.classes, "label_offset": wanted.label_offset},
        "reference_accuracy": None if target is None else target.reference,
        "reference_source": None if target is None else target.source,
        "target_accuracy": None if card.speed_only else (target.target if target else rules.target_accuracy),
        "note": SPEED_ONLY if card.speed_only else None,
    }


def _digest(card: Card) -> tuple[str, str | None]:
    return ("sha256", card.file.sha256) if card.file.sha256 else ("md5", card.file.md5)


def _fault(card: Card, paths: list[Path]) -> str | None:
    """Return how the files differ from the card's checksum, or None if they agree or it has none."""
    for kind, wanted in (("sha256", card.file.sha256), ("md5", card.file.md5)):
        if wanted is not None and (digest := _hash(kind, paths)) != wanted:
            return f"has {kind} {digest} where the card says {wanted}"
    return None


def _hash(kind: str, paths: list[Path]) -> str:
    try:
        return hex_digest(kind, *paths)
    except OSError as error:
        raise ModelError(
            f"Cannot read {error.filename} ({error.strerror}): check its permissions."
        ) from error


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
    if card.file.url is None:
        cure = "check the path" if item == path else f"put them beside {path.name}"
    elif item == path:
        cure = f"run `harness model fetch {card.name}`"
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
        reason = str(error).strip().splitlines()[-1].strip().rstrip(".!")
        raise ModelError(f"{unreadable} ({reason}): export or fetch the model again.") from error


def _weights(card: Card) -> Mapping[str, NDArray[Any]]:
    path, seed = locate(card), card.file.seed
    if path is None:
        assert seed is not None
        return resnet.seeded_state(seed)
    tensors = _safetensors(path) if path.suffix == ".safetensors" else _torch_tensors(path)
    return resnet.from_huggingface(tensors) if card.file.weights == "huggingface" else tensors


def _safetensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"Cannot read the weights {path} ({error}): fetch or export them again.") from error
    return tensors


def _torch_tensors(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModelError(
            f"The weights {path} need PyTorch, which is not installed: run `pip install '.[torch]'`."
        ) from error
    unreadable = f"PyTorch cannot read the weights {path}"
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the pickle inside leads to
        reason = str(error).strip().split("\n", 1)[0].split(". ", 1)[0]
        raise ModelError(f"{unreadable} ({reason}): save them as a state dict with torch.save.") from error
    if not isinstance(loaded, Mapping) or not all(torch.is_tensor(tensor) for tensor in loaded.values()):
        raise ModelError(f"{unreadable}: they are not a state dict, that is names with tensors.")
    return {name: tensor.detach().float().numpy() for name, tensor in loaded.items()}
