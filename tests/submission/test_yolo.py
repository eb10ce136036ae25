"""A detector's results become a submission to MLPerf's yolo."""

import json
import re
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.mlperf import log

from .conftest import Results


def test_a_tree_says_how_mlperfs_images_are_prepared_with_their_boxes(
    yolo_results: Results, tmp_path: Path
) -> None:
    yolo_results.submit(tmp_path / "tree")
    home = tmp_path / "tree" / "open" / "Us"
    readme = (home / "results" / "this-machine" / "spotter" / "Offline" / "README.md").read_text()
    assert (
        "harness prepare --dataset coco --annotations ANNOTATIONS --mlperf-licences --images IMAGES --model "
        in readme
    )
    assert re.search(r"Accuracy: mAP=\d\d\.\d{3}%", readme)
    assert json.loads((home / "model_mapping.json").read_text()) == {"spotter": "yolo-99"}


@pytest.mark.parametrize(
    ("accuracy", "line", "entry"),
    [
        (0.51, "mAP=51.000%", "yolo-95"),
        (0.528654, "mAP=52.865%", "yolo-95"),
        # The checkers read the line, which is just at the target.
        (0.528656, "mAP=52.866%", "yolo-99"),
    ],
)
def test_all_scenarios_of_a_model_enter_what_the_least_accurate_of_them_reaches(
    yolo_results: Results, tmp_path: Path, accuracy: float, line: str, entry: str
) -> None:
    changes = {"accuracy": accuracy, "text": line}
    yolo_results.edit("MultiStream", lambda document: document["accuracy"].update(changes))
    (yolo_results.scenario("MultiStream") / "accuracy" / log.ACCURACY_TEXT).write_text(f"{line}\n")
    yolo_results.submit(tmp_path / "tree")
    mapping = tmp_path / "tree" / "open" / "Us" / "model_mapping.json"
    assert json.loads(mapping.read_text()) == {"spotter": entry}


def test_closed_has_no_model_of_yolo_here(yolo_results: Results, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"of which there is no card here: submit it in the open division"):
        yolo_results.submit(tmp_path / "tree", "closed")
