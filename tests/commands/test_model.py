import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import cli
from harness.errors import CardError, ModelError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    return tmp_path / "models"


def harness(*words: str) -> Result:
    return CliRunner().invoke(cli, ["model", *words])


def test_list_shows_every_shipped_model_with_its_state_and_target() -> None:
    result = harness("list")

    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert result.exit_code == 0
    assert rows["MODEL"].split() == ["MODEL", "FILE", "INPUT", "TARGET", "NOTE"]
    assert "not fetched  224x224 f32  75.70% top-1" in rows["resnet50-mlperf"]
    assert re.search(r"built in +224x224 f32  none +speed only: no trained weights", rows["resnet50-seeded"])


def test_list_as_json_is_json_alone_on_stdout() -> None:
    result = harness("list", "--json")

    models = {model["name"]: model for model in json.loads(result.stdout)["models"]}
    assert models["resnet50-mlperf"]["target_accuracy"] == pytest.approx(0.756954)
    assert models["resnet50-seeded"]["note"] == "speed only: no trained weights"


def test_show_gives_place_checksum_target_and_source(cache: Path) -> None:
    result = harness("show", "resnet50-torchvision")

    assert f"{cache / 'resnet50-torchvision' / 'resnet50-0676ba61.pth'} (not fetched)" in result.stdout
    assert "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a" in result.stdout
    assert "target        75.37% top-1" in result.stdout
    assert "torchvision, ResNet50_Weights.IMAGENET1K_V1" in result.stdout


def test_show_says_how_a_detector_answers_and_that_its_target_is_of_map() -> None:
    shown = harness("show", "builtin-detector").stdout
    assert "task          detection" in shown
    assert "output        yolox, 8 classes, score from 0.01, IoU up to 0.65, at most 100 boxes" in shown
    assert "linear, letterbox, centre, border 114" in shown
    assert "target        20.47% mAP" in shown


def test_show_gives_the_size_of_a_file_that_is_there(cache: Path) -> None:
    path = cache / "resnet50-mlperf" / "resnet50_v1.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(2500))

    assert f"{path} (present, 2.5 kB)" in harness("show", "resnet50-mlperf").stdout
    assert json.loads(harness("show", "resnet50-mlperf", "--json").stdout)["size_bytes"] == 2500


def test_show_takes_the_path_of_a_card(tmp_path: Path) -> None:
    harness_card = json.loads(harness("list", "--json").stdout)["models"][0]["name"]
    source = Path(__file__).parents[2] / "models" / harness_card / "card.toml"
    (tmp_path / "mine.toml").write_bytes(source.read_bytes())

    assert harness("show", str(tmp_path / "mine.toml")).exit_code == 0


def test_show_of_an_unknown_model_names_the_nearest() -> None:
    result = harness("show", "resnet50-mlpref")

    assert isinstance(result.exception, CardError)
    assert "Did you mean 'resnet50-mlperf'?" in str(result.exception)


def test_fetch_of_a_built_in_model_has_nothing_to_do() -> None:
    result = harness("fetch", "resnet50-seeded")

    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == "Model 'resnet50-seeded' is built in: there is nothing to fetch.\n"


def test_fetch_prints_the_path_of_a_file_put_there_by_hand(cache: Path, tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "models" / "resnet50-mlperf" / "card.toml"
    digest = hashlib.md5(b"model").hexdigest()
    card = tmp_path / "card.toml"
    card.write_text(source.read_text().replace("f6a4da60cd5f084d97efc2c1ddb10beb", digest))
    path = cache / "resnet50-mlperf" / "resnet50_v1.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"model")

    result = harness("fetch", str(card))

    assert result.stdout == f"{path}\n"


def test_fetch_without_a_network_ends_in_one_sentence_with_exit_code_2(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")

    result = harness("fetch", "resnet50-mlperf")

    assert isinstance(result.exception, ModelError)
    assert result.exception.exit_code == 2
    assert "https://zenodo.org/record/4735647/files/resnet50_v1.onnx" in str(result.exception)
    assert str(cache / "resnet50-mlperf" / "resnet50_v1.onnx") in str(result.exception)


def test_list_and_show_work_without_the_heavy_libraries() -> None:
    script = (
        "import sys\n"
        "heavy = ('openvino', 'nncf', 'torch', 'safetensors', 'mlperf_loadgen', 'cv2', 'pandas')\n"
        "sys.modules.update(dict.fromkeys(heavy))\n"
        "from harness.cli import cli\n"
        "cli(['model', 'list'], standalone_mode=False)\n"
        "cli(['model', 'show', 'resnet50-huggingface'], standalone_mode=False)\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "resnet50-seeded" in done.stdout
