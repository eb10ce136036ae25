"""One narrowing, start to finish; what is finished is kept, and the same call goes on from there."""

import copy
import datetime
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import __version__, files
from harness.backend.macs import count_macs
from harness.comparison import findings, output
from harness.comparison import session as comparing
from harness.comparison.document import Comparison
from harness.console import note
from harness.errors import HarnessError
from harness.machine import system
from harness.model import file as model_file
from harness.model.card import Card, read_card, write_card
from harness.model.twin import Twin
from harness.search.document import Baseline
from harness.search.narrowing import document, origin, planning, widths
from harness.search.narrowing.channels import Channels
from harness.search.narrowing.document import HeldOut, Narrowed, Narrowing, Tested
from harness.search.narrowing.lessons import Lessons
from harness.search.narrowing.request import Request, Setting, open_setting
from harness.search.parts import named
from harness.search.selection.deployment import calibration_store, quantized
from harness.training import export, norms
from harness.training.ranks import Ranks, joined

MODELS = "models"
"""Holds the baseline's INT8 twin; what a wanted speed-up led to has a folder of its own."""


def narrow(request: Request) -> Narrowing:
    """Narrow, distil, quantize and compare; return what also goes to narrowing.json in `result_folder`.

    Raises:
        HarnessError: the request does not fit the network, the images or the machine; no channel can go; or
            no narrowing is fast enough.
        RunFailed: the training or a test broke; what was finished is kept.
    """
    setting = open_setting(request)
    with (
        files.alone(request.out, "`harness search narrow`", lock=setting.parts.folder / files.LOCK),
        joined() as ranks,
    ):
        if ranks.count > 1:
            raise HarnessError("A narrowing trains in one process: start it without torchrun.")
        found = _narrowed(setting, ranks)
    document.write(found, result_folder(request))
    return found


def result_folder(request: Request) -> Path:
    """Return the folder of what a wanted speed-up led to."""
    return request.out / named("narrowed", **_effort(request))


def _effort(request: Request) -> dict[str, Any]:
    return {"speedup": f"{request.target_speedup:g}", "epochs": request.epochs}


def _narrowed(setting: Setting, ranks: Ranks) -> Narrowing:
    request, card, parts = setting.request, setting.card, setting.parts
    original = origin.read(card)
    channels = Channels(original)
    lessons = Lessons(setting, ranks)
    order = planning.order(setting, channels, lessons)
    if not order:
        raise HarnessError(
            f"No channel of model '{card.name}' can go without others that must stay: give another one."
        )
    plan = planning.planned(setting, channels, order)
    kept = widths.kept(channels, order[: plan.units])

    def learn() -> dict[str, Any]:
        student = origin.built(card)
        norms.liven(student, lessons.statistics())
        Channels(student).cut(kept)
        norms.recalibrate(student, lessons.statistics())
        cut = lessons.accuracy(student)
        note(
            f"{card.name}, narrowed to be {plan.speedup:.2f} times as fast, has {100 * cut:.2f} % on the "
            f"{len(setting.images.held_out.names)} held-out images before it learns."
        )
        before = copy.deepcopy(student.state_dict())
        folder = result_folder(request)
        history = lessons.distil(student, original, request.epochs, folder, f"{card.name}, narrowed")
        distilled = history[-1].top1
        if distilled < cut:
            note(
                f"Learning did not help: {100 * distilled:.2f} % on the held-out images where it was "
                f"{100 * cut:.2f} %, so the weights stay as they were before; give more images to learn from."
            )
            student.load_state_dict(before)
        _save(setting, student, plan)
        macs = count_macs(origin.source(card)), count_macs(student.write())
        return {"cut": cut, "distilled": distilled, "macs": macs}

    learned = parts.kept("learned", learn, **_effort(request))
    before = parts.kept("held-out", lambda: export.measure(card, lessons.held_out))
    cards, int8 = _quantized(setting, lessons)
    with parts.timed("comparison"):
        compared = _compared(setting, cards)
    return Narrowing(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        harness=__version__,
        command=request.command,
        machine=system.describe(),
        baseline=Baseline(card.name, model_file.sha256(card)),
        conditions=setting.conditions.facts,
        target_speedup=request.target_speedup,
        learned=len(setting.images.learned.names),
        held_out=HeldOut(
            len(setting.images.held_out.names), before, learned["cut"], learned["distilled"], int8
        ),
        narrowed=plan,
        macs=tuple(learned["macs"]),
        models={
            one.name: Tested(one.accuracy.good or 0, one.accuracy.total, one.accuracy.passed)
            for one in compared.variants
            if one.accuracy is not None
        },
        speedups=tuple(_speedups(compared)),
        accuracies=tuple(findings.accuracy_text(compared, pair) for pair in compared.accuracy_pairs),
        seconds=parts.seconds,
    )


