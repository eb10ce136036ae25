"""What an export writes, started as its README says, answers as the model does here.

MLServer is of the extra `test`. Triton comes with the package nvidia-pytriton, which wants an environment of
its own (NumPy 1): HARNESS_TEST_TRITON names its Python. HARNESS_TEST_MLSERVER names another one for MLServer.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from conftest import Oracle
from endpoint.serving_process import free_ports

from harness.backend import graph, served
from harness.backend.settings import CompileSettings
from harness.endpoint import meeting
from harness.endpoint.address import Endpoint, parse
from harness.loadgen.settings import RunSettings
from harness.mlperf.scenario import Mode, Scenario
from harness.model import file as model_file
from harness.model.card import Card, find_card
from harness.run import session as run_session
from harness.serving.session import Exported, Request, export

_START_S = 60.0
_STUB = "triton_python_backend_stub"


@pytest.fixture(scope="session")
def mlserver_python() -> str:
    if named := os.environ.get("HARNESS_TEST_MLSERVER"):
        return named
    if find_spec("mlserver") is None:
        pytest.skip("needs MLServer (extra: test; Python below 3.13), or its Python in HARNESS_TEST_MLSERVER")
    return sys.executable


@dataclass(frozen=True)
class Triton:
    """Triton of nvidia-pytriton, and a copy of its Python backend that can start models."""

    python: str
    program: Path
    libraries: Path
    backends: Path


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Triton:
    python = os.environ.get("HARNESS_TEST_TRITON")
    if python is None:
        pytest.skip("needs nvidia-pytriton and OpenVINO in an environment, its Python in HARNESS_TEST_TRITON")
    where = "import sys, pytriton; print(pytriton.__path__[0], '%d.%d' % sys.version_info[:2])"
    told = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.split()
    package, version = Path(told[0]), told[1]
    source = package / "tritonserver"
    backends = tmp_path_factory.mktemp("triton")
    shutil.copytree(source / "backends" / "python", backends / "python")
    shutil.copy(source / "python_backend_stubs" / version / _STUB, backends / "python" / _STUB)
    return Triton(
        python, source / "bin" / "tritonserver", package.with_name("nvidia_pytriton.libs"), backends
    )


def exported(card: Card, kind: str, out: Path) -> Exported:
    settings = RunSettings(Scenario.SERVER, streams=1, threads=1)
    return export(Request(card, kind, out, settings, tuning=False))


@contextmanager
def started(command: list[str], python: str, log: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in the environment of its Python, and end it with all its processes."""
    paths = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**kept, "PATH": paths, **more}, start_new_session=True
        )
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def mlserver(found: Exported, python: str) -> Iterator[Endpoint]:
    folder = found.folder.parents[1]
    ports = dict(zip(("grpc_port", "http_port", "metrics_port"), free_ports(3), strict=True))
    path = folder / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | ports))
    name, *words = found.start.command.split()
    with started([str(Path(python).with_name(name)), *words], python, folder / "log.txt"):
        endpoint = parse(f"grpc://127.0.0.1:{ports['grpc_port']}/{found.start.model}")
        yield replace(endpoint, ready_timeout_s=_START_S)


@contextmanager
def tritonserver(found: Exported, triton: Triton, *more: str) -> Iterator[Endpoint]:
    grpc_port, http_port = free_ports(2)
    command = [str(triton.program), *found.start.command.split()[1:]]
    command += ["--backend-directory", str(triton.backends), "--allow-metrics", "false"]
    command += ["--grpc-port", str(grpc_port), "--http-port", str(http_port), *more]
    log = found.folder.parents[1] / "log.txt"
    with started(command, triton.python, log, LD_LIBRARY_PATH=str(triton.libraries)):
        endpoint = parse(f"grpc://127.0.0.1:{grpc_port}/{found.start.model}")
        yield replace(endpoint, ready_timeout_s=_START_S)


def require_same_answers(endpoint: Endpoint, card: Card, count: int = 40) -> served.ServedModel:
    """Hold what a server answers to random images against what the card's model does here, one by one."""
    deployed = graph.deployed(model_file.read(card), card)
    local = graph.compile_model(deployed, CompileSettings("LATENCY", streams=1)).model
    model: served.ServedModel = served.served(meeting.meet(endpoint), deployed, card, 1).model
    request = model.create_infer_request()
    dice, size = np.random.default_rng(1), card.input.size
    answer = np.zeros(tuple(deployed.output(0).shape), np.float32)
    request.set_output_tensor(ov.Tensor(answer, shared_memory=True))
    for _ in range(count):
        grey = dice.integers(0, 256, (1, 1, 1, 3))
        pixels = (grey + dice.integers(-20, 20, (1, size, size, 3))).clip(0, 255).astype(np.uint8)
        request.set_input_tensor(ov.Tensor(pixels, shared_memory=True))
        request.infer()
        assert np.array_equal(answer, local(pixels)[0])
    return model


def test_mlserver_serves_an_export_and_loadgen_measures_it(
    mlserver_python: str, oracle: Oracle, tmp_path: Path
) -> None:
    with mlserver(exported(oracle.card, "mlserver", tmp_path / "models"), mlserver_python) as endpoint:
        model = require_same_answers(endpoint, oracle.card)
        assert model.served_by.server == "mlserver"
        assert model.agreement.input.datatype == "BYTES"
        settings = RunSettings(Scenario.OFFLINE, duration_s=0.5, endpoint=endpoint, streams=2)
        request = run_session.Request(
            oracle.card, oracle.store.path, settings, tuple(Mode), tmp_path / "results"
        )
        found, _ = run_session.run(request)
    assert found.is_good
    assert found.accuracy is not None
    assert found.accuracy.good == 57


def test_mlserver_serves_the_built_in_model(mlserver_python: str, tmp_path: Path) -> None:
    card = find_card("builtin-resnet50")
    with mlserver(exported(card, "mlserver", tmp_path), mlserver_python) as endpoint:
        require_same_answers(endpoint, card)
        require_same_answers(replace(endpoint, version="1"), card, 1)


def test_triton_serves_an_export_for_its_python_backend(
    triton: Triton, oracle: Oracle, tmp_path: Path
) -> None:
    with tritonserver(exported(oracle.card, "triton-python", tmp_path / "models"), triton) as endpoint:
        model = require_same_answers(endpoint, oracle.card)
        assert (model.served_by.server, model.served_by.model_version) == ("triton", "1")
        wire = meeting.connect(endpoint)
        counted = wire.statistics()
        wire.close()
        assert counted is not None
        assert counted["calls"] == 40
        assert 0 < counted["compute_ns"] < counted["total_ns"]


@pytest.mark.parametrize(
    ("typo", "words"),
    [("", "unable to find backend library for backend 'openvino'"), ("instance_grup", "instance_grup")],
    ids=["as written", "with a typo"],
)
def test_triton_reads_the_configuration_for_its_openvino_backend(
    typo: str, words: str, triton: Triton, oracle: Oracle, tmp_path: Path
) -> None:
    found = exported(oracle.card, "triton", tmp_path / "models")
    config = found.folder.parent / "config.pbtxt"
    if typo:
        config.write_text(config.read_text().replace("instance_group", typo))
    log = tmp_path / "models" / "log.txt"
    with tritonserver(found, triton, "--exit-on-error", "true"):
        deadline = time.monotonic() + _START_S
        while words not in (told := log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert words in told
    assert ("unable to find backend library" in told) != bool(typo), "a typo is found before the backend"
