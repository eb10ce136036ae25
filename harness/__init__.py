"""Benchmark deep-learning inference on CPUs: MLPerf LoadGen in front, OpenVINO underneath."""

__version__ = "0.2.0"
