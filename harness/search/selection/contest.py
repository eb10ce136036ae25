"""The contest: a shortlist is trained briefly, some of it to the end, and one is chosen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.console import note
from harness.model.architecture import Architecture
from harness.model.card import CARD_NAME, Card, read_card
from harness.profiling.conditions import Conditions
from harness.search.accuracy.estimator import Estimator, Inherited
from harness.search.accuracy.material import Material
from harness.search.decision import (
    Bar,
    Candidate,
    choose,
    expected,
    expected_error,
    hopeful,
    likely,
    next_to_train,
    remaining_share,
)
from harness.search.parts import named
from harness.search.request import Setting
from harness.search.selection import control
from harness.search.selection.models import Models, Trained
from harness.search.selection.trainings import Trainings, Whole
from harness.search.strategy.front import Point, best

Measure = Callable[[Sequence[Architecture], Conditions, Architecture | None], list[float]]
"""Milliseconds an image of networks, end to end; the last one tells how quiet the machine is."""


class Contest:
    """Everything that trains, with what it trains on."""

    def __init__(
        self, setting: Setting, material: Material, trainings: Trainings, provenance: Mapping[str, Any]
    ) -> None:
        """Take the setting, the trained baseline with its images, and facts for the cards."""
        self.setting, self.material, self.trainings = setting, material, trainings
        self.models = Models(setting, material, trainings, provenance)

    def shortlist(self, looks: Sequence[Candidate], bar: Bar) -> list[Candidate]:
        """Return those that are best by latency and look, the fastest first: the second rung.

        (As in successive halving: Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and
        Hyperparameter Optimization", AISTATS 2016.) Hopeless ones are among them only if there are too few
        others. Where looks are the brief training itself, and by none the bar is expected to be kept, they
        are the most accurate, of any latency.
        """
        count = self.setting.request.effort.shortlist
        ranked = sorted(looks, key=lambda one: -one.brief)
        kept = [one for place, one in enumerate(ranked) if place < count or hopeful(one, bar)]
        if self.trainings.look_is_brief and expected(ranked[0], bar.guess, bar) < bar.least:
            kept = ranked[:count]
        points = best((Point(one.architecture, one.latency_ms, one.brief) for one in kept), count)
        chosen = {point.architecture.key for point in points}
        return sorted((one for one in kept if one.key in chosen), key=lambda one: one.latency_ms)

    def kernels(
        self, shortlist: Sequence[Architecture], look: Callable[[Architecture, Conditions], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return by key which kernels each of the shortlist runs in, and the share of its time in INT8."""

        def kept(one: Architecture) -> dict[str, Any]:
            found: dict[str, Any] = self.setting.parts.kept(
                f"kernels-{one.key}", lambda: look(one, self.setting.conditions)
            )
            return found

        return {one.key: kept(one) for one in shortlist}

    def tuned(self, shortlist: Sequence[Candidate]) -> list[Candidate]:
        """Train all of a shortlist briefly; return them with what that gave."""
        accuracies = self.trainings.all_briefly([one.architecture for one in shortlist])
        return [replace(one, brief=accuracy) for one, accuracy in zip(shortlist, accuracies, strict=True)]

    def train_up(self, candidates: Sequence[Candidate], bar: Bar) -> tuple[Candidate, dict[str, Trained]]:
        """Train candidates to the end, as `decision` says; return the chosen one and all trained."""
        trained: dict[str, Trained] = {}
        accuracies: dict[str, float] = {}
        finals = self.setting.request.effort.finals
        foreseen = [one.architecture for one in likely(candidates, bar, finals)]
        with self.trainings.ahead_of_the_end(foreseen):
            while len(trained) < finals:
                following = next_to_train(candidates, accuracies, bar)
                if following is None:
                    break
                share = remaining_share(candidates, accuracies, bar)
                error = expected_error(following, candidates, accuracies, bar)
                note(
                    f"Training {following.key} to the end: {following.latency_ms:.3g} ms, "
                    f"{100 * following.brief:.2f} % after the brief training, "
                    f"{100 * expected(following, share, bar):.2f} % expected (standard error "
                    f"{100 * error:.2f}), {100 * bar.least:.2f} % needed, {100 * bar.safe:.2f} % safe."
                )
                trained[following.key] = self.train(following.architecture)
                accuracies[following.key] = trained[following.key].int8["accuracy"]
        picked = choose(candidates, accuracies, bar)
        if accuracies[picked.key] < bar.safe:
            note(
                f"No candidate reaches {100 * bar.safe:.2f} % on the held-out images, which would keep "
                f"{100 * bar.least:.2f} % with some certainty; the most accurate one trained, {picked.key}, "
                f"reaches {100 * accuracies[picked.key]:.2f} % and is taken."
            )
        return picked, trained

    def rivals(self, picked: Candidate, measure: Measure) -> list[control.Timed]:
        """Return uniform scalings of all sizes and depths that take as long as `picked` or just more.

        Each is measured beside `picked`, and its milliseconds are in proportion to those that `picked` has.
        """
        setting = self.setting

        def one_ms(architecture: Architecture) -> float:
            pair = (picked.architecture, architecture)
            picked_ms, found_ms = measure(pair, setting.conditions, setting.space.reference)
            return picked.latency_ms * (found_ms / picked_ms)

        def find() -> list[Any]:
            found = control.rivals(setting.space, picked.latency_ms, one_ms)
            return [[one.to_dict(), found_ms] for one, found_ms in found]

        found = setting.parts.kept(f"uniform-{picked.key}", find, latency_ms=f"{picked.latency_ms:.6g}")
        return [(Architecture.from_dict(values), found_ms) for values, found_ms in found]

    def train_controls(self, rivals: Sequence[control.Timed], trained: dict[str, Trained]) -> list[Candidate]:
        """Train as many uniform scalings to the end as were candidates, and add them to `trained`.

        The best after the brief training come first. What was picked may be the best of several
        trainings; so is its control.

        Returns:
            All of them: first the one that is most accurate in the end, then by what they reached last.
        """
        accuracies = self.trainings.all_briefly([one for one, _ in rivals])
        tuned = [
            Candidate(one, found_ms, accuracy)
            for (one, found_ms), accuracy in zip(rivals, accuracies, strict=True)
        ]
        tuned.sort(key=lambda one: -one.brief)
        count = len(trained)
        fresh = [one.architecture for one in tuned[:count] if one.key not in trained]
        with self.trainings.ahead_of_the_end(fresh):
            for one in tuned[:count]:
                trained[one.key] = trained.get(one.key) or self.train(one.architecture)
        finished = sorted(tuned[:count], key=lambda one: -trained[one.key].int8["accuracy"])
        return [*finished, *tuned[count:]]

    def train(self, architecture: Architecture) -> Trained:
        """Train a network on, after its brief training, to the end, and quantize it.

        What is finished is not repeated.
        """
        setting, key = self.setting, architecture.key
        folder = self.trainings.trained(architecture)

        def make() -> dict[str, Any]:
            tuned = self.trainings.up(architecture)
            return {**self.models.deploy(tuned.network, folder), "fp32_accuracy": tuned.accuracy}

        found = setting.parts.kept(f"final-{key}", make, **self.trainings.effort)
        return Trained(architecture, read_card(folder / CARD_NAME), found)

    def twins(self, pick: Architecture, rival: Architecture) -> list[tuple[int, Card, Card]]:
        """Train both from further seeds, as they were from the first; return seeds and INT8 cards.

        Where both are one network there is nothing to tell apart, and nothing is trained.
        """
        if pick.key == rival.key:
            return []
        request = self.setting.request
        seeds = range(request.seed + 1, request.seed + request.effort.seeds)
        # Those of one network take alike, and are trained together.
        wholes = [self._whole(one, seed) for one in (pick, rival) for seed in seeds]
        missing = [one for one in wholes if not self.setting.parts.has(_again(one), **self.trainings.effort)]
        with self.setting.parts.timed("seed"):
            self.trainings.begin(missing)
        with self.trainings.going_on(missing):
            cards = [self._again(one) for one in wholes]
        return list(zip(seeds, cards[: len(seeds)], cards[len(seeds) :], strict=True))

    def _whole(self, architecture: Architecture, seed: int) -> Whole:
        name = named(f"{architecture.key}-{seed}", **self.trainings.effort)
        return Whole(architecture, self.setting.path("seeds", name), seed)

    def _again(self, whole: Whole) -> Card:
        """Return the INT8 card of a network that is trained once more, as far as it is not yet."""

        def make() -> dict[str, Any]:
            return self.models.deploy(self.trainings.ended(whole).network, whole.folder)

        self.setting.parts.kept(_again(whole), make, **self.trainings.effort)
        return read_card(whole.folder / f"{whole.architecture.key}.toml")

    def converged(self, estimator: Estimator) -> list[dict[str, Any]]:
        """Train random networks to the end, from two seeds, and score them by all that ranks networks before.

        Returns:
            For each network its key, architecture, scores by name, and accuracies on the held-out images, one
            a seed, as fractions.
        """
        request = self.setting.request
        rankings = {one.name: one.score for one in (estimator, Inherited(self.material))}
        if not self.trainings.look_is_brief:
            rankings["first look"] = self.trainings.look
        rankings |= {
            f"brief training, {one.weights} weights": one.briefly for one in self.trainings.all_weights()
        }
        return [
            {
                "key": one.key,
                "architecture": one.to_dict(),
                "scores": {name: score(one) for name, score in rankings.items()},
                "accuracies": [
                    self.trainings.to_the_end(one, seed) for seed in (request.seed + 1, request.seed + 2)
                ],
            }
            for one in self.setting.space.samples(request.seed, request.converged)
        ]


def _again(whole: Whole) -> str:
    """Return the name of the part that is kept of a network which was trained once more."""
    return f"seed-{whole.architecture.key}-{whole.seed}"
