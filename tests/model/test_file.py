import hashlib
import shlex
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from harness import files, resources
from harness.cli import cli
from harness.errors import ModelError, OutputError
from harness.model import file as model_file
from harness.model import resnet
from harness.model.card import (
    AccuracySpec,
    Card,
    FileSpec,
    InputSpec,
    OutputSpec,
    find_card,
    read_card,
    write_card,
)
from model.sample_onnx import write_numbers, write_sum
from model.test_efficientnet import random_state
from model.test_resnet import huggingface_name, images, run, small_state

ov = pytest.importorskip("openvino")

CONTENT = np.random.default_rng(1).bytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
DATA = Path(__file__).parents[3] / "shared" / "data" / "models"


def make_card(folder: Path = Path(), **spec: Any) -> Card:
    return Card(
        name="small",
        benchmark="resnet50",
        file=FileSpec(**spec),
        input=InputSpec(16, "NCHW", "f32", "RGB", "area", 0.875, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        output=OutputSpec("logits", 10),
        folder=folder,
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    return tmp_path / "cache" / "models" / "small"


@dataclass
class Server:
    """A web server on this machine; each answer takes the next behaviour from `script`."""

    url: str
    content: bytes = CONTENT
    script: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = told.content
            wanted = self.headers.get("Range")
            told.ranges.append(wanted)
            mode = told.script.pop(0) if told.script else "range"
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and mode != "whole" else 0
            if mode == "404":
                return self.send_error(404)
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                shown = 0 if mode == "other range" else start
                self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            body = content[start:]
            with suppress(ConnectionError):
                self.wfile.write(body[: len(body) // 2] if mode == "broken" else body)
            return None

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        told = Server(f"http://127.0.0.1:{running.server_port}/files/model.bin?download=1")
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield told
        running.shutdown()
        thread.join()


def test_a_fetched_file_lies_in_the_cache_and_is_fetched_once(server: Server, cache: Path) -> None:
    card = make_card(url=server.url, sha256=SHA256)
    assert model_file.state(card) == model_file.NOT_FETCHED

    path = model_file.fetch(card)

    assert path == model_file.locate(card) == cache / "model.bin"
    assert path.read_bytes() == CONTENT
    assert model_file.state(card) == model_file.PRESENT
    assert model_file.sha256(card) == SHA256
    assert model_file.fetch(card) == path
    assert server.ranges == [None]
    assert [item.name for item in cache.iterdir()] == ["model.bin"]


def test_force_fetches_what_is_there(server: Server) -> None:
    card = make_card(url=server.url, md5=MD5)

    model_file.fetch(card)
    model_file.fetch(card, force=True)

    assert server.ranges == [None, None]


def test_a_broken_download_is_told_and_goes_on_where_it_stopped(server: Server, cache: Path) -> None:
    card = make_card(url=server.url, sha256=SHA256)
    server.script = ["broken"]

    with pytest.raises(ModelError, match=r"connection broke after 350\.0 kB of 700\.0 kB"):
        model_file.fetch(card)
    assert not (cache / "model.bin").exists()
    assert (cache / "model.bin.part").read_bytes() == CONTENT[:350_000]

    path = model_file.fetch(card)

    assert server.ranges == [None, "bytes=350000-"]
    assert path is not None
    assert path.read_bytes() == CONTENT


def test_two_fetches_at_once_do_not_mix(server: Server, cache: Path) -> None:
    card = make_card(url=server.url, sha256=SHA256)
    cache.mkdir(parents=True)
    with (
        files.locked(cache / ".model.bin.lock", OutputError("not expected")),
        pytest.raises(ModelError, match=r"\(another process is fetching it\): try again later"),
    ):
        model_file.fetch(card)
    assert server.ranges == []
    assert not list(cache.iterdir())


def test_what_another_process_has_fetched_meanwhile_is_not_fetched_again(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = files.locked

    def late(path: Path, refusal: Exception) -> AbstractContextManager[None]:
        (cache / "model.bin").write_bytes(CONTENT)
        return locked(path, refusal)

    monkeypatch.setattr(files, "locked", late)
    path = model_file.fetch(make_card(url=server.url, sha256=SHA256))
    assert path is not None
    assert path.read_bytes() == CONTENT
    assert server.ranges == []


@pytest.mark.parametrize(
    ("part", "script", "ranges"),
    [
        (CONTENT[:5], ["whole"], ["bytes=5-"]),
        (CONTENT, [], ["bytes=700000-"]),
        (b"", [], [None]),
        (b"another version", [], ["bytes=15-", None]),
        (CONTENT + b"too long", [], ["bytes=700008-", None]),
        (CONTENT[:5], ["other range"], ["bytes=5-", None]),
    ],
    ids=["server ignores ranges", "complete", "empty", "other content", "too long", "server lies"],
)
def test_whatever_part_lies_there_the_file_ends_up_right(
    server: Server, cache: Path, part: bytes, script: list[str], ranges: list[str | None]
) -> None:
    cache.mkdir(parents=True)
    (cache / "model.bin.part").write_bytes(part)
    server.script = script

    path = model_file.fetch(make_card(url=server.url, sha256=SHA256))

    assert path is not None
    assert path.read_bytes() == CONTENT
    assert server.ranges == ranges


@pytest.mark.parametrize(("kind", "digits"), [("sha256", 64), ("md5", 32)])
def test_a_wrong_checksum_names_url_both_digests_and_the_way_by_hand(
    server: Server, cache: Path, kind: str, digits: int
) -> None:
    card = make_card(url=server.url, **{kind: "0" * digits})

    with pytest.raises(ModelError) as caught:
        model_file.fetch(card)

    text = str(caught.value)
    assert server.url in text
    assert f"has {kind} {hashlib.new(kind, CONTENT).hexdigest()}" in text
    assert f"by hand at {cache / 'model.bin'} ({kind} {'0' * digits})" in text
    assert "\n" not in text
    assert not list(cache.iterdir())


def test_a_missing_page_names_url_and_the_way_by_hand(server: Server, cache: Path) -> None:
    server.script = ["404"]

    with pytest.raises(ModelError, match=r"the server answered 404") as caught:
        model_file.fetch(make_card(url=server.url, sha256=SHA256))

    assert server.url in str(caught.value)
    assert f"{cache / 'model.bin'} (sha256 {SHA256})" in str(caught.value)


def test_a_refused_connection_names_url_and_the_way_by_hand(cache: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/model.bin"

        with pytest.raises(ModelError, match="refused") as caught:
            model_file.fetch(make_card(url=url, sha256=SHA256))

    assert url in str(caught.value)
    assert f"{cache / 'model.bin'} (sha256 {SHA256})" in str(caught.value)


def test_a_damaged_file_in_the_cache_is_fetched_again_and_never_read(server: Server, cache: Path) -> None:
    card = make_card(url=server.url, sha256=SHA256)
    cache.mkdir(parents=True)
    (cache / "model.bin").write_bytes(b"damaged")

    with pytest.raises(ModelError, match=r"model\.bin of model 'small' has sha256 .* `harness model fetch"):
        model_file.read(card)
    path = model_file.fetch(card)

    assert path is not None
    assert path.read_bytes() == CONTENT


def test_a_cache_that_is_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))

    with pytest.raises(OutputError, match="Cannot write to the folder"):
        model_file.fetch(make_card(url="http://127.0.0.1:1/a.onnx", sha256=SHA256))


def test_the_cache_follows_the_users_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert resources.cache_folder() == Path("/xdg/harness")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert resources.cache_folder() == Path("/home/someone/.cache/harness")


def test_a_model_not_fetched_says_the_very_command_that_fetches_it(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "my card.toml"
    write_card(make_card(url=server.url, sha256=SHA256), path)
    with pytest.raises(ModelError) as told:
        model_file.files(read_card(path))
    words = shlex.split(str(told.value).split("`")[1])
    CliRunner().invoke(cli, words[1:], catch_exceptions=False)
    assert model_file.state(read_card(path)) == model_file.PRESENT


def test_a_seeded_model_has_no_file_and_a_hash_of_its_weights() -> None:
    card = find_card("resnet50-seeded")
    other = replace(card, file=replace(card.file, seed=1))

    assert model_file.locate(card) is None
    assert model_file.files(card) == []
    assert model_file.fetch(card) is None
    assert model_file.state(card) == model_file.BUILT_IN
    assert len(model_file.sha256(card)) == 64
    assert model_file.sha256(card) != model_file.sha256(other)


def test_a_seeded_model_is_built_at_the_cards_size() -> None:
    model = model_file.read(find_card("resnet50-seeded"))

    assert list(model.input("image").shape) == [1, 3, 224, 224]
    assert model.get_friendly_name() == "resnet50-seeded"


@pytest.fixture
def ir(tmp_path: Path) -> Card:
    ov.save_model(resnet.build(small_state(), 16), tmp_path / "small.xml", compress_to_fp16=False)
    return make_card(tmp_path, path="small.xml")


def test_an_ir_is_its_xml_and_its_bin(ir: Card, tmp_path: Path) -> None:
    both = [tmp_path / "small.xml", tmp_path / "small.bin"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in both)).hexdigest()

    assert model_file.files(ir) == both
    assert model_file.fetch(ir) == both[0]
    assert model_file.sha256(ir) == digest
    checked = replace(ir, file=replace(ir.file, sha256=digest))
    wanted = run(resnet.build(small_state(), 16), images(16))
    assert np.allclose(run(model_file.read(checked), images(16)), wanted, atol=1e-5)


@pytest.mark.parametrize(("graph", "weights"), [("a.XML", "a.bin"), ("a.XML", "a.BIN"), ("a.xml", "a.BIN")])
def test_an_ir_with_upper_case_suffixes_is_read_and_hashed_with_its_weights(
    ir: Card, tmp_path: Path, graph: str, weights: str
) -> None:
    shutil.copy(tmp_path / "small.xml", tmp_path / graph)
    shutil.copy(tmp_path / "small.bin", tmp_path / weights)
    card = make_card(tmp_path, path=graph)
    assert model_file.files(card) == [tmp_path / graph, tmp_path / weights]
    assert model_file.sha256(card) == model_file.sha256(ir)
    assert np.array_equal(run(model_file.read(card), images(16)), run(model_file.read(ir), images(16)))
    (tmp_path / weights).write_bytes((tmp_path / "small.bin").read_bytes()[::-1])
    assert model_file.sha256(card) != model_file.sha256(ir)


@pytest.mark.parametrize("location", ["weights", "m.onnx.data", "sub/any name.bin", "./m.weights"])
def test_the_weights_that_an_onnx_file_names_belong_to_the_model(tmp_path: Path, location: str) -> None:
    write_sum(tmp_path / "m.onnx", location)
    card = make_card(tmp_path, path="m.onnx")
    assert model_file.state(card) == model_file.MISSING
    with pytest.raises(ModelError, match=r"The weights .* cannot be found: put them beside m\.onnx"):
        model_file.sha256(card)
    digests = set()
    for value in (1, 2):
        write_numbers(tmp_path / location, value)
        assert model_file.files(card) == [tmp_path / "m.onnx", tmp_path / location]
        both = (tmp_path / "m.onnx").read_bytes() + (tmp_path / location).read_bytes()
        assert model_file.sha256(card) == hashlib.sha256(both).hexdigest()
        digests.add(model_file.sha256(card))
    assert len(digests) == 2
    assert model_file.read(card).outputs


def test_a_fetched_onnx_file_whose_weights_have_no_address_is_refused(server: Server, tmp_path: Path) -> None:
    write_sum(tmp_path / "m.onnx", "weights")
    server.content = (tmp_path / "m.onnx").read_bytes()
    digest = hashlib.sha256(server.content).hexdigest()
    card = make_card(url=server.url.replace("model.bin", "m.onnx"), sha256=digest)
    for _ in range(2):
        with pytest.raises(ModelError, match="download both files by hand and name the first as 'path'"):
            model_file.fetch(card)


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    file_digest = hashlib.file_digest

    def counts(file: Any, *rest: Any) -> Any:
        hashed.append(Path(file.name))
        return file_digest(file, *rest)

    monkeypatch.setattr(hashlib, "file_digest", counts)
    path, digests = tmp_path / "m.tflite", []
    for content in (b"first", b"other"):
        path.write_bytes(content)
        digests += [model_file.sha256(make_card(tmp_path, path="m.tflite")) for _ in range(3)]
    assert digests == [hashlib.sha256(content).hexdigest() for content in [b"first"] * 3 + [b"other"] * 3]
    assert hashed == [path, path]


def test_a_savedmodel_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    with pytest.raises(
        ModelError, match=r"saved of model 'small' is no model file: name the file in the card"
    ):
        model_file.read(make_card(tmp_path, path="saved"))
    (tmp_path / "saved" / "saved_model.pb").touch()
    for path in ("saved", "saved/saved_model.pb"):
        with pytest.raises(
            ModelError, match=r"saved of .* is a SavedModel .* with `ovc .*saved --output_model"
        ):
            model_file.read(make_card(tmp_path, path=path))


def test_a_suffix_that_openvino_reads_in_lower_case_alone_is_named(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "models" / "mobilenet_v2_1.0_224_quant.tflite"
    shutil.copy(source, tmp_path / "m.TFLITE")
    with pytest.raises(ModelError, match=r"its suffix must be '\.tflite', in lower case; rename the file"):
        model_file.read(make_card(tmp_path, path="m.TFLITE"))


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("m.onnx", "m.onnx.data"),
        ("m.onnx", "m.onnx_data"),
        ("m.onnx", "m.data"),
        ("m.pdmodel", "m.pdiparams"),
    ],
)
def test_weights_beside_a_graph_belong_to_the_model(tmp_path: Path, name: str, beside: str) -> None:
    (tmp_path / name).write_bytes(b"graph")
    card = make_card(tmp_path, path=name)
    alone = model_file.sha256(card)
    digests = set()
    for weights in (b"first", b"other"):
        (tmp_path / beside).write_bytes(weights)
        assert model_file.files(card) == [tmp_path / name, tmp_path / beside]
        digests.add(model_file.sha256(card))
    assert len(digests | {alone}) == 3


def test_a_local_file_of_another_checksum_is_refused(ir: Card) -> None:
    card = replace(ir, file=replace(ir.file, sha256="0" * 64))

    with pytest.raises(ModelError, match=r"small\.xml of model 'small' has sha256 .*correct the card"):
        model_file.read(card)


def test_an_ir_without_its_weights_is_refused(ir: Card, tmp_path: Path) -> None:
    (tmp_path / "small.bin").unlink()

    assert model_file.state(ir) == model_file.MISSING
    with pytest.raises(ModelError, match=r"The weights .*small\.bin of model 'small' cannot be found"):
        model_file.read(ir)


def test_an_ir_with_truncated_weights_is_refused(ir: Card, tmp_path: Path) -> None:
    (tmp_path / "small.bin").write_bytes(b"short")

    with pytest.raises(ModelError, match=r"OpenVINO cannot read .*small\.xml of model 'small' \(") as caught:
        model_file.read(ir)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.onnx", "a.tflite", "a.pb"])
def test_a_damaged_model_is_refused_in_one_sentence(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(b"garbage" * 100)

    with pytest.raises(ModelError, match=rf"OpenVINO cannot read .*{name} of model 'small'"):
        model_file.read(make_card(tmp_path, path=name))

    assert name == "a.pb" or capfd.readouterr() == ("", "")


def test_a_format_that_openvino_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"weights")

    with pytest.raises(ModelError, match=r"OpenVINO reads no '\.pth' file .*\.onnx.* builder"):
        model_file.read(make_card(tmp_path, path="a.pth"))


def test_a_missing_local_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"The file .*gone\.onnx of model 'small' cannot be found"):
        model_file.fetch(make_card(tmp_path, path="gone.onnx"))


@pytest.mark.parametrize("naming", ["huggingface", "torchvision"])
def test_safetensors_in_either_naming_make_the_same_model(naming: str, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    state = {name: array for name, array in small_state().items() if "num_batches" not in name}
    renamed = {huggingface_name(n): a for n, a in state.items()} if naming == "huggingface" else state
    save_file(renamed, tmp_path / "small.safetensors")
    card = make_card(tmp_path, path="small.safetensors", builder="resnet50_v1.5", weights=naming)

    logits = run(model_file.read(card), images(16))

    assert np.array_equal(logits, run(resnet.build(state, 16), images(16)))
    assert (
        model_file.sha256(card) == hashlib.sha256((tmp_path / "small.safetensors").read_bytes()).hexdigest()
    )


def test_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"garbage" * 10)
    card = make_card(tmp_path, path="a.safetensors", builder="resnet50_v1.5", weights="huggingface")

    with pytest.raises(ModelError, match=r"Cannot read the weights .*a\.safetensors"):
        model_file.read(card)


def test_weights_of_another_network_are_refused_by_model_and_tensor(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"conv1.weight": np.zeros((8, 3, 7, 7), "f4")}, tmp_path / "a.safetensors")
    card = make_card(tmp_path, path="a.safetensors", builder="resnet50_v1.5", weights="torchvision")

    with pytest.raises(ModelError, match=r"Model 'small': Tensor 'layer1\.0\.conv1\.weight' is missing"):
        model_file.read(card)


def test_pytorch_weights_without_pytorch_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pth").write_bytes(b"weights")
    card = make_card(tmp_path, path="a.pth", builder="resnet50_v1.5", weights="torchvision")

    with pytest.raises(
        ModelError, match=r"Model 'small': .*a\.pth .* `pip install 'inference-harness\[torch\]'`"
    ):
        model_file.read(card)


def test_a_state_dict_of_pytorch_makes_the_same_model(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    state = small_state()
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, tmp_path / "a.pth")
    card = make_card(tmp_path, path="a.pth", builder="resnet50_v1.5", weights="torchvision")

    logits = run(model_file.read(card), images(16))

    assert np.array_equal(logits, run(resnet.build(state, 16), images(16)))


def test_pytorch_files_that_are_no_state_dict_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    card = make_card(tmp_path, path="a.pth", builder="resnet50_v1.5", weights="torchvision")

    (tmp_path / "a.pth").write_bytes(b"garbage")
    with pytest.raises(ModelError, match=r"PyTorch cannot read the weights .*a\.pth"):
        model_file.read(card)
    torch.save({"epoch": 3, "model": {}}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match="not a state dict"):
        model_file.read(card)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mobilenet_v2_fp32.xml", [1, 224, 224, 3]),
        ("mobilenet_v2_1.0_224_quant.tflite", [1, 224, 224, 3]),
        ("nanodet_m.onnx", None),
    ],
)
def test_real_models_of_each_format_are_read(name: str, shape: list[int] | None) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is absent")
    (image,) = model_file.read(make_card(DATA, path=name)).inputs

    assert shape is None or list(image.shape) == shape


