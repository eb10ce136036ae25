"""What a search found, in sentences."""

import math
import statistics
from collections.abc import Iterable, Iterator

from harness import task
from harness.backend.kernels import OF_ANSWERS
from harness.comparison.findings import figure_text, points_text
from harness.search.accuracy.estimator import agreement, kendall
from harness.search.decision import SEARCHED, UNIFORM
from harness.search.document import OverSeeds, Pair, Ratio, SearchResult

_SIGNIFICANT = 0.05
ENOUGH_SEEDS = 3


def sentences(outcome: SearchResult) -> Iterator[str]:
    """Yield what is to be said: the pick, what it was held against, and what the estimates were worth."""
    bar = outcome.bar
    picked, rival = outcome.searched, outcome.uniform
    keeps = "does not keep"
    if picked.held_out >= bar.least:
        margin = "more" if picked.held_out >= bar.safe else "less"
        keeps = f"keeps, by {margin} than a standard error,"
    yield (
        f"Chosen: {picked.key}, {figure_text(picked.measured_ms)} ms where the baseline in INT8 takes "
        f"{figure_text(outcome.baseline_ms)} ms; {100 * picked.held_out:.2f} % in INT8 on held-out "
        f"training images, which {keeps} the {100 * bar.least:.2f} % that were needed "
        f"(the baseline's {100 * bar.baseline:.2f} % less {100 * bar.max_drop:g} % of it)."
    )
    if outcome.wanted_ms is not None and picked.measured_ms > outcome.wanted_ms:
        yield (
            f"The wanted latency of {figure_text(outcome.wanted_ms)} ms is missed: none of the networks that "
            "were looked at keeps it when measured."
        )
    if not outcome.request.images.held_out_unseen:
        yield (
            "The held-out images are part of --train, which the baseline has probably learned from: its own "
            "accuracy on them flatters, and the bar is rather too high (--held-out mends that)."
        )
    found_nothing = rival.key == picked.key
    if found_nothing:
        yield (
            "The pick is itself a uniform scaling of the baseline, and no other one is better: at this speed "
            "the search has found nothing that uniform scaling does not find."
        )
    else:
        yield (
            f"Control: the uniform scaling {rival.key}, {figure_text(rival.measured_ms)} ms, trained the "
            f"same way, has {100 * rival.held_out:.2f} % on the same {bar.images:,} images. An accuracy on "
            f"so many has a standard error of {100 * bar.standard_error:.2f} points."
        )
    yield _rivals(outcome)
    yield from (
        one.text for one in outcome.test.speedups if one.variant == SEARCHED and one.against != UNIFORM
    )
    if found_nothing:
        yield from outcome.test.accuracies
    else:
        yield from _held_against(outcome)
    yield from _wide(outcome)
    if (proof := outcome.table.validation) is not None:
        yield (
            f"Latency table on {proof.networks} unseen networks: mean error {100 * proof.mape:.1f} %, "
            f"bias {100 * proof.bias:+.1f} %, Kendall's tau {proof.tau:.3f} (calibrated MACs: "
            f"{100 * proof.macs_mape:.1f} %, {proof.macs_tau:.3f})."
        )
    yield from _scouted(outcome)
    yield _trust(outcome)


def _held_against(outcome: SearchResult) -> Iterator[str]:
    """Say what LoadGen and the test images say of the pick and its control."""
    speeds, pair = outcome.test.searched_over_uniform, outcome.test.searched_against_uniform
    yield from (one.text for one in speeds.values())
    yield from outcome.test.accuracies
    if pair is not None:
        interval = points_text(*task.difference(pair.lost, pair.gained, pair.count))
        yield (
            f"{SEARCHED} against {UNIFORM} on {pair.count:,} test images: {pair.points:+.2f} points "
            f"({interval}; McNemar's exact test: p = {pair.p_value:.2g}). "
            f"{_verdict(pair, speeds.get(str(outcome.request.conditions.scenario)), outcome.test.over_seeds)}"
        )


def _verdict(pair: Pair, speed: Ratio | None, seeds: OverSeeds | None = None) -> str:
    """Say which of the two to take, as far as test images, further trainings and their speeds tell."""
    _, low, high = (speed and speed.ratio) or (1.0, 0.0, math.inf)
    faster = SEARCHED if low > 1 else UNIFORM if high < 1 else None
    better, said = None, ""
    if seeds is not None and len(seeds.seeds) > 1:
        said = f"{_over_seeds(seeds)} "
        if abs(seeds.mean) > seeds.half_width:
            better = SEARCHED if seeds.mean > 0 else UNIFORM
    elif pair.p_value <= _SIGNIFICANT:
        better = SEARCHED if pair.points > 0 else UNIFORM
    return said + _choice(better, faster)


def _over_seeds(found: OverSeeds) -> str:
    """Say what trainings from several seeds say, and whether these are enough for a claim."""
    by_seed = ", ".join(f"{points:+.2f}" for points in found.points)
    enough = ""
    if len(found.seeds) < ENOUGH_SEEDS:
        enough = f" Fewer than {ENOUGH_SEEDS} trainings hardly tell chance from the method: give --seeds."
    return (
        f"Over {len(found.seeds)} trainings of each: {found.mean:+.2f} points, +/- {found.half_width:.2f} "
        f"(by seed {by_seed}).{enough}"
    )


