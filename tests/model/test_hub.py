"""timm's published weights: pinned, held against the network, and a card that needs timm no more.

The hub is a server on this machine, the network is timm's smallest, its weights are random.
"""

import hashlib
import json
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest

from harness.backend import graph
from harness.cli import cli
from harness.dataset.recipe import Recipe
from harness.errors import ModelError
from harness.model import file as model_file
from harness.model import hub
from harness.model.card import read_card

TAG = "test_efficientnet.r160_in1k"
NAME = f"timm/{TAG}"
REVISION = "5f" * 20


def without_timm() -> bool:
    try:
        import timm
    except (ImportError, RuntimeError):
        return True
    return not hasattr(timm, "create_model")


needs_timm = pytest.mark.skipif(without_timm(), reason="timm, of the extra frontier, builds the network")


@dataclass
class Hub:
    """A hub with one file."""

    url: str
    content: bytes = b""
    sha256: str = ""
    """What it says of the file; empty: what is true."""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            told.asked.append(self.path)
            self.send_response(302)
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("X-Linked-Etag", f'"{told.sha256 or hashlib.sha256(told.content).hexdigest()}"')
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            told.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(told.content)))
            self.end_headers()
            self.wfile.write(told.content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        told = Hub(f"http://127.0.0.1:{running.server_port}")
        monkeypatch.setenv("HF_ENDPOINT", told.url)
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield told
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    return tmp_path / "cache" / "models" / TAG


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")


@pytest.fixture(scope="module")
def network() -> Any:
    import timm
    import torch

    torch.manual_seed(3)
    return timm.create_model(TAG, pretrained=False).eval()


@pytest.fixture(scope="module")
def weights(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    told = r"cannot be imported \(.*\): run `pip install 'inference-harness\[frontier\]'`"
    with pytest.raises(ModelError, match=told):
        hub.fetch(TAG)


@needs_timm
def test_the_card_pins_the_weights_and_computes_what_timm_does(
    served: Hub, weights: Path, network: Any, cache: Path
) -> None:
    import torch

    served.content = weights.read_bytes()
    path = hub.fetch(TAG)
    assert path == cache / "card.toml"
    assert served.asked == [
        f"/{NAME}/resolve/main/model.safetensors",
        f"/{NAME}/resolve/{REVISION}/model.safetensors",
    ]
    card = read_card(path)
    assert card.licence == "apache-2.0"
    assert card.training["revision"] == REVISION
    assert not card.is_retrained
    assert card.training["weights_sha256"] == sha256(weights)
    assert card.input.recipe == Recipe(160, "pil_bicubic", 0.95, exif_rotation=False)
    pixels = np.random.default_rng(1).integers(0, 256, (1, 160, 160, 3), np.uint8)
    config = network.pretrained_cfg
    image = (pixels / 255 - np.array(config["mean"])) / np.array(config["std"])
    with torch.no_grad():
        wanted = network(torch.from_numpy(image.astype(np.float32).transpose(0, 3, 1, 2))).numpy()
    model = graph.fold_input(model_file.read(card), card)
    found = graph.ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(pixels)[0]
    assert np.abs(found - wanted).max() < 1e-4 * max(1.0, np.abs(wanted).max())


@needs_timm
def test_what_is_there_is_not_fetched_again_and_stays_pinned(served: Hub, weights: Path) -> None:
    served.content = weights.read_bytes()
    path = hub.fetch(TAG)
    asked = len(served.asked)
    assert hub.fetch(TAG) == path
    assert len(served.asked) == asked
    next(path.parent.glob("*.xml")).unlink()
    assert hub.fetch(TAG) == path
    assert len(served.asked) == asked, "the weights lie there, and are the pinned ones"
    hub.fetch(TAG, force=True)
    assert len(served.asked) > asked


@needs_timm
def test_weights_carried_by_hand_are_held_against_the_hub_or_a_hash(
    served: Hub, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.content = weights.read_bytes()
    assert read_card(hub.fetch(TAG, carried=weights)).training["revision"] == REVISION
    other = tmp_path / "other.safetensors"
    other.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(
        ModelError, match=rf"has sha256 {sha256(other)} where .* says {sha256(weights)}: give"
    ):
        hub.fetch(TAG, carried=other)
    with pytest.raises(ModelError, match=rf"has sha256 {sha256(weights)} where .* says {'0' * 64}: give"):
        hub.fetch(TAG, carried=weights, sha256="0" * 64)
    with pytest.raises(ModelError, match=r"No weights file at .*nowhere: check --weights"):
        hub.fetch(TAG, carried=tmp_path / "nowhere")


@needs_timm
@pytest.mark.usefixtures("offline")
def test_without_a_network_the_way_by_hand_is_named_and_works(weights: Path) -> None:
    page = f"https://huggingface.co/{NAME}/blob/main/model.safetensors"
    with pytest.raises(ModelError) as caught:
        hub.fetch(TAG)
    assert f"give it with --weights FILE, and give their SHA-256, which {page} states" in str(caught.value)
    with pytest.raises(ModelError, match=r"\): give their SHA-256, which .* states, with --sha256 HEX\.$"):
        hub.fetch(TAG, carried=weights)
    card = read_card(hub.fetch(TAG, carried=weights, sha256=sha256(weights)))
    assert model_file.state(card) == model_file.PRESENT
    assert card.training["weights_sha256"] == sha256(weights)


@needs_timm
def test_another_file_than_the_hub_names_is_refused(served: Hub, weights: Path) -> None:
    served.content, served.sha256 = weights.read_bytes(), "ab" * 32
    with pytest.raises(ModelError, match=f"what arrived has sha256 .* where the hub says {'ab' * 32}"):
        hub.fetch(TAG)


@needs_timm
@pytest.mark.parametrize("change", ["missing", "shape", "superfluous"])
def test_the_first_tensor_that_differs_is_named(
    served: Hub, network: Any, tmp_path: Path, change: str
) -> None:
    from safetensors.torch import save_file

    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    name = "classifier.weight"
    said = {
        "missing": rf"Tensor '{name}' is missing in the weights, and {TAG} has it as \[1000, ",
        "shape": rf"Tensor '{name}' is \[21, .*\] in the weights, and {TAG} has it as \[1000, ",
        "superfluous": rf"Tensor 'more' of the weights has no place in {TAG}: they are of another network",
    }[change]
    if change == "missing":
        del state[name]
    elif change == "shape":
        state[name] = state[name][:21].contiguous()
    else:
        state["more"] = state[name].clone()
    save_file(state, tmp_path / "model.safetensors")
    served.content = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(ModelError, match=said):
        hub.fetch(TAG)


@needs_timm
@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x02}q\x00."])
def test_what_is_no_safetensors_file_is_one_sentence(served: Hub, content: bytes, tmp_path: Path) -> None:
    served.content = content
    with pytest.raises(ModelError, match="Cannot read the weights"):
        hub.fetch(TAG)
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.pth is no \.safetensors file"):
        hub.fetch(TAG, carried=path, sha256=sha256(path))


@needs_timm
@pytest.mark.parametrize(
    ("tag", "accepted", "said"),
    [
        (
            "mobilenetv3_large_100.ra_in1",
            None,
            r"publishes no weights '.*'\. Did you mean 'mobilenetv3",
        ),
        ("no-such-thing-at-all", None, r"publishes no weights 'no-such-thing-at-all'\. "),
        ("mobilenetv3_large_100.miil_in21k", None, "tells 11221 classes apart, and .*: give a tag that ends"),
        (
            "fastvit_t8.apple_in1k",
            None,
            "states the licence 'fastvit-license', which may not .*: give --a",
        ),
        ("fastvit_t8.apple_in1k", "mit", "which may not allow commercial use: give --accept-licence fastvit"),
        (
            "convnextv2_atto.fcmae_ft_in1k",
            None,
            r"which may not .* --accept-licence cc-by-nc-4\.0, or",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_hub_is_asked(
    served: Hub, tag: str, accepted: str | None, said: str
) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        hub.fetch(tag, accepted=accepted)
    assert "\n" not in str(caught.value)
    assert served.asked == []


@needs_timm
@pytest.mark.usefixtures("offline")
def test_an_accepted_licence_opens_the_way() -> None:
    with pytest.raises(ModelError, match="Cannot ask"):
        hub.fetch("fastvit_t8.apple_in1k", accepted="fastvit-license")


@needs_timm
def test_the_command_prints_the_card_and_other_commands_take_it(served: Hub, weights: Path) -> None:
    served.content = weights.read_bytes()
    run = click.testing.CliRunner().invoke
    done = run(cli, ["model", "fetch", f"timm:{TAG}"])
    assert done.exit_code == 0, done.output
    card = done.stdout.strip()
    shown = json.loads(run(cli, ["model", "show", card, "--json"]).stdout)
    assert (shown["name"], shown["state"]) == (TAG, "present")


def test_what_is_only_for_timm_is_refused_elsewhere() -> None:
    done = click.testing.CliRunner().invoke(
        cli, ["model", "fetch", "resnet50-mlperf", "--accept-licence", "x"]
    )
    assert done.exit_code == 2
    assert "--sha256 and --accept-licence are for timm:TAG." in done.output


def test_a_hash_without_the_file_that_it_is_of_is_refused() -> None:
    done = click.testing.CliRunner().invoke(cli, ["model", "fetch", f"timm:{TAG}", "--sha256", "0" * 64])
    assert done.exit_code == 2
    assert "--sha256 is the hash of --weights: give both." in done.output
