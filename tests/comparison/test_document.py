"""compare.json survives reading, says when it is broken, and merges only with its like."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_comparison import MACHINE, comparison, variant

from harness.comparison import document, merge, output
from harness.comparison.document import FILE_NAME, Comparison
from harness.errors import OutputError


def write(folder: Path, **changes: Any) -> Path:
    output.write([comparison(**changes)], folder)
    return folder


def test_a_comparison_survives_its_file(tmp_path: Path) -> None:
    write(tmp_path)
    assert document.read(tmp_path / FILE_NAME) == [comparison()]


def test_the_file_holds_what_was_derived_too(tmp_path: Path) -> None:
    written = json.loads((write(tmp_path) / FILE_NAME).read_text())
    part = written["comparisons"][0]
    assert written["format"] == 1
    assert part["boosts"][0]["text"] == "3.96 - 15.9x"
    assert part["speedups"][0]["outcome"] == "faster"
    assert part["figures"][0]["values"] == {"1": 80.0, "2": 82.0, "3": 81.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Cannot read .*compare.json .*repeat the `harness compare`"),
        ("[]", "is no comparison of format 1"),
        ('{"format": 1, "comparisons": [{}]}', "is no comparison of format 1 .*'created'"),
        ('{"format": 1, "comparisons": [3]}', "is no comparison of format 1"),
        ('{"format": 2}', "has format 2, newer than this harness knows: update the harness"),
        ('{"format": 0}', "is no comparison of format 1"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(OutputError, match=message):
        document.read(tmp_path / FILE_NAME)


def test_a_damaged_part_is_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path) / FILE_NAME
    for part in ("variants", "cells", "machine"):
        broken = json.loads(path.read_text())
        del broken["comparisons"][0][part]
        (tmp_path / "broken.json").write_text(json.dumps(broken))
        with pytest.raises(OutputError, match="is no comparison of format 1"):
            document.read(tmp_path / "broken.json")


@pytest.mark.parametrize(
    ("old", "new"),
    [('"variant": "int8"', '"variant": "int9"'), ('"samples_per_second": 50.0', '"samples_per_second": 0')],
)
def test_figures_that_cannot_be_are_one_sentence(tmp_path: Path, old: str, new: str) -> None:
    path = write(tmp_path) / FILE_NAME
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(OutputError, match="is no comparison of format 1"):
        document.read(path)


def test_two_machines_share_one_table(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", machine=replace(MACHINE, cpu_model="Other CPU"))
    merged = merge.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    output.write(merged, tmp_path / "all")
    assert [one.source for one in merged] == ["../a", "../b"]
    text = (tmp_path / "all" / "table.md").read_text()
    assert "| Imaginary CPU 9000, 1 thread | 81 |" in text
    assert "| Other CPU, 1 thread | 81 |" in text
    assert document.read(tmp_path / "all" / FILE_NAME) == merged


def test_what_was_merged_can_be_merged_again(tmp_path: Path) -> None:
    write(tmp_path / "x" / "a")
    write(tmp_path / "x" / "b")
    output.write(merge.merge([tmp_path / "x" / "a", tmp_path / "x" / "b"], tmp_path / "ab"), tmp_path / "ab")
    write(tmp_path / "c")
    merged = merge.merge([tmp_path / "ab", tmp_path / "c"], tmp_path / "abc")
    assert [one.source for one in merged] == ["../x/a", "../x/b", "../c"]


def test_a_comparison_beside_a_merger_that_holds_it_is_refused(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    output.write(merge.merge([first, second], tmp_path / "ab"), tmp_path / "ab")
    for folders in ([first, tmp_path / "ab"], [tmp_path / "ab", tmp_path / "b" / ".." / "a"]):
        with pytest.raises(OutputError, match=r"/a is given twice, once inside another: give each once\."):
            merge.merge(folders, tmp_path / "all")


def test_int8_twins_made_on_each_machine_are_the_same_model(tmp_path: Path) -> None:
    write(tmp_path / "a")
    others = tuple(replace(one, sha256=f"made there {one.name}") for one in comparison().variants)
    write(tmp_path / "b", variants=others)
    assert len(merge.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")) == 2


def changed(part: str) -> dict[str, Any]:
    plain: Comparison = comparison()
    return {
        "variants": {
            "variants": (variant("fp32"), variant("int8"), variant("other")),
            "cells": (),
            "accuracy_pairs": (),
        },
        "models": {"variants": tuple(replace(one, origin="another") for one in plain.variants)},
        "data": {"data": replace(plain.data, list_sha256="00")},
        "recipes": {"data": replace(plain.data, pixels_sha256={"x": "00"})},
        "rules": {"settings": replace(plain.settings, mlperf="v5.0")},
        "baseline": {"baseline": "int8"},
    }[part]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("variants", r"different variants \(fp32, int8, searched and fp32, int8, other\): merge comparisons"),
        ("models", "different models: merge"),
        ("data", "different data: merge"),
        ("recipes", "different data: merge"),
        ("rules", r"different rules \(v6.1 and v5.0\): merge"),
        ("baseline", r"different baseline \(fp32 and int8\): merge"),
    ],
)
def test_what_cannot_stand_in_one_table_is_not_merged(tmp_path: Path, part: str, message: str) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", **changed(part))
    with pytest.raises(OutputError, match=message):
        merge.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")


def test_folders_that_make_no_merge_are_refused(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    (tmp_path / "empty").mkdir()
    (write(tmp_path / "full") / "request.json").touch()
    for folders, out, message in (
        ([first], "all", "needs at least two folders"),
        ([first, second, tmp_path / "x" / ".." / "a"], "all", "is given twice"),
        ([first, second], "a", "is one of the folders to merge: choose another"),
        ([first, second], "full", "full holds something else: choose a new or empty one"),
        ([first, tmp_path / "empty"], "all", "empty holds no compare.json: give a folder that"),
    ):
        with pytest.raises(OutputError, match=message):
            merge.merge(folders, tmp_path / out)
