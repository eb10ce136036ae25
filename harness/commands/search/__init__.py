"""`harness search`: look for a smaller network that this CPU runs fast."""

import click

from harness.commands.lazy import LazyGroup

_COMMANDS = {
    "profile": "Time operations in INT8 on this CPU, and show which kernels a network runs in.",
    "images": "Draw the images of the built-in task that a search learns from and decides by.",
    "latency": "Build and validate the table that predicts the time of any network of the search space.",
    "run": "Search from a baseline; train, quantize and measure what is found.",
    "narrow": "Take channels out of any convolutional network until it is fast enough, and let it learn.",
    "report": "Tell what a search found.",
}


@click.group("search", cls=LazyGroup, prefix="harness.commands.search.", summaries=_COMMANDS)
def command() -> None:
    """Look for a smaller network that this CPU runs fast in INT8.

    The search starts from a trained baseline and revises its stem, widths, depths and blocks.
    """
