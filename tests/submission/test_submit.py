"""From results to a tree: what it holds, and what is refused before anything is written."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import files
from harness.errors import DataError, HarnessError, OutputError
from harness.mlperf.rules import NEWEST, ROUNDS, find_round
from harness.model import file as model_file
from harness.model.card import find_card
from harness.submission import documentation, results, tree

from .conftest import SCENARIOS, Results

GOLDEN = Path(__file__).parents[1] / "golden" / "submission"


def listing(root: Path) -> str:
    """Return the files of a tree, without those of the copied code."""
    names = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return "".join(f"{name}\n" for name in sorted(names) if "/src/harness/" not in name)


@pytest.mark.parametrize("division", ["open", "closed"])
def test_the_tree_has_the_files_of_the_golden_listing(division: str, request: pytest.FixtureRequest) -> None:
    """Update with HARNESS_UPDATE_GOLDEN=1."""
    found = listing(request.getfixturevalue(f"{division}_tree"))
    golden = GOLDEN / f"{division}.txt"
    if os.environ.get("HARNESS_UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text()


def test_the_code_goes_with_the_results_and_can_be_run(open_tree: Path) -> None:
    source = open_tree / "open" / "Us" / "src"
    assert (source / "harness" / "loadgen" / "drive.py").is_file()
    assert (source / "harness" / "data" / "mlperf.conf").is_file()
    assert not list(source.rglob("*.pyc"))
    assert (source / "waiting" / "waiting.xml").is_file()
    card = (source / "waiting" / "card.toml").read_text()
    assert 'path = "waiting.xml"' in card


def test_the_accuracy_log_is_cut_and_the_hash_is_that_of_the_whole(
    open_results: Results, tmp_path: Path
) -> None:
    open_results.submit(tmp_path / "tree")
    whole = open_results.scenario("Offline") / "accuracy" / "mlperf_log_accuracy.json"
    cut = next((tmp_path / "tree").rglob("Offline/accuracy/mlperf_log_accuracy.json")).read_bytes()
    data = whole.read_bytes()
    assert cut == data[:4096] + b"\n\n...\n\n" + data[-4096:]
    text = next((tmp_path / "tree").rglob("Offline/accuracy/accuracy.txt")).read_text()
    assert text == (f"accuracy=76.000%, good=38000, total=50000\n\nhash={files.sha256_file(whole)}\n")


def test_the_readme_says_the_very_command_and_that_the_data_are_not_imagenet(open_tree: Path) -> None:
    readme = next(open_tree.rglob("Offline/README.md")).read_text()
    assert (
        "harness run --model ../../../../src/waiting/card.toml --data STORE --scenario Offline --threads 2 "
        "--no-tuning --official --user-conf user.conf --out RESULTS" in readme
    )
    assert "harness prepare --dataset builtin --images IMAGES --model " in readme
    assert "**Not ImageNet.**" in readme
    assert "which its Open division demands, too" in readme
    system = json.loads(next(open_tree.rglob("systems/*.json")).read_text())
    assert system["sw_notes"] == "measured on 'builtin', not on MLPerf's data set"


def test_a_model_that_was_quantized_before_the_harness_had_it_is_called_so(
    open_results: Results, tmp_path: Path
) -> None:
    for scenario in SCENARIOS:
        open_results.edit(scenario, lambda document: document["precision"].update(computed="int8"))
    open_results.submit(tmp_path / "tree")
    home = tmp_path / "tree" / "open" / "Us"
    stated = json.loads(next(home.rglob("Offline/measurements.json")).read_text())
    assert stated["weight_data_types"] == "int8"
    assert stated["weight_transformations"].startswith("quantized to int8 before the harness was given it")
    text = (home / "documentation" / "calibration.md").read_text()
    assert (
        "Quantized to int8 before the harness was given it, which knows nothing of its calibration." in text
    )


def test_each_precision_of_a_model_has_its_card_in_the_tree(open_results: Results, tmp_path: Path) -> None:
    home = open_results.scenario("Offline").parent
    shutil.copytree(home, home.with_name("waiting-bf16"))
    for path in home.with_name("waiting-bf16").glob("*/result.json"):
        document = json.loads(path.read_text())
        document["precision"] |= {"requested": "bf16", "computed": "bf16"}
        document["settings"]["precision"] = "bf16"
        path.write_text(json.dumps(document))
    open_results.submit(tmp_path / "tree")
    for name in ("waiting", "waiting-bf16"):
        readme = next((tmp_path / "tree").rglob(f"{name}/Offline/README.md"))
        model = readme.read_text().partition("harness run --model ")[2].partition(" ")[0]
        assert find_card(str((readme.parent / model).resolve())).name == "waiting"


def test_a_card_of_ones_own_with_an_address_is_not_taken_for_a_shipped_one(open_results: Results) -> None:
    found, _ = results.collect(open_results.folder)
    card = find_card(str(open_results.card))
    own = replace(card, file=replace(card.file, url="https://example.org/waiting.onnx"))
    text = documentation.readme(found[0], own, find_round(NEWEST), "open")
    assert "harness model fetch ../../../../src/waiting/card.toml\n" in text
    assert "harness run --model ../../../../src/waiting/card.toml" in text


@pytest.mark.parametrize(
    ("name", "how"), [("large.xml", "in a comment"), ("large.onnx", "as 'url' in place of 'path'")]
)
def test_a_model_too_large_for_the_tree_is_named_so_that_it_gets_an_address(
    open_results: Results, tmp_path: Path, name: str, how: str
) -> None:
    assert open_results.card is not None
    for path in (tmp_path / name, tmp_path / "large.bin"):
        with path.open("wb") as file:
            file.truncate(3_000_000)
    card = tmp_path / "large.toml"
    card.write_text(open_results.card.read_text().replace("waiting.xml", name))
    digest = model_file.sha256(find_card(str(card)))
    for scenario in SCENARIOS:
        open_results.edit(scenario, lambda document: document["model"].update(sha256=digest))
    small = replace(ROUNDS["v6.1"], max_file_bytes=2_999_999)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ROUNDS, small.name, small)
        outcome = open_results.submit(tmp_path / "tree", models=(str(card),), round="v6.1")
    assert outcome.notes[1:] == [
        "waiting: its file of 3,000,000 bytes is larger than a submission may hold: publish it and name its "
        f"address in src/waiting/card.toml, {how}"
    ]
    source = tmp_path / "tree" / "open" / "Us" / "src"
    assert [path.name for path in (source / "waiting").iterdir()] == ["card.toml"]
    assert "its digest and, where it is published, its address" in (source / "README.md").read_text()


def test_the_custom_model_is_mapped_to_the_checkers_name(open_tree: Path) -> None:
    mapping = json.loads((open_tree / "open" / "Us" / "model_mapping.json").read_text())
    assert mapping == {"waiting": "resnet"}


def test_closed_has_the_benchmarks_name_and_no_large_weights(closed_tree: Path) -> None:
    source = closed_tree / "closed" / "Us" / "src" / "resnet50"
    assert [path.name for path in source.iterdir()] == ["card.toml"]
    assert "sha256" in (source / "card.toml").read_text()
    readme = next(closed_tree.rglob("Offline/README.md")).read_text()
    assert "harness model fetch resnet50-mlperf" in readme
    assert (
        "harness prepare --dataset imagenet --labels LABELS --images IMAGES --model resnet50-mlperf --out"
        in readme
    )
    assert "harness compliance" in readme


TENSOR = {"name": "pixels", "datatype": "UINT8", "shape": [1, 16, 16, 3]}
SERVED_BY = {
    "endpoint": "grpc://there:8081/waiting",
    **dict.fromkeys(("server", "server_version", "model", "model_version", "platform"), "x"),
    "input": TENSOR,
    "output": TENSOR,
    "is_on_this_host": False,
}


def _without(section: str) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update({section: None})


REFUSED: dict[str, tuple[Callable[[Results], Any], str]] = {
    "a run that is not official": (
        lambda results: results.edit("Offline", lambda d: d["settings"].update(official=False)),
        "Offline: is not an official run: run it again with `harness run --official --replace`",
    ),
    "a run of another version of the harness": (
        lambda results: results.edit("Offline", lambda d: d.update(harness="0.0.1")),
        "Offline: was measured with harness 0.0.1, and src/ would hold the code of ",
    ),
    "no accuracy": (
        lambda results: results.edit("Offline", _without("accuracy")),
        "Offline: has performance and no accuracy of the same model, data and settings",
    ),
    "no performance": (
        lambda results: results.edit("Offline", _without("performance")),
        "Offline: has accuracy and no performance of the same model, data and settings",
    ),
    "an INVALID run": (
        lambda results: _log(
            results, '"result_validity", "value": "VALID"', '"result_validity", "value": "INVALID"'
        ),
        "verdict is INVALID",
    ),
    "LoadGen's errors": (
        lambda results: _log(results, '"is_error": false', '"is_error": true'),
        "LoadGen logged 1 errors",
    ),
    "a log that is cut off": (
        lambda results: _cut(results.scenario("Offline") / "performance/run_1/mlperf_log_detail.txt"),
        "is cut off in its last line",
    ),
    "an accuracy log that is cut off": (
        lambda results: _cut(results.scenario("Offline") / "accuracy/mlperf_log_accuracy.json"),
        "is cut off or damaged",
    ),
    "a result.json that is cut off": (
        lambda results: _cut(results.scenario("Offline") / "result.json"),
        "result.json is damaged (",
    ),
    "a log of another run": (
        lambda results: results.edit("Offline", lambda d: d["performance"].update(samples_per_second=1.0)),
        "the log is not the one that result.json was made from",
    ),
    "an accuracy.txt of another run": (
        lambda results: results.edit("Offline", lambda d: d["accuracy"].update(good=1)),
        "accuracy.txt states another score than result.json",
    ),
    "missing images": (
        lambda results: results.edit("Offline", lambda d: d["data"].update(count=49_999)),
        "was run on 49,999 images, where 50,000 make the whole validation set: prepare a store of all",
    ),
    "images in another order than MLPerf's": (
        lambda results: results.edit(
            "Offline",
            lambda d: d["not_official_because"].append(
                "the store /data/store has its images in another order than MLPerf's val_map.txt"
            ),
        ),
        "Offline: the store has its images in another order than MLPerf's val_map.txt: prepare the store in "
        "that order and run again",
    ),
    "another machine": (
        lambda results: results.edit("Offline", lambda d: d["machine"].update(cpu_model="Other")),
        "was measured on another system than this-machine/",
    ),
    "another machine with a CPU of the same name": (
        lambda results: [
            results.edit(name, lambda d, number=number: d["machine"].update(cpu_signature=f"6-{number}-0"))
            for number, name in enumerate(("SingleStream", "Offline"))
        ],
        "(other cpu_signature): measure all scenarios on one system",
    ),
    "two models under one name": (
        lambda results: results.edit("Offline", lambda d: d["model"].update(sha256="0" * 64)),
        "is of another model than",
    ),
    "a model file that was changed": (
        lambda results: [
            results.edit(path.parent.name, lambda d: d["model"].update(sha256="0" * 64))
            for path in results.folder.rglob("result.json")
        ],
        "was measured on another file than the card of 'waiting' names now",
    ),
    "a model without trained weights": (
        lambda results: results.edit(
            "Offline", lambda d: d["model"].update(note="speed only: no trained weights")
        ),
        "the model has no trained weights",
    ),
    "a stray folder": (
        lambda results: (results.scenario("Offline").parent / "old").mkdir(),
        "this-machine/waiting/old: is no scenario",
    ),
    "a stray file": (
        lambda results: (results.folder / "this-machine" / "notes.txt").write_text("x"),
        "this-machine/notes.txt: is a stray file",
    ),
    "a run under way": (
        lambda results: (results.scenario("Offline").parent / ".Offline.x1").mkdir(),
        "is a stray folder, such as a run under way leaves",
    ),
    "a name with blanks": (
        lambda results: (results.folder / "this-machine").rename(results.folder / "this machine"),
        "this machine: folder names may hold only letters",
    ),
    "a user.conf that loosens the rules": (
        lambda results: (results.scenario("Offline") / "user.conf").write_text(
            "resnet50.Offline.min_duration = 1\n"
        ),
        "nothing may loosen mlperf.conf",
    ),
    "a served model": (
        lambda results: results.edit("Offline", lambda d: d["probe"].update(server=SERVED_BY)),
        "Offline: grpc://there:8081/waiting answered: MLPerf takes that in its Network or Open division, "
        "and this harness makes no official runs of it: leave it out, and run the model itself",
    ),
    "an unknown benchmark": (
        lambda results: results.edit("Offline", lambda d: d.update(benchmark="bert")),
        "'bert' is no benchmark of v6.1",
    ),
}


def test_the_lock_that_a_killed_run_left_is_no_stray_file(open_results: Results, tmp_path: Path) -> None:
    (open_results.scenario("Offline").parent / ".Offline.lock").touch()
    assert open_results.submit(tmp_path / "tree")


def _log(results: Results, old: str, new: str) -> None:
    path = results.scenario("Offline") / "performance/run_1/mlperf_log_detail.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("fault", [pytest.param(value, id=key) for key, value in REFUSED.items()])
def test_what_the_rules_refuse_is_said_and_nothing_is_written(
    open_results: Results, tmp_path: Path, fault: tuple[Callable[[Results], Any], str]
) -> None:
    change, said = fault
    change(open_results)
    with pytest.raises(HarnessError) as caught:
        open_results.submit(tmp_path / "tree")
    assert said in str(caught.value)
    assert not (tmp_path / "tree").exists()
    assert not list(tmp_path.glob(".tree*"))


CLOSED_REFUSED: dict[str, tuple[Callable[[Results], Any], str]] = {
    "another data set": (
        lambda results: results.edit("Offline", lambda d: d["data"].update(dataset="builtin")),
        "and Closed demands imagenet, as does Open: prepare a store of its validation set and run again",
    ),
    "an accuracy below the target": (
        lambda results: (results.scenario("Offline") / "accuracy/accuracy.txt").write_text(
            "accuracy=75.694%, good=37847, total=50000\n"
        ),
        "75.694 % against the target 75.6954 %",
    ),
    "a missing scenario": (
        lambda results: shutil.rmtree(results.scenario("MultiStream")),
        "Closed edge systems also need MultiStream",
    ),
    "a missing compliance test": (
        lambda results: shutil.rmtree(results.scenario("Offline") / "TEST04"),
        "Offline: has no TEST04: run `harness compliance`",
    ),
    "a compliance test of another model": (
        lambda results: results.edit("Offline", lambda d: d["model"].update(sha256="f" * 64)),
        "Offline: has TEST01 and TEST04 of another model, data, settings, versions or machine: run `harness "
        "compliance` again",
    ),
    "compliance tests with another OpenVINO": (
        lambda results: [
            results.edit(name, lambda d: d["machine"]["versions"].update(openvino="2099.1"))
            for name in ("SingleStream", "MultiStream", "Offline")
        ],
        "Offline: has TEST01 and TEST04 of another model, data, settings, versions or machine: run `harness "
        "compliance` again",
    ),
    "settings that make it Open": (
        lambda results: (results.scenario("MultiStream") / "user.conf").write_text(
            "resnet50.MultiStream.target_latency_percentile = 90\n"
        ),
        "eligible for the Open division only",
    ),
}


@pytest.mark.parametrize("fault", [pytest.param(value, id=key) for key, value in CLOSED_REFUSED.items()])
def test_what_closed_refuses_is_said(
    closed_results: Results, tmp_path: Path, fault: tuple[Callable[[Results], Any], str]
) -> None:
    change, said = fault
    change(closed_results)
    with pytest.raises(HarnessError) as caught:
        closed_results.submit(tmp_path / "tree", "closed")
    assert said in str(caught.value)
    assert not (tmp_path / "tree").exists()


def test_closed_refuses_another_architecture(open_results: Results, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="waiting: is not MLPerf's reference model, nor quantized from it"):
        open_results.submit(tmp_path / "tree", "closed")


@pytest.mark.parametrize("divisions", [["open"], ["closed", "open"]])
def test_open_refuses_datacenter_systems_before_it_looks_at_the_results(
    open_results: Results, tmp_path: Path, divisions: list[str]
) -> None:
    wanted = (
        "--system-type datacenter: neither resnet50 nor yolo is a datacenter benchmark, and the older "
        "checker (submission_checker_old.py) refuses them: give --system-type edge."
    )
    shutil.rmtree(open_results.folder)
    with pytest.raises(HarnessError) as caught:
        open_results.submit(tmp_path / "tree", divisions=divisions, system_type="datacenter")
    assert str(caught.value) == wanted
    assert not (tmp_path / "tree").exists()


def test_closed_refuses_datacenter_systems(closed_results: Results, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="resnet50 is no benchmark of Closed datacenter systems"):
        closed_results.submit(tmp_path / "tree", "closed", system_type="datacenter")


def test_all_reasons_are_said_at_once(open_results: Results, tmp_path: Path) -> None:
    REFUSED["a run that is not official"][0](open_results)
    REFUSED["an INVALID run"][0](open_results)
    open_results.description.with_name("empty.toml").write_text("")
    with pytest.raises(HarnessError) as caught:
        open_results.submit(
            tmp_path / "tree",
            submitter="Us and them",
            system_description=open_results.description.with_name("empty.toml"),
        )
    said = str(caught.value)
    for part in ("'Us and them' must be a word", "not an official run", "is INVALID", "cooling"):
        assert part in said


def test_a_custom_model_needs_its_card(open_results: Results, tmp_path: Path) -> None:
    with pytest.raises(
        HarnessError, match="waiting: is not a shipped model: give its card with --model CARD"
    ):
        open_results.submit(tmp_path / "tree", models=())


def test_a_round_that_the_runs_do_not_belong_to_is_refused(open_results: Results, tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        open_results.submit(tmp_path / "tree", round="v6.0")
    assert "made with LoadGen 6.0.17, whose runs belong to v6.1: submit to v6.1 with --round" in str(
        caught.value
    )


def test_no_results_is_one_sentence(open_results: Results, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"No results at .*nowhere: give the folder that"):
        open_results.submit(tmp_path / "tree", results=[tmp_path / "nowhere"])
    (tmp_path / "bare").mkdir()
    with pytest.raises(HarnessError, match="holds no result: run `harness run --official"):
        open_results.submit(tmp_path / "tree", results=[tmp_path / "bare"])


def test_a_tree_is_not_replaced_unless_asked(open_results: Results, tmp_path: Path) -> None:
    open_results.submit(tmp_path / "tree")
    before = listing(tmp_path / "tree")
    with pytest.raises(OutputError, match="exists already: give --replace"):
        open_results.submit(tmp_path / "tree")
    (tmp_path / "tree" / "open" / "Us" / "mine.md").write_text("x")
    open_results.submit(tmp_path / "tree", replace=True)
    assert listing(tmp_path / "tree") == before
    assert {path.name for path in tmp_path.iterdir()} == {"results", "tree"}


def test_the_old_tree_stays_when_the_new_one_cannot_be_made(open_results: Results, tmp_path: Path) -> None:
    open_results.submit(tmp_path / "tree")
    before = listing(tmp_path / "tree")
    REFUSED["an INVALID run"][0](open_results)
    with pytest.raises(HarnessError):
        open_results.submit(tmp_path / "tree", replace=True)
    assert listing(tmp_path / "tree") == before


def test_a_file_of_a_result_that_goes_meanwhile_is_named(
    open_results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tree._build

    def build_late(*given: Any) -> None:
        shutil.rmtree(open_results.scenario("Offline") / "performance" / "run_1")
        build(*given)

    monkeypatch.setattr(tree, "_build", build_late)
    with pytest.raises(DataError, match=r"Offline/performance/run_1/mlperf_log_summary.txt was removed mean"):
        open_results.submit(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_replace_never_deletes_a_folder_that_is_no_submission(open_results: Results, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"holds thesis.tex, so it is not a submission"):
        open_results.submit(tmp_path / "tree", replace=True)
    assert (tmp_path / "tree" / "thesis.tex").exists()


def test_a_short_run_on_a_few_images_has_two_reasons_and_not_ten(
    open_results: Results, tmp_path: Path
) -> None:
    shutil.rmtree(open_results.scenario("SingleStream"))
    shutil.rmtree(open_results.scenario("MultiStream"))
    folder = open_results.scenario("Offline")
    open_results.edit("Offline", lambda document: document["settings"].update(official=False))
    open_results.edit("Offline", lambda document: document["data"].update(count=60))
    open_results.edit("Offline", lambda document: document["accuracy"].update(good=57, total=60))
    (folder / "accuracy" / "accuracy.txt").write_text("accuracy=95.000%, good=57, total=60\n")
    detail = folder / "performance/run_1/mlperf_log_detail.txt"
    detail.write_text(
        detail.read_text().replace('_min_duration_ms", "value": 600000', '_min_duration_ms", "value": 3000')
    )
    with pytest.raises(HarnessError, match="cannot be submitted, for 2 reasons"):
        open_results.submit(tmp_path / "tree")


def test_an_earlier_round_is_named_to_the_check_that_comes_next(
    open_results: Results, tmp_path: Path
) -> None:
    outcome = open_results.submit(tmp_path / "tree")
    assert outcome.text.endswith(f"next: harness check {outcome.root} --official PATH")
    earlier = replace(outcome, round=find_round("v6.0"))
    assert earlier.text.endswith(f"next: harness check {outcome.root} --round v6.0 --official PATH")
