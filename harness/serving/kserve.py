"""KServe on Kubernetes: an InferenceService for the runtime kserve-ovms, and OVMS's folder of versions."""

import json
from pathlib import Path

import yaml

from harness.serving import ovms
from harness.serving.layout import Deployment, Files, Start

SERVER = "KServe"
_PORT = 8001
REMARKS = (
    "It was not run: the manifest was checked against KServe's documentation, not with a cluster.",
    "Copy the model's folder to the storage of your cluster, and name it in storageUri.",
)

MANIFEST = "inference-service.yaml"


properties = ovms.properties


def files(deployment: Deployment, folder: Path) -> Files:
    settings = deployment.settings
    model: dict[str, object] = {
        "modelFormat": {"name": "openvino_ir", "version": "opset1"},
        "runtime": "kserve-ovms",
        "protocolVersion": "v2",
        "storageUri": f"pvc://models/{deployment.name}",
        "args": [f"--plugin_config={json.dumps(properties(deployment))}"],
    }
    if settings.threads is not None:
        cpus = str(settings.threads)
        model["resources"] = {"requests": {"cpu": cpus}, "limits": {"cpu": cpus}}
    manifest = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": _plain(deployment.name)},
        "spec": {"predictor": {"model": model}},
    }
    return Files({}, {MANIFEST: yaml.safe_dump(manifest, sort_keys=False)}, {})


def start(deployment: Deployment, folder: Path) -> Start:
    service = _plain(deployment.name)
    command = (
        f"kubectl apply -f {folder / deployment.name / MANIFEST} && "
        f"kubectl port-forward service/{service}-predictor {_PORT}:{_PORT}"
    )
    return Start(command, _PORT, service)


def _plain(name: str) -> str:
    """Return a name that Kubernetes takes (RFC 1123): small letters, digits and hyphens."""
    return name.lower().replace("_", "-").replace(".", "-").strip("-")
