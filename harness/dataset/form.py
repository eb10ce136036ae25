"""The forms in which a data set says what is right about its images, and in which a model answers."""

from enum import StrEnum


class Form(StrEnum):
    """As manifest.json calls it; any number of tasks (harness.task) may be of one form."""

    LABEL = "classification"
    """A label for each image."""
    BOXES = "detection"
    """Any number of boxes in an image, also none."""