def test_facts_state_target_size_and_place(ir: Card, tmp_path: Path) -> None:
    facts = model_file.facts(replace(ir, accuracy=AccuracySpec("top1", 0.5, 0.98)))

    assert facts["target_accuracy"] == pytest.approx(0.49)
    assert facts["target_dataset"] is None
    assert facts["size_bytes"] == sum((tmp_path / f"small.{end}").stat().st_size for end in ("xml", "bin"))
    assert facts["file"] == str(tmp_path / "small.xml")


def test_a_card_without_accuracy_is_held_to_the_rules_target(ir: Card) -> None:
    assert model_file.facts(ir)["target_accuracy"] == pytest.approx(0.7646 * 0.99)
    assert model_file.facts(ir)["target_dataset"] == "imagenet"
    assert model_file.facts(replace(ir, speed_only=True))["target_accuracy"] is None


def test_a_missing_file_has_no_size(tmp_path: Path, ir: Card) -> None:
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    (tmp_path / "small.xml").unlink()

    assert model_file.facts(ir)["size_bytes"] is None
    assert model_file.facts(ir)["state"] == model_file.MISSING


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    """Return the card of a model whose weights a Python package brings."""
    torch = pytest.importorskip("torch")
    state = random_state("efficientnet_lite0", 10)
    folder = tmp_path / "packages" / "small_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    torch.save({name: torch.from_numpy(value) for name, value in state.items()}, folder / "small.pth")
    monkeypatch.syspath_prepend(folder.parent)
    return make_card(
        package="small_weights",
        path="small.pth",
        sha256=files.sha256_file(folder / "small.pth"),
        builder="efficientnet_lite0",
        weights="in order",
    )


