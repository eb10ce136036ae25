"""The frontier, start to finish: times, the race for accuracy, the pick through LoadGen, the document."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TypeVar

from harness import files, typed
from harness.backend import calibration, graph
from harness.comparison import findings, output
from harness.comparison import session as comparing
from harness.console import note, progress
from harness.dataset.store import Store, open_store
from harness.errors import HarnessError, ModelError
from harness.frontier import document, entrants, race, request, speed
from harness.frontier.answering import Answers
from harness.frontier.catalogue import Published
from harness.frontier.document import Frontier, Pick, PickSpeedup, Raced
from harness.frontier.entrants import Entrant
from harness.frontier.race import Fate, Outcome, Runner
from harness.frontier.request import Request
from harness.frontier.speed import Entry, Stopwatch, Timed
from harness.loadgen.settings import RunSettings
from harness.machine import system
from harness.mlperf.scenario import Mode
from harness.model import file as model_file
from harness.model import zoo
from harness.model.card import CARD_NAME, Card, find_card
from harness.profiling import int8
from harness.run import session as running
from harness.run.folder import OtherResult
from harness.task import task_of

T = TypeVar("T")

COMPARED = "compared"
MODELS = "models"
_GIVEN = "given"

_NEAR = 0.03
"""How far below the target a network may be for other ways to quantize it to be tried, as a fraction."""


def find(asked: Request, stopwatch: Stopwatch | None = None) -> Frontier:
    """Return the document of the frontier, which `asked.out` holds, too; what is there is not done again.

    Raises:
        RunFailed: a test broke.
        HarnessError: the request fits no network, store or machine.
    """
    networks = request.published(asked)
    if not asked.cards and not networks:
        if zoo.is_here():
            raise HarnessError(
                "There is nothing to time: no network of the catalogue is left by --min-top1 "
                f"{asked.least_top1:g}, --licence and --sizes; ask for less."
            )
        raise HarnessError(
            "There is nothing to time: run `pip install 'inference-harness[imagenet]'` for cards with "
            "weights, or `pip install 'inference-harness[frontier]'` for the networks of the catalogue."
        )
    if asked.permissive:
        request.require_licences(asked.cards)
    store = _store(asked)
    files.require_own(asked.out, speed.FOLDER, MODELS)
    files.make_writable_folder(asked.out)
    with files.alone(asked.out):
        return _find(asked, networks, store, stopwatch)


def _store(asked: Request) -> Store | None:
    if asked.data is None:
        return None
    store = open_store(asked.data)
    given = {"--calibration-data": asked.calibration_data, "--max-drop": asked.max_drop}
    idle = [option for option, value in given.items() if value is not None]
    if idle and all(card.quantization for card in asked.cards):
        raise HarnessError(
            f"{idle[0]} is for cards that are quantized here, and there is none: leave it out."
        )
    for card in asked.cards:
        task_of(card).require_fit(card, store)
        if not card.quantization:
            entrants.recipes(card, store, asked.sizes)
        else:
            store.samples(card.input.recipe)
    return store


def _find(
    asked: Request, networks: Sequence[Published], store: Store | None, stopwatch: Stopwatch | None
) -> Frontier:
    raced: Raced | None = None
    if store is not None and asked.cards:
        raced, timed = _raced(asked, store, stopwatch)
    else:
        timed = _timed([_entry_of_card(card) for card in asked.cards], asked, stopwatch)
    timed += _timed([_entry_of_network(one) for one in networks], asked, stopwatch, asked.budget_s)
    found = document.found(asked, networks, timed, raced)
    if raced is not None:
        found = replace(found, pick=_picked(asked, raced))
    document.write(found, asked.out)
    return found


def _timed(
    entries: Sequence[Entry], asked: Request, stopwatch: Stopwatch | None, budget_s: float | None = None
) -> list[Timed]:
    return speed.measure(
        entries,
        asked.conditions,
        asked.out,
        budget_s=budget_s,
        stopwatch=stopwatch,
        baseline=asked.baseline,
    )


def _entry_of_card(card: Card) -> Entry:
    return Entry(card.name, _of(card), lambda: int8.quantized_card(card))


def _entry_of_network(network: Published) -> Entry:
    return Entry(
        network.name,
        "random weights",
        lambda: int8.quantized(zoo.build(network.architecture, network.pixels)),
    )


def _entry_of_entrant(entrant: Entrant) -> Entry:
    card = entrant.card
    return Entry(entrant.name, _of(card), lambda: graph.deployed(model_file.read(card), card))


def _of(card: Card) -> str:
    return json.dumps(model_file.identity(card))


def _raced(asked: Request, store: Store, stopwatch: Stopwatch | None) -> tuple[Raced, list[Timed]]:
    """Race the cards at all sizes, then those that just missed again, quantized in other ways."""
    images = store if asked.calibration_data is None else open_store(asked.calibration_data)
    folder = asked.out / MODELS
    found: dict[str, Entrant] = {}
    failed: dict[str, Card] = {}
    rows: list[Timed] = []

    def made(name: str, card: Card, make: Callable[[], T]) -> list[T]:
        """Return what is made of a card, or nothing, with a row that says why."""
        try:
            return [make()]
        except ModelError as error:
            failed[name] = card
            rows.append(Timed(name, None, graph.last_line(error)))
            note(f"{name} takes no part: {error}")
            return []

    def enter(cards: Sequence[Card], ways: Sequence[calibration.CalibrationSettings]) -> None:
        for card, way in product(cards, ways):
            if (name := way.twin_of(card.name)) in found:
                raise HarnessError(
                    f"Two networks of the frontier would be called '{name}', {found[name].origin.name} and "
                    f"the INT8 twin of {card.name}: leave one out, or change its name on its card."
                )
            make = partial(entrants.quantized, card, images, store, asked.least_top1, folder, way)
            found.update((one.name, one) for one in made(name, card, make))

    def timed_with_rows() -> list[Timed]:
        return [*_timed([_entry_of_entrant(one) for one in found.values()], asked, stopwatch), *rows]

    for card in (one for one in asked.cards if one.quantization):
        found[card.name] = Entrant(card, card, calibration.USUAL, "as it came")
    for card in (one for one in asked.cards if not one.quantization):
        for recipe in entrants.recipes(card, store, asked.sizes):
            make = partial(entrants.at, card, recipe, folder)
            enter(made(f"{card.name}-{recipe.size}", card, make), (calibration.USUAL,))
    timed = timed_with_rows()
    outcome = _race(found, timed, asked, store)
    again = [found[one.name].origin for one in outcome.runners if _just_missed(one, outcome)]
    again = [card for card in again if not card.quantization]
    if again:
        note(f"{len(again)} networks just miss the target: they are quantized in other ways, too.")
        enter(again, entrants.further_settings(asked.max_drop))
        timed = timed_with_rows()
        outcome = _race(found, timed, asked, store)
    return Raced(found, outcome, store, failed), timed


def _just_missed(one: Runner, outcome: Outcome) -> bool:
    """Return whether a network is so near below the target that another way to quantize it may lift it."""
    faster = outcome.pick is None or one.ms < outcome.pick.ms
    return faster and one.fate is Fate.MISSES and one.accuracy >= outcome.needed / outcome.count - _NEAR


def _race(found: Mapping[str, Entrant], timed: Sequence[Timed], asked: Request, store: Store) -> Outcome:
    speeds = {one.name: one.speed.ms.center for one in timed if one.speed is not None}
    if not speeds:
        raise HarnessError(f"None of the cards could be timed: {timed[0].failure}; give another --card.")
    threads = system.usable_cpus()
    known = {name: Answers(found[name].card, store, asked.out / "answers", threads) for name in speeds}
    with progress("Racing", None, counts=False) as bar:

        def told(runners: Sequence[Runner]) -> None:
            answered = sum(one.answered for one in runners)
            open_ones = sum(one.fate is Fate.OPEN for one in runners)
            bar.update(rate=f"{answered:,} answers, {open_ones} undecided")

        return race.race(
            speeds, lambda name, indices: known[name].hits(indices), store.count, asked.least_top1, told=told
        )


def _picked(asked: Request, raced: Raced) -> Pick:
    """Measure the pick, or what is nearest to one, through LoadGen: accuracy on every image, and speed."""
    runner = raced.outcome.pick or raced.outcome.nearest
    entrant = raced.entrants[runner.name]
    settings = RunSettings(asked.conditions.scenario, threads=asked.conditions.threads)
    test = running.Request(
        entrant.card, raced.store.path, settings, (Mode.ACCURACY,), asked.out / "loadgen", tuning=False
    )
    try:
        measured, folder = running.run(test)
    except OtherResult as error:
        note(f"The accuracy test of {runner.name} is of another {error.what}: it is made anew.")
        measured, folder = running.run(replace(test, replace=True))
    baseline = find_card(asked.baseline)
    comparison = comparing.compare_or_anew(
        comparing.Request(
            (baseline, entrant.card),
            asked.out / COMPARED / runner.name,
            scenarios=(asked.conditions.scenario,),
            rounds=asked.rounds,
            threads=(asked.conditions.threads,),
            precisions=("f32", "int8"),
            duration_s=asked.duration_s,
            tuning=False,
        )
    )
    output.write([comparison], asked.out / COMPARED / runner.name)
    assert measured.accuracy is not None
    good, total = measured.accuracy.good, measured.accuracy.total
    assert good is not None
    share, card = good / total, f"{MODELS}/{runner.name}.toml"
    if entrant.card is entrant.origin:
        # It came quantized, from wherever the user keeps it.
        card = f"{MODELS}/{_GIVEN}/{runner.name}/{CARD_NAME}"
        model_file.copied(entrant.card, runner.name, (asked.out / card).parent)
    return Pick(
        name=runner.name,
        keeps=raced.outcome.pick is not None,
        card=card,
        model=entrant.origin.name,
        settings=typed.unstructure(entrant.settings),
        calibration=entrant.calibration,
        top1=share,
        good=good,
        total=total,
        standard_error=math.sqrt(share * (1 - share) / total),
        target=asked.least_top1,
        needed=raced.outcome.needed,
        valid=not comparison.invalid,
        speedups=tuple(
            PickSpeedup(one.against, one.interval, one.text)
            for one in findings.speedups(comparison)
            if one.variant == runner.name
        ),
        loadgen=folder.relative_to(asked.out).as_posix(),
        compared=f"{COMPARED}/{runner.name}",
    )
