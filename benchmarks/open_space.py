"""What the open space gives: a search on CIFAR-10, its controls and networks made by hand, over seeds.

    python benchmarks/open_space.py --experiment 7|12|40 --images CIFAR --out DIR PIECE ...
    python benchmarks/open_space.py --list

CIFAR holds train/CLASS/ and test/CLASS/. Each piece is one `harness` command, or a few, and ends within a
sitting of 45 minutes on two cores (in experiment 12 of two hours); the same call goes on where an interrupted
one stopped. They go in the order of --list: those that measure want a machine with nothing else at work, all
others only compute.

- baseline: in experiment 7 a ResNet of 29 layers, bottlenecks as ResNet-50 has them, 47 MMAC; in the others
  the ResNet-20 of He et al., of basic blocks, some 2.5 times as wide, 294 MMAC. Asked for is so many times
  the baseline's speed in FP32; in experiment 12, that of the ResNet-50 with which benchmarks/search.py begins
  on CIFAR-10, 325 MMAC, and a twelfth more, as by LoadGen less is left of it. It has random weights here: its
  speed alone is compared.
- open-PART, then open: the search in the open space up to a part of it, and to its end. The wanted speed
  leaves 10 to 20 MMAC, in experiment 12 some 100. Pick and control, the best uniform scaling of the baseline,
  are trained from three seeds, two networks at a time; in experiment 12, to 16 epochs, from one.
- shapes: of the kinds of networks that somebody would make by hand, the widest that take no longer than the
  pick.
- hand: these, two at a time, trained and quantized as the pick is. hand-seeds: the best of them, by the
  held-out images, from two more seeds.
- compare: accuracy and speed of pick, control and hand-made networks by LoadGen.
- report: accuracies on the test images of all that is there, and differences over seeds with 95 % intervals.
"""

import argparse
import multiprocessing
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from cifar import PYTHON, TORCHRUN, harness, split

from harness.backend import graph
from harness.comparison.document import FILE_NAME as COMPARED
from harness.dataset.images import find_images
from harness.dataset.store import open_store, prepare
from harness.errors import HarnessError
from harness.files import read_json, write_json
from harness.mlperf.scenario import Scenario
from harness.model import file as model_file
from harness.model.architecture import Architecture, Stage, read_architecture, resnet50
from harness.model.blocks import Block
from harness.model.card import CARD_NAME, find_card, read_card, write_card
from harness.model.layers import rounded
from harness.profiling import stopwatch
from harness.profiling.conditions import Conditions
from harness.search import result, verdict
from harness.search.accuracy.material import Supplies
from harness.search.accuracy.team import Team
from harness.search.document import FILE_NAME, SearchResult
from harness.search.request import Effort, Request, open_setting
from harness.search.selection.models import Models
from harness.search.selection.trainings import Trainings, Whole
from harness.training.export import export
from harness.training.network import ResNet
from harness.training.ranks import Ranks

SEEDS = (1, 2, 3)
TRAINING = "--optimizer muon --learning-rate 0.03 --weight-decay 0.1 --warmup-epochs 1 --padding 2"
SEARCH = "--space open --threads 1 --shortlist 8 --rounds 3 --duration 2"
PARTS = ("table", "scouts", "finals", "uniform", "models")
"""Where a search stops for a pause."""


