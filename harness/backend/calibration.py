"""INT8 post-training quantization with NNCF, and the record that says how it was done.

NNCF succeeds the Post-training Optimization Tool that the 2020 submissions used.
"""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import files
from harness.backend import accuracy_control, answers, calibration_list, folding, fusing, graph
from harness.backend.settings import CompileSettings
from harness.console import note
from harness.dataset.images import official_name
from harness.dataset.store import Store
from harness.errors import HarnessError, ModelError, OutputError
from harness.model import file as model_file
from harness.model.card import Card, FileSpec, write_card

PRESETS = ("mixed", "performance")
MODEL_TYPES = ("transformer",)
BIAS_CORRECTIONS = ("fast", "accurate")

_RECORD_FORMAT = 1


@dataclass(frozen=True)
class CalibrationSettings:
    """How a model is quantized."""

    preset: str = "mixed"
    """NNCF preset: 'performance' quantizes activations symmetrically, 'mixed' where that costs nothing."""
    bias_correction: str = "fast"
    """'fast' corrects each bias by itself, 'accurate' re-runs the model for each: slow, sometimes better."""
    model_type: str | None = None
    """NNCF's, 'transformer': leaves what attention is made of in floating point, and smooths activations."""
    max_drop: float | None = None
    """Accuracy (a fraction) that may be lost; layers are put back to floating point until it holds."""

    @property
    def suffix(self) -> str:
        """What tells a model's name of one made with the usual settings: nothing, or '-performance', ..."""
        parts = [self.preset] if self.preset != USUAL.preset else []
        parts += [self.bias_correction] if self.bias_correction != USUAL.bias_correction else []
        parts += [] if self.model_type is None else [self.model_type]
        parts += [] if self.max_drop is None else [f"drop{self.max_drop:g}"]
        return "".join(f"-{part}" for part in parts)

    def twin_of(self, model: str) -> str:
        """Return the name of a model's INT8 twin that is made so."""
        return f"{model}-int8{self.suffix}"

    def made(self, record: dict[str, Any]) -> bool:
        """Return whether a calibration record is of these settings."""
        control = record["accuracy_control"]
        held = (record["preset"], record["bias_correction"], record.get("model_type"))
        wanted = (self.preset, self.bias_correction, self.model_type)
        return held == wanted and (control and control["max_drop"]) == self.max_drop


USUAL = CalibrationSettings()


def quantize(
    card: Card, store: Store, indices: Sequence[int], settings: CalibrationSettings, out: Path
) -> tuple[Card, dict[str, Any]]:
    """Quantize the card's model; write `out` (.xml), its .bin, its card (.toml) and the calibration record.

    Args:
        card: a model whose input recipe the store holds.
        store: the images; with `max_drop` at most 5,000 of those not used for calibration measure the drop,
            one from each of as many equal stretches.
        indices: samples to calibrate on, in order.
        settings: how.
        out: the IR to write; the other files lie beside it.

    Returns:
        The new model's card, whose accuracy target is the original's, and the calibration record.

    Raises:
        HarnessError: a model that is quantized already, that NNCF cannot quantize, or that gives NaN; nothing
            left to validate on, a speed-only model with `max_drop`, or an unusable target.
    """
    if card.quantized_here:
        raise HarnessError(
            f"Model '{card.name}' was quantized by `harness quantize` already: give the one that it was made "
            f"from, {card.quantization.get('original')}."
        )
    if out.suffix != ".xml":
        raise OutputError(f"--out {out} must end in .xml: OpenVINO writes the weights beside it as .bin.")
    files.make_writable_folder(out.parent)
    with files.alone(out, lock=out.with_name(f".{out.stem}.lock")):
        taken = [path for path in _outputs(out) if path.exists()]
        if taken:
            raise OutputError(f"{taken[0]} exists already: remove it or choose another --out.")
        return _quantize(card, store, indices, settings, out)


