"""The build step that ships the data folders inside the package; all else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
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


setup(cmdclass={"build_py": BuildWithData})
