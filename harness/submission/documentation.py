"""The texts of a submission: how to repeat each run, how models were calibrated, what they are."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.dataset import coco
from harness.dataset.form import Form
from harness.dataset.recipe import Recipe
from harness.loadgen.settings import RunSettings
from harness.machine.packages import PACKAGES
from harness.mlperf.benchmark import Benchmark
from harness.mlperf.rules import Round, Task
from harness.mlperf.scenario import parse_scenario
from harness.model.card import Card, find_card, shipped_cards
from harness.submission.results import Result, sure_entry_of
from harness.task import task_of

_FLAGS = ("precision", "threads", "streams", "batch", "core_type")
_SWITCHES = ("pinning", "smt")


def run_command(one: Result, model: str) -> str:
    """Return the very command that repeats a run; upper-case words stand for the reader's own files.

    What the harness chose by itself is named too, so that it need not choose again.
    """
    settings = one.document.settings
    defaults = {item.name: item.default for item in fields(RunSettings)}
    fixed = parse_scenario(one.measured).facts
    defaults |= {"streams": fixed.streams, "batch": fixed.batch}
    flags = [
        f"--{key.replace('_', '-')} {getattr(settings, key)}"
        for key in _FLAGS
        if getattr(settings, key) not in (None, defaults[key])
    ]
    flags += [
        f"--{'' if wanted else 'no-'}{key}"
        for key in _SWITCHES
        if (wanted := getattr(settings, key)) is not None
    ]
    parts = [f"harness run --model {model} --data STORE --scenario {one.measured}", *flags]
    return " ".join([*parts, "--no-tuning --official --user-conf user.conf --out RESULTS"])


def readme(one: Result, card: Card, made_for: Round, division: str) -> str:
    """Return the README.md of a scenario's folder."""
    document = one.document
    task = sure_entry_of(one, made_for)
    data, versions = document.data, document.machine.versions
    is_fetched = card.is_shipped and card.file.url is not None
    model = card.name if is_fetched else f"{_HOME}/src/{folder_name(one, task, division)}/card.toml"
    official_data = data.dataset == task.benchmark.dataset
    lines = [
        f"# {card.name}, {one.scenario}, on {one.system}",
        "",
        f"{card.description or card.name}. MLPerf Inference {made_for.name}, {division} division, measured "
        f"on {document.machine.cpu_model} with harness {document.harness}, OpenVINO "
        f"{versions['openvino']} and LoadGen {versions['mlcommons_loadgen']}.",
        "",
        f"Arithmetic: {document.precision.computed} (asked for: {document.precision.requested} "
        f"where a layer is not quantized).",
        *([] if document.accuracy is None else [f"Accuracy: {document.accuracy.text}"]),
        "",
    ]
    if one.inferred:
        lines += [
            f"Inferred from {one.measured}, as the rules let edge systems do (inference_rules.adoc, "
            f"edge-required-scenarios): the files of this folder are those of that run.",
            "",
        ]
    if not official_data:
        lines += [
            f"**Not {_TITLES.get(task.benchmark.dataset, task.benchmark.dataset)}.** The accuracy and speed "
            f"are those on the data set '{data.dataset}' of {data.count:,} images: they do not compare "
            f"with results on MLPerf's own data set, which its Open division demands, too.",
            "",
        ]
    commands = _commands(one, card, task.benchmark, model, division)
    where = "Run from this folder; upper-case words are your own files and folders."
    if any(_LABELS in command for command in commands):
        where += f" Images in class folders need no `{_LABELS}`."
    lines += ["## How to repeat it", "", where, "", "```", *commands, "```", ""]
    lines += [
        f"`STORE` holds {data.count:,} images; the SHA-256 of its preprocessed pixels is",
        f"`{data.pixels_sha256}`,",
        "and that of the model file is",
        f"`{document.model.sha256}`.",
        "",
        f"`{_HOME}/src/README.md` says how to install the code.",
        "",
    ]
    return "\n".join(lines)


_TITLES = {"imagenet": "ImageNet", "coco": "COCO"}
# From a scenario's folder to the submitter's.
_HOME = "../../../.."
_LABELS = "--labels LABELS"


def _commands(one: Result, card: Card, benchmark: Benchmark, model: str, division: str) -> list[str]:
    dataset, count = one.document.data.dataset, one.document.data.count
    lines = []
    if dataset == "builtin":
        drawn = "scenes" if task_of(card).FORM is Form.BOXES else "builtin"
        draw = f"from harness.dataset import {drawn}; {drawn}.generate(Path('IMAGES'), {count})"
        lines.append(f'python -c "from pathlib import Path; {draw}"')
    if card.file.url is not None:
        lines.append(f"harness model fetch {model}")
    words = ["harness prepare", f"--dataset {dataset}", *_truth(one, card, benchmark)]
    lines.append(" ".join([*words, f"--images IMAGES --model {model} --out STORE"]))
    lines.append(run_command(one, model))
    if division == "closed":
        lines.append(f"harness compliance --results RESULTS --data STORE --model {model}")
    return lines


def _truth(one: Result, card: Card, benchmark: Benchmark) -> Iterator[str]:
    """Yield the options of `prepare` that say what is right about the images, and which of them to take."""
    data = one.document.data
    drawn = data.dataset == "builtin"
    if task_of(card).FORM is Form.BOXES:
        yield f"--annotations {'IMAGES/' + coco.ANNOTATIONS if drawn else 'ANNOTATIONS'}"
        if (data.dataset, data.count) == (benchmark.dataset, benchmark.sample_count):
            yield "--mlperf-licences"
    elif not drawn:
        yield _LABELS


