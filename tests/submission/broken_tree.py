"""A submission that a test breaks; what it changes is written anew, for files may be hard links."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

OFFLINE = "Offline"
RUN = "performance/run_1"
DETAIL = f"{RUN}/mlperf_log_detail.txt"
SUMMARY = f"{RUN}/mlperf_log_summary.txt"
USER_CONF = "user.conf"
ABSENT = object()
"""In place of a value: the key is taken away."""


class Tree:
    """A submission that a test breaks."""

    def __init__(self, root: Path, division: str = "*", system: str = "*") -> None:
        """Take a tree, and which part of it is changed where it has several divisions or systems."""
        self.root = root
        self.home = next(root.glob(f"{division}/Us"))
        self._name = system

    def part(self, division: str = "*", system: str = "*") -> "Tree":
        """Return the part of one division, or of one system."""
        return Tree(self.root, division, system)

    def scenario(self, name: str = OFFLINE) -> Path:
        return next(self.home.glob(f"results/{self._name}/*/{name}"))

    @property
    def model(self) -> Path:
        return next(self.home.glob(f"results/{self._name}/*"))

    @property
    def system(self) -> Path:
        return next(self.home.glob(f"systems/{self._name}.json"))

    def write(self, file: Path, content: str | bytes) -> None:
        """Write a file anew, which another tree may share."""
        file.unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    def change(self, file: Path, change: Callable[[bytes], bytes]) -> None:
        self.write(file, change(file.read_bytes()))

    def replace(self, file: Path, pattern: str, by: str) -> None:
        """Replace the first match of a pattern in a file, which must have one."""
        text = file.read_text()
        assert re.search(pattern, text), f"{pattern} is not in {file}"
        self.write(file, re.sub(pattern, by, text, count=1))

    def log(self, key: str, value: Any, file: str = DETAIL, scenario: str = OFFLINE) -> None:
        """Let a detail log say something else."""
        path = self.scenario(scenario) / file
        if value is ABSENT:
            self.replace(path, rf'(?m)^[^\n]*"key": "{key}"[^\n]*\n', "")
        else:
            self.replace(path, rf'("key": "{key}", "value": )("[^"]*"|[^,]*)', rf"\g<1>{json.dumps(value)}")

    def again(
        self, key: str, value: Any, file: str = DETAIL, scenario: str = OFFLINE, *, first: bool = False
    ) -> None:
        """Let a detail log say something else besides, before or after its own entry."""
        path = self.scenario(scenario) / file
        lines = path.read_text().splitlines(keepends=True)
        entry = json.dumps({"key": key, "value": value, "metadata": {"is_error": False, "is_warning": False}})
        lines.insert(1 if first else len(lines) - 1, f":::MLLOG {entry}\n")
        self.write(path, "".join(lines))

    def error(self, file: str, scenario: str = OFFLINE) -> None:
        """Let LoadGen log an error."""
        path = self.scenario(scenario) / file
        line = {
            "key": "error_runtime",
            "value": "it broke",
            "metadata": {"is_error": True, "is_warning": False},
        }
        self.write(path, path.read_text() + f":::MLLOG {json.dumps(line)}\n")

    def set(self, file: Path, **changes: Any) -> None:
        """Change keys of a JSON file; ABSENT removes one."""
        document = json.loads(file.read_text()) | changes
        self.write(file, json.dumps({key: value for key, value in document.items() if value is not ABSENT}))

    def rename(self, path: Path, name: str) -> Path:
        return path.rename(path.with_name(name))

    def copy_scenario(self, source: str, target: str) -> None:
        """Put a scenario's folder in the place of another, as one infers a result."""
        shutil.rmtree(self.model / target, ignore_errors=True)
        shutil.copytree(self.model / source, self.model / target)


def linked_copy(source: Path, target: Path) -> Path:
    """Return a copy of a tree whose files are hard links to the originals."""
    shutil.copytree(source, target, copy_function=os.link)
    return target
