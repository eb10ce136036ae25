"""The harness itself, as it travels to machines that do not have it."""

import hashlib
import shutil
from pathlib import Path

import harness
from harness import resources

_PACKAGE = Path(harness.__file__).parent


def pack(folder: Path) -> Path:
    """Copy the package, its shipped data within, below `folder`, and return its path there."""
    package = folder / _PACKAGE.name
    left_out = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(_PACKAGE, package, ignore=left_out)
    data = package / resources.INSTALLED
    data.mkdir(exist_ok=True)
    for path in resources.SHIPPED:
        if path.is_dir():
            shutil.copytree(path, data / path.name, ignore=left_out, dirs_exist_ok=True)
        else:
            shutil.copy2(path, data / path.name)
    (data / resources.SENT).touch()
    return package


def is_sent() -> bool:
    """Return whether the harness that runs here came as luggage."""
    return (resources.ROOT / resources.SENT).exists()


def digest() -> str:
    """Return the hex SHA-256 of the code that runs here: two installations of one version may differ."""
    found = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        found.update(f"{path.relative_to(_PACKAGE).as_posix()}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()
