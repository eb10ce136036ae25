"""timm's networks, where timm can be imported; the message where it cannot."""

import sys

import pytest

from harness.errors import ModelError
from harness.model import zoo


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        ModelError,
        match=r"timm, which builds the networks .* run `pip install 'inference-harness\[frontier\]'`",
    ):
        zoo.build("resnet18", 64)


def test_a_network_of_timm_becomes_one_graph_with_an_image_in_and_logits_out() -> None:
    pytest.importorskip("timm", reason="builds timm's networks", exc_type=Exception)
    model = zoo.build("mobilenetv4_conv_small", 64)
    assert list(model.input(0).shape) == [1, 3, 64, 64]
    assert list(model.output(0).shape) == [1, 1000]
    with pytest.raises(ModelError, match=r"timm has no architecture 'mobilenetv4_conv_smal'. Did you mean '"):
        zoo.build("mobilenetv4_conv_smal", 64)