def folder_name(one: Result, task: Task, division: str) -> str:
    """Return the name of a result's benchmark folder."""
    return task.closed_folder if division == "closed" else one.model


def measurements(one: Result, card: Card) -> dict[str, str]:
    """Return measurements.json, which the rules call model-info.json; all its values are texts."""
    document = one.document
    return {
        # The timed path takes raw pixels, whatever the model file does: the deployed graph normalises them.
        "input_data_types": "uint8",
        "weight_data_types": "int8" if is_int8(one, card) else _TYPES[document.precision.requested],
        "retraining": "Yes" if card.is_retrained else "No",
        "starting_weights_filename": _starting_weights(card),
        "weight_transformations": _transformations(one, card),
        "data_set": str(document.data.dataset),
        "model_sha256": str(document.model.sha256),
    }


def _starting_weights(card: Card) -> str:
    """Return the name of the file that the weights come from; of an own original only the card's is known."""
    original = str(card.quantization.get("original", ""))
    url = find_card(original).file.url if original in shipped_cards() else None
    if original and url is None:
        return original
    return (url or card.file.url or card.file.path or "").rsplit("/", 1)[-1]


def is_int8(one: Result, card: Card) -> bool:
    """Return whether a model is int8, by its card or by what it computed in, whoever has quantized it."""
    return bool(card.quantization) or one.document.precision.computed == "int8"


def _transformations(one: Result, card: Card) -> str:
    if card.quantized_here:
        return "post-training quantization to int8 by NNCF (documentation/calibration.md)"
    return f"{_QUANTIZED_BEFORE}; then " * is_int8(one, card) + "none but OpenVINO's own on loading"


_QUANTIZED_BEFORE = "quantized to int8 before the harness was given it"
_TYPES = {"f32": "fp32", "bf16": "bf16"}


def calibration(records: Mapping[str, dict[str, Any] | None], int8: Container[str]) -> str:
    """Return calibration.md.

    Args:
        records: each model's calibration record; None for a model without one.
        int8: the models that are int8.
    """
    lines = ["# Calibration", ""]
    for name, record in sorted(records.items()):
        lines += [f"## {name}", ""]
        if record is not None:
            lines += _calibration(record)
        elif name in int8:
            lines += [f"{_QUANTIZED_BEFORE.capitalize()}, which knows nothing of its calibration.", ""]
        else:
            lines += ["Not quantized, so nothing was calibrated.", ""]
    return "\n".join(lines)


def _calibration(record: dict[str, Any]) -> list[str]:
    chosen, control = record["list"], record["accuracy_control"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    recipe = Recipe(**record["data"]["recipe"])
    lines = [
        f"{record['algorithm']} of `{record['model']['name']}` (SHA-256 `{record['model']['sha256']}`) with "
        f"{versions}. Weights and activations are int8; NNCF's preset is '{record['preset']}', its bias "
        f"correction '{record['bias_correction']}'. Nothing is trained.",
        "",
        f"Activation ranges were collected on {chosen['count']} images of '{record['data']['dataset']}': "
        f"{chosen['official']}. They were preprocessed as for inference: resize {recipe.words}, "
        f"{recipe.size} x {recipe.size} pixels. The SHA-256 of the list of names, one a line, is "
        f"`{chosen['sha256']}`.",
        "",
    ]
    if kind := record.get("model_type"):
        lines += [f"NNCF's model type is '{kind}'.", ""]
    if replaced := record.get("replaced_quantizers"):
        lines += [f"The model came quantized; its own {replaced} quantizers gave way to NNCF's.", ""]
    if control is not None:
        lines += [
            f"Layers were put back to floating point until the accuracy on {control['validation_count']} "
            f"held-out images was within {control['max_drop']:g} of the original's "
            f"{control['floating_point']:.4f}.",
            "",
        ]
    return lines


def source_readme(systems: Mapping[str, Mapping[str, str | None]], harness_version: str) -> str:
    """Return src/README.md.

    Args:
        systems: each system's library versions.
        harness_version: of the code in the folder.
    """
    measured: dict[tuple[str, str], list[str]] = {}
    for system, versions in systems.items():
        key = str(versions.get("python")), _pip_command(versions)
        measured.setdefault(key, []).append(system)
    lines = [
        "# Source",
        "",
        f"`harness/` is the whole code of the benchmark harness, version {harness_version}; LoadGen is "
        "the unmodified release. The folders beside it hold the models: each a card, and the model file "
        "where it is small enough, or else its digest and, where it is published, its address.",
        "",
    ]
    for (python, command), names in measured.items():
        where = f" on {', '.join(names)}" if len(measured) > 1 else ""
        lines += [f"Measured{where} with Python {python}:", "", "```", command]
        lines += ["PYTHONPATH=. python -m harness --help", "```", ""]
    return "\n".join(lines)


def _pip_command(versions: Mapping[str, str | None]) -> str:
    wanted = [
        f"{package.name}=={version}" if (version := versions.get(package.key)) else package.name
        for package in PACKAGES
    ]
    return f"pip install {' '.join(wanted)}"


def model_mapping(found: Sequence[Result], made_for: Round) -> dict[str, str]:
    """Return model_mapping.json: the checker's name for each model's folder."""
    return {one.model: sure_entry_of(one, made_for).official_name for one in found}


def small_enough(paths: Sequence[Path], made_for: Round) -> bool:
    """Return whether files may lie in a submission."""
    return all(path.stat().st_size <= made_for.max_file_bytes for path in paths)
