"""The built-in task's models on images that nothing has looked at, enough of them to tell a third of a point.

    python benchmarks/fresh.py --out DIR [--count 20000] CARD CARD ...

Draws COUNT images of the built-in set beyond its 2,000 test images, and holds the models of the cards against
each other there: top-1 from LoadGen's accuracy logs, and McNemar's test. Speeds are told as well, of two
rounds of a second, which is too little to quote.
"""

import argparse
from pathlib import Path

from harness.cli import cli
from harness.dataset import builtin
from harness.dataset.images import ImageList, find_images
from harness.dataset.store import prepare
from harness.model.card import find_card
from harness.quickstart import BUILTIN_MODEL

COUNT = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cards", nargs="+", metavar="CARD")
    parser.add_argument("--count", type=int, default=COUNT, help=f"images (default: {COUNT:,})")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    drawn = builtin.generate(options.out / "images", builtin.TEST_COUNT + options.count)
    images = find_images(drawn, len(builtin.CLASSES))
    fresh = slice(builtin.TEST_COUNT, None)
    images = ImageList(images.names[fresh], images.labels[fresh], images.root)
    store = options.out / "store"
    prepare(images, find_card(BUILTIN_MODEL).input.recipe, store, "builtin")
    words = [word for card in options.cards for word in ("--model", card)]
    words += ["--data", str(store), "--scenario", "SingleStream", "--threads", "1"]
    words += ["--rounds", "2", "--duration", "1", "--out", str(options.out / "compared")]
    cli(["compare", *words])


if __name__ == "__main__":
    main()
