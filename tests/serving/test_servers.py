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
from conftest import PATIENCE_S, SHARED, Oracle
from endpoint.serving_process import free_ports

from harness.backend import graph, served
from harness.backend.settings import CompileSettings
from harness.dataset.store import Store
from harness.endpoint import meeting
from harness.endpoint.address import Endpoint, parse
from harness.explain import session as explain_session
from harness.explain.served import session as explain_served
from harness.loadgen.settings import RunSettings
from harness.mlperf.scenario import Mode, Scenario
from harness.model import file as model_file
from harness.model.card import Card, find_card
from harness.run import session as run_session
from harness.serving.session import Exported, Request, export

_LISTENS, _LOOPBACK = "0A", "0100007F"
_STUB = "triton_python_backend_stub"


@pytest.fixture(scope="session")
def mlserver_python() -> str:
    if named := os.environ.get("HARNESS_TEST_MLSERVER"):
        return named
    if find_spec("mlserver") is None:
        pytest.skip("needs MLServer (extra: test; Python below 3.13), or its Python in HARNESS_TEST_MLSERVER")
    return sys.executable


PORTS = ("grpc_port", "http_port", "metrics_port")
"""Of MLServer's settings."""


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


@dataclass(frozen=True)
class Real:
    """A server of an export, at work."""

    kind: str
    ports: tuple[int, ...]
    """Of gRPC first."""
    log: Path

    def endpoint(self, card: Card, version: str | None = None) -> Endpoint:
        found = parse(f"grpc://127.0.0.1:{self.ports[0]}/{card.name}")
        return replace(found, version=version, ready_timeout_s=PATIENCE_S)


@contextmanager
def mlserver(found: Exported, python: str) -> Iterator[Real]:
    folder = found.folder.parents[1]
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    path = folder / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | ports))
    name, *words = found.start.command.split()
    log = folder / "log.txt"
    with started([str(Path(python).with_name(name)), *words], python, log):
        yield Real("mlserver", tuple(ports.values()), log)


@contextmanager
def tritonserver(found: Exported, triton: Triton, *more: str) -> Iterator[Real]:
    grpc_port, http_port = free_ports(2)
    command = [str(triton.program), *found.start.command.split()[1:]]
    command += ["--backend-directory", str(triton.backends), "--allow-metrics", "false"]
    command += ["--grpc-port", str(grpc_port), "--http-port", str(http_port), *more]
    log = found.folder.parents[1] / "log.txt"
    with started(command, triton.python, log, LD_LIBRARY_PATH=str(triton.libraries)):
        yield Real("triton", (grpc_port, http_port), log)


@pytest.fixture(scope="module", params=["mlserver", "triton-python"])
def real(
    request: pytest.FixtureRequest, oracle: Oracle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Real]:
    """Yield each server with the oracle, the built-in model and, where it is there, MobileNet."""
    kind, folder = request.param, tmp_path_factory.mktemp("models")
    asked = "mlserver_python" if kind == "mlserver" else "triton"
    needed = request.getfixturevalue(asked)
    cards = [oracle.card, find_card("builtin-resnet50")]
    if SHARED.is_dir():
        cards.append(request.getfixturevalue("mobilenet")[0])
    found, *_ = [exported(card, kind, folder) for card in cards]
    with mlserver(found, needed) if kind == "mlserver" else tritonserver(found, needed) as running:
        yield running


