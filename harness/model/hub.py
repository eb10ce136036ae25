"""timm's published weights: found by their tag, pinned, held against the network, made a card of ours.

Where the files lie and what their SHA-256 is, the hub says itself: the first answer to `resolve` names the
revision (X-Repo-Commit) and the hash (X-Linked-Etag), as huggingface_hub reads them.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import files, resources
from harness.dataset.recipe import Recipe
from harness.errors import CardError, ModelError, did_you_mean
from harness.model import builders, licence, zoo
from harness.model import file as model_file
from harness.model.card import CARD_NAME, Card, FileSpec, InputSpec, OutputSpec, read_card, write_card
from harness.model.download import DownloadFailed, download, head
from harness.model.hashing import hash_of

PREFIX = "timm:"
CLASSES = 1000
"""ImageNet's, which the benchmark has."""

_HUB = "https://huggingface.co"
_WEIGHTS = "model.safetensors"
_RESIZES = {"bicubic": "pil_bicubic", "bilinear": "pil_bilinear"}


@dataclass(frozen=True)
class _Pin:
    """One version of a file, and no other."""

    revision: str
    """Empty where a file was brought by hand and its hash given: the hub was not asked."""
    sha256: str


def fetch(
    tag: str,
    *,
    force: bool = False,
    carried: Path | None = None,
    sha256: str | None = None,
    accepted: str | None = None,
) -> Path:
    """Bring a network of timm with its published weights into the model cache; return its card's path.

    The card names an OpenVINO model, so that no command needs timm any more. What a card pins that is there
    stays pinned.

    Args:
        tag: ARCHITECTURE.WEIGHTS, or an architecture, whose first weights are meant then.
        force: whether to take what is published now in place of what is there.
        carried: the weights, brought here by hand, that are taken in place of a download.
        sha256: of the carried weights, where the hub cannot be asked.
        accepted: a licence that may not allow commercial use and is accepted; "none" for none.

    Raises:
        ModelError: the tag, its classes, its licence or its preprocessing is not one to use; timm is not
            here; the weights did not arrive, are others than the hub has, or are of another network.
        OutputError: the cache cannot be written, or has no room.
    """
    config = _config(tag)
    name = f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
    _require_classifier(config, name)
    _require_licence(config, name, accepted)
    given = _input(config, name)
    folder = resources.cache_folder() / "models" / name
    held = None if force else _held(folder / CARD_NAME)
    if held is not None and carried is None and model_file.is_whole(held):
        return folder / CARD_NAME
    files.make_writable_folder(folder)
    busy = ModelError(f"Another process is fetching '{name}': wait for it.")
    with files.locked(folder / ".lock", busy):
        return _fetch(config, name, given, folder, carried, _pin(config, name, held, carried, sha256))


def _fetch(config: Any, name: str, given: InputSpec, folder: Path, carried: Path | None, pin: _Pin) -> Path:
    repository = str(config.hf_hub_id)
    path = folder / _WEIGHTS
    if carried is not None:
        if (found := hash_of("sha256", carried)) != pin.sha256:
            raise ModelError(
                f"The file {carried} has sha256 {found} where {_page(config)} says {pin.sha256}: give the "
                f"file of that page."
            )
        path = carried
    else:
        url = f"{_hub()}/{repository}/resolve/{pin.revision}/{_WEIGHTS}"
        try:
            download(url, path, lambda part: _check(part, pin.sha256))
        except DownloadFailed as error:
            raise ModelError(
                f"Cannot fetch {url} ({error}): try again later, or bring the file by hand and give it with "
                f"--weights FILE (sha256 {pin.sha256})."
            ) from error
    model = zoo.build(name, given.size, builders.tensors_in(path))
    target = folder / f"{name}.xml"
    model_file.save(model, target)
    made = Card(
        name=name,
        benchmark="resnet50",
        file=FileSpec(path=target.name, sha256=files.sha256_file(target, target.with_suffix(".bin"))),
        input=given,
        output=OutputSpec("logits", CLASSES),
        description=f"{name} as timm publishes it; its configuration states no accuracy",
        licence=config.license or "",
        training={
            "source": f"{repository}, {_WEIGHTS}",
            **({"revision": pin.revision} if pin.revision else {}),
            "weights_sha256": pin.sha256,
            "timm": zoo.require().__version__,
        },
        folder=folder.resolve(),
    )
    write_card(made, folder / CARD_NAME)
    return folder / CARD_NAME


