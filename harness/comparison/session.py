"""One comparison, start to finish: accuracy, then alternating rounds, then the document."""

import datetime
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from harness import __version__, files, typed
from harness.comparison import DEFAULT_ROUNDS, findings, variants
from harness.comparison.document import (
    AccuracyPair,
    Cell,
    Comparison,
    Data,
    Settings,
    Variant,
    count_threads,
)
from harness.comparison.measuring import Entry, OtherTests, Setting, accuracies, performance
from harness.comparison.variants import Candidate
from harness.console import note
from harness.dataset.store import Store, open_store
from harness.endpoint import host
from harness.endpoint.address import Endpoint
from harness.errors import HarnessError, OutputError, did_you_mean
from harness.loadgen.settings import STALL_TIMEOUT_S
from harness.machine import identity, noise, system
from harness.measurement import drawn, statistics
from harness.measurement.data import require_fit
from harness.measurement.round import METRICS
from harness.mlperf import conf
from harness.mlperf.scenario import Scenario
from harness.model import file as model_file
from harness.model.card import SPEED_ONLY, Card
from harness.task import task_of

REQUEST_NAME = "request.json"
DEFAULT_SCENARIOS = (Scenario.SINGLE_STREAM, Scenario.OFFLINE)

_FORMAT = 1
_LOOKS = "looks"
_MACHINE = ("cpu_model", "isa", "usable_cpus", "versions", "cpu_signature", "is_under_quota", "quota_cores")
"""What all tests of a folder share."""
_NO_DATA = "speed only: no images of its task were given (--data)"
_BUILTIN_COUNT = 128
_WORDS = {
    "variants": "set of models",
    "data": "store",
    "calibration": "set of calibration images",
    "duration_s": "duration",
    "harness": "version of the harness",
    "machine": "machine, CPU quota or set of library versions",
}


@dataclass(frozen=True)
class Request:
    """What to compare, and where the results go."""

    cards: tuple[Card, ...]
    out: Path
    data: Path | None = None
    """None: built-in images, for speed only."""
    scenarios: tuple[Scenario, ...] = DEFAULT_SCENARIOS
    rounds: int = DEFAULT_ROUNDS
    threads: tuple[int, ...] = ()
    """Empty: as many as this process may use."""
    baseline: str | None = None
    """Name of a variant; None: the first."""
    precisions: tuple[str, ...] = ()
    calibration_data: Path | None = None
    """Store to calibrate INT8 twins on; None: the one that is scored."""
    duration_s: float = 10.0
    """LoadGen's minimum duration of a round."""
    stall_timeout_s: float = STALL_TIMEOUT_S
    """As RunSettings has it: no part of what the folder's tests are of."""
    tuning: bool = True
    """Whether to use the settings that `harness tune` found for a variant, where it was run."""
    endpoints: tuple[Endpoint, ...] = ()
    """Where the first model is served, too; each is a variant."""
    scored: bool = True
    """Whether the images are of the models' task; else they are there for speed only."""


def compare(request: Request) -> Comparison:
    """Compare the variants; finished tests that lie in the folder already are not repeated.

    Raises:
        RunFailed: a test crashed, hung, or an inference failed; what was finished is kept.
        HarnessError: the request does not fit the models, the store, the machine or what the folder holds.
    """
    if request.rounds < 2:
        raise HarnessError(
            f"--rounds {request.rounds} gives no interval: give at least 2, better {DEFAULT_ROUNDS} or more."
        )
    candidates = variants.candidates(request.cards, request.precisions, request.endpoints)
    baseline = _baseline(request.baseline, candidates)
    for scenario in request.scenarios:
        if scenario not in METRICS:
            raise HarnessError(
                f"Scenario '{scenario}' cannot be compared, as its rate is set and not measured: use "
                f"{', '.join(METRICS)}."
            )
    if request.calibration_data is not None and not any(one.quantize for one in candidates):
        raise HarnessError(
            f"--calibration-data {request.calibration_data} is for variants that are quantized here, and "
            f"none is: add int8 to --precision, or leave it out."
        )
    machine = system.describe()
    threads = _threads(request.threads, machine)
    if request.endpoints and len(threads) > 1:
        raise HarnessError(
            f"--threads {','.join(map(str, threads))} with --endpoint: the server was started with its own: "
            f"give one number."
        )
    for candidate in candidates:
        model_file.sha256(candidate.card)
    if request.data is None:
        drawn.require_drawable([candidate.card for candidate in candidates])
    else:
        store = open_store(request.data)
        for candidate in candidates:
            require_fit(candidate.card, store)
    files.require_own(request.out, REQUEST_NAME)
    files.make_writable_folder(request.out)
    with files.alone(request.out):
        return _measured(request, candidates, baseline, threads, machine)


