"""What `compare` makes of tunings."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import BRIEF_S, Oracle
from sample_comparison import cell, comparison

from harness.comparison import document, findings, output, session, table
from harness.comparison.session import Request
from harness.errors import OutputError
from harness.loadgen.settings import RunSettings
from harness.machine import system
from harness.measurement import tuned
from harness.measurement.tuned import Key, Reference, Tuning
from harness.mlperf.scenario import Scenario
from harness.model.card import Card, read_card

KEY = Key("m", None, None, 1, None, "Offline", "f32", None)
TUNED = Reference("2026-11-21T09:00:00+00:00", KEY, "tuning.json", {"batch": 4}, "faster")
SETTINGS = {"threads": 2, "streams": 2, "batch": 4, "pinning": True, "smt": None, "core_type": None}


def tune(card: Card, settings: dict[str, Any], threads: int | None) -> None:
    asked = RunSettings(Scenario.OFFLINE, threads=threads)
    key = tuned.key_of(card, asked, system.describe())
    tuned.write(Tuning(key, card.name, TUNED.created, "0.1.0", settings, "x"))  # type: ignore[arg-type]


@pytest.fixture
def cards(oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Card, Card]:
    """Return two cards of models that differ in their names only."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    text = oracle.card_path.read_text().replace('name = "oracle"', 'name = "twin"')
    (tmp_path / "twin.toml").write_text(text)
    for kind in ("xml", "bin"):
        content = (oracle.card.folder / f"oracle.{kind}").read_bytes()
        # Another hash, so another model.
        (tmp_path / f"oracle.{kind}").write_bytes(content + (b"\n" if kind == "xml" else b""))
    return oracle.card, read_card(tmp_path / "twin.toml")


def test_each_variant_runs_with_its_own_tuning_and_the_files_say_so(
    oracle: Oracle, cards: tuple[Card, Card], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    request = Request(
        cards, out, oracle.store.path, (Scenario.OFFLINE,), rounds=2, threads=(1,), duration_s=BRIEF_S
    )
    tune(cards[0], {"batch": 4, "streams": 1}, threads=1)
    tune(cards[1], {"batch": 16}, threads=None)
    found = session.compare(request)
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Tuning")]
    assert len(notes) == 1
    assert notes[0].startswith(
        f"Tuning of {TUNED.created} for oracle, Offline, 1 thread: batch 4, 1 stream ("
    )
    assert notes[0].endswith("tuning.json; without it: --no-tuning).")
    output.write([found], out)
    (written,) = document.read(out / "compare.json")
    first, second = written.cells
    assert (first.settings["batch"], first.settings["streams"], first.settings["threads"]) == (4, 1, 1)
    assert first.tuning is not None
    # Tuned for other threads than these.
    assert second.settings["batch"] == 1
    assert second.tuning is None
    assert any("oracle ran as `harness tune` found best, twin did not" in text for text in written.remarks)
    for name in ("table.md", "table.csv", "report.html"):
        assert "batch 4, 1 stream, 1 thread" in (out / name).read_text(), name
    with pytest.raises(OutputError, match=r"other settings \(batch 4, 1 stream, 1 thread\).*--no-tuning"):
        session.compare(replace(request, tuning=False))


def test_without_threads_given_a_tuning_may_set_them(
    oracle: Oracle, cards: tuple[Card, Card], tmp_path: Path
) -> None:
    for card in cards:
        tune(card, {"threads": 1, "streams": 1, "batch": 2}, threads=None)
    request = Request(cards, tmp_path / "out", oracle.store.path, (Scenario.OFFLINE,), 2, duration_s=BRIEF_S)
    found = session.compare(request)
    assert [one.settings["threads"] for one in found.cells] == [1, 1]
    assert found.threads == [system.usable_cpus()]
    assert not any("harness tune" in remark for remark in found.remarks)


def test_only_a_mixture_of_tuned_and_untuned_is_remarked_on() -> None:
    cells = [
        replace(cell(Scenario.OFFLINE, 1, name, (1.0, 1.0)), settings=SETTINGS, tuning=TUNED)
        for name in ("fp32", "int8")
    ]
    assert list(findings.tuning_remarks(cells)) == []
    bare = [replace(one, tuning=None) for one in cells]
    assert list(findings.tuning_remarks(bare)) == []
    (remark,) = findings.tuning_remarks([cells[0], bare[1]])
    assert remark.startswith("Offline, 1 thread: fp32 ran as `harness tune` found best, int8 did not: tune")
    # Another scenario is another matter.
    other = replace(bare[1], scenario=Scenario.SINGLE_STREAM)
    assert list(findings.tuning_remarks([cells[0], other])) == []


def test_the_terminal_says_what_each_cell_ran_with() -> None:
    one = replace(cell(Scenario.OFFLINE, 1, "int8", (1.0, 1.0)), settings=SETTINGS, tuning=TUNED)
    lines = table.sentences(comparison(cells=(one,)))
    assert (
        "Offline, 1 thread: int8 ran with batch 4, 2 streams, 2 threads, pinned (tuned "
        "2026-11-21T09:00:00+00:00)." in lines
    )


def test_a_comparison_made_before_there_were_tunings_can_be_read(tmp_path: Path) -> None:
    output.write([comparison()], tmp_path)
    path = tmp_path / document.FILE_NAME
    written = json.loads(path.read_text())
    for entry in written["comparisons"][0]["cells"]:
        del entry["settings"], entry["tuning"]
    path.write_text(json.dumps(written))
    assert document.read(path) == [comparison()]
