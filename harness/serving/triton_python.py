"""Triton with its Python backend, and OpenVINO in the model's own program: model.py beside the IR.

Each instance is a process with one stream; together they have the threads and streams asked for. Of several
none pins its threads: OpenVINO begins with the first CPU in every process, so that all would share it.
"""

from dataclasses import replace
from pathlib import Path

from harness.serving import triton
from harness.serving.layout import Deployment, Files, program

SERVER = triton.SERVER
REMARKS = ("OpenVINO and NumPy must be installed where the Python backend finds them.",)


def properties(deployment: Deployment) -> dict[str, str]:
    """Return those of an instance."""
    settings, instances = deployment.settings, _instances(deployment)
    threads = None if settings.threads is None else max(1, settings.threads // instances)
    pinning = settings.pinning if instances == 1 else False
    own = replace(settings, hint="LATENCY", streams=1, threads=threads, pinning=pinning)
    return replace(deployment, settings=own).properties


def _instances(deployment: Deployment) -> int:
    return deployment.settings.streams or 1


def files(deployment: Deployment, folder: Path) -> Files:
    config = triton.config(deployment, "python", properties(deployment), _instances(deployment))
    return Files({"model.py": program("triton_model")}, {triton.CONFIG: config}, {})


start = triton.start
