"""Answers Triton's requests with OpenVINO: the Python backend's model.py."""

import os
from typing import Any

import numpy as np
import openvino as ov
import triton_python_backend_utils as utils


class TritonPythonModel:
    """One instance, in a process of its own: one infer request of a compiled model."""

    def initialize(self, given: dict[str, Any]) -> None:
        """Compile the version's model with the parameters of config.pbtxt."""
        folder = os.path.join(given["model_repository"], given["model_version"])
        config = utils.json.loads(given["model_config"])
        properties = {name: one["string_value"] for name, one in config.get("parameters", {}).items()}
        compiled = ov.Core().compile_model(os.path.join(folder, "model.xml"), "CPU", properties)
        self._request = compiled.create_infer_request()
        self._input = config["input"][0]["name"]
        self._outputs = [one["name"] for one in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return an answer to each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        pixels = utils.get_input_tensor_by_name(request, self._input).as_numpy()
        try:
            self._request.infer({0: pixels})
        except (RuntimeError, TypeError, ValueError) as error:
            return utils.InferenceResponse(error=utils.TritonError(str(error)))
        found = [
            utils.Tensor(name, np.array(self._request.get_output_tensor(place).data))
            for place, name in enumerate(self._outputs)
        ]
        return utils.InferenceResponse(found)
