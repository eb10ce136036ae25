"""Whether the rules let results be submitted, and all that they have against it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import __version__, files
from harness.backend import calibration_list
from harness.errors import HarnessError, RunFailed
from harness.machine import identity
from harness.mlperf import conf, log
from harness.mlperf.rules import Round, Task
from harness.mlperf.scenario import Mode
from harness.model import file as model_file
from harness.model.card import SPEED_ONLY, Card, find_card
from harness.run.document import AccuracySection
from harness.submission import agreement, compliance, logs
from harness.submission.results import PERFORMANCE, Result, entry_of, sure_entry_of
from harness.submission.run_settings import Rules
from harness.submission.verdict import Check, Ledger, faults
from harness.task import Score, of_benchmark

_AGAIN = "repeat its `harness run`, which runs again what is not sound"
_MACHINE = (*identity.HARDWARE, "operating_system", "versions")


def reasons_against(
    found: Sequence[Result], cards: Mapping[str, Card], made_for: Round, division: str, system_type: str
) -> list[str]:
    """Return all reasons for which these results cannot be submitted together."""
    measured = [one for one in found if not one.inferred]
    reasons = list(_mixtures(measured))
    for one in measured:
        reasons += _about(one, made_for, division)
    told: set[tuple[Path, str]] = set()
    for one in [*measured, *(one for one in found if one.inferred)]:
        wrong = faults(check_logs(one, made_for, division, system_type))
        reasons += [
            check.sentence
            for check in wrong
            # What is wrong with a run is wrong with all that is inferred from it.
            if not _follows(check, one, made_for) and (one.folder, check.name) not in told
        ]
        told |= {(one.folder, check.name) for check in wrong}
    if division == "closed":
        reasons += _closed(found, cards, made_for, system_type)
    return reasons


def check_logs(one: Result, made_for: Round, division: str, system_type: str) -> list[Check]:
    """Hold a result's logs against the rules; the accuracy log is still whole."""
    task = entry_of(one, made_for)
    if task is None:
        return []
    rules = Rules(made_for, task, division, system_type)
    ledger = Ledger()
    if one.document.performance is not None:
        path = f"{one.shown}/{PERFORMANCE}"
        detail = logs.check_performance(ledger, one.folder / PERFORMANCE, path, one.scenario, rules)
        if detail is not None:
            _check_same(ledger, one, detail, path)
    if (stated := one.document.accuracy) is not None:
        path = f"{one.shown}/accuracy"
        score = logs.check_accuracy(
            ledger, one.folder / "accuracy", path, one.scenario, rules, truncated=False
        )
        ledger.hold(
            "result.json and accuracy.txt agree",
            path,
            score is None or _is_of(stated, score),
            "accuracy.txt states another score than result.json",
            _AGAIN,
        )
        _check_whole(ledger, one.folder / "accuracy" / log.ACCURACY_LOG, f"{path}/{log.ACCURACY_LOG}", task)
    _check_user_conf(ledger, one, division)
    return ledger.checks


def _is_of(stated: AccuracySection, score: Score) -> bool:
    """Return whether a result states the score of a line; one of a line alone has no counts."""
    if not score.counts:
        return stated.text == score.text
    return all(getattr(stated, name) == count for name, count in score.counts.items())


def _mixtures(found: Sequence[Result]) -> Iterator[str]:
    first_of: dict[str, Result] = {}
    for one in found:
        first = first_of.setdefault(one.system, one)
        unlike = identity.unlike(first.document.machine, one.document.machine, _MACHINE)
        if unlike:
            yield (
                f"{one.shown}: was measured on another system than {first.shown} (other "
                f"{', '.join(unlike)}): measure all scenarios on one system."
            )
    for one in found:
        # The systems share one model's folder in src/; each may have prepared the images by itself.
        for part, place in (("model", f"*/{one.model}"), ("data", f"{one.system}/{one.model}")):
            other = first_of.setdefault(place, one)
            if getattr(one.document, part) != getattr(other.document, part):
                yield f"{one.shown}: is of another {part} than {other.shown}: measure both with the same."


def _follows(check: Check, one: Result, made_for: Round) -> bool:
    """Return whether a fault only repeats what `_about` says of a short run, or of a part of the data."""
    task = sure_entry_of(one, made_for)
    short = not one.document.settings.official
    partial = one.document.data.count != task.benchmark.sample_count
    if short and check.name == agreement.SUMMARY_AGREES:
        return True
    return (short and check.cure == logs.OFFICIAL and check.name.startswith("effective_")) or (
        partial and check.name in logs.WHOLE_DATA_SET
    )


