"""MLServer: NAME/VERSION/model-settings.json and a runtime beside the IR, and one settings.json."""

import json
from pathlib import Path

from harness.endpoint.contract import BYTES, Tensor
from harness.serving.layout import MODEL_FILE, Deployment, Files, Start, program

SERVER = "MLServer"
_PORT = 8081
REMARKS = (
    "OpenVINO and NumPy must be installed beside MLServer.",
    "By gRPC an image is one BYTES element; by HTTP a JSON list of numbers (UINT8), which is slow.",
)

_MODULE = "openvino_runtime"
_SETTINGS = "settings.json"


def properties(deployment: Deployment) -> dict[str, str]:
    return deployment.properties


def files(deployment: Deployment, folder: Path) -> Files:
    model_settings = {
        "name": deployment.name,
        "implementation": f"{_MODULE}.OpenVinoModel",
        "platform": "openvino",
        "inputs": [
            _described(Tensor(one.name, BYTES, (deployment.batch,))) for one in deployment.interface.inputs
        ],
        "outputs": [_described(one) for one in deployment.interface.outputs],
        "parameters": {
            "uri": f"./{MODEL_FILE}",
            "version": str(deployment.version),
            "extra": {"properties": properties(deployment)},
        },
    }
    # MLServer binds all addresses, hands requests on to worker processes and writes a line for each call,
    # unless told otherwise.
    settings = {
        "host": "127.0.0.1",
        "http_port": _PORT - 1,
        "grpc_port": _PORT,
        "parallel_workers": 0,
        "logging_settings": {
            "version": 1,
            "disable_existing_loggers": False,
            "loggers": {"mlserver.grpc": {"level": "WARNING"}},
        },
    }
    return Files(
        {
            "model-settings.json": json.dumps(model_settings, indent=2) + "\n",
            f"{_MODULE}.py": program("mlserver_runtime"),
        },
        {},
        {} if (folder / _SETTINGS).exists() else {_SETTINGS: json.dumps(settings, indent=2) + "\n"},
    )


def start(deployment: Deployment, folder: Path) -> Start:
    return Start(f"mlserver start {folder}", _PORT, deployment.name)


def _described(tensor: Tensor) -> dict[str, str | list[int]]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
