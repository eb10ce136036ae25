"""Both ways to a server: answers as computed here, and each fault told as what it is."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from conftest import CARD, PATIENCE_S, SIZE, Oracle, grey_of, oracle_model

from endpoint.serving_process import Running, free_ports, serving
from harness.backend import deployment, graph, served
from harness.endpoint import meeting
from harness.endpoint.host import is_this_host
from harness.endpoint.wire import ServerFault, Statistics
from harness.errors import HarnessError, ModelError
from harness.model import file as model_file
from harness.model.card import read_card

SCHEMES = ("grpc", "http")
WIDTH = 5
"""Numbers in an answer, the label first."""


@pytest.fixture(scope="module")
def server(exported_oracle: Path) -> Iterator[Running]:
    with serving(exported_oracle) as running:
        yield running


def served_model(
    oracle: Oracle, running: Running, scheme: str = "grpc", in_flight: int = 1, **more: object
) -> served.ServedModel:
    deployed = graph.deployed(model_file.read(oracle.card), oracle.card)
    met = meeting.meet(running.endpoint(scheme, **more))
    model: served.ServedModel = served.served(met, deployed, oracle.card, in_flight).model
    return model


def ask(request: served.ServedRequest, label: int) -> float:
    """Return the label that a request answers to a grey image with."""
    pixels = np.full((1, SIZE, SIZE, 3), grey_of(label), np.uint8)
    answer = np.zeros((1, WIDTH), np.float32)
    request.set_input_tensor(ov.Tensor(pixels, shared_memory=True))
    request.set_output_tensor(ov.Tensor(answer, shared_memory=True))
    request.infer(share_outputs=True)
    return float(answer[0, 0])


@pytest.mark.parametrize(
    "options",
    [{}, {"input_type": "BYTES"}, {"typed": True, "plain_json": True}],
    ids=["raw", "bytes", "typed"],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_answers_as_the_model_does_here(
    scheme: str, options: dict[str, object], oracle: Oracle, server: Running
) -> None:
    with server.told(**options):
        model = served_model(oracle, server, scheme)
        request = model.create_infer_request()
        assert [ask(request, label) for label in range(10)] == list(range(10))
    assert model.served_by.server == "test server"
    assert model.served_by.model_version == "3"
    assert model.served_by.is_on_this_host is True


@pytest.mark.parametrize("name", ["answer", "scores", "logits"])
def test_scores_and_answers_of_as_many_numbers_are_told_apart_by_their_name(
    name: str, tmp_path: Path
) -> None:
    ov.save_model(oracle_model(classes=WIDTH), tmp_path / "five.xml", compress_to_fp16=False)
    (tmp_path / "five.toml").write_text(CARD.format(name="five", path="five.xml").replace("10", str(WIDTH)))
    card = read_card(tmp_path / "five.toml")
    deployment.write(card, tmp_path / "export.xml", scores=name != "answer")
    renamed = ov.Core().read_model(tmp_path / "export.xml")
    renamed.output(0).set_names({name})
    ov.save_model(renamed, tmp_path / "served.xml", compress_to_fp16=False)
    with serving(tmp_path / "served.xml") as running:
        met = meeting.meet(running.endpoint())
        model = served.served(met, graph.deployed(model_file.read(card), card), card, 1).model
        request = model.create_infer_request()
        assert [ask(request, label) for label in range(WIDTH)] == list(range(WIDTH))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_scores_are_made_answers_by_the_end_of_the_graph(scheme: str, oracle: Oracle, tmp_path: Path) -> None:
    deployment.write(oracle.card, tmp_path / "scores.xml", scores=True)
    with serving(tmp_path / "scores.xml") as running:
        request = served_model(oracle, running, scheme).create_infer_request()
        assert [ask(request, label) for label in (3, 9)] == [3, 9]


def test_a_call_can_be_started_and_waited_for(oracle: Oracle, server: Running) -> None:
    model = served_model(oracle, server, in_flight=2)
    pixels = [np.full((1, SIZE, SIZE, 3), grey_of(label), np.uint8) for label in (2, 8)]
    labels = [np.zeros((1, WIDTH), np.float32) for _ in pixels]
    requests = [model.create_infer_request() for _ in pixels]
    for request, image, label in zip(requests, pixels, labels, strict=True):
        request.set_input_tensor(ov.Tensor(image, shared_memory=True))
        request.set_output_tensor(ov.Tensor(label, shared_memory=True))
        request.start_async()
    for request in requests:
        request.wait()
    assert [float(label[0, 0]) for label in labels] == [2, 8]


FAULTS = {
    "shape": r"gave 'answer' \(FP32 \[2, 5\]\), not \[1, 5\]",
    "type": r"gave 'answer' \(FP64 \[1, 5\]\), not",
    "bytes": r"gave (19 bytes, not 20|0 numbers)",
    "version": r"answered with version '4' of 'oracle', and before with version '3'",
    "late": r"gave no answer within 1 s \(--deadline\)",
    "refuse": r"answered (INTERNAL|500): told to refuse",
    "output": r"has no output 'answer' \(it has other\)",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_fault_of_a_server_is_told(scheme: str, fault: str, oracle: Oracle, server: Running) -> None:
    # A busy machine may well answer late, too.
    deadline_s = 1.0 if fault == "late" else float(PATIENCE_S)
    request = served_model(oracle, server, scheme, deadline_s=deadline_s).create_infer_request()
    assert ask(request, 1) == 1
    with server.told(fault=fault), pytest.raises(ServerFault, match=FAULTS[fault]) as error:
        ask(request, 3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_killed_in_a_call_is_told(scheme: str, oracle: Oracle, exported_oracle: Path) -> None:
    with serving(exported_oracle, fault="close", after=1) as running:
        request = served_model(oracle, running, scheme).create_infer_request()
        assert ask(request, 1) == 1
        with pytest.raises(ServerFault, match="is not to be reached"):
            ask(request, 2)
        with pytest.raises(ServerFault, match=r"is not to be reached|closed the connection"):
            ask(request, 3)


def test_another_version_than_was_asked_for_is_told(oracle: Oracle, server: Running) -> None:
    request = served_model(oracle, server, version="3").create_infer_request()
    assert ask(request, 1) == 1
    with server.told(fault="version"):
        other = served_model(oracle, server, version="3").create_infer_request()
        with pytest.raises(ServerFault, match="oracle:3 answered with version '4'"):
            ask(other, 1)


def test_a_server_that_was_restarted_between_two_calls_is_noticed(
    oracle: Oracle, exported_oracle: Path
) -> None:
    with serving(exported_oracle) as running:
        request = served_model(oracle, running).create_infer_request()
        assert ask(request, 1) == 1
        time.sleep(0.5)
        running.kill()
        with serving(exported_oracle, ports=(running.grpc_port, running.http_port)) as again:
            assert ask(served_model(oracle, again).create_infer_request(), 2) == 2
            with pytest.raises(ServerFault, match="closed the connection: was the server restarted"):
                ask(request, 1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_is_waited_for_until_it_is_ready(scheme: str, server: Running) -> None:
    late = r"is not ready: start it.*--ready-timeout, 0\.3 s now"
    with server.told(ready=False), pytest.raises(HarnessError, match=late):
        meeting.meet(server.endpoint(scheme, ready_timeout_s=0.3))
    server.tell(ready=False)
    meeting.meet(server.endpoint(scheme), lambda: server.tell(ready=True))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_where_nobody_listens_the_other_ways_are_told(scheme: str) -> None:
    running = Running(None, *free_ports(2))  # type: ignore[arg-type]
    with pytest.raises(HarnessError, match=rf"^Nobody answers by {scheme}: .*another port, TLS by {scheme}s"):
        meeting.meet(running.endpoint(scheme, ready_timeout_s=0.0))


@pytest.mark.parametrize(("scheme", "other"), [("grpc", "http"), ("http", "grpc")])
def test_the_port_of_the_other_protocol_is_told_from_the_right_one(
    scheme: str, other: str, server: Running
) -> None:
    crossed = Running(server.process, server.http_port, server.grpc_port)
    with pytest.raises(HarnessError, match=rf"{other}:// has another port"):
        meeting.meet(crossed.endpoint(scheme, ready_timeout_s=0.0, deadline_s=2.0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_model_that_the_server_lacks_is_told_with_those_that_it_has(scheme: str, server: Running) -> None:
    with pytest.raises(HarnessError, match=r"has no model 'orakle'. Did you mean 'oracle'?"):
        meeting.meet(server.endpoint(scheme, "orakle"))
    with pytest.raises(HarnessError, match="give a version that the server has, or none"):
        meeting.meet(server.endpoint(scheme, "oracle:9"))
    assert meeting.meet(server.endpoint(scheme, "oracle:3")).model.versions == ("3",)


def test_what_contradicts_the_card_is_told(oracle: Oracle, server: Running) -> None:
    met = meeting.meet(server.endpoint())
    with pytest.raises(
        ModelError, match=r"takes 'image' \(UINT8 \[1, 16, 16, 3\]\), and the card's images are \[1, 32"
    ):
        meeting.agree(met, (1, 32, 32, 3), [(1, WIDTH)])
    with pytest.raises(ModelError, match=r"images are \[2, 16, 16, 3\] in a batch of 2"):
        meeting.agree(met, (2, SIZE, SIZE, 3), [(2, WIDTH)])
    with pytest.raises(
        ModelError, match=r"gives 'answer' \(FP32 \[1, 5\]\), and the card's answers are \[7\] or \[1, 9\]"
    ):
        meeting.agree(met, (1, SIZE, SIZE, 3), [(7,), (1, 9)])
    with pytest.raises(ModelError, match=r"has no output 'answers'. Did you mean 'answer'"):
        meeting.agree(meeting.meet(server.endpoint(output="answers")), (1, SIZE, SIZE, 3), [(1, WIDTH)])
    with server.told(input_type="FP32"), pytest.raises(ModelError, match="sends raw pixels"):
        served_model(oracle, server)


def test_a_server_that_says_nothing_needs_the_names_of_its_tensors(oracle: Oracle, server: Running) -> None:
    with server.told(silent=True):
        with pytest.raises(ModelError, match="does not say what it takes: name its input"):
            served_model(oracle, server)
        with pytest.raises(ModelError, match="does not say what it gives: name the output"):
            served_model(oracle, server, input="image")
        model = served_model(oracle, server, input="image", output="answer")
        assert ask(model.create_infer_request(), 4) == 4


def test_only_an_address_of_this_host_is_on_this_host(server: Running) -> None:
    assert is_this_host("localhost", server.http_port)
    with pytest.raises(OSError, match="refused"):
        is_this_host("127.0.0.1", free_ports(1)[0])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_echo_sends_what_a_call_sends_and_computes_nothing(
    scheme: str, oracle: Oracle, server: Running
) -> None:
    model = served_model(oracle, server, scheme)
    wire = meeting.connect(model.met.endpoint)
    agreed = model.agreement
    echo = wire.echo(agreed.input, model.pixels, agreed.output.name)
    before = counted(server)
    for _ in range(3):
        echo(memoryview(bytes(SIZE * SIZE * 3)))
    assert counted(server).calls == before.calls
    with server.told(bodiless=True):
        if scheme == "http":
            with pytest.raises(ServerFault, match="told to take no body"):
                echo(memoryview(bytes(SIZE * SIZE * 3)))
    assert wire.is_live()
    wire.close()


def counted(server: Running) -> Statistics:
    wire = meeting.connect(server.endpoint("grpc"))
    found = wire.statistics()
    wire.close()
    assert found is not None
    return found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_calls_leak_no_memory(scheme: str, oracle: Oracle, server: Running) -> None:
    request = served_model(oracle, server, scheme).create_infer_request()
    for _ in range(400):
        ask(request, 1)
    before = resident_bytes()
    for _ in range(1600):
        ask(request, 1)
    # 10,000 are asked by `benchmarks/serving.py --calls 10000`.
    assert resident_bytes() < 1.02 * before


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
