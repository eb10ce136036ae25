"""Where the shipped data lies: inside the installed package, or in the repository."""

import os
from pathlib import Path

_INSTALLED = Path(__file__).parent / "data"
_CHECKOUT = Path(__file__).parent.parent

ROOT = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
MODELS = ROOT / "models"
CALIBRATION = ROOT / "calibration"
PUBLISHED = ROOT / "published"
USER_CONF = ROOT / "user.conf"
MLPERF_CONF = ROOT / "mlperf.conf"


def cache_folder() -> Path:
    """Return where fetched files are kept: $HARNESS_CACHE, else harness/ in the user's cache folder."""
    if named := os.environ.get("HARNESS_CACHE"):
        return Path(named)
    user = os.environ.get("XDG_CACHE_HOME")
    return (Path(user) if user else Path.home() / ".cache") / "harness"
