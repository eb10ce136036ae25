"""Where the shipped data lies: inside the installed package, or in the repository."""

import os
from pathlib import Path

from harness.errors import OutputError

INSTALLED = "data"
"""Folder of the package that holds the data, where the package is installed."""
SENT = "sent"
"""File there that tells a package that was sent to this machine for a while."""
_INSTALLED = Path(__file__).parent / INSTALLED
_CHECKOUT = Path(__file__).parent.parent

ROOT = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
MODELS = ROOT / "models"
CALIBRATION = ROOT / "calibration"
PUBLISHED = ROOT / "published"
USER_CONF = ROOT / "user.conf"
MLPERF_CONF = ROOT / "mlperf.conf"
SHIPPED = (MODELS, CALIBRATION, PUBLISHED, USER_CONF, MLPERF_CONF)


def cache_folder() -> Path:
    """Return where fetched files are kept: $HARNESS_CACHE, else harness/ in the user's cache folder.

    Raises:
        OutputError: neither is known.
    """
    if named := os.environ.get("HARNESS_CACHE"):
        return Path(named)
    user = os.environ.get("XDG_CACHE_HOME")
    return (Path(user) if user else _home() / ".cache") / "harness"


def is_in_cache(path: Path) -> bool:
    """Return whether a path lies where only $HARNESS_CACHE can move it."""
    try:
        return path.absolute().is_relative_to(cache_folder().absolute())
    except OutputError:
        return False


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise OutputError(
            "This user has no home folder to keep models and tunings in: set HARNESS_CACHE to a folder."
        ) from error
