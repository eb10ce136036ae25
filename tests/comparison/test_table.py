"""The tables and sentences of a comparison, word for word."""

import csv
import io
import math
import textwrap
from dataclasses import replace

import pytest
from sample_comparison import LATENCIES_MS, MACHINE, cell, comparison, variant

from harness.comparison import findings, table
from harness.comparison.document import Accuracy, AccuracyPair
from harness.comparison.findings import Speedup
from harness.measurement.statistics import Interval
from harness.mlperf.scenario import Scenario

TERMINAL = """
    Single-Stream, p90 latency in ms
                                  fp32  int8  searched         boost
    ----------------------------  ----  ----  --------  ------------
    Imaginary CPU 9000, 1 thread    81  20.2       5.1  3.96 - 15.9x

    Offline, throughput in images/s
                                  fp32  int8  searched         boost
    ----------------------------  ----  ----  --------  ------------
    Imaginary CPU 9000, 1 thread  12.9    50       201  4.02 - 15.6x

    Accuracy
                top-1         right            target
    --------  -------  ------------  ----------------
    fp32      76.40 %  764 of 1,000  75.00 %: reached
    int8      76.10 %  761 of 1,000  75.00 %: reached
    searched  76.50 %  765 of 1,000  75.00 %: reached

    boost: searched against the other variants that reach their accuracy target, smallest to largest.
    Geometric means over 3 rounds of 10 s, each a LoadGen test of its own; not official MLPerf results.

    Single-Stream, 1 thread: int8 is 4.01x faster than fp32 (95 % interval 3.98 - 4.04, 3 rounds).
    Single-Stream, 1 thread: searched is 15.9x faster than fp32 (95 % interval 15.6 - 16.2, 3 rounds).
    Single-Stream, 1 thread: searched is 3.96x faster than int8 (95 % interval 3.86 - 4.07, 3 rounds).
    Offline, 1 thread: int8 is 3.88x faster than fp32 (95 % interval 3.67 - 4.18, 3 rounds).
    Offline, 1 thread: searched is 15.6x faster than fp32 (95 % interval 15.1 - 16.4, 3 rounds).
    Offline, 1 thread: searched is 4.02x faster than int8 (95 % interval 3.66 - 4.48, 3 rounds).
    int8 against fp32: -0.30 points top-1 (95 % -0.85 to +0.29); 9 of 1,000 answers changed, 5 right ones became wrong and 2 wrong ones right (McNemar's exact test: p = 0.45): no difference can be told.
    searched against fp32: +0.10 points top-1 (95 % -1.74 to +1.93); 300 of 1,000 answers changed, 40 right ones became wrong and 41 wrong ones right (McNemar's exact test: p = 1): no difference can be told.
"""  # noqa: E501


