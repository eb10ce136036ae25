"""Every test below some folders, as one tidy table."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas
import pytest
from click.testing import CliRunner
from conftest import BRIEF_S, Oracle

from harness.backend.settings import SERVED
from harness.cli import cli
from harness.comparison import document
from harness.errors import HarnessError, OutputError
from harness.loadgen.settings import RunSettings
from harness.machine.price import Price
from harness.mlperf.scenario import Mode, Scenario
from harness.results import frame, own
from harness.results.columns import COLUMNS
from harness.run import session

OFFICIAL = Path(__file__).parents[1] / "fixtures" / "official"
COMPARISON = OFFICIAL.parent / "v0.1.0" / "comparison"
SYSTEM = {
    "system_name": "A box",
    "host_processor_model_name": "A CPU",
    "host_processors_per_node": "2",
    "host_processor_core_count": "24",
    "number_of_nodes": 1,
    "accelerator_model_name": "",
}


@pytest.fixture(scope="module")
def run_folder(oracle: Oracle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the finished tests of one run."""
    out = tmp_path_factory.mktemp("results") / "out"
    settings = RunSettings(Scenario.SINGLE_STREAM, duration_s=BRIEF_S, threads=1)
    modes = (Mode.PERFORMANCE, Mode.ACCURACY)
    _, folder = session.run(
        session.Request(oracle.card, oracle.store.path, settings, modes, out, system="here")
    )
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a submission tree of real logs, as MLCommons publishes them."""
    submitter = tmp_path / "closed" / "ACME"
    for scenario in ("Offline", "SingleStream"):
        target = submitter / "results" / "box" / "resnet50" / scenario
        shutil.copytree(OFFICIAL / scenario / "performance", target / "performance" / "run_1")
        (target / "accuracy").mkdir()
        (target / "accuracy" / "accuracy.txt").write_text("accuracy=76.014%, good=38007, total=50000\n")
    (submitter / "systems").mkdir()
    (submitter / "systems" / "box.json").write_text(json.dumps(SYSTEM))
    return tmp_path


def compare_on_two_machines(folder: Path) -> None:
    for name, cpu in (("one", "A CPU"), ("other", "Another")):
        shutil.copytree(COMPARISON, folder / name)
        path = folder / name / "compare.json"
        values = json.loads(path.read_text())
        values["comparisons"][0]["machine"]["cpu_model"] = cpu
        path.write_text(json.dumps(values))


def test_the_columns_are_always_the_same_and_typed(run_folder: Path, tree: Path) -> None:
    for found in (frame([run_folder]), frame([tree])):
        assert {name: str(kind) for name, kind in found.dtypes.items()} == {
            column.name: column.kind for column in COLUMNS
        }


def test_a_run_gives_a_row_for_each_test_with_the_figures_of_its_result(run_folder: Path) -> None:
    found = frame([run_folder.parents[2]])
    document = json.loads((run_folder / "result.json").read_text())
    performance = found[found["mode"] == "performance"].iloc[0]
    accuracy = found[found["mode"] == "accuracy"].iloc[0]
    assert len(found) == 2
    assert performance["p90_ms"] == document["performance"]["latency_ns"]["p90"] / 1e6
    assert performance["threads"] == performance["cores"] == 1
    assert pandas.isna(performance["samples_per_second"])
    assert accuracy["accuracy"] == document["accuracy"]["accuracy"] > 0.9
    assert accuracy["passed"]
    assert Path(performance["path"], "mlperf_log_detail.txt").is_file()
    assert Path(accuracy["path"], "mlperf_log_accuracy.json").is_file()


def test_a_folder_that_is_given_twice_counts_once(run_folder: Path) -> None:
    assert len(frame([run_folder, run_folder.parent])) == 2


def test_a_published_submission_is_read_by_its_logs(tree: Path) -> None:
    found = frame([tree]).set_index(["scenario", "mode"])
    offline = found.loc["Offline", "performance"]
    assert offline["submitter"] == "ACME"
    assert offline["division"] == "closed"
    assert offline["cpu"] == "A CPU"
    assert offline["cores"] == 48
    assert offline["samples_per_second_per_core"] == pytest.approx(offline["samples_per_second"] / 48)
    assert offline["date"].year >= 2026
    assert found.loc["SingleStream", "performance"]["p90_ms"] > 0
    assert found.loc["Offline", "accuracy"]["accuracy"] == pytest.approx(0.76014)


def test_a_test_that_cannot_be_read_is_a_row_with_its_fault(tree: Path) -> None:
    path = next(tree.rglob("Offline/performance/run_1/mlperf_log_detail.txt"))
    path.write_text(path.read_text()[:-20])
    found = frame([tree])
    faulty = found[found["fault"].notna()]
    assert len(found) == 4
    assert "is cut off in its last line" in faulty["fault"].item()
    assert pandas.isna(faulty["valid"].item())


def test_faults_are_shown_where_nothing_is_sound(tmp_path: Path) -> None:
    folder = tmp_path / "here" / "oracle" / "Offline"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{")
    words = ["results", str(tmp_path)]
    shown = CliRunner().invoke(cli, words, catch_exceptions=False).stdout.splitlines()
    assert shown[0] == "0 tests"
    assert "--replace" in shown[1]
    done = CliRunner().invoke(cli, [*words, "--markdown"], catch_exceptions=False)
    assert done.stdout == "**0 tests**\n"


def test_a_scenario_that_is_not_known_is_a_row_with_its_fault_and_the_rest_is_read(tree: Path) -> None:
    scenarios = tree / "closed" / "ACME" / "results" / "box" / "resnet50"
    (scenarios / "Offline").rename(scenarios / "Interactive")
    found = frame([tree])
    assert len(found) == 4
    foreign = found[found["scenario"] == "Interactive"]
    assert len(foreign) == 2
    assert foreign["fault"].str.contains("Scenario 'Interactive' is not known").all()
    assert found[found["scenario"] == "SingleStream"]["fault"].isna().all()


def test_a_damaged_description_of_a_system_is_the_fault_of_its_tests(tree: Path) -> None:
    systems = tree / "closed" / "ACME" / "systems"
    shutil.copytree(systems.parent / "results" / "box", systems.parent / "results" / "other")
    (systems / "other.json").write_text("{")
    found = frame([tree])
    assert len(found) == 8
    assert found[found["fault"].notna()]["system"].tolist() == ["other"] * 4


@pytest.mark.parametrize("inside", [".", "closed", "closed/ACME", "closed/ACME/results"])
def test_a_submission_is_the_same_from_whatever_folder(
    tree: Path, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree / inside)
    found = frame(["."])
    assert len(found) == 4
    assert set(found["submitter"]) == {"ACME"}
    assert set(found["division"]) == {"closed"}
    assert len(frame([".", tree])) == 4


def test_a_merged_comparison_counts_once_beside_those_that_it_is_made_of(tmp_path: Path) -> None:
    compare_on_two_machines(tmp_path)
    alone = frame([tmp_path])
    folders = [str(tmp_path / name) for name in ("one", "other", "all")]
    words = ["compare", "merge", *folders[:2], "--out", folders[2]]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    merged = frame([tmp_path])
    assert sorted(merged["path"]) == sorted(alone["path"])
    assert not merged["path"].str.contains("..", regex=False).any()


def test_what_a_server_computed_with_and_costs_is_not_made_up() -> None:
    compared = document.read(COMPARISON / document.FILE_NAME)[0]
    served = replace(compared, variants=tuple(replace(one, computed=SERVED) for one in compared.variants))
    rows = list(own.of_compared(served, COMPARISON))
    assert {row["precision"] for row in rows} == {"served"}
    assert {row["cores"] for row in rows} == {row["threads"] for row in rows} == {None}
    rates = [row for row in rows if row.get("samples_per_second")]
    assert rates
    assert all(row["samples_per_second_per_core"] is None for row in rates)


def test_a_price_an_hour_says_what_a_million_samples_cost() -> None:
    found = frame([COMPARISON], Price(3.6, "EUR"))
    offline = found[(found["scenario"] == "Offline") & (found["mode"] == "performance")]
    assert len(offline) == 4
    for row in offline.itertuples():
        assert row.price_per_million_samples == pytest.approx(1000 / row.samples_per_second)
        assert row.currency == "EUR"
    assert found[found["mode"] == "accuracy"]["price_per_million_samples"].isna().all()


def test_one_price_for_several_machines_is_refused(tmp_path: Path) -> None:
    compare_on_two_machines(tmp_path)
    with pytest.raises(HarnessError, match=r"are of 2 \(A CPU with 2 CPUs, Another with 2 CPUs\)"):
        frame([tmp_path], Price(1.0, "EUR"))


def test_a_price_for_nothing_that_it_is_of_is_refused(tmp_path: Path) -> None:
    compared = document.read(COMPARISON / document.FILE_NAME)
    served = [
        replace(one, variants=tuple(replace(variant, computed=SERVED) for variant in one.variants))
        for one in compared
    ]
    (tmp_path / document.FILE_NAME).write_text(json.dumps(document.to_dict(served, [{} for _ in served])))
    with pytest.raises(HarnessError, match="all of these tests are of servers"):
        frame([tmp_path], Price(1.0, "EUR"))


def test_a_search_is_no_run_and_what_lies_in_it_is_found(tmp_path: Path) -> None:
    shutil.copytree(COMPARISON.parent / "search", tmp_path / "search")
    shutil.copytree(COMPARISON, tmp_path / "search" / "comparisons" / "one")
    assert set(frame([tmp_path])["source"]) == {"compare"}


def test_a_folder_without_tests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No test was found in"):
        frame([tmp_path])
    with pytest.raises(OutputError, match="is no folder"):
        frame([tmp_path / "none"])


def test_the_command_prints_each_format_and_writes_parquet(run_folder: Path, tmp_path: Path) -> None:
    def harness(*words: str) -> str:
        done = CliRunner().invoke(cli, ["results", str(run_folder), *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    shown = harness().splitlines()
    assert shown[0] == "2 tests"
    assert any("yes" in line.split() for line in shown[2:])
    assert harness("--markdown").startswith("**2 tests**\n\n| system |")
    assert len(json.loads(harness("--json"))) == 2
    names = harness("--csv").splitlines()[0].split(",")
    assert names == [column.name for column in COLUMNS]
    path = tmp_path / "new" / "all.parquet"
    harness("--parquet", str(path))
    pandas.testing.assert_frame_equal(
        pandas.read_parquet(path).astype(frame([run_folder]).dtypes.to_dict()), frame([run_folder])
    )
    assert "price_per_million_samples" in harness("--price", "0.34", "EUR", "--csv")
    with pytest.raises(OutputError, match="name a new file"):
        harness("--parquet", str(path))