def _about(one: Result, made_for: Round, division: str) -> Iterator[str]:
    """Yield what result.json says against a result."""
    document = one.document
    task = entry_of(one, made_for)
    if task is None:
        yield f"{one.shown}: '{document.benchmark}' is no benchmark of {made_for.name}: leave it out."
        return
    if document.scenario != one.scenario:
        yield f"{one.shown}: holds the result of {document.scenario}: move it to that folder."
    # "Non-conforming network submission should be submitted to Open category" (inference_rules.adoc).
    if (server := document.probe.server) is not None:
        yield (
            f"{one.shown}: {server.endpoint} answered: MLPerf takes that in its Network or Open division, "
            f"and this harness makes no official runs of it: leave it out, and run the model itself."
        )
    elif not document.settings.official:
        yield f"{one.shown}: is not an official run: run it again with `harness run --official --replace`."
    for section, other in ((Mode.PERFORMANCE, Mode.ACCURACY), (Mode.ACCURACY, Mode.PERFORMANCE)):
        if document.section(section) is None:
            yield (
                f"{one.shown}: has {other} and no {section} of the same model, data and settings: "
                f"run `harness run --official --mode {section}` on it."
            )
    if document.harness != __version__:
        yield (
            f"{one.shown}: was measured with harness {document.harness}, and src/ would hold the code of "
            f"{__version__}: submit with {document.harness}, or run it again with `harness run --official "
            f"--replace`."
        )
    if document.model.note == SPEED_ONLY:
        yield f"{one.shown}: the model has no trained weights, so no accuracy: submit a trained one."
    data, benchmark = document.data, task.benchmark
    if data.count != benchmark.sample_count:
        yield (
            f"{one.shown}: was run on {data.count:,} images, where {benchmark.sample_count:,} make the "
            f"whole validation set: prepare a store of all of them."
        )
    elif any(" lacks " in reason for reason in document.not_official_because):
        yield f"{one.shown}: the store lacks listed images: prepare a store without missing images."
    # MLPerf's accuracy script knows an image by its place in val_map.txt.
    if any(" in another order than " in reason for reason in document.not_official_because):
        yield (
            f"{one.shown}: the store has its images in another order than MLPerf's val_map.txt: prepare the "
            f"store in that order and run again."
        )
    if division == "closed" and data.dataset != benchmark.dataset:
        yield (
            f"{one.shown}: was run on '{data.dataset}', and Closed demands {benchmark.dataset}, as does "
            f"Open: prepare a store of its validation set and run again."
        )


def _check_same(ledger: Ledger, one: Result, detail: log.Detail, path: str) -> None:
    stated = one.document.performance
    try:
        unlike = [] if stated is None else stated.unlike(log.read_performance(detail.path))
    except RunFailed as error:
        ledger.hold("the log has all figures", path, False, _said(error), _AGAIN)
        return
    ledger.hold(
        "result.json and the log agree",
        path,
        not unlike,
        f"the log is not the one that result.json was made from (other {', '.join(unlike)})",
        _AGAIN,
    )


def _check_whole(ledger: Ledger, log_path: Path, path: str, task: Task) -> None:
    """Check that the accuracy log answers every sample."""
    try:
        entries = log.read_accuracy(log_path)
    except HarnessError as error:
        ledger.hold("the accuracy log can be read", path, False, _said(error), _AGAIN)
        return
    indices = {index for _, index, _ in entries}
    count = task.benchmark.sample_count
    missing = count - len(indices & set(range(count)))
    ledger.hold(
        logs.EVERY_ANSWER,
        path,
        not missing,
        f"{missing} of {count} samples have no answer",
        _AGAIN,
    )


def _said(error: HarnessError) -> str:
    return error.fault if isinstance(error, log.LogFault) else str(error).rstrip(".")


def _check_user_conf(ledger: Ledger, one: Result, division: str) -> None:
    path = f"{one.shown}/user.conf"
    if one.document.performance is None:
        return
    try:
        given = conf.read_user_conf(one.folder / "user.conf", one.document.benchmark)
    except HarnessError as error:
        ledger.hold("user.conf can be read", path, False, _said(error), _AGAIN)
        return
    for fault in given.open_only if division == "closed" else ():
        ledger.hold("user.conf fits Closed", path, False, fault.rstrip("."), "submit in the open division")


