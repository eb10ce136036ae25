"""Triton with its Python backend, and OpenVINO in the model's own program: model.py beside the IR.

Each instance is a process with one stream; together they have the threads and streams asked for.
"""

from dataclasses import replace
from pathlib import Path

from harness.serving import triton
from harness.serving.layout import Deployment, Files, program

SERVER = triton.SERVER
REMARKS = ("OpenVINO and NumPy must be installed where the Python backend finds them.",)


def files(deployment: Deployment, folder: Path) -> Files:
    settings = deployment.settings
    instances = settings.streams or 1
    threads = None if settings.threads is None else max(1, settings.threads // instances)
    own = replace(settings, hint="LATENCY", streams=1, threads=threads)
    properties = replace(deployment, settings=own).properties
    config = triton.config(deployment, "python", properties, instances)
    return Files({"model.py": program("triton_model")}, {triton.CONFIG: config}, {})


start = triton.start
