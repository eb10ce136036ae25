"""Finds the OpenVINO settings that serve a scenario's own LoadGen metric best."""