def _save(setting: Setting, twin: Twin, plan: Narrowed) -> None:
    """Write the narrowed network and its card."""
    request, card = setting.request, setting.card
    name = f"{card.name}-narrowed"
    path = files.make_writable_folder(result_folder(request)) / f"{name}.xml"
    facts = {
        "from": card.name,
        "target_speedup": request.target_speedup,
        "units": plan.units,
        "learned_from": len(setting.images.learned.names),
        "epochs": request.epochs,
        "seed": request.seed,
        "command": request.command,
        **{f"{one}_version": found for one, found in export.versions().items()},
    }
    made = replace(
        origin.written(card, twin, path),
        name=name,
        description=f"{card.name}, narrowed by `harness search narrow`",
        training={**card.training, "narrowing": facts},
    )
    write_card(made, path.with_suffix(".toml"))


def _quantized(setting: Setting, lessons: Lessons) -> tuple[list[Card], float]:
    """Quantize both networks alike; return all four cards, and the last one's top-1 on held-out images."""
    request, card = setting.request, setting.card
    folder = result_folder(request)
    narrowed = read_card(folder / f"{card.name}-narrowed.toml")
    cards, accuracy = [], 0.0
    for one, into, effort in (
        (card, request.out / MODELS, {}),
        (narrowed, folder, _effort(request)),
    ):
        name = f"{one.name}-int8"

        def make(one: Card = one, name: str = name, into: Path = into) -> dict[str, Any]:
            recipes = [card.input.recipe]
            images = calibration_store(setting.images, recipes, request.out, setting.store.dataset)
            return quantized(
                one, name, images, lambda made: export.measure(made, lessons.held_out), into
            ).to_dict()

        accuracy = setting.parts.kept(name, make, **effort)["accuracy"]
        cards += [one, read_card(into / f"{name}.toml")]
    return cards, accuracy


def _compared(setting: Setting, cards: list[Card]) -> Comparison:
    """Hold the models against each other through LoadGen, in alternating rounds."""
    request = setting.request
    out = result_folder(request) / named("compared", seconds=f"{request.duration_s:g}")
    found = comparing.compare(
        comparing.Request(
            cards=tuple(cards),
            out=out,
            data=request.data,
            scenarios=(request.scenario,),
            rounds=request.rounds,
            threads=(setting.conditions.threads,),
            duration_s=request.duration_s,
            tuning=False,
        )
    )
    output.write([found], out)
    return found


def _speedups(compared: Comparison) -> Iterator[str]:
    """Yield how many times as fast the narrowed network is, in FP32, in INT8, and in INT8 over FP32."""
    original, original_int8, narrowed, narrowed_int8 = (one.name for one in compared.variants)
    for pair in ((narrowed, original), (narrowed_int8, original_int8), (narrowed_int8, original)):
        subject, reference = (
            compared.cell(compared.scenarios[0], compared.threads[0], name) for name in pair
        )
        if subject is not None and reference is not None:
            yield findings.speedup(compared, subject, reference).text