def _closed(
    found: Sequence[Result], cards: Mapping[str, Card], made_for: Round, system_type: str
) -> Iterator[str]:
    models: dict[str, list[Result]] = {}
    for one in found:
        models.setdefault(one.model, []).append(one)
    if len(models) > 1:
        yield (
            f"holds {len(models)} models ({', '.join(sorted(models))}), and Closed has one folder for a "
            f"benchmark: submit one model, or use the open division."
        )
    for name, members in models.items():
        card = cards.get(members[0].document.model.name)
        task = entry_of(members[0], made_for)
        if card is not None and task is not None:
            yield from (f"{name}: {reason}" for reason in closed_model(card, task.reference_models))
    several = len({one.system for one in found}) > 1
    places = dict.fromkeys((one.system, one.model) for one in found)
    for system, model in places:
        members = [one for one in found if (one.system, one.model) == (system, model)]
        name = f"{system}/{model}" if several else model
        task = entry_of(members[0], made_for)
        if task is None:
            continue
        wanted = task.closed_scenarios.get(system_type)
        if wanted is None:
            yield (
                f"{name}: {task.benchmark.name} is no benchmark of Closed {system_type} systems in "
                f"{made_for.name}: give --system-type edge."
            )
            continue
        present = {one.scenario for one in members}
        if missing := [scenario for scenario in wanted if scenario not in present]:
            yield f"{name}: Closed {system_type} systems also need {', '.join(missing)}: run them."
        if surplus := sorted(present - set(wanted)):
            yield f"{name}: Closed {system_type} systems have no {', '.join(surplus)}: leave it out."
        for one in members:
            if one.inferred:
                continue
            absent = [test for test in task.audits if not (one.folder / test).is_dir()]
            if absent:
                yield f"{one.shown}: has no {' and '.join(absent)}: run `harness compliance`."
            there = [test for test in task.audits if test not in absent]
            stale = [test for test in there if not compliance.is_of(one.folder / test, one.document)]
            if stale:
                yield (
                    f"{one.shown}: has {' and '.join(stale)} of another model, data, settings, versions or "
                    f"machine: run `harness compliance` again."
                )
            kind = of_benchmark(task.benchmark)
            failed = [test for test in there if not compliance.has_passed(one.folder / test, test, kind)]
            if failed:
                yield (
                    f"{one.shown}: {' and '.join(failed)} failed: run `harness compliance`, which repeats "
                    f"what failed."
                )


def closed_model(card: Card, references: tuple[str, ...]) -> Iterator[str]:
    """Yield why a model is not MLPerf's, or not quantized as Closed allows."""
    root = str(card.quantization.get("original", card.name))
    if root not in references:
        which = f" ({' or '.join(references)})" if references else ", of which there is no card here"
        yield (
            f"is not MLPerf's reference model, nor quantized from it{which}: submit it in the open division."
        )
        return
    reference = find_card(root)
    try:
        digest = model_file.sha256(reference)
        if not card.quantization:
            if model_file.sha256(card) != digest:
                yield f"its file is not that of {root}: submit it in the open division."
            return
        record = calibration_record(card)
    except HarnessError as error:
        yield str(error)
        return
    if record["model"]["sha256"] != digest:
        yield f"was quantized from another file than that of {root}: quantize the reference model."
    if record["list"]["official"] == calibration_list.NOT_OFFICIAL:
        yield (
            "was not calibrated on one of MLPerf's lists, which Closed demands: "
            "quantize again with `harness quantize --list FILE`."
        )
    # "must only use the calibration data set" (inference_rules.adoc, quantization).
    if record.get("accuracy_control") is not None:
        yield (
            "was made with --max-drop, which chose its layers by images outside the calibration list: "
            "quantize again without it, or submit in the open division."
        )


def calibration_record(card: Card) -> dict[str, Any]:
    """Return the record of a quantized model's calibration.

    Raises:
        HarnessError: it is missing, or not the one that the card was made with.
    """
    named, digest = (card.quantization.get(key) for key in ("record", "record_sha256"))
    if not named or not digest:
        raise HarnessError(
            f"The card of '{card.name}' names no calibration record (record, record_sha256): "
            f"quantize the model with `harness quantize`."
        )
    path = card.folder / str(named)
    try:
        if files.sha256_file(path) != digest:
            raise HarnessError(f"The calibration record {path} was changed: quantize the model again.")
        record: dict[str, Any] = files.read_json(path)
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"Cannot read the calibration record {path} ({error}): put it beside the card."
        ) from error
    return record
