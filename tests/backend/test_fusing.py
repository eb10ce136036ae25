"""Operations that were taken apart are one again for NNCF."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from harness.backend.fusing import fuse_swish


def test_x_times_its_sigmoid_is_swish_and_no_other_product_is() -> None:
    x = ops.parameter([1, 8], np.float32)
    gate = ops.sigmoid(x)
    outputs = [
        ops.multiply(x, gate),
        ops.multiply(ops.sigmoid(x), x),
        ops.multiply(x, ops.sigmoid(ops.add(x, np.float32(1)))),
        ops.multiply(x, x),
    ]
    model = ov.Model([ops.result(one) for one in outputs], [x])
    values = np.linspace(-3, 3, 8, dtype=np.float32)[None]
    before = ov.Core().compile_model(model, "CPU")([values]).values()
    assert fuse_swish(model) == 2
    after = ov.Core().compile_model(model, "CPU")([values]).values()
    kinds = [node.get_type_name() for node in model.get_ordered_ops()]
    assert (kinds.count("Swish"), kinds.count("Multiply")) == (2, 2)
    for one, other in zip(before, after, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