def _quantize(
    card: Card, store: Store, indices: Sequence[int], settings: CalibrationSettings, out: Path
) -> tuple[Card, dict[str, Any]]:
    samples = store.samples(card.input.recipe)
    model = model_file.read(card)
    deployed = graph.deployed(model, card)
    own = graph.unquantize(model)
    if own:
        note(f"The {own} quantizers that {card.name} brings along give way to NNCF's.")
    elif left := graph.quantizers(model):
        raise HarnessError(
            f"Model '{card.name}' is quantized already, in {left} places of its graph: give the "
            f"floating-point model that it was made from, or run it as it is."
        )
    fusing.fuse_swish(model)
    graph.set_batch_of_one(model, card)
    if settings.max_drop is not None and _official(store, indices):
        note("Closed takes no model made with --max-drop, which looks at images outside the list.")
    note(f"Calibrating {card.name} on {len(indices)} images of {store.path}.")
    _require_numbers(deployed, card, store, samples, indices)
    drop: dict[str, Any] | None = None
    with _nncf(f"model '{card.name}'") as nncf:
        if settings.max_drop is None:
            quantized = nncf.quantize(
                model,
                nncf.Dataset(_Inputs(samples, card, indices)),
                **_arguments(nncf, settings, len(indices)),
            )
        else:
            quantized, drop = accuracy_control.quantize(
                nncf,
                model,
                card,
                store,
                indices,
                lambda some: _Inputs(samples, card, some),
                settings.max_drop,
                **_arguments(nncf, settings, len(indices)),
            )
    if drop is not None and drop["given_back"]:
        note(f"These layers stay in floating point: {', '.join(drop['given_back'])}.")
    record = _record(card, store, indices, settings, own, drop)
    return _write(quantized, card, settings, record, out), record


def quantize_uncorrected(model: Any, inputs: Iterable[npt.NDArray[Any]]) -> Any:
    """Return an OpenVINO model quantized with the usual preset, its biases as they were.

    What is computed in 8 bits, and how fast, is as `quantize` has it; the accuracy is not.

    Args:
        model: floating point, with one input.
        inputs: a few of its inputs, for the ranges of the activations.
    """
    arrays = list(inputs)
    whole = folding.folded(model)
    fusing.fuse_swish(whole)
    # It takes a second, and its progress bars would garble ours.
    with _nncf(f"'{model.get_friendly_name()}'") as nncf, contextlib.redirect_stdout(io.StringIO()):
        return nncf.quantize(
            whole,
            nncf.Dataset(arrays),
            **_arguments(nncf, USUAL, len(arrays)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
        )


class _Inputs:
    """The model's input arrays for some samples of a store, made one at a time."""

    def __init__(self, samples: npt.NDArray[np.uint8], card: Card, indices: Sequence[int]) -> None:
        self._samples = samples
        self._card = card
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: int) -> npt.NDArray[Any]:
        index = self._indices[place]
        return graph.model_input(self._samples[index : index + 1], self._card)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return map(self.__getitem__, range(len(self)))


@contextlib.contextmanager
def _nncf(what: str) -> Iterator[Any]:
    """Import NNCF without its analytics, and keep its chatter off stdout.

    Args:
        what: is quantized meanwhile.

    Raises:
        ModelError: in place of whatever NNCF raises.
    """
    os.environ.setdefault("NNCF_CI", "1")
    with contextlib.redirect_stdout(sys.stderr):
        import nncf

        nncf.set_log_level(logging.ERROR)
        try:
            yield nncf
        except HarnessError:
            raise
        except Exception as error:  # whatever the model leads NNCF to
            reason = graph.last_line(error).rstrip(".")
            raise ModelError(
                f"NNCF {version('nncf')} cannot quantize {what} ({type(error).__name__}: {reason}): export "
                f"the model with fixed shapes and plain operations, or run it in floating point."
            ) from error