def addresses(*ports: int) -> set[str]:
    """Return the addresses on which somebody listens at these ports, as the kernel writes them."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            address, _, port = line.split()[1].partition(":")
            if line.split()[3] == _LISTENS and int(port, 16) in ports:
                found.add(address)
    return found


def random_images(size: int, count: int) -> Iterator[np.ndarray]:
    dice = np.random.default_rng(1)
    for _ in range(count):
        grey = dice.integers(0, 256, (1, 1, 3))
        yield (grey + dice.integers(-20, 20, (size, size, 3))).clip(0, 255).astype(np.uint8)


def require_same_answers(
    endpoint: Endpoint, card: Card, count: int = 40, images: np.ndarray | None = None
) -> served.ServedModel:
    """Hold a server's answers to images, or to random ones, against the model's here, one by one."""
    deployed = graph.deployed(model_file.read(card), card)
    local = graph.compile_model(deployed, CompileSettings("LATENCY", streams=1)).model
    model: served.ServedModel = served.served(meeting.meet(endpoint), deployed, card, 1).model
    request = model.create_infer_request()
    answer = np.zeros(tuple(deployed.output(0).shape), np.float32)
    request.set_output_tensor(ov.Tensor(answer, shared_memory=True))
    for image in random_images(card.input.size, count) if images is None else images:
        pixels = np.array(image[None])
        request.set_input_tensor(ov.Tensor(pixels, shared_memory=True))
        request.infer()
        assert np.array_equal(answer, local(pixels)[0])
    return model


def test_a_served_export_answers_as_the_model_does_here(real: Real, oracle: Oracle) -> None:
    model = require_same_answers(real.endpoint(oracle.card), oracle.card)
    assert (model.served_by.server, model.served_by.model_version) == (real.kind, "1")
    assert model.agreement.input.datatype == ("BYTES" if real.kind == "mlserver" else "UINT8")
    builtin = find_card("builtin-resnet50")
    require_same_answers(real.endpoint(builtin), builtin)
    require_same_answers(real.endpoint(builtin, "1"), builtin, 1)


def test_calls_that_go_well_leave_no_line_in_the_log(real: Real, oracle: Oracle) -> None:
    meeting.meet(real.endpoint(oracle.card))
    before = real.log.read_text()
    require_same_answers(real.endpoint(oracle.card), oracle.card)
    assert real.log.read_text() == before


def test_served_mobilenet_answers_as_it_does_here(real: Real, mobilenet: tuple[Card, Store]) -> None:
    card, store = mobilenet
    require_same_answers(real.endpoint(card), card, images=store.samples(card.input.recipe)[:40])


def test_a_server_started_as_the_readme_says_listens_on_this_host_only(real: Real, oracle: Oracle) -> None:
    meeting.meet(real.endpoint(oracle.card))
    assert addresses(*real.ports) <= {_LOOPBACK, f"0000000000000000FFFF0000{_LOOPBACK}"}
    assert addresses(*real.ports)


def test_loadgen_measures_what_is_served(real: Real, oracle: Oracle, tmp_path: Path) -> None:
    settings = RunSettings(
        Scenario.OFFLINE, duration_s=0.3, endpoint=real.endpoint(oracle.card), streams=2, batch=1
    )
    request = run_session.Request(oracle.card, oracle.store.path, settings, (Mode.ACCURACY,), tmp_path)
    found, _ = run_session.run(request)
    assert found.is_good
    assert found.accuracy is not None
    assert found.accuracy.good == 57


def test_where_the_time_of_a_call_goes_is_told_by_what_the_server_counts(real: Real, oracle: Oracle) -> None:
    endpoint = real.endpoint(oracle.card)
    settings = RunSettings(Scenario.SINGLE_STREAM, threads=1, duration_s=0.2)
    asked = replace(settings, threads=None, endpoint=endpoint)
    request = explain_session.Request(oracle.card, settings, oracle.store.path, rounds=2)
    found = explain_served.explain(request, asked)
    assert found.server.server == real.kind
    assert min(found.part_ns(part) or 0 for part in ("client", "wire")) > 0
    assert not any("echo is empty" in remark for remark in found.remarks)
    counted = [found.part_ns(part) for part in ("queue", "compute")]
    if real.kind == "mlserver":
        assert counted == [None, None], "it gives no statistics"
    else:
        assert min(part or 0 for part in counted) > 0


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
        deadline = time.monotonic() + PATIENCE_S
        while words not in (told := log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert words in told
    assert ("unable to find backend library" in told) != bool(typo), "a typo is found before the backend"
