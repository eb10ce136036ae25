"""What the child that does a job has of its parent, and what the parent knows of it afterwards."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Oracle

from harness.loadgen import work
from harness.loadgen.subject import Backend
from harness.machine import noise
from harness.mlperf.scenario import Scenario
from loadgen.test_known_answers import job_of

BUSY_S = 0.3
TWICE = """
import json, sys, tempfile
from pathlib import Path
from harness.process import child

def work(link):
    return {"wave": "wave" in sys.modules, "colorsys": "colorsys" in sys.modules}

if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    found = [child.run(work, folder, 60, imported=("wave",)) for _ in range(2)]
    print(json.dumps([{name: one[name] for name in ("wave", "colorsys")} for one in found]))
"""


def surroundings(backend: Backend) -> dict[str, Any]:
    """Compute for a while, and tell what this process runs in."""
    until = time.process_time() + BUSY_S
    while time.process_time() < until:
        pass
    return {
        "told": os.environ.get("TOLD"),
        "cpus": os.sched_getaffinity(0),
        "folder": os.getcwd(),
        "reports": sys.modules.get("openvino_telemetry") is not None,
        "threads": [thread.name for thread in threading.enumerate() if not thread.daemon],
    }


def test_a_child_runs_in_what_its_parent_does_by_now_and_its_time_is_counted_as_the_parents(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(oracle, tmp_path, Scenario.OFFLINE)
    allowed = os.sched_getaffinity(0)
    before_s = noise._own_cpu_s()
    try:
        for told, cpus in (("first", allowed), ("then", {max(allowed)})):
            monkeypatch.setenv("TOLD", told)
            (tmp_path / told).mkdir()
            monkeypatch.chdir(tmp_path / told)
            os.sched_setaffinity(0, cpus)
            found = work.run(job, work=surroundings)
            assert found == {
                "told": told,
                "cpus": cpus,
                "folder": str(tmp_path / told),
                "reports": False,
                "threads": ["MainThread"],
            }
    finally:
        os.sched_setaffinity(0, allowed)
    assert noise._own_cpu_s() - before_s > 2 * BUSY_S


def test_modules_are_imported_once_for_all_children_and_none_from_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text(TWICE)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "wave.py").write_text("raise SystemExit('the wrong one')")
    done = subprocess.run(
        [sys.executable, tmp_path / "twice.py"],
        cwd=tmp_path / "here", capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"wave": True, "colorsys": False}] * 2
