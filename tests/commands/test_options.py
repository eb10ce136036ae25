"""Options that several commands share."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from harness.commands import options
from harness.errors import HarnessError
from harness.search.space import ranges


@click.command()
@options.rare("--weight-decay", type=click.FloatRange(0), default=0.5)
@options.rare("--flip/--no-flip", default=True)
@click.option("--epochs", type=int, default=1)
@options.config
def command(**given: Any) -> None:
    click.echo(sorted(given.items()))


def given(tmp_path: Path, text: str, *words: str) -> str:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    done = CliRunner().invoke(command, ["--config", str(path), *words], catch_exceptions=False)
    return done.output


def test_a_config_file_sets_what_the_command_line_leaves_open(tmp_path: Path) -> None:
    text = "weight_decay = 0.25\nflip = false\nepochs = 7\n"
    assert given(tmp_path, text) == "[('epochs', 7), ('flip', False), ('weight_decay', 0.25)]\n"
    assert "('epochs', 9)" in given(tmp_path, text, "--epochs", "9")
    assert "('weight_decay', 1.0)" in given(tmp_path, text, "--weight-decay", "1")


def test_a_key_that_does_not_exist_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"sets 'weigth_decay'.*Did you mean 'weight_decay'"):
        given(tmp_path, "weigth_decay = 1")
    with pytest.raises(HarnessError, match=r"Known: epochs, flip, weight_decay\."):
        given(tmp_path, "zzzz = 1")


def test_a_value_of_a_config_file_is_held_to_the_same_bounds(tmp_path: Path) -> None:
    assert "-1.0 is not in the range x>=0" in given(tmp_path, "weight_decay = -1.0")
    with pytest.raises(HarnessError, match=r"Cannot read --config .* correct the file"):
        given(tmp_path, "weight_decay =")


def test_help_says_nothing_of_a_range_that_has_no_ends() -> None:
    @click.command()
    @click.option("--any", type=options.Finite(), help="Any.", default=0.5, show_default=True)
    @click.option("--some", type=options.Finite(min=0), help="Some.")
    def numbers(**_: float) -> None:
        """Take numbers."""

    text = CliRunner().invoke(numbers, ["--help"]).output
    assert "[default: 0.5]" in text
    assert "[x>=0]" in text


def test_a_number_of_workers_is_no_address_of_a_cluster() -> None:
    @click.command()
    @click.option("--workers", type=options.ClusterAddress())
    def train(workers: str) -> None:
        click.echo(workers)

    for address in ("10.0.0.1:6379", "local:2", "auto"):
        assert CliRunner().invoke(train, ["--workers", address]).output == f"{address}\n"
    told = CliRunner().invoke(train, ["--workers", "2"])
    assert told.exit_code == 2
    assert "'2' is no address of a Ray cluster: give HOST:PORT as `ray start --head`" in told.output


def test_rare_options_are_not_listed(tmp_path: Path) -> None:
    text = CliRunner().invoke(command, ["--help"]).output
    assert "--weight-decay" not in text
    assert "--config" in text


def test_the_spaces_of_a_search_are_those_there_are() -> None:
    (option,) = options.search_space(click.Command("search")).params
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == list(ranges.ALL)
