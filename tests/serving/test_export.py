"""An export is the measured graph, whole, with the next version's number, and never over another."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import yaml
from click.testing import CliRunner
from conftest import CLASSES, SIZE, Oracle, grey_of

from harness.backend.settings import CompileSettings
from harness.cli import cli
from harness.errors import HarnessError, ModelError, OutputError
from harness.files import locked
from harness.loadgen.settings import RunSettings
from harness.machine import system
from harness.measurement import tuned
from harness.mlperf.scenario import Scenario
from harness.model import file
from harness.model.card import find_card
from harness.serving import repository
from harness.serving.formats import FORMATS
from harness.serving.session import Exported, Request, export, run_line

PIXELS = np.full((1, SIZE, SIZE, 3), grey_of(7), np.uint8)
SHARING = [name for name in FORMATS if name not in ("mlserver",)]
"""The formats whose versions share settings."""


def exported(oracle: Oracle, out: Path, kind: str = "ovms", **more: object) -> Exported:
    settings = RunSettings(Scenario.SERVER, streams=1, threads=1)
    return export(Request(oracle.card, kind, out, **{"settings": settings, **more}))


def answer(folder: Path, properties: dict[str, str]) -> np.ndarray:
    compiled = ov.Core().compile_model(folder / "model.xml", "CPU", properties)
    return np.array(compiled(PIXELS)[0])


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_holds_the_deployed_graph_and_its_hashes(
    kind: str, oracle: Oracle, tmp_path: Path
) -> None:
    found = exported(oracle, tmp_path / "models", kind)
    assert found.folder == tmp_path / "models" / "oracle" / "1"
    assert answer(found.folder, found.deployment.properties).reshape(-1)[0] == 7
    (taken,) = found.deployment.interface.inputs
    assert (taken.name, taken.datatype, taken.shape) == ("image", "UINT8", (1, SIZE, SIZE, 3))
    sums = (found.folder / "SHA256SUMS").read_text().splitlines()
    hashes = {line[66:]: line[:64] for line in sums}
    assert set(hashes) == {path.name for path in found.folder.iterdir()} - {"SHA256SUMS"}
    for name, digest in hashes.items():
        assert hashlib.sha256((found.folder / name).read_bytes()).hexdigest() == digest
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=found.folder, check=True)
    readme = (found.folder.parent / "README.md").read_text()
    assert found.start.command in readme
    assert f"--endpoint {found.start.endpoint}" in readme
    assert not [path for path in tmp_path.rglob(".*")], "something temporary is left"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_second_export_adds_a_version_and_leaves_the_first(
    kind: str, oracle: Oracle, tmp_path: Path
) -> None:
    first = exported(oracle, tmp_path, kind).folder
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.iterdir()}
    assert exported(oracle, tmp_path, kind).deployment.version == 2
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.iterdir()} == before


@pytest.mark.parametrize(("version", "fault"), [(1, "is there already"), (4, "would not follow 2")])
def test_only_the_next_version_is_written(version: int, fault: str, oracle: Oracle, tmp_path: Path) -> None:
    exported(oracle, tmp_path)
    exported(oracle, tmp_path, version=2)
    with pytest.raises(OutputError, match=rf"Version {version} .* {fault}.*: leave out --version, or give 3"):
        exported(oracle, tmp_path, version=version)
    assert exported(oracle, tmp_path, version=3).deployment.version == 3


def test_the_first_version_may_have_any_number(oracle: Oracle, tmp_path: Path) -> None:
    assert exported(oracle, tmp_path, version=5).folder.name == "5"
    assert exported(oracle, tmp_path).folder.name == "6"


@pytest.mark.parametrize("kind", SHARING)
def test_settings_that_versions_share_are_not_changed(kind: str, oracle: Oracle, tmp_path: Path) -> None:
    exported(oracle, tmp_path, kind)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match=r"other settings.*another --out"):
        exported(oracle, tmp_path, kind, settings=RunSettings(Scenario.SERVER, threads=1, batch=2))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_model_without_scores_is_refused_and_nothing_is_left(oracle: Oracle, tmp_path: Path) -> None:
    card = oracle.card_path.read_text().replace('kind = "logits"', 'kind = "label"')
    path = oracle.card_path.with_name("labels.toml")
    path.write_text(card)
    try:
        with pytest.raises(ModelError, match="no scores to serve: leave out --scores"):
            exported(Oracle(path, oracle.store), tmp_path / "models", scores=True)
    finally:
        path.unlink()
    assert not list((tmp_path / "models").iterdir())


def test_scores_are_the_models_own(oracle: Oracle, tmp_path: Path) -> None:
    found = exported(oracle, tmp_path, scores=True)
    scores = answer(found.folder, found.deployment.properties)
    assert scores.shape == (1, CLASSES)
    assert scores.argmax() == 7
    assert found.deployment.interface.outputs[0].name == "scores"


@contextmanager
def tuning_of(oracle: Oracle, settings: RunSettings) -> Iterator[None]:
    key = tuned.key_of(oracle.card, settings, system.describe())
    found = {"threads": 1, "streams": 1, "batch": 2, "pinning": False, "smt": None, "core_type": None}
    path = tuned.write(tuned.Tuning(key, "oracle", "2026-11-28T00:00:00+00:00", "0", found, "faster"))
    try:
        yield
    finally:
        path.unlink()


def test_a_tuning_for_the_scenario_sets_what_is_left_open(oracle: Oracle, tmp_path: Path) -> None:
    settings = RunSettings(Scenario.OFFLINE)
    with tuning_of(oracle, settings):
        told = exported(oracle, tmp_path, "triton-python", settings=settings)
        mine = exported(oracle, tmp_path / "own", "ovms", settings=RunSettings(Scenario.OFFLINE, batch=1))
        without = exported(oracle, tmp_path / "without", settings=settings, tuning=False)
    assert told.deployment.batch == 2
    assert "--scenario Offline --batch 2 --endpoint" in (told.folder.parent / "README.md").read_text()
    assert "--batch" not in (mine.folder.parent / "README.md").read_text()
    assert told.deployment.settings == CompileSettings("THROUGHPUT", threads=1, streams=1, pinning=False)
    assert mine.deployment.batch == 1
    assert mine.deployment.properties["ENABLE_CPU_PINNING"] == "NO"
    assert "NUM_STREAMS" not in without.deployment.properties


def test_servers_tuned_batch_is_not_exported_as_samples_come_alone(
    oracle: Oracle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = RunSettings(Scenario.SERVER)
    with tuning_of(oracle, settings):
        told = exported(oracle, tmp_path, settings=settings)
        assert "1 stream, 1 thread, not pinned" in capsys.readouterr().err
        mine = exported(oracle, tmp_path / "own", settings=RunSettings(Scenario.SERVER, batch=4))
    assert told.deployment.batch == 1
    assert told.deployment.settings.streams == 1
    assert mine.deployment.batch == 4
    assert "--scenario Server --batch 4 --endpoint" in (mine.folder.parent / "README.md").read_text()


def test_ovms_serves_all_models_that_were_exported_into_a_folder(oracle: Oracle, tmp_path: Path) -> None:
    exported(oracle, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_config_list"].append({"config": {"name": "mine", "base_path": "/mine"}})
    (tmp_path / "config.json").write_text(json.dumps(config))
    exported(oracle, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == config
    held = config["model_config_list"][0]["config"]
    assert (tmp_path / held["base_path"] / "1" / "model.bin").is_file()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(OutputError, match="is no configuration of OpenVINO Model Server"):
        exported(oracle, tmp_path)
    assert repository.versions(tmp_path / "oracle") == [1, 2]


OVMS_MODEL = {
    **dict.fromkeys(("name", "base_path", "graph_path", "subconfig", "target_device"), str),
    **{"batch_size": (int, str), "nireq": int, "allow_cache": bool, "plugin_config": dict},
    **dict.fromkeys(("model_version_policy", "shape", "layout", "custom_loader_options"), (dict, str)),
}
"""What the server takes of a model, and no more (MODEL_CONFIG_DEFINITION in its src/schema.cpp, 2026)."""
OVMS_OPTIONS = {"config_path", "port", "rest_port", "grpc_bind_address", "rest_bind_address"}
"""Of its docs/parameters.md."""


@pytest.mark.parametrize("streams", [None, 2])
def test_ovms_takes_what_is_written_by_its_own_schema(
    streams: int | None, oracle: Oracle, tmp_path: Path
) -> None:
    settings = RunSettings(Scenario.SERVER, threads=2, streams=streams, pinning=False)
    found = exported(oracle, tmp_path, settings=settings)
    config = json.loads((tmp_path / "config.json").read_text())
    assert set(config) == {"model_config_list"}
    (entry,) = config["model_config_list"]
    assert set(entry) == {"config"}
    for name, value in entry["config"].items():
        assert isinstance(value, OVMS_MODEL[name]), name
    assert (tmp_path / entry["config"]["base_path"] / "1" / "model.xml").is_file(), "relative to config.json"
    plugin = entry["config"]["plugin_config"]
    assert all(type(value) in (str, bool, int, float) for value in plugin.values())
    # "NUM_STREAMS and PERFORMANCE_HINT should not be used together" (docs/performance_tuning.md).
    assert ("NUM_STREAMS" in plugin) == (streams is not None) == ("PERFORMANCE_HINT" not in plugin)
    ov.Core().compile_model(found.folder / "model.xml", "CPU", plugin)
    words = found.start.command.split()
    assert {word[2:] for word in words if word.startswith("--")} <= OVMS_OPTIONS
    assert Path(words[words.index("--config_path") + 1]).is_absolute()
    assert [words[words.index(f"--{kind}_bind_address") + 1] for kind in ("grpc", "rest")] == [
        "127.0.0.1"
    ] * 2
    assert "It was not run" in (found.folder.parent / "README.md").read_text()


def test_kserve_serves_under_a_name_that_kubernetes_takes(oracle: Oracle, tmp_path: Path) -> None:
    card = oracle.card_path.with_name("Odd_Name.1.toml")
    card.write_text(oracle.card_path.read_text().replace('name = "oracle"', 'name = "Odd_Name.1"'))
    try:
        found = exported(Oracle(card, oracle.store), tmp_path, "kserve")
    finally:
        card.unlink()
    manifest = yaml.safe_load((found.folder.parent / "inference-service.yaml").read_text())
    assert manifest["metadata"]["name"] == "odd-name-1"
    assert manifest["spec"]["predictor"]["model"]["runtime"] == "kserve-ovms"
    assert found.start.endpoint.endswith("/odd-name-1")


def test_kserve_tells_ovms_what_a_folder_for_ovms_tells_it(oracle: Oracle, tmp_path: Path) -> None:
    for kind in ("kserve", "ovms"):
        exported(oracle, tmp_path / kind, kind)
    manifest = yaml.safe_load((tmp_path / "kserve" / "oracle" / "inference-service.yaml").read_text())
    (told,) = manifest["spec"]["predictor"]["model"]["args"]
    config = json.loads((tmp_path / "ovms" / "config.json").read_text())
    assert (
        json.loads(told.removeprefix("--plugin_config="))
        == (config["model_config_list"][0]["config"]["plugin_config"])
    )


@pytest.mark.parametrize(("streams", "pinned"), [(1, "YES"), (2, "NO")])
def test_several_processes_do_not_pin_their_threads_to_the_same_cpus(
    streams: int, pinned: str, oracle: Oracle, tmp_path: Path
) -> None:
    settings = RunSettings(Scenario.SERVER, streams=streams, threads=2, pinning=True)
    found = exported(oracle, tmp_path, "triton-python", settings=settings)
    config = (tmp_path / "oracle" / "config.pbtxt").read_text()
    assert f"count: {streams} " in config
    assert f'key: "ENABLE_CPU_PINNING", value: {{ string_value: "{pinned}"' in config
    assert found.properties["ENABLE_CPU_PINNING"] == pinned
    assert found.properties["INFERENCE_NUM_THREADS"] == str(2 // streams)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("kind", FORMATS)
def test_the_readme_names_the_properties_that_the_server_is_told_and_no_others(
    kind: str, precision: str, oracle: Oracle, tmp_path: Path
) -> None:
    settings = RunSettings(Scenario.SERVER, precision, streams=1, threads=1)
    found = exported(oracle, tmp_path, kind, settings=settings)
    folder = found.folder.parent
    (line,) = [line for line in (folder / "README.md").read_text().splitlines() if "OpenVINO: " in line]
    kinds = (".json", ".pbtxt", ".yaml")
    paths = [one for one in tmp_path.rglob("*") if one.suffix in kinds and one.name != "export.json"]
    configuration = "".join(path.read_text() for path in paths)
    names = ("PERFORMANCE_HINT", "NUM_STREAMS", "INFERENCE_NUM_THREADS", "INFERENCE_PRECISION_HINT")
    for name in (*names, "HINT_BF16"):
        assert (name in line) == (name in configuration), name


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "triton"])
def test_under_a_quota_no_server_is_told_to_pin_as_nothing_that_was_measured_did(
    kind: str, oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "default_pinning", lambda: False)
    assert exported(oracle, tmp_path, kind).properties["ENABLE_CPU_PINNING"] == "NO"


def test_the_measuring_line_names_the_card_as_a_command_takes_it(oracle: Oracle, tmp_path: Path) -> None:
    folder = tmp_path / "oracle"
    file.copied(oracle.card, "oracle", folder)
    found = exported(Oracle(folder / "card.toml", oracle.store), tmp_path / "models")
    assert f"harness run --model {folder / 'card.toml'} " in (found.folder.parent / "README.md").read_text()
    shipped = find_card("builtin-resnet50")
    line = run_line(shipped, Scenario.OFFLINE, found.deployment, found.start)
    assert line.startswith("harness run --model builtin-resnet50 ")


def test_two_exports_into_one_folder_do_not_meet(oracle: Oracle, tmp_path: Path) -> None:
    out = tmp_path / "models"
    out.mkdir()
    busy = "Another export is at work on .*/models: wait for it, or choose another --out"
    with locked(tmp_path / ".models.lock", OutputError("")), pytest.raises(OutputError, match=busy):
        exported(oracle, out)


def test_the_command_prints_how_to_go_on(oracle: Oracle, tmp_path: Path) -> None:
    words = [
        "export",
        "--model",
        str(oracle.card_path),
        "--format",
        "mlserver",
        "--out",
        str(tmp_path / "models"),
    ]
    told = CliRunner().invoke(cli, words, catch_exceptions=False).output
    assert f"start: mlserver start {tmp_path / 'models'}" in told
    assert f"harness run --model {oracle.card_path} " in told
    document = json.loads(CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False).stdout)
    assert document["version"] == 2
    with pytest.raises(HarnessError, match="at most"):
        cli([*words, "--threads", "4096"], standalone_mode=False)
