"""Boxes in LoadGen's log, and their score by pycocotools."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DataError, RunFailed
from harness.task import average_precision, detection
from harness.task.average_precision import Truth

KINDS = [1, 2, 44]
SIZES = [(100, 50), (40, 80), (64, 64), (200, 100), (50, 50), (90, 30)]


def truth_of(count: int = 6, boxes: int = 3) -> Truth:
    """Return boxes in images of different sizes; the last image has none, and one box is of a crowd."""
    random = np.random.default_rng(4)
    images, annotations = [], []
    for number, (width, height) in enumerate(SIZES[:count]):
        images.append({"id": 10 * number + 7, "file_name": f"{number}.jpg", "width": width, "height": height})
        for place in range(boxes if number < count - 1 else 0):
            sides = random.uniform(0.2, 0.5, 2) * (width, height)
            left, top = random.uniform(0, 0.5, 2) * (width, height)
            box = [left, top, *sides.tolist()]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": 10 * number + 7, "bbox": box, "area": sides.prod(),
                 "category_id": KINDS[(number + place) % 3], "iscrowd": int(number == 2 and place == 0)}
            )  # fmt: skip
    document = {"images": images, "annotations": annotations, "categories": [{"id": one} for one in KINDS]}
    return Truth(document, tuple(image["id"] for image in images))


def answers_to(truth: Truth, shift: float = 0.0, false: int = 0, seed: int = 1) -> list[np.ndarray]:
    """Return the right boxes, moved by a share of the image, and some that are made up."""
    random = np.random.default_rng(seed)
    found = []
    for index, image_id in enumerate(truth.image_ids):
        image = truth.coco.imgs[image_id]
        scale = np.array([image["height"], image["width"]] * 2)
        rows = []
        for one in truth.coco.imgToAnns[image_id]:
            left, top, width, height = one["bbox"]
            corners = np.array([top, left, top + height, left + width]) / scale + random.uniform(0, shift)
            rows.append([index, *corners, random.uniform(0.5, 1), one["category_id"]])
        for _ in range(false):
            y, x = random.uniform(0, 0.7, 2)
            rows.append([index, y, x, y + 0.2, x + 0.2, random.uniform(0, 0.9), random.choice(KINDS)])
        found.append(np.array(rows, "<f4").reshape(-1, 7))
    return found


def write_log(path: Path, answers: dict[int, bytes]) -> Path:
    entries = [
        {"seq_id": number, "qsl_idx": index, "data": data.hex().upper()}
        for number, (index, data) in enumerate(answers.items())
    ]
    path.write_text(json.dumps(entries))
    return path


def logged(folder: Path, answers: list[np.ndarray], **changes: bytes) -> Path:
    data = {index: answer.tobytes() for index, answer in enumerate(answers)}
    return write_log(folder / "mlperf_log_accuracy.json", data | {int(k[1:]): v for k, v in changes.items()})


def test_right_boxes_are_all_of_map_whatever_the_sizes_of_the_images(tmp_path: Path) -> None:
    truth = truth_of()
    found = detection.score(logged(tmp_path, answers_to(truth)), truth, 6)
    assert found.text == "mAP=100.000%"
    assert found.counts == {"total": 6, "map50": pytest.approx(1.0)}


def test_a_score_is_that_of_pycocotools_on_boxes_in_pixels(tmp_path: Path) -> None:
    from pycocotools.cocoeval import COCOeval

    truth = truth_of()
    answers = answers_to(truth, shift=0.05, false=4)
    results = []
    for image_id, answer in zip(truth.image_ids, answers, strict=True):
        width, height = (truth.coco.imgs[image_id][name] for name in ("width", "height"))
        for _, top, left, bottom, right, score, kind in answer.tolist():
            box = [left * width, top * height, (right - left) * width, (bottom - top) * height]
            results.append({"image_id": image_id, "category_id": int(kind), "bbox": box, "score": score})
    evaluation = COCOeval(truth.coco, truth.coco.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    found = detection.score(logged(tmp_path, answers), truth, 6)
    assert 0.05 < found.fraction < 0.95
    assert (found.fraction, found.map50) == pytest.approx(tuple(evaluation.stats[:2]), abs=1e-6)


def test_no_boxes_at_all_are_a_map_of_nothing(tmp_path: Path) -> None:
    found = detection.score(logged(tmp_path, [np.zeros((0, 7), "<f4")] * 6), truth_of(), 6)
    assert (found.fraction, found.text) == (0.0, "mAP=0.000%")


def row(
    index: float = 1, top: float = 0.1, bottom: float = 0.5, score: float = 0.9, kind: float = 1
) -> bytes:
    return struct.pack("<7f", index, top, 0.2, bottom, 0.6, score, kind)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (row(score=float("nan")), "has 1 answer with a number that is not finite (index 1)"),
        (row(bottom=float("inf")), "has 1 answer with a number that is not finite (index 1)"),
        (row() + row(index=2), "has 1 answer that names another sample (index 1)"),
        (row(top=0.6), "has 1 answer with a box upside down (index 1)"),
        (row()[:-4], "has 1 answer that is not made of 7 float32 a box (index 1)"),
        (row(kind=3), "has boxes of the unknown category 3"),
        (row(kind=1.5), "has boxes of the unknown category 1.5"),
    ],
)
def test_an_answer_that_is_none_is_refused(tmp_path: Path, data: bytes, fault: str) -> None:
    truth = truth_of()
    path = logged(tmp_path, answers_to(truth), _1=data)
    scorings = lambda: detection.score(path, truth, 6), lambda: detection.score_some(path, truth, [0, 1])
    for scoring in scorings:
        with pytest.raises(RunFailed) as caught:
            scoring()
        assert fault in str(caught.value)


def test_each_sample_must_be_in_the_log_as_a_part_of_it_flatters(tmp_path: Path) -> None:
    truth = truth_of()
    answers = {index: one.tobytes() for index, one in enumerate(answers_to(truth)) if index not in (2, 4)}
    path = write_log(tmp_path / "log.json", answers)
    with pytest.raises(RunFailed, match=r"of 6 samples has 2 samples without an answer \(index 2, 4\)"):
        detection.score(path, truth, 6)
    some = detection.score_some(path, truth, [0, 1, 2])
    assert some is not None
    assert (some.total, some.fraction) == (2, pytest.approx(1.0))
    assert detection.score_some(path, truth, [2]) is None
    with pytest.raises(DataError, match="boxes of 6 images do not fit the 5 samples"):
        detection.score(path, truth, 5)


@pytest.mark.parametrize(
    ("line", "fraction"), [("mAP=50.730%", 0.5073), ("mAP=0.000%\n", 0.0), ("accuracy=50.730%", None)]
)
def test_the_official_line_is_read(line: str, fraction: float | None) -> None:
    stated = detection.read_line(line)
    assert (None if stated is None else stated.score.fraction) == fraction


def test_lines_are_a_score_that_the_checkers_take_for_one() -> None:
    text = "Done.\n Average Precision  (AP) @[ IoU=0.50:0.95 ] = 0.531\nmAP=53.103%\nfound 1525 results\n"
    assert detection.score_lines(text) == ["mAP=53.103%"]


@pytest.mark.parametrize(
    ("percentage", "share", "passed"),
    [(50.730, 0.95, True), (50.729, 0.95, False), (52.866, 0.99, True), (52.865, 0.99, False)],
)
def test_mlperfs_targets_hold_by_the_digits_of_the_line(
    percentage: float, share: float, passed: bool
) -> None:
    assert detection.verdict(detection.Score(percentage / 100, None, None), 0.534, share).passed is passed


def test_answers_are_the_same_whose_boxes_are() -> None:
    one, moved = row() + row(top=0.3), row(top=0.101) + row(top=0.3, score=0.88)
    assert detection.is_same(one, moved)
    assert detection.is_same(b"", b"")
    assert not detection.is_same(one, b"")
    assert not detection.is_same(one, row(kind=2) + row(top=0.3))
    assert not detection.is_same(one, row(index=2) + row(index=2, top=0.3))


def test_with_each_image_once_a_resample_is_pycocotools_own_map() -> None:
    truth = truth_of()
    evaluation = average_precision.evaluate(answers_to(truth, shift=0.08, false=6), truth)
    (whole,) = average_precision._resampled(evaluation, np.ones((1, 6), np.int64))
    assert whole == pytest.approx(evaluation.stats[0], abs=1e-12)
    doubled = average_precision._resampled(evaluation, np.full((1, 6), 2))
    assert doubled[0] == pytest.approx(whole, abs=1e-12)


def test_a_difference_has_an_interval_over_the_images() -> None:
    truth = truth_of()
    good, bad = answers_to(truth), answers_to(truth, shift=0.1, false=6)
    same = detection.compare(good, good, truth)
    assert (same.changed, same.agreement, same.difference, same.low, same.high) == (0, 1.0, 0.0, 0.0, 0.0)
    worse = detection.compare(good, bad, truth)
    assert worse.low < worse.difference < worse.high < 0
    assert worse.changed == 6
    assert worse.agreement < 0.9
    better = detection.compare(bad, good, truth)
    assert (better.low, better.high) == pytest.approx((-worse.high, -worse.low))


def test_rates_are_of_all_images_and_of_each() -> None:
    truth = truth_of()
    answers = answers_to(truth)
    answers[0] = answers[0][:0]
    overall, each = detection.rates(answers, truth)
    assert each[:2] == [0.0, pytest.approx(1.0)]
    assert 0.5 < overall < 1
    assert detection.rates(answers[1:3], truth[[1, 2]])[0] == pytest.approx(1.0)
