"""What a child process says, as its parent hears it."""

import pickle
from pathlib import Path

import pytest

from harness.comparison.measuring import OtherTests
from harness.dataset.image_file import ImageError
from harness.errors import HarnessError
from harness.mlperf.log import LogFault
from harness.run.result import Damaged


@pytest.mark.parametrize(
    "error",
    [
        LogFault("The log is cut off"),
        Damaged("result.json is cut off"),
        ImageError("one.png", "is cut off"),
        OtherTests(Path("out"), "model"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_from_a_child_as_it_was(error: HarnessError) -> None:
    heard = pickle.loads(pickle.dumps(error))
    assert type(heard) is type(error)
    assert (str(heard), vars(heard)) == (str(error), vars(error))
