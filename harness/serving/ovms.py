"""OpenVINO Model Server: NAME/VERSION/*.xml and *.bin, and one config.json that lists the models."""

import json
from pathlib import Path
from typing import Any

from harness.errors import OutputError
from harness.files import read_json
from harness.serving.layout import Deployment, Files, Start

SERVER = "OpenVINO Model Server"
_PORT = 9000
REMARKS = (
    "It was not run: its layout was checked against the server's documentation and the schema of its "
    "config.json.",
)

CONFIG = "config.json"
_MODELS = "model_config_list"


def properties(deployment: Deployment) -> dict[str, str]:
    """Return all but a hint beside NUM_STREAMS: the two do not go together (performance_tuning.md)."""
    left_out = {"PERFORMANCE_HINT"} if "NUM_STREAMS" in deployment.properties else set()
    return {name: value for name, value in deployment.properties.items() if name not in left_out}


def files(deployment: Deployment, folder: Path) -> Files:
    """Return config.json with this model among those that are there (ovms_docs_parameters).

    Raises:
        OutputError: the one that is there is damaged, or serves the model with other settings.
    """
    # A relative base_path is one from config.json.
    entry = {
        "name": deployment.name,
        "base_path": deployment.name,
        "target_device": "CPU",
        "plugin_config": properties(deployment),
    }
    path = folder / CONFIG
    config = _read(path) if path.exists() else {_MODELS: []}
    held = [one["config"] for one in config[_MODELS] if one["config"].get("name") == deployment.name]
    if held and held[0] != entry:
        raise OutputError(
            f"{path} serves '{deployment.name}' with other settings, which all its versions share: export "
            f"into another --out, or with the settings that are there."
        )
    if not held:
        config[_MODELS].append({"config": entry})
    return Files({}, {}, {CONFIG: json.dumps(config, indent=2) + "\n"})


def start(deployment: Deployment, folder: Path) -> Start:
    command = (
        f"ovms --config_path {folder / CONFIG} --port {_PORT} --rest_port {_PORT - 1000} "
        "--grpc_bind_address 127.0.0.1 --rest_bind_address 127.0.0.1"
    )
    return Start(command, _PORT, deployment.name)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = read_json(path)
        if not all(isinstance(one["config"], dict) for one in config[_MODELS]):
            raise ValueError("a model has no 'config'")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{path} is no configuration of {SERVER} ({error!r}): correct it, or give another --out."
        ) from error
    return dict(config)
