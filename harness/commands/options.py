"""Options that several commands share, so that they read and behave alike."""

from pathlib import Path

import click

PATH = click.Path(path_type=Path)

model = click.option(
    "--model", required=True, metavar="CARD", help="Shipped model name, or path of a model card."
)
data = click.option(
    "--data", required=True, type=PATH, metavar="STORE", help="Store made by `harness prepare`."
)
results = click.option(
    "--results", required=True, type=PATH, metavar="DIR", help="Folder that `harness run --out` wrote."
)
duration = click.option(
    "--duration",
    "duration",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Least duration of a performance test that is not official.",
)
tuning = click.option(
    "--no-tuning",
    "tuning",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Leave out the settings that `harness tune` found.",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print the outcome as JSON, and nothing else, on stdout."
)
