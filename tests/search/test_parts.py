"""What is finished of a search is kept."""

from pathlib import Path

import pytest

from harness.errors import OutputError
from harness.search.parts import Parts


def test_a_part_is_made_once_and_read_back_ever_after(tmp_path: Path) -> None:
    calls: list[int] = []

    def make() -> dict[str, float]:
        calls.append(1)
        return {"value": 0.1}

    for _ in range(2):
        assert Parts(tmp_path / "out", {"seed": 1}).kept("part", make) == {"value": 0.1}
    assert calls == [1]
    assert set(Parts(tmp_path / "out", {"seed": 1}).seconds) == {"part"}


def test_a_part_that_breaks_is_not_kept_but_its_cost_is(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("broken")

    parts = Parts(tmp_path / "out", {})
    with pytest.raises(ValueError, match="broken"):
        parts.kept("part", fail)
    assert not (tmp_path / "out" / "parts" / "part.json").exists()
    assert "part" in parts.seconds


def test_another_request_is_refused_by_name(tmp_path: Path) -> None:
    Parts(tmp_path / "out", {"seed": 1, "store": "a"})
    with pytest.raises(OutputError, match="holds a search with another store: choose another --out"):
        Parts(tmp_path / "out", {"seed": 1, "store": "b"})


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="holds something else"):
        Parts(tmp_path, {})
    with pytest.raises(OutputError, match="is a file"):
        Parts(tmp_path / "file", {})


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "out", {})
    (parts.folder / "part.json").write_text("{")
    with pytest.raises(OutputError, match=r"part\.json .* delete it to repeat that part"):
        parts.kept("part", dict)


def test_what_an_older_request_does_not_say_of_anything_but_the_machine_is_a_difference(
    tmp_path: Path,
) -> None:
    Parts(tmp_path, {"way of varying images": {"flip": True}})
    with pytest.raises(OutputError, match="another way of varying images"):
        Parts(tmp_path, {"way of varying images": {"flip": True, "padding": 2}})


def test_what_an_older_request_does_not_say_counts_as_equal(tmp_path: Path) -> None:
    Parts(tmp_path, {"objective": {"cpu": "one"}})
    Parts(tmp_path, {"objective": {"cpu": "one", "cpu_signature": "6-207-2"}, "seed": 1})
    with pytest.raises(OutputError, match="another seed"):
        Parts(tmp_path, {"objective": {"cpu": "one"}, "seed": 2})
    with pytest.raises(OutputError, match="another objective"):
        Parts(tmp_path, {"objective": {"cpu": "other", "cpu_signature": "6-207-2"}})
