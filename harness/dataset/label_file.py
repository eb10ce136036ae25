"""Files of labels: lines `name label`, and Kaggle's list of ImageNet's validation images."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import DataError

VAL_MAP = "val_map.txt"
KAGGLE_CSV = "LOC_val_solution.csv"

_KAGGLE_SUFFIX = ".JPEG"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        raise DataError(f"Cannot read the label file {path} ({error.strerror}): check it.") from error


def val_map_entries(path: Path, label_count: int) -> Iterator[tuple[str, int]]:
    """Yield name and label of each line `name label`.

    Raises:
        DataError: the file cannot be read, a line is none such, or a label is not below `label_count`.
    """
    first_line: dict[str, int] = {}
    lines = _lines(path)
    _refuse_ground_truth(lines, path)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        words = line.rsplit(maxsplit=1)
        name, word = words[0].strip(), words[-1]
        if len(words) != 2 or not _is_whole_number(word):
            raise DataError(
                f"Line {number} of {path} is not '<image name> <label>' but '{_shown(line)}': correct it."
            )
        label = int(word)
        if not 0 <= label < label_count:
            raise DataError(
                f"Line {number} of {path} has label {label}, but the model's labels are 0 to "
                f"{label_count - 1}: use the label file that belongs to the model (labels count from 0)."
            )
        _refuse_repetition(first_line, name, number, path)
        yield name, label


def kaggle_entries(path: Path, label_count: int) -> Iterator[tuple[str, int]]:
    """Yield name and label of each image of Kaggle's LOC_val_solution.csv.

    Raises:
        DataError: the file cannot be read, is another, or names another number of classes.
    """
    rows = csv.reader(_lines(path))
    header = next(rows, [])
    if header[:2] != ["ImageId", "PredictionString"]:
        raise DataError(
            f"{path} does not begin with 'ImageId,PredictionString' as Kaggle's {KAGGLE_CSV} does: "
            f"give that file, or a text file of '<image name> <label>' lines not named .csv."
        )
    first_line: dict[str, int] = {}
    classes: list[str] = []
    names: list[str] = []
    for row in rows:
        if not row:
            continue
        words = row[1].split() if len(row) == 2 else []
        if not words or not row[0].strip():
            raise DataError(f"Line {rows.line_num} of {path} has no image id and class: correct it.")
        name = row[0].strip() + _KAGGLE_SUFFIX
        _refuse_repetition(first_line, name, rows.line_num, path)
        names.append(name)
        classes.append(words[0])
    rank = {wnid: label for label, wnid in enumerate(sorted(set(classes)))}
    if len(rank) != label_count:
        raise DataError(
            f"{path} names {len(rank)} classes, but the model has {label_count} labels: "
            f"give a file of '<image name> <label>' lines with --labels."
        )
    for name, wnid in zip(names, classes, strict=True):
        yield name, rank[wnid]


def _refuse_ground_truth(lines: Sequence[str], path: Path) -> None:
    """Refuse numbers without names, as in ImageNet's development kit, whose classes have other numbers.

    It counts them from 1 in an order of its own (meta.mat), where models have them from 0 by WordNet id.
    """
    words = [line.strip() for line in lines if line.strip()]
    if len(words) > 1 and all(map(_is_whole_number, words)):
        raise DataError(
            f"{path} has numbers without image names, like the ground truth of ImageNet's development kit, "
            f"which numbers the classes in another way than models do: give Kaggle's {KAGGLE_CSV}, or lines "
            "'<image name> <label>'."
        )


def _refuse_repetition(first_line: dict[str, int], name: str, number: int, path: Path) -> None:
    if name in first_line:
        raise DataError(
            f"Lines {first_line[name]} and {number} of {path} both list '{_shown(name)}': remove one."
        )
    first_line[name] = number


def _is_whole_number(word: str) -> bool:
    digits = word.removeprefix("-")
    return digits.isascii() and digits.isdigit()


def _shown(text: str) -> str:
    return text.strip()[:80].encode("utf-8", "backslashreplace").decode()
