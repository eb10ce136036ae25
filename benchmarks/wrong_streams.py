"""OpenVINO alone: does a model that is compiled for several streams answer as it does with one?

    python benchmarks/wrong_streams.py MODEL [--compilations 20] [--streams 2] [--fold] [--load 2] [--json]

The model is compiled once with one stream, which is the reference, and then again and again with several.
After each compilation every infer request computes the same inputs, noise from a seed, one request after
another; the compilation is wrong if an output differs from the reference by more than 1 % of the largest
value in the reference. Models whose weights are packed (a constant of 8 bits, Convert, Multiply) show it,
more often on a busy machine; `--load` keeps CPUs busy. `--fold` runs openvino.passes.ConstantFolding first,
which cures it. Nothing of the harness is used.

The exit code is 1 if a compilation was wrong, else 0.
"""

import argparse
import json
import multiprocessing
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino.passes import ConstantFolding, Manager

_SEED = 1
_INPUTS = 4
_TOLERANCE = 0.01
"""Of the reference's largest value; f32 kernels that add in another order differ by about 1e-5 of it."""


def inputs_of(model: ov.Model) -> list[npt.NDArray[Any]]:
    """Return a few inputs of noise for a model with one image input."""
    port = model.input(0)
    source = np.random.default_rng(_SEED)
    if port.element_type == ov.Type.u8:
        return [source.integers(0, 256, list(port.shape), np.uint8) for _ in range(_INPUTS)]
    return [source.standard_normal(list(port.shape)).astype(np.float32) for _ in range(_INPUTS)]


def answers(request: Any, inputs: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.stack([np.array(request.infer([values])[0], np.float64) for values in inputs])


def compiled(core: ov.Core, model: ov.Model, streams: int) -> Any:
    config = {"NUM_STREAMS": streams, "INFERENCE_PRECISION_HINT": "f32"}
    return core.compile_model(model, "CPU", config)


def measure(path: Path, compilations: int, streams: int, fold: bool) -> dict[str, Any]:
    """Return, for each compilation and request, the largest difference as a share of the reference."""
    core = ov.Core()
    model = core.read_model(path)
    if model.input(0).partial_shape.is_dynamic:
        raise SystemExit(f"{path} has an input of changing shape: give a model with a fixed one.")
    if fold:
        manager = Manager()
        manager.register_pass(ConstantFolding())
        manager.run_passes(model)
    inputs = inputs_of(model)
    expected = answers(compiled(core, model, 1).create_infer_request(), inputs)
    largest = float(np.abs(expected).max())
    rounds = []
    for number in range(compilations):
        made = compiled(core, model, streams)
        requests = [made.create_infer_request() for _ in range(2 * streams)]
        differences = [float(np.abs(answers(one, inputs) - expected).max()) / largest for one in requests]
        rounds.append(differences)
        is_wrong = max(differences) > _TOLERANCE
        print(
            f"{number + 1}/{compilations}: {'WRONG' if is_wrong else 'right'} {differences}", file=sys.stderr
        )
    return {
        "model": path.name,
        "openvino": ov.get_version(),
        "cpu": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "system": platform.platform(),
        "streams": streams,
        "folded": fold,
        "tolerance": _TOLERANCE,
        "differences": rounds,
        "compilations": compilations,
        "wrong": sum(max(one) > _TOLERANCE for one in rounds),
    }


def _spin() -> None:
    while True:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="what OpenVINO reads, such as an IR (.xml)")
    parser.add_argument("--compilations", type=int, default=20)
    parser.add_argument("--streams", type=int, default=2)
    parser.add_argument("--fold", action="store_true", help="fold constants first")
    parser.add_argument("--load", type=int, default=0, help="processes that keep CPUs busy meanwhile")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    options = parser.parse_args()
    busy = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(options.load)]
    for process in busy:
        process.start()
    try:
        found = measure(options.model, options.compilations, options.streams, options.fold)
    finally:
        for process in busy:
            process.kill()
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(
            f"{found['model']}, OpenVINO {found['openvino']}, {found['streams']} streams"
            f"{', constants folded' if found['folded'] else ''}: {found['wrong']} of {found['compilations']} "
            f"compilations answered wrongly."
        )
    raise SystemExit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