def bottlenecks() -> Architecture:
    """Return three bottlenecks in each of three stages, in the widths of He et al. for CIFAR-10.

    ("Identity Mappings in Deep Residual Networks", ECCV 2016, has 18 in each, in another order.)
    """
    stages = (Stage(width, (Block(width // 4),) * 3) for width in (64, 128, 256))
    return Architecture(10, 32, "3x3", 16, tuple(stages))


def basic(width: float, blocks: int = 2) -> Architecture:
    """Return a ResNet of basic blocks in three stages, as He et al. have it for CIFAR-10 where `width` is 1.

    With two blocks in each stage it is ResNet-14, with three ResNet-20.
    """
    channels = (rounded(one * width) for one in (16, 32, 64))
    stages = tuple(Stage(one, (Block(one, form="basic"),) * blocks) for one in channels)
    return Architecture(10, 32, "3x3", rounded(16 * width), stages)


def plain(width: float, *, early_stride: bool = False) -> Architecture:
    """Return plain 3x3 convolutions, two in each of three stages."""
    stages = (rounded(channels * width) for channels in (32, 64, 128))
    blocks = tuple(Stage(one, (Block(16, form="plain"),) * 2) for one in stages)
    return Architecture(10, 32, "3x3", rounded(16 * width), blocks, early_stride=early_stride)


HAND_MADE: dict[str, Callable[[float], Architecture]] = {
    "plain": plain,
    "early": partial(plain, early_stride=True),
    "basic": basic,
}
"""What somebody would make by hand, by its width; `early` halves the image in the first stage, too."""


@dataclass(frozen=True)
class Experiment:
    baseline: Architecture
    baseline_epochs: int
    epochs: int
    """After the brief training, of all but the baseline."""
    search: str
    """How much is tried."""
    processes: int = 2
    """That train for the search: more than are trained to the end at once would be idle then."""
    than: Architecture | None = None
    """Whose speed in FP32 counts; None: the baseline's."""


USUAL = "--scouts 20 --look-images 45000 --finals 2 --seeds 3"
EXPERIMENTS = {
    7: Experiment(bottlenecks(), 6, 4, USUAL),
    12: Experiment(
        basic(2.5, 3),
        5,
        15,
        "--scouts 10 --look-images 8192 --finals 1 --seeds 1",
        processes=1,
        than=resnet50(10, 32, 0.5, "3x3"),
    ),
    40: Experiment(basic(2.5, 3), 5, 4, USUAL),
}
"""By how many times as fast is asked for."""
THAN = "than"
MARGIN = 13 / 12
"""Of what is asked for where `than` is given: LoadGen's slowest tenth has 12 of 13, as measured before."""
_VISITS = 5


def plan() -> list[str]:
    """Return the pieces in their order."""
    searched = [*(f"open-{part}" for part in PARTS), "open"]
    return ["baseline", *searched, "shapes", "hand", "hand-seeds", "compare", "report"]


def prepared(images: Path, out: Path) -> None:
    """Split the training images, and store those to test on."""
    split(images, out)
    recipe = replace(find_card("builtin-resnet50").input.recipe, size=32, crop_fraction=1.0)
    prepare(find_images(images / "test", 10), recipe, out / "store", "cifar10")


def call(out: Path, *words: str, start: Sequence[str] = (), last: str = "") -> None:
    """Run a command in OUT.

    Args:
        out: where it runs.
        words: behind `harness`.
        start: what it is started by, if not by Python alone.
        last: path from OUT of what it writes at its end; exit code 1 then says that a model misses a target.

    Raises:
        HarnessError: it failed, and has said why.
    """
    command, begun_ns = harness(*words), time.time_ns()
    code = subprocess.run([*start, *command[1:]] if start else command, cwd=out, check=False).returncode
    came_to_its_end = bool(last) and (out / last).exists() and (out / last).stat().st_mtime_ns >= begun_ns
    if code and not (code == 1 and came_to_its_end):
        raise HarnessError(f"`harness {words[0]}` ended with code {code}: see above, then repeat the piece.")


def require_own(out: Path, speedup: int) -> None:
    """Keep in OUT which experiment it holds, and its baseline.

    Raises:
        HarnessError: it holds another one.
    """
    path, shape, baseline = out / "experiment.json", out / "baseline.json", EXPERIMENTS[speedup].baseline
    held = read_json(path) if path.exists() else speedup
    if held != speedup or (shape.exists() and read_architecture(shape) != baseline):
        raise HarnessError(f"{out} holds another experiment: give the --experiment that began it.")
    write_json(path, speedup)
    write_json(shape, baseline.to_dict())


def train_baseline(out: Path, images: Path, experiment: Experiment) -> None:
    """Train the baseline in OUT/baseline."""
    words = ["--train", "fit", "--test", str((images / "test").resolve()), "--crop-fraction", "1", "--resume"]
    words += ["--out", "baseline", "--architecture", "baseline.json"]
    words += ["--epochs", str(experiment.baseline_epochs)]
    call(out, "train", "--task", "folder", *words, *shlex.split(TRAINING), start=TORCHRUN)


def do(piece: str, speedup: int, images: Path, out: Path) -> None:
    """Do a piece, or what is missing of it."""
    name, _, rest = piece.rpartition("-")
    if piece == "report":
        report(out)
    elif piece == "baseline":
        train_baseline(out, images, EXPERIMENTS[speedup])
    elif piece == "open":
        search(out, speedup)
    elif name == "open":
        search(out, speedup, "--until", rest)
    elif piece == "shapes":
        pick = found(out).searched.architecture
        for kind, make in HAND_MADE.items():
            if (shape := as_fast_as(pick, make)) is None:
                print(f"{kind}: even the narrowest takes longer than the pick")
            else:
                write_json(out / f"shape-{kind}.json", shape.to_dict())
    elif piece == "compare":
        than = [] if EXPERIMENTS[speedup].than is None else [f"{THAN}/card.toml"]
        known = (str(path) for _, seed, path in cards(out) if seed == 1)
        compared = [*than, "baseline/card.toml", *known]
        models = [word for path in compared for word in ("--model", path)]
        words = ["--data", "store", "--out", "compared", "--threads", "1", "--rounds", "5", "--duration", "2"]
        call(out, "compare", *models, *words, "--no-tuning", last=f"compared/{COMPARED}")
    else:
        wanted = [(kind, SEEDS[0]) for kind in HAND_MADE if (out / f"shape-{kind}.json").exists()]
        if piece == "hand-seeds":
            wanted = [(best_by_hand(out), seed) for seed in SEEDS[1:]]
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(partial(by_hand, out, EXPERIMENTS[speedup].epochs), *zip(*wanted, strict=True)))


def by_hand(out: Path, epochs: int, kind: str, seed: int) -> None:
    """Train and quantize a network that was made by hand, as the search does with its pick, with one thread.

    Its accuracy on the held-out images goes to OUT/by-hand/KIND-SEED.json.
    """
    torch.set_num_threads(1)
    done, folder = out / "by-hand" / f"{kind}-{seed}.json", out / "by-hand" / f"{kind}-{seed}"
    if done.exists():
        return
    request = Request(
        read_card(out / "baseline" / "card.toml"),
        out / "fit",
        out / "store",
        out / "by-hand" / f"search-{kind}",
        held_out=out / "held-out",
        space="open",
        threads=1,
        effort=Effort(epochs=epochs),
    )
    setting = open_setting(request)
    ranks = Ranks(0, 1, torch.device("cpu"))
    material = Supplies.of(setting).material(ranks, 2)
    trainings = Trainings(setting, Team(material, ranks))
    whole = Whole(read_architecture(out / f"shape-{kind}.json"), folder, seed)
    trainings.begin([whole])
    network = trainings.ended(whole).network
    found = Models(setting, material, trainings, {}).deploy(network, folder)
    write_json(done, found["accuracy"])


def best_by_hand(out: Path) -> str:
    """Return the kind that was best on the held-out images."""
    trained = {kind: out / "by-hand" / f"{kind}-{SEEDS[0]}.json" for kind in HAND_MADE}
    accuracies = {kind: read_json(path) for kind, path in trained.items() if path.exists()}
    return max(accuracies, key=accuracies.__getitem__)


def search(out: Path, speedup: int, *more: str) -> None:
    words = [
        "--baseline",
        "baseline/card.toml",
        "--train",
        "fit",
        "--held-out",
        "held-out",
        "--data",
        "store",
    ]
    experiment = EXPERIMENTS[speedup]
    words += ["--target-speedup", f"{over_baseline(out, speedup):.4g}", "--epochs", str(experiment.epochs)]
    # What an experiment asks for counts more.
    words += shlex.split(SEARCH) + shlex.split(experiment.search)
    start = TORCHRUN if experiment.processes > 1 else PYTHON
    last = "" if "--until" in more else f"open/{FILE_NAME}"
    call(out, "search", "run", *words, "--out", "open", *more, start=start, last=last)


def over_baseline(out: Path, speedup: int) -> float:
    """Return how many times as fast as the baseline in FP32 is asked for."""
    than, path = EXPERIMENTS[speedup].than, out / "speedup.json"
    if than is None:
        return speedup
    if not path.exists():
        card, conditions = read_card(out / "baseline" / "card.toml"), Conditions.of(Scenario.SINGLE_STREAM, 1)
        folder = out / THAN
        folder.mkdir(exist_ok=True)
        torch.manual_seed(SEEDS[0])
        other = export(ResNet(than), card.input.recipe, folder, THAN, "Random weights: speed only", {})
        write_card(replace(other, speed_only=True), folder / CARD_NAME)
        beside = stopwatch.Beside(EXPERIMENTS[speedup].baseline, conditions)
        models = [graph.deployed(model_file.read(one), one) for one in (card, other)]
        ratios = [beside.ratio_as_is(models[0]) / beside.ratio_as_is(models[1]) for _ in range(_VISITS)]
        write_json(path, MARGIN * speedup * statistics.median(ratios))
    return float(read_json(path))


def found(out: Path) -> SearchResult:
    return result.read(out / "open")


def as_fast_as(pick: Architecture, make: Callable[[float], Architecture]) -> Architecture | None:
    """Return the widest network that takes no longer than the pick in INT8, measured beside it, if any."""
    conditions = Conditions.of(Scenario.SINGLE_STREAM, 1)
    made = {one.key: one for one in (make(step / 8) for step in range(4, 49))}
    by_work = sorted(made.values(), key=Architecture.count_macs)
    low, high = -1, len(by_work) - 1
    while low < high:
        middle = (low + high + 1) // 2
        pick_ms, found_ms = stopwatch.measure_ms([pick, by_work[middle]], conditions, pick)
        low, high = (middle, high) if found_ms <= pick_ms else (low, middle - 1)
    return None if low < 0 else by_work[low]


def cards(out: Path) -> Iterator[tuple[str, int, Path]]:
    """Yield name, seed and INT8 card of all that is finished, paths from OUT."""
    if (out / "open" / "result.json").exists():
        models = found(out)
        for kind, key in (("searched", models.searched.key), ("uniform", models.uniform.key)):
            yield f"open {kind}", 1, Path("open", "models", kind, "card.toml")
            for path in (out / "open" / "seeds").glob(f"{key}-*/{key}.toml"):
                yield f"open {kind}", int(path.parent.name.split("-")[1]), path.relative_to(out)
    for name in HAND_MADE:
        for seed in SEEDS:
            shape = out / f"shape-{name}.json"
            if (out / "by-hand" / f"{name}-{seed}.json").exists():
                key = read_architecture(shape).key
                yield name, seed, Path("by-hand", f"{name}-{seed}", f"{key}.toml")


def report(out: Path) -> None:
    store = open_store(out / "store")
    right = {(name, seed): verdict.right(read_card(out / path), store) for name, seed, path in cards(out)}
    for (name, seed), answers in sorted(right.items()):
        print(f"{name}, seed {seed}: {100 * answers.mean():.2f} %")
    for other in sorted({name for name, _ in right} - {"open searched"}):
        pairs = [
            verdict.Pairing(seed, right["open searched", seed], right[other, seed])
            for seed in SEEDS
            if ("open searched", seed) in right and (other, seed) in right
        ]
        if pairs:
            over = verdict.over_seeds(pairs)
            print(
                f"open searched less {other}: {over.mean:+.2f} points, +/- {over.half_width:.2f}, over "
                f"{len(pairs)} seeds ({', '.join(f'{one:+.2f}' for one in over.points)})"
            )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--experiment", type=int, choices=list(EXPERIMENTS), help="by the speed-up that it asks for"
    )
    parser.add_argument("--images", type=Path, metavar="CIFAR", help="CIFAR-10's images")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--list", action="store_true", help="name the pieces of the plan, in their order")
    parser.add_argument("pieces", nargs="*", metavar="PIECE")
    given = parser.parse_args()
    if given.list:
        print("\n".join(plan()))
        return 0
    if unknown := set(given.pieces) - set(plan()):
        parser.error(f"there is no piece {', '.join(sorted(unknown))}: see --list")
    if None in (given.experiment, given.images, given.out):
        parser.error("--experiment, --images and --out are needed")
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        require_own(given.out, given.experiment)
        prepared(given.images, given.out)
        for piece in given.pieces:
            do(piece, given.experiment, given.images, given.out)
    except HarnessError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
