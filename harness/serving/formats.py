"""The formats that an export can have, by the name on the command line."""

from collections.abc import Mapping
from types import MappingProxyType

from harness.serving import kserve, mlserver, ovms, triton, triton_python
from harness.serving.layout import Format

FORMATS: Mapping[str, Format] = MappingProxyType(
    {"ovms": ovms, "triton": triton, "triton-python": triton_python, "mlserver": mlserver, "kserve": kserve}
)
