"""`harness quantize`: the INT8 version of a model."""

import json
from pathlib import Path

import click

from harness.backend import calibration, calibration_list
from harness.commands import options
from harness.dataset.store import open_store
from harness.model.card import find_card


@click.command()
@options.model
@options.data
@click.option("--samples", type=int, metavar="N", help="Calibrate on N images spread over the store (500).")
@click.option(
    "--list",
    "list_file",
    type=options.PATH,
    metavar="FILE",
    help="Calibrate on the images named in FILE, such as one of MLPerf's lists.",
)
@click.option(
    "--preset",
    type=click.Choice(calibration.PRESETS),
    default="mixed",
    show_default=True,
    help="NNCF preset: how activations are quantized.",
)
@click.option(
    "--bias-correction",
    type=click.Choice(calibration.BIAS_CORRECTIONS),
    default="fast",
    show_default=True,
    help="accurate takes longer and is sometimes better.",
)
@click.option(
    "--model-type",
    type=click.Choice(calibration.MODEL_TYPES),
    help="transformer: quantize as NNCF does models with attention.",
)
@click.option(
    "--max-drop",
    type=options.Finite(min=0, max=1),
    metavar="X",
    help="Restore layers until the accuracy is within X (a fraction) of the original.",
)
@click.option(
    "--out",
    required=True,
    type=options.PATH,
    metavar="FILE",
    help="IR to write (.xml); its weights, card (.toml) and calibration record lie beside it.",
)
@options.as_json
def command(
    model: str,
    data: Path,
    samples: int | None,
    list_file: Path | None,
    preset: str,
    bias_correction: str,
    model_type: str | None,
    max_drop: float | None,
    out: Path,
    as_json: bool,
) -> None:
    """Make the INT8 version of a model by post-training quantization (NNCF)."""
    if samples is not None and list_file is not None:
        raise click.UsageError("--samples and --list both choose the images: give one.")
    card = find_card(model)
    store = open_store(data)
    settings = calibration.CalibrationSettings(preset, bias_correction, model_type, max_drop)
    indices = calibration_list.choose(store, samples, list_file)
    made, record = calibration.quantize(card, store, indices, settings, out)
    if as_json:
        click.echo(json.dumps(record, indent=2, ensure_ascii=False))
        return
    click.echo(f"{made.name}: {out}")
    click.echo(f"  calibrated on {record['list']['count']} images ({record['list']['official']})")
    card_path = out.with_suffix(".toml")
    click.echo(f"  next: harness run --model {card_path} --data {data} --scenario SingleStream --out results")
