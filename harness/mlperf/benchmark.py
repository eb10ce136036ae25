"""MLPerf Inference benchmarks: what a rule set demands besides LoadGen's own settings (mlperf.conf)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.errors import ConfError, did_you_mean

_ALL = ("SingleStream", "MultiStream", "Server", "Offline")


@dataclass(frozen=True)
class Benchmark:
    """One benchmark of MLPerf Inference."""

    name: str
    """The model name that LoadGen's mlperf.conf uses; any other name falls to weaker defaults."""
    dataset: str
    sample_count: int
    """Samples in the whole data set; an official accuracy run issues each of them."""
    reference_accuracy: float
    """Accuracy of the FP32 reference model, as a fraction."""
    target_fraction: float
    """Share of the reference accuracy that the Closed division demands."""
    task: str = "classification"
    """What is asked of a model (harness.task)."""
    scenarios: tuple[str, ...] = _ALL
    """Those that it has."""
    untold_offline_samples: int | None = None
    """Least number of samples in Offline where LoadGen's own rules lack it; user.conf must tell it."""
    entries: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Where the checker knows the benchmark by several names: each, and the share that it demands."""

    @property
    def target_accuracy(self) -> float:
        return self.reference_accuracy * self.target_fraction

    @property
    def targets(self) -> Mapping[str, float]:
        """By the name that people know it by, the share of the reference that Closed demands."""
        return self.entries or {self.name: self.target_fraction}


# References and targets: the submission checker's constants ("acc", 76.46 * 0.99; "mAP", 53.4 * 0.95).
BENCHMARKS = {
    "resnet50": Benchmark(
        name="resnet50",
        dataset="imagenet",
        sample_count=50_000,
        reference_accuracy=0.7646,
        target_fraction=0.99,
    ),
    # YOLO11l on the images of COCO's val2017 whose licences MLPerf allows.
    "yolo": Benchmark(
        name="yolo",
        dataset="coco",
        sample_count=1525,
        reference_accuracy=0.534,
        target_fraction=0.95,
        task="detection",
        scenarios=("SingleStream", "MultiStream", "Offline"),
        untold_offline_samples=1525,
        entries=MappingProxyType({"yolo-95": 0.95, "yolo-99": 0.99}),
    ),
}

# The names in LoadGen's mlperf.conf (6.0.17 and earlier) and in the user.conf files of mlcommons/inference.
OTHER_BENCHMARKS = frozenset(
    (
        *("3d-unet", "bert", "deepseek-r1", "deepseek-r1-interactive", "dlrm", "dlrm-v2", "dlrm-v3"),
        *("e2e-rag-db", "e2e-rag-qna", "gnmt", "gpt-oss-120b", "gpt-oss-120b-interactive", "gptj"),
        *("llama2-70b", "llama2-70b-interactive", "llama3_1-405b", "llama3_1-405b-interactive"),
        *("llama3_1-8b", "llama3_1-8b-edge", "llama3_1-8b-interactive", "mixtral-8x7b", "mobilenet"),
        *("pointpainting", "qwen3-vl-235b-a22b", "retinanet", "rgat", "rnnt", "ssd-mobilenet"),
        *("ssd-resnet34", "stable-diffusion-xl", "wan-2.2-t2v-a14b", "whisper"),
        # The submission checkers' names for some of them, which are written in their place.
        *("3d-unet-99", "3d-unet-99.9", "bert-99", "bert-99.9", "dlrm-v2-99", "dlrm-v2-99.9", "gptj-99"),
        *("gptj-99.9", "llama2-70b-99", "llama2-70b-99.9", "yolo-95", "yolo-99"),
    )
)
"""Benchmarks that are not run here; LoadGen ignores their lines in a user.conf, and so does the harness."""


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark with LoadGen's name.

    Raises:
        ConfError: there is none.
    """
    if name not in BENCHMARKS:
        raise ConfError(f"Benchmark '{name}' is not known.{did_you_mean(name, BENCHMARKS)}")
    return BENCHMARKS[name]