def _arguments(nncf: Any, settings: CalibrationSettings, count: int) -> dict[str, Any]:
    return {
        "preset": nncf.QuantizationPreset(settings.preset),
        "subset_size": count,
        "fast_bias_correction": settings.bias_correction == "fast",
        "model_type": None if settings.model_type is None else nncf.ModelType(settings.model_type),
    }


def _require_numbers(
    deployed: Any, card: Card, store: Store, samples: npt.NDArray[np.uint8], indices: Sequence[int]
) -> None:
    """Raise ModelError where a score of a calibration image is NaN: NNCF would leave it out silently."""
    request = graph.compile_model(deployed, CompileSettings("LATENCY")).model.create_infer_request()
    end = answers.end_of(card)
    read = end.reader(store)
    for index in indices:
        for found in end.split(list(request.infer([samples[index : index + 1]]).values())):
            read(found, index)


def versions() -> dict[str, str]:
    """Return the versions of what quantizes, as a record has them."""
    return {name: version(name) for name in ("nncf", "openvino")}


def _listed_names(store: Store, indices: Sequence[int]) -> list[str]:
    return [official_name(store.names[index]) for index in indices]


def _official(store: Store, indices: Sequence[int]) -> str | None:
    return calibration_list.official_list(_listed_names(store, indices))


def _record(
    card: Card,
    store: Store,
    indices: Sequence[int],
    settings: CalibrationSettings,
    replaced_quantizers: int,
    drop: dict[str, Any] | None,
) -> dict[str, Any]:
    names = [store.names[index] for index in indices]
    listed_names = _listed_names(store, indices)
    return {
        "format": _RECORD_FORMAT,
        "model": {"name": card.name, "sha256": model_file.sha256(card)},
        "algorithm": "NNCF post-training quantization"
        if drop is None
        else "NNCF post-training quantization with accuracy control",
        "preset": settings.preset,
        "bias_correction": settings.bias_correction,
        "model_type": settings.model_type,
        "replaced_quantizers": replaced_quantizers,
        "accuracy_control": drop,
        "data": {
            "dataset": store.dataset,
            "recipe": card.input.recipe.to_dict(),
            "pixels_sha256": store.sha256(card.input.recipe),
        },
        "list": {
            "official": _official(store, indices) or calibration_list.NOT_OFFICIAL,
            "count": len(names),
            "sha256": calibration_list.list_digest(listed_names),
            "names": names,
        },
        "versions": versions(),
    }


def _outputs(out: Path) -> tuple[Path, Path, Path, Path]:
    """Return the weights, the graph, the record and the card, in the order they take their names."""
    return (out.with_suffix(".bin"), out, out.with_suffix(".calibration.json"), out.with_suffix(".toml"))


def _write(
    quantized: Any, card: Card, settings: CalibrationSettings, record: dict[str, Any], out: Path
) -> Card:
    _, graph_path, record_path, card_path = _outputs(out)
    model_file.save(quantized, graph_path)
    files.write_json(record_path, record)
    made = replace(
        card,
        name=settings.twin_of(card.name),
        description=f"INT8 version of {card.name}, made by `harness quantize`.",
        file=FileSpec(path=graph_path.name),
        output=card.output.only_one if record["accuracy_control"] else card.output,
        quantization={
            "record": record_path.name,
            "record_sha256": files.sha256_file(record_path),
            "original": card.name,
            "original_sha256": record["model"]["sha256"],
            "list": record["list"]["official"],
        },
        folder=out.parent.resolve(),
    )
    write_card(made, card_path)
    return made


def stands_for_itself(card: Card) -> bool:
    """Return whether a model is quantized such that `quantize` would refuse it, whatever its card says.

    Raises:
        ModelError: it cannot be read.
    """
    if card.quantized_here:
        return True
    model = model_file.read(card)
    return bool(graph.quantizers(model)) and not graph.has_shifted_weights(model)
