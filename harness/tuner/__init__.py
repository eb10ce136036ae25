"""Finds the OpenVINO settings that serve a scenario's own LoadGen metric best."""

DEFAULT_BUDGET_MIN = 5.0
