"""Where the shipped data lies: inside the installed package, or in the repository."""

from pathlib import Path

_INSTALLED = Path(__file__).parent / "data"
_CHECKOUT = Path(__file__).parent.parent

ROOT = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
MODELS = ROOT / "models"
CALIBRATION = ROOT / "calibration"
PUBLISHED = ROOT / "published"
USER_CONF = ROOT / "user.conf"
MLPERF_CONF = ROOT / "mlperf.conf"