def squeezed(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def test_the_terminal_shows_the_published_shape_and_how_sure_it_is() -> None:
    wanted = squeezed(textwrap.dedent(TERMINAL))
    assert squeezed(table.text([comparison()])) == wanted


def test_markdown_holds_our_tables_and_the_published_ones() -> None:
    text = table.markdown([comparison()])
    assert "| Imaginary CPU 9000, 1 thread | 81 | 20.2 | 5.1 | 3.96 - 15.9x |" in text
    assert "| 1 Intel Cascade Lake core | 76 | 21 | 6.45 | 3.3 - 11.8x |" in text
    assert "| 8 Intel Cascade Lake cores | 110 | 410 | 1092 | 2.7 - 9.9x |" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_csv_has_a_line_for_each_variant_and_scenario_with_its_logs() -> None:
    rows = list(csv.DictReader(io.StringIO(table.comma_separated([comparison()]))))
    assert [(row["scenario"], row["variant"]) for row in rows] == [
        (scenario, name) for scenario in ("SingleStream", "Offline") for name in LATENCIES_MS
    ]
    searched = rows[-1]
    assert float(searched["speedup"]) == pytest.approx(15.6, abs=0.05)
    assert (searched["against"], searched["outcome"]) == ("fp32", "faster")
    assert searched["logs"] == "rounds/searched/Offline/1-threads"
    assert rows[0]["speedup"] == ""


def test_a_variant_that_misses_its_target_is_marked_and_left_out_of_the_boost() -> None:
    missed = comparison(variants=(variant("fp32"), variant("int8"), variant("searched", 700, False)))
    assert table.tables([missed])[0].header[-2] == "searched*"
    assert [boost.variant for boost in findings.boosts(missed)] == ["int8", "int8"]
    assert findings.boosts(missed)[0].text == "4.01x"
    assert "* searched misses its accuracy target and is left out of the boost" in table.text([missed])
    assert missed.faults == ["searched: failed: 70.000 % against the target 75 %"]


def test_an_accuracy_test_with_errors_counts_as_missed() -> None:
    broken = variant("int8")
    assert broken.accuracy is not None
    broken = replace(broken, accuracy=replace(broken.accuracy, valid=False))
    assert not broken.counts


def test_speed_only_ratios_say_so() -> None:
    untrained = comparison(variants=tuple(variant(name, None) for name in LATENCIES_MS), accuracy_pairs=())
    assert all(speedup.text.endswith("(speed only)") for speedup in findings.speedups(untrained))
    text = table.text([untrained])
    assert "3.96 - 15.9x†" in text
    assert "† speed only: no trained weights (fp32, int8, searched)." in text
    assert table.accuracy_table([untrained]) is None


def test_a_variant_that_could_not_be_run_keeps_its_column() -> None:
    names = ("fp32", "int8")
    cells = tuple(cell(Scenario.OFFLINE, 1, name, [10.0, 11.0]) for name in names)
    lacking = comparison(
        variants=(variant("fp32"), variant("bf16", None, not_run="This CPU has no BF16."), variant("int8")),
        cells=cells,
        accuracy_pairs=(),
    )
    assert table.tables([lacking])[0].rows[0][1:] == ("10.5", "-", "10.5", "~1.00x")
    assert "bf16 was not run: This CPU has no BF16." in table.notes([lacking])


def test_the_boosts_subject_is_told_of_each_machine_where_they_differ() -> None:
    lacking = variant("searched", None, not_run="This CPU has no BF16.")
    one = comparison(source="../a")
    cells = tuple(cell for cell in one.cells if cell.variant != "searched")
    other = comparison(
        machine=replace(MACHINE, cpu_model="Other"),
        source="../b",
        variants=(variant("fp32"), variant("int8"), lacking),
        cells=cells,
        accuracy_pairs=(),
    )
    against = "against the other variants that reach their accuracy target, smallest to largest."
    assert table.notes([one, other])[:2] == [
        f"boost of Imaginary CPU 9000 (../a): searched {against}",
        f"boost of Other (../b): int8 {against}",
    ]
    same = table.notes([one, comparison(source="../b")])
    assert [note for note in same if "boost" in note] == [f"boost: searched {against}"]


def test_when_noise_hides_the_difference_the_rounds_still_needed_are_told() -> None:
    cells = (
        cell(Scenario.OFFLINE, 1, "fp32", [100.0, 104.0, 97.0, 101.0]),
        cell(Scenario.OFFLINE, 1, "int8", [103.0, 101.0, 102.0, 100.0]),
    )
    noisy = comparison(variants=(variant("fp32"), variant("int8")), cells=cells, accuracy_pairs=())
    (speedup,) = findings.speedups(noisy)
    assert speedup.outcome == "undecided"
    assert speedup.rounds_needed is not None
    assert "int8 cannot be told from fp32: 1.010x (95 % interval " in speedup.text
    more = speedup.rounds_needed - 4
    assert f"about {more} more rounds would probably tell, if a difference of 1 % is real" in speedup.text
    assert findings.boosts(noisy)[0].text == "~1.01x"
    assert "~ the interval of this ratio includes 1: no difference can be told." in table.notes([noisy])


@pytest.mark.parametrize(
    ("low", "high", "verdict", "gain"),
    [
        (1.0003, 1.0034, "1.002x faster (1.0003 - 1.0034)", "1.00x (1.0003-1.0034)"),
        (0.9966, 0.9998, "1.002x slower (1.0002 - 1.0034)", "1.00x (0.9966-0.9998)"),
        (1.3, 2.0, "1.61x faster (1.30 - 2.00)", "1.61x (1.30-2.00)"),
    ],
)
def test_rounding_does_not_hide_that_an_interval_excludes_1(
    low: float, high: float, verdict: str, gain: str
) -> None:
    found = Interval(math.sqrt(low * high), low, high, 9)
    sure = Speedup(Scenario.OFFLINE, 1, "int8", "fp32", found, None, False, "")
    assert findings.short_text(sure) == verdict
    assert findings.gain_text(found) == gain


def test_a_comparison_that_was_looked_at_before_needs_more_to_tell() -> None:
    once = comparison()
    settings = replace(once.settings, rounds=3, looks=(2, 3))
    twice = comparison(settings=settings)
    assert (once.settings.look, settings.look) == (0, 2)
    for before, after in zip(findings.speedups(once), findings.speedups(twice), strict=True):
        assert before.interval is not None
        assert after.interval is not None
        assert after.interval.low <= before.interval.low <= before.interval.high <= after.interval.high
        assert after.interval.high > before.interval.high
    told = "Looked at after 2, 3 rounds: the intervals of ratios are wider"
    assert [any(note.startswith(told) for note in table.notes([one])) for one in (once, twice)] == [
        False,
        True,
    ]


def test_a_sure_boost_does_not_look_like_none() -> None:
    boost = findings.Boost(Scenario.OFFLINE, 1, "int8", 1.003, 1.9, True, True, False)
    assert boost.text == "1.003 - 1.90x"
    assert replace(boost, low_sure=False).text == "~1.00 - 1.90x"


def test_a_missed_target_does_not_look_reached() -> None:
    # 99 % of 76.130 %, one image too few.
    missed = variant("fp32")
    assert missed.accuracy is not None
    accuracy = replace(missed.accuracy, good=37_684, total=50_000, target=0.753687, passed=False)
    made = table.accuracy_table([comparison(variants=(replace(missed, accuracy=accuracy),))])
    assert made is not None
    (row,) = made.rows
    assert row[1] == "75.368 %"
    assert row[-1] == "75.369 %: missed"


@pytest.mark.parametrize(
    ("p_value", "text"), [(0.0496, "0.0496"), (0.0504, "0.0504"), (0.453, "0.45"), (0.0, "1e-300")]
)
def test_a_p_value_is_on_the_side_of_the_verdict(p_value: float, text: str) -> None:
    assert findings._p_text(p_value) == text


def test_slower_is_said_as_plainly_as_faster() -> None:
    turned = comparison(baseline="searched")
    texts = [speedup.text for speedup in findings.speedups(turned)]
    assert (
        "Single-Stream, 1 thread: fp32 is 15.9x slower than searched (95 % interval 15.6 - 16.2, 3 rounds)"
        in texts
    )


def test_only_rounds_that_are_valid_for_both_count() -> None:
    cells = (
        cell(Scenario.OFFLINE, 1, "fp32", [100.0, 1.0, 100.0, 100.0], invalid=[2]),
        cell(Scenario.OFFLINE, 1, "int8", [200.0, 200.0, 1.0, 200.0], invalid=[3]),
    )
    partly = comparison(variants=(variant("fp32"), variant("int8")), cells=cells, accuracy_pairs=())
    (speedup,) = findings.speedups(partly)
    assert speedup.interval is not None
    assert (speedup.interval.center, speedup.interval.count) == (pytest.approx(2.0), 2)
    assert partly.faults[0] == ("fp32, Offline, 1 thread: round 2 of 4 is not valid and left out: Too short.")


def test_too_few_valid_rounds_give_no_verdict() -> None:
    cells = (
        cell(Scenario.OFFLINE, 1, "fp32", [100.0, 100.0], invalid=[1]),
        cell(Scenario.OFFLINE, 1, "int8", [900.0, 900.0]),
    )
    few = comparison(variants=(variant("fp32"), variant("int8")), cells=cells, accuracy_pairs=())
    (speedup,) = findings.speedups(few)
    assert speedup.interval is None
    assert speedup.text.endswith("int8 against fp32: too few valid rounds for an interval")
    assert table.tables([few])[0].rows[0][1:] == ("-", "900", "-")


def test_a_real_loss_of_accuracy_is_called_one() -> None:
    text = findings.accuracy_text(comparison(), AccuracyPair("int8", "fp32", 1000, 60, 50, 10, 1.7e-7))
    assert text.startswith(
        "int8 against fp32: -4.00 points top-1 (95 % -5.50 to -2.48); 60 of 1,000 answers changed"
    )
    assert text.endswith("p = 2e-07): a difference that chance would hardly make.")


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (-0.021, -0.004, "a difference that chance would hardly make"),
        (-0.02, 0.001, "no difference can be told"),
    ],
)
def test_detectors_are_compared_by_map_with_an_interval_over_the_images(
    low: float, high: float, told: str
) -> None:
    boxes = {"agreement": 0.905, "difference": -0.0125, "low": low, "high": high}
    text = findings.accuracy_text(comparison(), AccuracyPair("int8", "fp32", 50, 12, **boxes))
    assert text == (
        f"int8 against fp32: -1.25 points mAP (95 % {100 * low:+.2f} to {100 * high:+.2f}, a bootstrap over "
        f"50 images); 90.5 % of an image's boxes stayed on average: {told}."
    )
    with pytest.raises(ValueError, match="neither labels nor boxes, or both"):
        AccuracyPair("int8", "fp32", 50, 12, lost=1, gained=2, p_value=0.5, **boxes)


def test_the_accuracy_of_detectors_is_shown_as_map() -> None:
    score = Accuracy(50, False, 0.5073, "failed", True, "accuracy/fp32", map=0.28913)
    shown = table.accuracy_table([comparison(variants=(replace(variant("fp32"), accuracy=score),))])
    assert shown is not None
    assert shown.header == ("", "mAP", "images", "target")
    assert shown.rows == (("fp32", "28.91 %", "50", "50.73 %: missed"),)


def test_rows_of_equal_machines_are_told_apart_by_their_folders() -> None:
    twins = [comparison(source="../a"), comparison(source="../b")]
    labels = [label for _, _, label in table.labelled(twins)]
    assert labels == ["Imaginary CPU 9000, 1 thread (../a)", "Imaginary CPU 9000, 1 thread (../b)"]
    other = comparison(machine=replace(MACHINE, cpu_model="Other"), source="../b")
    assert [label for _, _, label in table.labelled([twins[0], other])] == [
        "Imaginary CPU 9000, 1 thread",
        "Other, 1 thread",
    ]
