"""Print the oldest versions that pyproject.toml allows, as constraints: python tests/oldest.py > FILE."""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def constraints(project: dict[str, list[str]]) -> list[str]:
    """Return a line for each dependency: the first release of its lower bound's series."""
    lines = []
    for dependency in project["dependencies"]:
        name, bound = re.split(r">=|==", dependency)
        first, *rest = bound.split(".")
        # A bound such as >=13 names a series of releases, not a release.
        newest = f"{first}.{int(rest[0]) + 1}" if rest else str(int(first) + 1)
        lines.append(f"{name}>={bound},<{newest}")
    return lines


if __name__ == "__main__":
    print("\n".join(constraints(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"])))
