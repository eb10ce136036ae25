"""Which trainings a team begins together."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")

from harness.errors import HarnessError
from harness.model.architecture import resnet50
from harness.search.accuracy.material import Material
from harness.search.accuracy.team import Team
from harness.search.accuracy.trainer import ANEW, Job
from harness.training.ranks import Ranks


def test_networks_of_like_work_train_together_and_none_twice() -> None:
    told: list[list[str]] = []
    error = HarnessError("trained")

    class Two:
        count = 2

        def tell(self, jobs: list[Job]) -> None:
            told.append([job.name for job in jobs])

        def gather(self, own: Any) -> list[Any]:
            return [own] * self.count

    def train(_: Job) -> Any:
        raise error

    team = Team(cast(Material, SimpleNamespace(train=train)), cast(Ranks, Two()))
    jobs = [
        Job(resnet50(10, 32, width), Path(f"{width}-{seed}"), ANEW, name=f"{width}-{seed}")
        for seed in (1, 2)
        for width in (0.5, 1.0)
    ]
    with team.ahead(jobs):
        for job in jobs:
            with pytest.raises(HarnessError, match="trained"):
                team.train(job)
    assert told == [["0.5-1", "0.5-2"], ["1.0-1", "1.0-2"]]
