"""Triton with its OpenVINO backend: NAME/config.pbtxt and NAME/VERSION/model.xml."""

import json
from pathlib import Path

from harness.endpoint.contract import BYTES, Tensor
from harness.serving.layout import Deployment, Files, Start

SERVER = "Triton Inference Server"
_PORT = 8001
REMARKS = (
    "It needs a Triton with the OpenVINO backend.",
    "The backend has no parameter for pinning, SMT and kinds of cores.",
    "Nor has it one for f32: on a CPU that has BF16 OpenVINO computes in it what is not quantized.",
)

CONFIG = "config.pbtxt"
_TYPES = {BYTES: "TYPE_STRING"}
_PARAMETERS = ("PERFORMANCE_HINT", "INFERENCE_NUM_THREADS", "NUM_STREAMS")
"""What the backend knows by these names (README of triton-inference-server/openvino_backend)."""


def properties(deployment: Deployment) -> dict[str, str]:
    found = {name: value for name, value in deployment.properties.items() if name in _PARAMETERS}
    return found | ({"HINT_BF16": "YES"} if deployment.settings.precision == "bf16" else {})


def files(deployment: Deployment, folder: Path) -> Files:
    return Files({}, {CONFIG: config(deployment, "openvino", properties(deployment))}, {})


def start(deployment: Deployment, folder: Path) -> Start:
    command = (
        f"tritonserver --model-repository {folder} --grpc-address 127.0.0.1 --http-address 127.0.0.1 "
        "--metrics-address 127.0.0.1"
    )
    return Start(command, _PORT, deployment.name)


def config(deployment: Deployment, backend: str, parameters: dict[str, str], instances: int = 1) -> str:
    """Return config.pbtxt (model_configuration.md); a batch is part of the shapes, so max_batch_size is 0."""
    lines = [
        f"name: {json.dumps(deployment.name)}",
        f'backend: "{backend}"',
        "max_batch_size: 0",
        *_tensors("input", deployment.interface.inputs),
        *_tensors("output", deployment.interface.outputs),
        f"instance_group [ {{ kind: KIND_CPU, count: {instances} }} ]",
    ]
    for name, value in parameters.items():
        lines.append(
            f"parameters {{ key: {json.dumps(name)}, value: {{ string_value: {json.dumps(value)} }} }}"
        )
    return "\n".join(lines) + "\n"


def _tensors(kind: str, tensors: tuple[Tensor, ...]) -> list[str]:
    return [
        f"{kind} [ {{ name: {json.dumps(one.name)}, data_type: {_type(one)}, dims: {list(one.shape)} }} ]"
        for one in tensors
    ]


def _type(tensor: Tensor) -> str:
    return _TYPES.get(tensor.datatype, f"TYPE_{tensor.datatype}")