def test_weights_of_a_package_are_found_where_it_is_installed(package: Card, tmp_path: Path) -> None:
    assert model_file.state(package) == model_file.PRESENT
    assert model_file.locate(package) == tmp_path / "packages" / "small_weights" / "small.pth"
    assert list(model_file.read(package).output(0).shape) == [1, 10]


def test_what_was_built_from_torch_weights_is_kept_and_read_without_building(
    package: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = model_file.read(package)
    assert len(list((tmp_path / "cache" / "built").glob("efficientnet_lite0-16-*.xml"))) == 1
    monkeypatch.setitem(sys.modules, "torch", None)
    again = model_file.read(package)
    image = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    assert np.array_equal(run(first, image), run(again, image))
    assert again.get_friendly_name() == package.name


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(
    package: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    assert list(model_file.read(package).output(0).shape) == [1, 10]
    assert "The next time small is built again: Cannot write to the folder" in capsys.readouterr().err


def test_a_package_that_is_not_installed_is_named_with_the_hash_of_its_file(
    package: Card, cache: Path
) -> None:
    absent = replace(package, file=replace(package.file, package="no_such_weights"))
    assert model_file.state(absent) == model_file.NOT_INSTALLED
    wanted = r"pip install no_such_weights`, or put the file by hand at .*small.pth"
    with pytest.raises(ModelError, match=wanted) as error:
        model_file.read(absent)
    assert str(package.file.sha256) in str(error.value)


def test_a_file_that_was_carried_by_hand_takes_the_place_of_package_and_download(
    package: Card, cache: Path, tmp_path: Path
) -> None:
    here = model_file.locate(package)
    assert here is not None
    absent = replace(package, file=replace(package.file, package="no_such_weights"))
    assert model_file.fetch(absent, carried=here) == cache / "small.pth"
    assert list(model_file.read(absent).output(0).shape) == [1, 10]
    (tmp_path / "other.pth").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"other.pth has sha256 .* give the one that model 'small' names"):
        model_file.fetch(absent, carried=tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"takes no file from elsewhere: leave out --weights"):
        model_file.fetch(find_card("resnet50-seeded"), carried=here)
    with pytest.raises(ModelError, match=r"No weights file at .*: check --weights"):
        model_file.fetch(absent, carried=tmp_path / "nowhere.pth")


def test_a_damaged_file_of_a_package_is_refused(package: Card) -> None:
    here = model_file.locate(package)
    assert here is not None
    here.write_bytes(b"damaged")
    with pytest.raises(
        ModelError, match=r"has sha256 .* replace the file or run `pip install small_weights`"
    ):
        model_file.read(package)
