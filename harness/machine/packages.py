"""The packages that the harness stands on: what each is called, and which versions were tested."""

from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Package:
    """A package that the base installation needs."""

    module: str
    """What is imported."""
    distributions: tuple[str, ...]
    """What pip calls it: the one that we ask for first, then those that may stand in for it."""
    key: str = ""
    """Name of its version in results; empty: its version has no influence on a result."""
    tested: str = ""
    """The version that the tests were last run with, where it is recorded."""

    @property
    def name(self) -> str:
        return self.distributions[0]

    def installed(self) -> str | None:
        """Return the installed version; None when it is not installed."""
        for distribution in self.distributions:
            try:
                return metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
        return None


PACKAGES = (
    Package("openvino", ("openvino",), "openvino", "2026.4.1"),
    Package("nncf", ("nncf",), "nncf", "3.4.0"),
    Package("mlperf_loadgen", ("mlcommons-loadgen",), "mlcommons_loadgen", "6.0.17"),
    Package("numpy", ("numpy",), "numpy", "2.4.6"),
    Package("cv2", ("opencv-python-headless", "opencv-python"), "opencv", "5.0.0.93"),
    Package("pandas", ("pandas",)),
    Package("yaml", ("pyyaml",)),
    Package("tomli_w", ("tomli-w",)),
    Package("PIL", ("pillow",)),
    Package("cattrs", ("cattrs",)),
    Package("click", ("click",)),
    Package("rich", ("rich",)),
    Package("safetensors", ("safetensors",)),
    Package("scipy", ("scipy",)),
    Package("pycocotools", ("pycocotools",)),
)
RECORDED = tuple(package for package in PACKAGES if package.key)
