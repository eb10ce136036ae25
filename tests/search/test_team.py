"""How the first of several processes ends the others."""

from typing import Any, cast

import pytest

pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")

from harness.errors import HarnessError
from harness.search.accuracy.team import leading
from harness.training.ranks import Ranks


class Told:
    """Keeps what the first process tells."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def tell(self, message: Any) -> None:
        self.messages.append(message)


@pytest.mark.parametrize(
    ("ends", "raised", "messages"),
    [
        (False, None, [None]),
        (True, None, [None]),
        (False, HarnessError("the machine is too busy"), [None]),
        (True, HarnessError("the store is damaged"), [None]),
        (False, ZeroDivisionError("a bug"), []),
    ],
)
def test_other_processes_are_ended_once_but_not_after_what_may_break_into_a_training(
    ends: bool, raised: Exception | None, messages: list[None]
) -> None:
    told = Told()

    def lead() -> None:
        with leading(cast(Ranks, told)) as end_others:
            if ends:
                end_others()
            if raised:
                raise raised

    if raised:
        with pytest.raises(type(raised)):
            lead()
    else:
        lead()
    assert told.messages == messages