def _config(tag: str) -> Any:
    """Return timm's configuration of published weights, a timm.models.PretrainedCfg.

    Raises:
        ModelError: timm is not here, or knows no such tag.
    """
    timm = zoo.require()
    known = timm.list_pretrained()
    is_known = tag in known or ("." not in tag and timm.is_model_pretrained(tag))
    config = timm.get_pretrained_cfg(tag) if is_known else None
    if config is None:
        near = did_you_mean(tag, known)
        hint = near if near.startswith(" Did") else " `timm.list_pretrained()` names them all."
        raise ModelError(f"timm publishes no weights '{tag}'.{hint}")
    if not config.hf_hub_id:
        raise ModelError(f"timm's '{tag}' has no weights on the hub: give another tag.")
    return config


def _require_classifier(config: Any, name: str) -> None:
    if config.num_classes != CLASSES:
        raise ModelError(
            f"'{name}' tells {config.num_classes} classes apart, and the benchmark has ImageNet's "
            f"{CLASSES}: give a tag that ends in _in1k."
        )


def _require_licence(config: Any, name: str, accepted: str | None) -> None:
    stated = config.license or ""
    if not (doubt := licence.doubt(stated)):
        return
    wanted = stated if licence.is_stated(stated) else licence.NONE
    if accepted is None or accepted.lower() != wanted.lower():
        raise ModelError(f"'{name}' {doubt}: give --accept-licence {wanted}, or another tag.")


def _input(config: Any, name: str) -> InputSpec:
    """Return what the network takes, by timm's configuration; means and deviations there are of pixels 0..1.

    Raises:
        ModelError: the harness has no such recipe.
    """
    channels, height, width = config.input_size
    resize = _RESIZES.get(config.interpolation)
    if channels != 3 or height != width or resize is None or config.crop_mode not in ("center", "squash"):
        raise ModelError(
            f"'{name}' takes {channels}x{height}x{width}, resized by {config.interpolation} and cropped by "
            f"'{config.crop_mode}', which the harness cannot do: give another tag."
        )
    squash = config.crop_mode == "squash"
    recipe = Recipe(height, resize, config.crop_pct, squash=squash, exif_rotation=False)
    mean, scale = (tuple(round(255 * value, 6) for value in values) for values in (config.mean, config.std))
    return InputSpec.of(recipe, "NCHW", "f32", "RGB", mean, scale)


def _held(path: Path) -> Card | None:
    """Return the card of an earlier call, or None where there is none that says which weights it has."""
    try:
        card = read_card(path)
    except CardError:
        return None
    return card if isinstance(card.training.get("weights_sha256"), str) else None


def _pin(config: Any, name: str, held: Card | None, carried: Path | None, sha256: str | None) -> _Pin:
    """Return which version of the weights is meant: the one given, the one pinned here, or the newest.

    Raises:
        ModelError: nobody says which.
    """
    if carried is not None and not carried.is_file():
        raise ModelError(f"No weights file at {carried}: check --weights.")
    if sha256 is not None:
        return _Pin("", sha256.lower())
    if held is not None and (carried is not None or "revision" in held.training):
        return _Pin(str(held.training.get("revision", "")), held.training["weights_sha256"])
    url = f"{_hub()}/{config.hf_hub_id}/resolve/main/{_WEIGHTS}"
    try:
        return _published(head(url))
    except DownloadFailed as error:
        bring = "" if carried is not None else "bring the file by hand, give it with --weights FILE, and "
        raise ModelError(
            f"Cannot ask {url} which weights '{name}' has ({error}): {bring}give their SHA-256, which "
            f"{_page(config)} states, with --sha256 HEX."
        ) from error


def _published(headers: Mapping[str, str]) -> _Pin:
    revision, etag = headers.get("X-Repo-Commit", ""), headers.get("X-Linked-Etag", "").strip('"')
    if not re.fullmatch("[0-9a-f]{40}", revision) or not re.fullmatch("[0-9a-f]{64}", etag):
        raise DownloadFailed("the server names no revision and no SHA-256")
    return _Pin(revision, etag)


def _hub() -> str:
    """Return the hub's address; HF_ENDPOINT names a mirror, as for huggingface_hub."""
    return (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")


def _page(config: Any) -> str:
    return f"{_HUB}/{config.hf_hub_id}/blob/main/{_WEIGHTS}"


def _check(part: Path, sha256: str) -> None:
    if (found := hash_of("sha256", part)) != sha256:
        raise DownloadFailed(f"what arrived has sha256 {found} where the hub says {sha256}")