def _measured(
    request: Request,
    candidates: list[Candidate],
    baseline: str,
    threads: tuple[int, ...],
    machine: system.Machine,
) -> Comparison:
    store = _store(request, candidates)
    _claim(request, candidates, store, machine)
    entries = [_entry(candidate, request, store) for candidate in candidates]
    with files.staging(request.out, "under-way") as staging:
        setting = Setting(
            store=store,
            out=request.out,
            scenarios=request.scenarios,
            threads=threads,
            threads_given=bool(request.threads),
            rounds=request.rounds,
            duration_s=request.duration_s,
            stall_timeout_s=request.stall_timeout_s,
            staging=staging,
            machine=machine,
            tuned=request.tuning,
        )
        accuracies(entries, setting)
        cells = performance(entries, baseline, setting)
    return _document(request, entries, baseline, store, machine, cells)


def compare_or_anew(request: Request, held_rounds: int = 0) -> Comparison:
    """Compare in a folder of ours: tests there that are of something else are made anew, and a note says so.

    Args:
        request: what to compare.
        held_rounds: how many are there; where they are of what is asked for, no less is compared.

    Raises:
        RunFailed: a test crashed, hung, or an inference failed; what was finished is kept.
        HarnessError: the request does not fit the models, the store or the machine.
    """
    try:
        return compare(replace(request, rounds=max(held_rounds, request.rounds)))
    except OtherTests as error:
        note(f"The tests in {request.out} are of another {error.what}: they are made anew.")
    # Out of the way at once: half a folder would pass for somebody else's.
    with files.staging(request.out.parent, "old") as old:
        request.out.rename(old / "tests")
    return compare(request)


def _baseline(wanted: str | None, candidates: Sequence[Candidate]) -> str:
    names = [candidate.name for candidate in candidates]
    if wanted is None:
        return names[0]
    if wanted not in names:
        raise HarnessError(f"--baseline '{wanted}' is none of the variants.{did_you_mean(wanted, names)}")
    return wanted


def _threads(wanted: tuple[int, ...], machine: system.Machine) -> tuple[int, ...]:
    usable = machine.usable_cpus
    for count in wanted:
        if not 1 <= count <= usable:
            raise HarnessError(
                f"--threads {count}: this process may use {usable} CPU(s), give 1 to {usable}."
            )
    return tuple(sorted(set(wanted))) or (usable,)


def _store(request: Request, candidates: Sequence[Candidate]) -> Store:
    if request.data is not None:
        return open_store(request.data)
    # Written first, so that an interrupted call finds the folder to be its own.
    if not (request.out / REQUEST_NAME).exists():
        files.write_json(request.out / REQUEST_NAME, {"format": _FORMAT})
    return drawn.store_for([candidate.card for candidate in candidates], request.out, _BUILTIN_COUNT)


def _claim(request: Request, candidates: Sequence[Candidate], store: Store, machine: system.Machine) -> None:
    """Record what the folder's tests are about, and refuse to mix in others."""
    asked = {
        "format": _FORMAT,
        "variants": [
            [
                candidate.name,
                candidate.shown_precision,
                *model_file.identity(candidate.card),
                *([] if candidate.endpoint is None else [str(candidate.endpoint)]),
            ]
            for candidate in candidates
        ],
        "data": typed.unstructure(_data(store, candidates)),
        "duration_s": request.duration_s,
        "harness": __version__,
        "machine": list(identity.values(machine, _MACHINE).values()),
        "calibration": _calibration(request, candidates),
    }
    asked = json.loads(json.dumps(asked))
    path = request.out / REQUEST_NAME
    unlike, looks = _held(path, asked) if path.exists() else ([], [])
    if unlike:
        raise OtherTests(request.out, " and ".join(unlike))
    files.write_json(path, asked | {_LOOKS: looks})


def _held(path: Path, asked: dict[str, Any]) -> tuple[list[str], list[int]]:
    """Return in what a folder's tests differ from what is asked for, and the looks at them; see _looked.

    Raises:
        OutputError: what they are about cannot be read.
    """
    try:
        held = files.read_json(path)
        form = held["format"]
        unlike = [word for key, word in _WORDS.items() if key in held and _differ(key, held[key], asked[key])]
        looks = [int(one) for one in held.get(_LOOKS, [])]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"Cannot read {path} ({error!r}): choose another --out, or delete the folder."
        ) from error
    if form != _FORMAT:
        raise OutputError(
            f"{path} has format {form}, and this harness knows {_FORMAT}: choose another --out, or use the "
            f"version of the harness that wrote it."
        )
    return unlike, looks


def _looked(request: Request) -> tuple[int, ...]:
    """Note down that the rounds are looked at; return after how many they were by now, in order."""
    path = request.out / REQUEST_NAME
    asked = files.read_json(path)
    looks = asked[_LOOKS]
    if request.rounds not in looks:
        looks = [*looks, request.rounds]
        files.write_json(path, asked | {_LOOKS: looks})
    return tuple(looks)


