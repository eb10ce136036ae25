"""Answers MLServer's requests with OpenVINO: a custom runtime.

MLServer unpacks tensors of numbers into lists, which costs more than a small model; so an image is one
element of a BYTES tensor, its pixels row by row.
"""

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino as ov
from mlserver import MLModel
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from mlserver.utils import get_model_uri


class OpenVinoModel(MLModel):
    """A compiled model with as many infer requests as it has streams."""

    async def load(self) -> bool:
        """Compile the model with the properties in `parameters.extra`."""
        properties = self.settings.parameters.extra["properties"]
        compiled = ov.Core().compile_model(await get_model_uri(self.settings), "CPU", properties)
        self._shape = tuple(compiled.input(0).shape)
        count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(count):
            self._requests.put(compiled.create_infer_request())
        self._threads = ThreadPoolExecutor(count)
        # What is there by now stays: looking through it again and again would delay answers by milliseconds.
        gc.collect()
        gc.freeze()
        return True

    async def unload(self) -> bool:
        """Stop the threads."""
        self._threads.shutdown()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the answers to the images of a request."""
        pixels = self._pixels(payload)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, self._infer, pixels)
        outputs = [
            ResponseOutput(
                name=one.name, datatype=one.datatype, shape=list(each.shape), data=each.reshape(-1).tolist()
            )
            for one, each in zip(self.settings.outputs, found, strict=True)
        ]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)

    def _pixels(self, payload: InferenceRequest) -> Any:
        images = payload.inputs[0].data.root
        if not isinstance(images, list):
            images = [images]
        if images and isinstance(images[0], str):
            raise InferenceError("Send the pixels by gRPC: JSON cannot hold them as a text.")
        is_raw = bool(images) and isinstance(images[0], bytes)
        raw = b"".join(images) if is_raw else np.array(images, np.uint8).tobytes()
        if len(raw) != np.prod(self._shape):
            raise InferenceError(f"{len(raw)} bytes of pixels, but the model takes {list(self._shape)}.")
        return np.frombuffer(raw, np.uint8).reshape(self._shape)

    def _infer(self, pixels: Any) -> list[Any]:
        request = self._requests.get()
        try:
            request.infer({0: pixels})
            return [np.array(tensor.data) for tensor in request.output_tensors]
        finally:
            self._requests.put(request)
