"""What a run can be entered for, on days before, at and after the deadlines."""

from datetime import date

import pytest

from harness.mlperf import calendar
from harness.mlperf.rules import EXPECTED, NEWEST, ROUNDS, find_round


@pytest.mark.parametrize(
    ("made_for", "today", "said"),
    [
        ("v6.1", date(2026, 7, 31), "MLPerf v6.1 takes submissions until 2026-07-31."),
        ("v6.0", date(2026, 2, 13), "MLPerf v6.0 takes submissions until 2026-02-13."),
        (
            "v6.0",
            date(2026, 2, 14),
            "MLPerf v6.0 took submissions until 2026-02-13, so this cannot be entered any more; v6.1 takes "
            "them until 2026-07-31 and has other seeds: run again with mlcommons-loadgen 6.0.17.",
        ),
        (
            "v6.1",
            date(2026, 8, 1),
            "MLPerf v6.1 took submissions until 2026-07-31, so this cannot be entered any more; v7.0 is "
            "expected in February 2027 and will have other seeds: run again with the LoadGen of that round "
            "(docs/how-to/new-round.md).",
        ),
        ("v6.0", date(2027, 2, 28), "v7.0 is expected in February 2027 and will have other seeds"),
        (
            "v6.1",
            date(2027, 3, 1),
            "v7.0 was expected in February 2027 and this version of the harness does not know it",
        ),
    ],
)
def test_a_day_decides_what_can_be_entered(made_for: str, today: date, said: str) -> None:
    assert said in calendar.outlook(find_round(made_for), today)


def test_the_round_to_come_is_none_that_is_known_and_comes_after_them() -> None:
    assert EXPECTED.name not in ROUNDS
    assert EXPECTED.month > ROUNDS[NEWEST].deadline
    deadlines = [made.deadline for made in ROUNDS.values()]
    assert deadlines == sorted(deadlines, reverse=True)


def test_a_loadgen_of_no_round_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar.metadata, "version", lambda _: "6.0.18")
    assert calendar.outlook_of_installed() == (
        "LoadGen 6.0.18 belongs to no MLPerf round that is known here, so this cannot be entered: install "
        "mlcommons-loadgen 6.0.17, or add its round (docs/how-to/new-round.md)."
    )