def _differ(key: str, held: Any, asked: Any) -> bool:
    # Older records of a machine end before the CPU's signature, or before a quota.
    return bool(held != (asked[: len(held)] if key == "machine" else asked))


def _calibration(request: Request, candidates: Sequence[Candidate]) -> list[Any]:
    """Return what INT8 twins are calibrated on, if not on the store that is scored."""
    if request.calibration_data is None:
        return []
    images = open_store(request.calibration_data)
    recipes = [one.card.input.recipe for one in candidates if one.quantize]
    return [images.manifest.list_sha256, *(images.sha256(recipe) for recipe in recipes)]


def _data(store: Store, candidates: Sequence[Candidate]) -> Data:
    recipes = {candidate.card.input.recipe.key: candidate.card.input.recipe for candidate in candidates}
    return Data(
        dataset=store.dataset,
        count=store.count,
        list_sha256=store.manifest.list_sha256,
        pixels_sha256={key: store.sha256(recipe) for key, recipe in sorted(recipes.items())},
    )


def _entry(candidate: Candidate, request: Request, store: Store) -> Entry:
    origin = model_file.sha256(candidate.card)
    card, words = candidate.card, ""
    if candidate.quantize:
        images = store if request.calibration_data is None else open_store(request.calibration_data)
        made, words = variants.quantized(candidate, images, store, request.out / "models")
        card = made
    no_accuracy = "" if request.scored and request.data is not None else _NO_DATA
    if candidate.card.speed_only:
        no_accuracy = SPEED_ONLY
    return Entry(candidate, card, origin, words, no_accuracy)


def _document(
    request: Request,
    entries: list[Entry],
    baseline: str,
    store: Store,
    machine: system.Machine,
    cells: tuple[Cell, ...],
) -> Comparison:
    made = [
        Variant(
            name=entry.name,
            model=entry.candidate.card.name,
            precision=entry.candidate.shown_precision,
            sha256=None if entry.not_run else model_file.sha256(entry.card),
            origin=entry.origin,
            computed=entry.computed,
            kernels=entry.kernels,
            calibration=entry.calibration,
            accuracy=entry.accuracy,
            no_accuracy=entry.no_accuracy,
            not_run=entry.not_run,
        )
        for entry in entries
    ]
    neighbours = {
        entry.name: host.remarks(str(served), served.host, served.port)
        for entry in entries
        if (served := entry.candidate.endpoint) is not None
    }
    return Comparison(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        harness=__version__,
        baseline=baseline,
        settings=Settings(
            request.rounds,
            request.duration_s,
            conf.read_rules().round,
            statistics.CONFIDENCE,
            _looked(request),
        ),
        data=_data(store, [entry.candidate for entry in entries]),
        machine=machine,
        variants=tuple(made),
        cells=cells,
        accuracy_pairs=tuple(_pairs(entries, baseline, store)),
        remarks=(
            *_remarks(cells, {name for name, said in neighbours.items() if said}),
            *chain.from_iterable(neighbours.values()),
        ),
        not_official_because=(
            f"rounds of {request.duration_s:g} s, made to compare",
            *store.submittable_faults(),
            *([SPEED_ONLY] if any(entry.card.speed_only for entry in entries) else []),
        ),
    )


def _pairs(entries: list[Entry], baseline: str, store: Store) -> Iterator[AccuracyPair]:
    first = next(entry for entry in entries if entry.name == baseline)
    if first.answers is None:
        return
    task = task_of(first.card)
    truth = task.truth(store)
    for entry in entries:
        if entry is not first and entry.answers is not None:
            found = task.compare(first.answers, entry.answers, truth)
            yield AccuracyPair(entry.name, baseline, **vars(found))


def _remarks(cells: tuple[Cell, ...], neighbours: Collection[str] = ()) -> Iterator[str]:
    """Yield what keeps the figures from being what they seem.

    Args:
        cells: what was measured.
        neighbours: variants that a server computed which is, or may be, on this host.
    """
    named = {
        f"{cell.variant}, {METRICS[cell.scenario].title}, {count_threads(cell.threads)}": cell
        for cell in cells
    }
    noises = {name: [entry.noise for entry in cell.rounds] for name, cell in named.items()}
    noises |= {
        name: noise.without_others(noises[name]) for name in named if named[name].variant in neighbours
    }
    threads = {name: cell.settings.get("threads") or cell.threads for name, cell in named.items()}
    yield from noise.remarks(noises, threads)
    series = {name: list(cell.values().values()) for name, cell in named.items()}
    if remark := noise.spread_remark(series):
        yield remark
    yield from findings.tuning_remarks(cells)
