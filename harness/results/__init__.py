"""Every test under the given folders as one tidy table."""

from harness.results.table import frame

__all__ = ["frame"]
