"""A search space: every revision of a baseline that the search may propose."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

from harness.errors import HarnessError
from harness.model.architecture import STEMS, Architecture, Stage
from harness.model.blocks import ACTIVATIONS, FORMS, KINDS, Block
from harness.model.layers import STEP, rounded
from harness.search.space.ranges import OPEN, REVISIONS, Ranges

DEPTHS = (1.0, 2 / 3, 1 / 3)
"""Shares of the baseline's blocks that uniform scalings keep."""
_MOST_WORK = 2
"""Of a random network, over the baseline's."""
_GROWING = frozenset({"size", "width", "depth", "ratio", "stages"})
"""Decisions whose options stand in rising order, each a larger network than the one before."""
_LARGEST_LEAN = 4.0
"""Of a random network, the power to which the uniform draw of a growing decision is raised, at most."""
_LATE_STAGES = 2
"""Squeeze-excite is only offered in so many last stages: on large images it costs more than it brings."""
_REMEMBERED = 4096
_STEPS = 100
"""Uniform scalings are tried in hundredths, which multiples of STEP channels hardly follow."""

T = TypeVar("T")
Choose = Callable[[str, Sequence[Any]], Any]
"""Pick one of some options of a named decision."""


@dataclass(frozen=True)
class Space:
    """Revisions of `baseline`, which is itself a point of the space."""

    baseline: Architecture
    sizes: tuple[int, ...]
    """Input sizes in pixels that may be proposed."""
    ranges: Ranges = REVISIONS
    """What may take the place of the baseline's widths, depths and blocks."""

    def __post_init__(self) -> None:
        if self.baseline.size not in self.sizes:
            raise HarnessError(
                f"The baseline's input size of {self.baseline.size} px is not among those to search "
                f"({', '.join(map(str, self.sizes))}): prepare a store that holds it."
            )
        if fault := self.fault(self.baseline):
            raise HarnessError(
                f"The baseline is outside the search space {self.ranges.name} ({fault}): {self._cure}."
            )

    @property
    def _cure(self) -> str:
        """What to do about a baseline that is outside."""
        if self.ranges != OPEN:
            with suppress(HarnessError):
                Space(self.baseline, self.sizes, OPEN)
                return f"give --space {OPEN.name}, which has it"
        return (
            "use a ResNet-50 v1.5 whose widths are multiples of 16, and whose blocks are a quarter as wide "
            "inside as outside"
        )

    @property
    def stems(self) -> tuple[str, ...]:
        """Stems that shrink the image, of whatever size, as the baseline's does."""
        wanted = [STEMS[self.baseline.stem].shrunk(size) for size in self.sizes]
        return tuple(name for name, stem in STEMS.items() if list(map(stem.shrunk, self.sizes)) == wanted)

    @property
    def reference(self) -> Architecture:
        """What tells how quiet a machine is, and the unit of times: of middling size, as what is searched."""
        return self.uniform(0.5)

    @property
    def key(self) -> str:
        """12 hex digits that name the space: tables and searches of another space do not fit."""
        whole = self.baseline.canonical.to_dict()
        given = self.ranges
        facts = [given.name, whole, self.sizes, given.shares, STEP, given.ratios, self.stems]
        if given != REVISIONS:
            facts.append(asdict(given))
        text = json.dumps(facts)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def offers_squeeze_excite(self, stage: int) -> bool:
        """Whether blocks of a stage, counted from 1, may have it."""
        return stage > len(self.baseline.stages) - _LATE_STAGES

    def likened(self, stage: int) -> Stage:
        """Return the baseline's stage that a stage, counted from 1, resembles: a further one, the last."""
        return self.baseline.stages[min(stage, len(self.baseline.stages)) - 1]

    def forms_of(self, stage: int) -> tuple[str, ...]:
        """Return the forms of blocks that a stage, counted from 1, may have, its own among them."""
        own, offered = self.likened(stage).blocks[0].form, self.ranges.forms
        if len(offered) == 1:
            return (own,)
        return offered if own in offered else (*offered, own)

    def build(self, choose: Choose) -> Architecture:
        """Return the architecture that `choose` decides on, decision by decision.

        The options of a decision never depend on another decision; decisions about blocks beyond the chosen
        depth are not asked for.
        """
        base, given = self.baseline, self.ranges
        size = choose("size", self.sizes)
        stem = choose("stem", self.stems)
        stem_width = choose("stem.width", given.widths(base.stem_width))
        early = choose("network.early_stride", (False, True)) if given.early_stride else base.early_stride
        counts = given.stages(len(base.stages))
        count = choose("network.stages", counts) if len(counts) > 1 else counts[0]
        stages = []
        for number in range(1, count + 1):
            stage = self.likened(number)
            width = choose(f"stage{number}.width", given.widths(stage.width))
            forms = self.forms_of(number)
            form = choose(f"stage{number}.form", forms) if len(forms) > 1 else forms[0]
            depth = choose(f"stage{number}.depth", given.depths(len(stage.blocks)))
            blocks = tuple(
                self._block(choose, f"stage{number}.{place}", width, form, self.offers_squeeze_excite(number))
                for place in range(depth)
            )
            stages.append(Stage(width, blocks))
        return Architecture(base.classes, size, stem, stem_width, tuple(stages), early).canonical

    def decided(self, decisions: Mapping[str, Any]) -> Architecture:
        """Return the architecture that options by the names of their decisions lead to; some may be idle."""
        return self.build(lambda name, _: decisions[name])

    def complete(self, decisions: Mapping[str, Any]) -> dict[str, Any]:
        """Return decisions with those that are missing: as in the block before, or in the stage before.

        So `decided` can be asked about networks that are deeper than the one whose decisions they are.
        """
        found = dict(decisions)
        for name, options in self.all_decisions().items():
            if name not in found:
                found[name] = _nearest(options, found.get(_before(name), options[0]))
        return found

    def all_decisions(self) -> dict[str, tuple[Any, ...]]:
        """Return every decision with its options, those of the deepest architecture."""
        found: dict[str, tuple[Any, ...]] = {}

        def choose(name: str, options: Sequence[Any]) -> Any:
            found[name] = tuple(options)
            return options[-1]

        self.build(choose)
        return found

    def sample(self, source: random.Random) -> Architecture:
        """Return a random architecture, each decision taken uniformly."""
        return self.build(lambda _, options: source.choice(options))

    def samples(self, seed: int, count: int, unlike: Iterable[Architecture] = ()) -> list[Architecture]:
        """Return so many random architectures, or as many as can be found, all different from each other.

        Each leans to small or to large ones by a random degree of its own: what is wanted may be at either
        end of the space, and networks whose every decision is uniform all end up in its middle. None is more
        than _MOST_WORK times the baseline's work: in the open space two of three would be, up to a hundred
        times, which no search wants to know of.

        Args:
            seed: of the draws.
            count: how many.
            unlike: none of which is returned.
        """
        source = random.Random(seed)
        known = {one.key for one in unlike}
        found: dict[str, Architecture] = {}
        most = _MOST_WORK * self.baseline.count_macs()
        for _ in range(100 * count):
            drawn = self._leaning(source)
            if drawn.key not in known and drawn.count_macs() <= most:
                found.setdefault(drawn.key, drawn)
            if len(found) == count:
                break
        return list(found.values())

    def decisions(self, architecture: Architecture) -> dict[str, Any]:
        """Return what `build` must choose to arrive at `architecture`.

        Raises:
            HarnessError: it is no point of the space.
        """
        if fault := self.fault(architecture):
            raise HarnessError(f"The architecture is outside the search space {self.ranges.name}: {fault}.")
        taken = {}

        def choose(name: str, options: Sequence[Any]) -> Any:
            taken[name] = self._decide(name, options, architecture)
            return taken[name]

        self.build(choose)
        return taken

    def fault(self, architecture: Architecture) -> str | None:
        """Return why `architecture` is no point of the space, None if it is."""
        base = self.baseline
        if architecture.classes != base.classes:
            return f"it has {architecture.classes} classes and the baseline {base.classes}"
        if len(architecture.stages) not in self.ranges.stages(len(base.stages)):
            return f"it has {len(architecture.stages)} stages and the baseline {len(base.stages)}"
        try:
            found = self.build(lambda name, options: self._decide(name, options, architecture))
        except LookupError as error:
            return str(error.args[0])
        return None if found == architecture.canonical else "its decisions make another network"

    def recasts(self) -> list[Architecture]:
        """Return the baseline, and what it would be in blocks of each other form, as published.

        Where the space has it, each without and with an early stride.
        """
        base = self.baseline.canonical
        stages = [base.stages]
        if len(self.ranges.forms) > 1:
            stages += [tuple(self._in_form(one, form) for one in base.stages) for form in self.ranges.forms]
        early = (False, True) if self.ranges.early_stride else (base.early_stride,)
        recasts = (replace(base, stages=one, early_stride=wanted) for one in stages for wanted in early)
        return list(dict.fromkeys((base, *(one.canonical for one in recasts if self.fault(one) is None))))

    def scalings(
        self, depth: float = 1.0, *, size: int | None = None, of: Architecture | None = None
    ) -> list[Architecture]:
        """Return all uniform scalings in width, as `uniform` has them, each once, by rising work."""
        widest = max(1.0, self.ranges.shares[-1])
        steps = range(1, round(_STEPS * widest) + 1)
        found = {self.uniform(step / _STEPS, depth, size=size, of=of): None for step in steps}
        return sorted(found, key=Architecture.count_macs)

    def uniform(
        self, width: float, depth: float = 1.0, *, size: int | None = None, of: Architecture | None = None
    ) -> Architecture:
        """Return the baseline, or another network, with all widths times `width`, all depths times `depth`.

        The middles of blocks keep their share of the width as far as the space has it.

        That is the plain way to make it faster, as in "EfficientNet: Rethinking Model Scaling for
        Convolutional Neural Networks" (Tan and Le, ICML 2019).
        """
        base = of or self.baseline
        stages = []
        for stage in base.stages:
            new_width = rounded(stage.width * width)
            kept = stage.blocks[: max(1, round(len(stage.blocks) * depth))]
            blocks = (self._scaled(block, stage.width, new_width) for block in kept)
            stages.append(Stage(new_width, tuple(blocks)))
        stem_width = rounded(base.stem_width * width)
        scaled = replace(base, size=size or base.size, stem_width=stem_width, stages=tuple(stages))
        return scaled.canonical

    def _leaning(self, source: random.Random) -> Architecture:
        lean = _LARGEST_LEAN ** source.uniform(-1, 1)

        def choose(name: str, options: Sequence[T]) -> T:
            if name.rpartition(".")[2] in _GROWING:
                return options[int(len(options) * source.random() ** lean)]
            return source.choice(options)

        return self.build(choose)

    def _block(self, choose: Choose, name: str, width: int, form: str, late: bool) -> Block:
        kind = choose(f"{name}.kind", tuple(KINDS))
        ratio = choose(f"{name}.ratio", self.ranges.ratios)
        excite = choose(f"{name}.squeeze_excite", (False, True)) if late else False
        activation = choose(f"{name}.activation", ACTIVATIONS)
        return block(width, kind, ratio, excite, activation, form)

    def _in_form(self, stage: Stage, form: str) -> Stage:
        """Return a stage with as many blocks of a form, as near to published ones as the space has.

        A stage of that form is returned as it is.
        """
        if stage.blocks[0].form == form:
            return stage
        usual = FORMS[form]
        ratio = min(self.ranges.ratios, key=lambda ratio: abs(ratio - usual.ratio))
        one = block(stage.width, usual.kind, ratio, False, "relu", form)
        return Stage(stage.width, (one,) * len(stage.blocks))

    def _scaled(self, one: Block, width: int, new_width: int) -> Block:
        """Return a block of a stage that was `width` channels wide and is `new_width` now."""
        wanted = new_width * one.mid / width
        offered = {rounded(new_width * ratio) for ratio in self.ranges.ratios}
        mid = min(offered, key=lambda mid: (abs(mid - wanted), mid != rounded(wanted)))
        return _fitting(replace(one, mid=mid))

    def _decide(self, name: str, options: Sequence[Any], wanted: Architecture) -> Any:
        """Return the option that leads to `wanted`."""
        part, _, what = name.partition(".")
        if name == "network.stages":
            return _find(name, options, len(wanted.stages))
        if part == "network":
            return _find(name, options, wanted.early_stride)
        if not part.startswith("stage"):
            return _find(name, options, getattr(wanted, name.replace(".", "_")))
        stage = wanted.stages[int(part.removeprefix("stage")) - 1]
        if what == "width":
            return _find(name, options, stage.width)
        if what == "depth":
            return _find(name, options, len(stage.blocks))
        if what == "form":
            return _find(name, options, stage.blocks[0].form)
        place, _, what = what.partition(".")
        block = stage.blocks[int(place)]
        if what in FORMS[block.form].idle:
            return options[0]
        if what != "ratio":
            return _find(name, options, getattr(block, what))
        nearest_first = sorted(options, key=lambda share: abs(share - 0.25))
        return _find(name, nearest_first, block.mid, lambda share: rounded(stage.width * share))


