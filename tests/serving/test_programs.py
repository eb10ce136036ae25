"""The programs that an export copies beside a model give all outputs that its configuration names."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import openvino as ov
import pytest
from click.testing import CliRunner
from conftest import Oracle

from harness.cli import cli
from harness.dataset import scenes
from harness.loadgen.settings import RunSettings
from harness.mlperf.scenario import Scenario
from harness.model.card import Card, find_card
from harness.serving.formats import FORMATS
from harness.serving.session import Exported, Request, export

DETECTOR = "builtin-detector"


@pytest.fixture(params=["oracle", DETECTOR])
def card(request: pytest.FixtureRequest, oracle: Oracle) -> Card:
    return oracle.card if request.param == "oracle" else find_card(request.param)


def exported(card: Card, out: Path, kind: str) -> Exported:
    settings = RunSettings(Scenario.SERVER, streams=1, threads=1)
    return export(Request(card, kind, out, settings, tuning=False))


def pixels(card: Card) -> np.ndarray:
    size = card.input.size
    return np.resize(scenes.draw("val", 1), (1, size, size, 3))


def known(found: Exported, card: Card) -> list[np.ndarray]:
    """Return what OpenVINO gives for the written model, by the place of its outputs."""
    request = ov.Core().compile_model(found.folder / "model.xml", "CPU").create_infer_request()
    request.infer([pixels(card)])
    return [np.array(tensor.data) for tensor in request.output_tensors]


def program(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_tritons_program_answers_with_all_outputs_of_its_configuration(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = exported(card, tmp_path, "triton-python")
    config = (found.folder.parent / "config.pbtxt").read_text()
    names = {
        kind: re.findall(rf'^{kind} \[ {{ name: "([^"]+)"', config, re.MULTILINE)
        for kind in ("input", "output")
    }
    image = SimpleNamespace(as_numpy=lambda: pixels(card))
    utils: Any = ModuleType("triton_python_backend_utils")
    utils.json = json
    utils.get_input_tensor_by_name = lambda request, name: {"image": image}[name]
    utils.Tensor = lambda name, content: (name, content)
    utils.InferenceResponse = list
    monkeypatch.setitem(sys.modules, utils.__name__, utils)

    model = program(found.folder / "model.py").TritonPythonModel()
    told = {kind: [{"name": name} for name in of_kind] for kind, of_kind in names.items()}
    repository = {"model_repository": str(found.folder.parent), "model_version": found.folder.name}
    model.initialize({**repository, "model_config": json.dumps(told)})
    (answer,) = model.execute([object()])

    assert [name for name, _ in answer] == [one.name for one in found.deployment.interface.outputs]
    for (_, content), right in zip(answer, known(found, card), strict=True):
        assert np.array_equal(content, right)


ASK = """
import asyncio, importlib.util, json, sys
from pathlib import Path
import mlserver
folder, pixels, out = map(Path, sys.argv[1:])
image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [pixels.read_bytes()]}
settings = mlserver.ModelSettings(**json.loads((folder / "model-settings.json").read_text()))
settings.parameters.uri = str(folder / "model.xml")
spec = importlib.util.spec_from_file_location("runtime", folder / "openvino_runtime.py")
runtime = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runtime)

async def answered():
    model = runtime.OpenVinoModel(settings)
    await model.load()
    try:
        return await model.predict(mlserver.types.InferenceRequest(inputs=[image]))
    finally:
        await model.unload()

found = asyncio.run(answered()).outputs
out.write_text(json.dumps([[one.name, one.datatype, one.shape, one.data.root] for one in found]))
"""
"""In a process of its own: two libraries that define the protocol's messages do not go into one."""


def test_mlservers_runtime_answers_with_all_outputs_of_its_settings(card: Card, tmp_path: Path) -> None:
    if importlib.util.find_spec("mlserver") is None:
        pytest.skip("needs MLServer (extra: test; Python below 3.13)")
    found = exported(card, tmp_path / "models", "mlserver")
    image, out = tmp_path / "image", tmp_path / "answer.json"
    image.write_bytes(pixels(card).tobytes())
    words = [sys.executable, "-c", ASK, *map(str, (found.folder, image, out))]
    done = subprocess.run(words, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(out.read_text())
    described = [[one.name, one.datatype] for one in found.deployment.interface.outputs]
    assert [one[:2] for one in answer] == described
    for (_, _, shape, data), right in zip(answer, known(found, card), strict=True):
        assert shape == list(right.shape)
        assert np.array_equal(np.reshape(data, right.shape).astype(right.dtype), right)


@pytest.mark.parametrize("kind", FORMATS)
def test_no_command_is_named_that_would_measure_a_served_detector(kind: str, tmp_path: Path) -> None:
    words = ["export", "--model", DETECTOR, "--format", kind, "--out", str(tmp_path), "--no-tuning"]
    told = CliRunner().invoke(cli, words, catch_exceptions=False).output
    readme = (tmp_path / DETECTOR / "README.md").read_text()
    assert "start: " in told
    assert "- gives " in readme
    assert "harness run" not in told + readme
