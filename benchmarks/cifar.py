"""What experiments share: CIFAR-10's training images in two parts, and how commands are started."""

import shlex
import sys
from pathlib import Path

PYTHON = [sys.executable, "-m"]
TORCHRUN = [*PYTHON, "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def split(images: Path, out: Path) -> None:
    """Link nine tenths of each class of IMAGES/train in OUT/fit, and the rest in OUT/held-out."""
    for source in sorted(path for path in (images / "train").iterdir() if path.is_dir()):
        paths = sorted(source.iterdir())
        held_out = len(paths) // 10
        for part, some in (("fit", paths[:-held_out]), ("held-out", paths[-held_out:])):
            link(some, out / part / source.name)


def link(paths: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if not (folder / path.name).exists():
            (folder / path.name).symlink_to(path.resolve())


def harness(*words: str) -> list[str]:
    """Return a command, which is also shown."""
    print(shlex.join(["harness", *words]), file=sys.stderr)
    return [*PYTHON, "harness", *words]