@lru_cache(_REMEMBERED)
def block(
    width: int, kind: str, ratio: float, squeeze_excite: bool, activation: str, form: str = "bottleneck"
) -> Block:
    """Return the block of a stage of `width` channels; groups of 32 that do not fit become groups of 16."""
    mid = rounded(width * ratio)
    if kind == "group32" and mid % 32:
        kind = "group16"
    return Block(mid, kind, squeeze_excite, activation, form).canonical


def _fitting(one: Block) -> Block:
    """Return the block, in groups of 16 where those of 32 do not fit."""
    return replace(one, kind="group16") if one.kind == "group32" and one.mid % 32 else one


def _find(name: str, options: Sequence[T], wanted: Any, gives: Callable[[T], Any] = lambda one: one) -> T:
    for option in options:
        if gives(option) == wanted:
            return option
    raise LookupError(f"no option of '{name}' gives what it has")


def _before(name: str) -> str:
    """Return the decision that one resembles: about the block before, else about the stage before."""
    stage, _, rest = name.partition(".")
    place, _, what = rest.partition(".")
    if place.isdecimal() and place != "0":
        return f"{stage}.{int(place) - 1}.{what}"
    number = stage.removeprefix("stage")
    return f"stage{int(number) - 1}.{rest}" if number.isdecimal() else ""


def _nearest(options: Sequence[Any], wanted: Any) -> Any:
    """Return the option that is wanted, or else the nearest one where they are numbers, or the first."""
    if wanted in options or not isinstance(wanted, int | float):
        return wanted if wanted in options else options[0]
    return min(options, key=lambda option: abs(option - wanted))
