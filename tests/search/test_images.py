"""The images of the built-in task are drawn by a command."""

from pathlib import Path

from click.testing import CliRunner

from harness.commands.search.images import command
from harness.dataset.images import count_classes, find_images
from harness.errors import OutputError


def test_a_command_draws_the_images_that_a_search_of_the_built_in_model_takes(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--out", str(tmp_path), "--train", "72", "--held-out", "24"])
    assert done.exit_code == 0, done.output
    assert f"--train {tmp_path / 'train'} --held-out {tmp_path / 'held-out'}" in done.stderr
    found = {name: find_images(tmp_path / name, 24) for name in ("train", "held-out")}
    assert {name: len(images.names) for name, images in found.items()} == {"train": 72, "held-out": 24}
    assert count_classes(tmp_path / "train") == 24
    for fewer in ("--train", "48", "--held-out", "24"), ("--train", "96", "--held-out", "24"):
        again = CliRunner().invoke(command, ["--out", str(tmp_path), *fewer])
        assert isinstance(again.exception, OutputError) == (fewer[1] == "48")
    assert len(find_images(tmp_path / "train", 24).names) == 96
