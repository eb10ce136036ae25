"""What the children that do a job are forked from: all that they need is imported, and nothing has begun."""

import sys

# With this package OpenVINO reports its import to the outside, in a thread that has begun.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

from harness.loadgen import drive, probe, served  # noqa: E402

__all__ = ["drive", "probe", "served"]
