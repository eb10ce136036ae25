"""Several systems, both divisions, inferred results and the archive: what one submission may hold."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from harness import files
from harness.errors import HarnessError, OutputError
from harness.mlperf.rules import find_round
from harness.submission import check, description
from harness.submission.check import check_tree
from harness.submission.verdict import faults

from .conftest import Results, add_system

V6_1 = find_round("v6.1")


def own(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_each_system_has_its_results_and_its_own_description(closed_results: Results, tmp_path: Path) -> None:
    add_system(closed_results, "that-machine")
    stated = tmp_path / "systems.toml"
    text = closed_results.description.read_text()
    stated.write_text(f'{text}\n[that-machine]\nhost_memory_capacity = "64 GB"\ncooling = "liquid"\n')
    outcome = closed_results.submit(tmp_path / "tree", "closed", system_description=stated)
    home = tmp_path / "tree" / "closed" / "Us"
    here, there = (
        json.loads((home / f"systems/{name}-machine.json").read_text()) for name in ("this", "that")
    )
    assert (here["cooling"], there["cooling"]) == ("air", "liquid")
    assert there["host_processor_model_name"] == "Another CPU" != here["host_processor_model_name"]
    assert {path.name for path in (home / "results").iterdir()} == {"this-machine", "that-machine"}
    assert "Measured on that-machine with Python " in (home / "src" / "README.md").read_text()
    assert "  that-machine/resnet50-mlperf/Offline" in outcome.text


def test_what_a_description_lacks_is_asked_for_by_system(open_results: Results, tmp_path: Path) -> None:
    add_system(open_results, "that-machine")
    text = open_results.description.read_text().replace('cooling = "air"', "")
    stated = tmp_path / "systems.toml"
    stated.write_text(f'{text}\n[this-machine]\ncooling = "air"\n')
    with pytest.raises(HarnessError, match="that-machine: The machine does not tell 1 fields") as caught:
        open_results.submit(tmp_path / "tree", system_description=stated)
    with stated.open("a") as file:
        file.write(str(caught.value).split("such as:\n")[1])
    assert open_results.submit(tmp_path / "tree", system_description=stated)


def test_results_may_lie_in_a_folder_for_each_system(open_results: Results, tmp_path: Path) -> None:
    moved = tmp_path / "more"
    moved.mkdir()
    add_system(open_results, "that-machine").rename(moved / "that-machine")
    outcome = open_results.submit(tmp_path / "tree", results=[open_results.folder, moved])
    assert {one["system"] for one in outcome.to_dict()["results"]} == {"this-machine", "that-machine"}
    shutil.copytree(open_results.folder / "this-machine", moved / "this-machine")
    with pytest.raises(HarnessError, match=r"this-machine/waiting/Offline: is in .* and in .*: leave one"):
        open_results.submit(tmp_path / "other", results=[open_results.folder, moved])


def test_a_table_of_no_system_and_a_power_that_is_no_number_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "system.toml"
    path.write_text('system_power_capacity = "much"\n[this-machin]\ncooling = "air"\n')
    with pytest.raises(HarnessError) as caught:
        description.read_overrides(path, V6_1, ["this-machine"])
    assert "[this-machin] is no system of these results. Did you mean 'this-machine'?" in str(caught.value)
    assert "'system_power_capacity' must be a number of watts, not 'much'" in str(caught.value)


def test_the_power_fields_of_the_round_go_into_the_description(open_results: Results, tmp_path: Path) -> None:
    stated = tmp_path / "power.toml"
    rows = [f'{key} = "1"' for key in V6_1.power_fields]
    stated.write_text(open_results.description.read_text() + "\n".join(rows))
    open_results.submit(tmp_path / "tree", system_description=stated)
    made = json.loads(next((tmp_path / "tree").rglob("systems/*.json")).read_text())
    assert {key: made[key] for key in V6_1.power_fields} == dict.fromkeys(V6_1.power_fields, "1")


def test_both_divisions_stand_beside_each_other_at_once_or_one_after_another(
    closed_results: Results, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    open_results: Results = request.getfixturevalue("_open_results")
    both, folders = tmp_path / "both", [closed_results.folder, open_results.folder]
    closed_results.submit(
        both, divisions=["open", "closed"], results=folders, models=[str(open_results.card)]
    )
    once = own(both)
    assert any(name.startswith("closed/Us/results/this-machine/resnet50/") for name in once)
    assert any(name.startswith("open/Us/results/this-machine/waiting/") for name in once)
    after = tmp_path / "after"
    closed_results.submit(after, "closed")
    open_results.submit(after)
    assert own(after) == once
    with pytest.raises(OutputError, match="after/open/Us exists already: give --replace"):
        open_results.submit(after)
    open_results.submit(after, replace=True)
    assert own(after) == once


def test_of_two_calls_that_write_one_tree_the_later_is_refused(
    open_results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, check_tree = tmp_path / "tree", check.check_tree
    busy = "Another `harness submit` is at work on .*/tree: wait for it, or choose another --out"

    def meet(*words: Any) -> Any:
        monkeypatch.undo()
        with pytest.raises(OutputError, match=busy):
            open_results.submit(root, submitter="Them")
        return check_tree(*words)

    monkeypatch.setattr(check, "check_tree", meet)
    open_results.submit(root)
    left = tmp_path / ".tree.abcd_123"
    left.mkdir()
    open_results.submit(root, submitter="Them")
    assert {path.name for path in (root / "open").iterdir()} == {"Us", "Them"}
    assert {path.name for path in tmp_path.iterdir()} == {"results", "tree"}


def test_a_division_without_a_model_for_it_is_refused(open_results: Results, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no model is one for the closed division: leave out --division"):
        open_results.submit(tmp_path / "tree", divisions=["open", "closed"])


@pytest.mark.parametrize(
    ("measured", "inferred"),
    [
        (["SingleStream"], {"MultiStream": "SingleStream", "Offline": "SingleStream"}),
        (["SingleStream", "MultiStream"], {"Offline": "MultiStream"}),
        (["SingleStream", "Offline"], {"MultiStream": "SingleStream"}),
    ],
)
def test_closed_is_complete_with_what_may_be_inferred(
    closed_results: Results, tmp_path: Path, measured: list[str], inferred: dict[str, str]
) -> None:
    for name in {"SingleStream", "MultiStream", "Offline"} - set(measured):
        shutil.rmtree(closed_results.scenario(name))
    with pytest.raises(HarnessError, match="Closed edge systems also need"):
        closed_results.submit(tmp_path / "tree", "closed")
    outcome = closed_results.submit(tmp_path / "tree", "closed", inferred=True)
    made = {one["scenario"]: one["inferred_from"] for one in outcome.to_dict()["results"]}
    assert made == dict.fromkeys(measured) | inferred
    home = next((tmp_path / "tree").rglob("resnet50/SingleStream")).parent
    for target, source in inferred.items():
        assert own(home / target) == own(home / source)
        readme = (home / target / "README.md").read_text()
        assert f"Inferred from {source}" in readme
        assert f"--scenario {source}" in readme
    assert faults(check_tree(tmp_path / "tree", V6_1), strict=True) == []


def test_only_edge_systems_infer(closed_results: Results, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="Only results of edge systems may be inferred"):
        closed_results.submit(tmp_path / "tree", "closed", system_type="datacenter", inferred=True)


def test_nothing_to_infer_is_said(open_results: Results, tmp_path: Path) -> None:
    outcome = open_results.submit(tmp_path / "tree", inferred=True)
    assert outcome.notes[-1] == "nothing was inferred, for no scenario was missing that may be"


def test_the_archive_is_the_tree_and_always_the_same_bytes(open_results: Results, tmp_path: Path) -> None:
    first, second = tmp_path / "one.tar.gz", tmp_path / "away" / "two.tar.gz"
    outcome = open_results.submit(tmp_path / "tree", archive=first)
    open_results.submit(tmp_path / "again", archive=second)
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    assert own(tmp_path / "unpacked") == own(tmp_path / "tree") == set(outcome.files)
    assert f"packed: {first}, SHA-256 {files.sha256_file(first)}" in outcome.text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tree.zip", "must end in .tar.gz"),
        ("tree/packed.tar.gz", "would lie in the tree"),
        ("there.tar.gz", "exists already: give --replace or another --archive"),
        ("folder.tar.gz", "is a folder"),
    ],
)
def test_an_archive_that_cannot_be_is_refused_before_any_work(
    open_results: Results, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "there.tar.gz").touch()
    (tmp_path / "folder.tar.gz").mkdir()
    with pytest.raises(OutputError, match=said):
        open_results.submit(tmp_path / "tree", archive=tmp_path / name)
    assert not (tmp_path / "tree").exists()


def test_results_that_are_refused_leave_no_archive(open_results: Results, tmp_path: Path) -> None:
    (open_results.scenario("Offline") / "performance/run_1/mlperf_log_detail.txt").write_text("")
    with pytest.raises(HarnessError):
        open_results.submit(tmp_path / "tree", archive=tmp_path / "one.tar.gz")
    assert {path.name for path in tmp_path.iterdir()} == {"results"}