def _choice(better: str | None, faster: str | None) -> str:
    if better is None and faster is None:
        return f"That shows no difference, nor do their speeds: {UNIFORM} is the plainer one."
    if better is None:
        return f"That shows no difference, but {faster} is faster: take it."
    if faster in (None, better):
        return f"Take {better}."
    return f"{better} is more accurate and {faster} faster: choose by what matters more."


def _rivals(outcome: SearchResult) -> str:
    finished = sum(one.held_out is not None for one in outcome.controls)
    found = "; ".join(
        f"{'-'.join(map(str, one.depths))} blocks, {figure_text(one.measured_ms)} ms, "
        f"{100 * one.brief:.2f} %"
        + ("" if one.held_out is None else f", in the end {100 * one.held_out:.2f} %")
        for one in outcome.controls
    )
    return (
        f"{outcome.uniform.key} is the best of {finished} uniform scalings that were trained to the end, as "
        f"many as were candidates if there are so many, those first that lead after the brief training: "
        f"{found}."
    )


def _scouted(outcome: SearchResult) -> Iterator[str]:
    """Say what was looked at, how far predictions agree with it, and what the first of it was worth."""
    scouts = outcome.estimator.scouts
    if scouts is None:
        return
    learned = outcome.request.images.learned
    effort = outcome.request.effort
    images = min(effort.look_images, effort.learned(learned))
    taus = ", ".join(f"{name} {tau:.2f}" for name, tau in scouts.taus.items())
    yield (
        f"{len(scouts.seen)} networks were looked at, after a training on {images:,} images. Kendall's tau "
        f"with their accuracies: {taus}, where each is predicted from the others alone."
    )
    timed = [(one.latency_ms, one.measured_ms) for one in scouts.seen if one.measured_ms is not None]
    if timed:
        errors = [foretold_ms / found_ms - 1 for foretold_ms, found_ms in timed]
        tau = kendall(*zip(*timed, strict=True))
        yield (
            f"Before any was measured the latency table was {_percent(map(abs, errors))} off on "
            f"{len(timed)} of them, with a bias of {100 * statistics.fmean(errors):+.1f} %; Kendall's tau "
            f"{tau:.3f}."
        )
    turns = [
        one.expected_ms / one.measured_ms - 1
        for one in scouts.seen[scouts.thoughts :]
        if one.expected_ms is not None and one.measured_ms is not None
    ]
    if turns:
        yield (
            f"What had learned from all that was measured before was {_percent(map(abs, turns))} off on the "
            f"{len(turns)} that turns chose, with a bias of {100 * statistics.fmean(turns):+.1f} %."
        )
    if thoughts := scouts.seen[: scouts.thoughts]:
        best = max(thoughts, key=lambda one: one.accuracy)
        looks = {one.key: one.accuracy for one in scouts.seen}
        picked, key = "", outcome.searched.key
        if best.key == key:
            picked = "; it is the pick"
        elif key in looks:
            picked = f"; the pick had {100 * looks[key]:.2f} %"
        yield (
            f"{len(thoughts)} of these are what somebody would think of, uniform scalings in each form of "
            f"blocks. After that look the best, {best.key} ({best.architecture.summary}), had "
            f"{100 * best.accuracy:.2f} %{picked}."
        )
    yield _how_alike(outcome)


def _how_alike(outcome: SearchResult) -> str:
    """Say how far a look says what the brief training says."""
    if outcome.request.effort.looks_at_all(outcome.request.images.learned):
        return "These are all training images, so that the look was the brief training itself."
    both = [(one.look, one.brief) for one in outcome.shortlist if one.look is not None]
    tau = kendall([look for look, _ in both], [brief for _, brief in both])
    return f"Kendall's tau of the shortlist's looks with its brief training: {tau:.2f}."


def _percent(fractions: Iterable[float]) -> str:
    return f"{100 * statistics.fmean(fractions):.1f} %"


def _trust(outcome: SearchResult) -> str:
    """Say what the estimator's ranking is worth, as far as that is known."""
    rows = outcome.converged
    found = agreement(
        {ranked: [row.scores[ranked] for row in rows] for ranked in (rows[0].scores if rows else ())},
        [row.accuracies[0] for row in rows],
        [row.architecture for row in rows],
        [row.accuracies[1] for row in rows],
    )
    return f"Accuracy estimator, {outcome.estimator.name}: {found.line}."


def _wide(outcome: SearchResult) -> Iterator[str]:
    """Name the layers of the chosen network that the compiler did not put into INT8 kernels."""
    kernels = next(one.kernels for one in outcome.shortlist if one.key == outcome.searched.key)
    names = (layer.name for layer in (*kernels.wide, *kernels.fallbacks))
    named = list(dict.fromkeys(name for name in names if not name.startswith(OF_ANSWERS)))
    if named:
        yield f"Not in INT8 kernels of their own in {SEARCHED}: {', '.join(named)}."
    elif kernels.int8_share is not None:
        yield f"All convolutions and matrix products of {SEARCHED} run in INT8 kernels; none falls back."
