"""What a run can still be entered for: the dates of the rounds, held against a day."""

from datetime import date, timedelta
from importlib import metadata

from harness.mlperf.rules import EXPECTED, NEWEST, ROUNDS, Round, rounds_of_loadgen

_LOADGEN = "mlcommons-loadgen"
_GUIDE = "docs/how-to/new-round.md"


def has_ended(made_for: Round, today: date | None = None) -> bool:
    """Return whether a round takes no more submissions; `today` is another day than this one for tests."""
    return (today or date.today()) > made_for.deadline


def outlook(made_for: Round, today: date | None = None) -> str:
    """Return one sentence: what results with the seeds of a round can be entered for."""
    today = today or date.today()
    if not has_ended(made_for, today):
        return f"MLPerf {made_for.name} takes submissions until {made_for.deadline}."
    until = f"MLPerf {made_for.name} took submissions until {made_for.deadline}"
    ended = f"{until}, so this cannot be entered any more"
    newest = ROUNDS[NEWEST]
    if made_for is not newest and not has_ended(newest, today):
        return (
            f"{ended}; {newest.name} takes them until {newest.deadline} and has other seeds: run again "
            f"with {_LOADGEN} {newest.loadgen_versions[-1]}."
        )
    month = f"{EXPECTED.month:%B %Y}"
    if today < _end_of_month(EXPECTED.month):
        return (
            f"{ended}; {EXPECTED.name} is expected in {month} and will have other seeds: run again with "
            f"the LoadGen of that round ({_GUIDE})."
        )
    return (
        f"{ended}; {EXPECTED.name} was expected in {month} and this version of the harness does not know it: "
        f"install a newer one, or add the round ({_GUIDE})."
    )


def outlook_of_installed(today: date | None = None) -> str:
    """Return one sentence: what a run with the LoadGen that is installed here can be entered for."""
    version = metadata.version(_LOADGEN)
    rounds = rounds_of_loadgen(version)
    if not rounds:
        return (
            f"LoadGen {version} belongs to no MLPerf round that is known here, so this cannot be entered: "
            f"install {_LOADGEN} {ROUNDS[NEWEST].loadgen_versions[-1]}, or add its round ({_GUIDE})."
        )
    return outlook(ROUNDS[rounds[0]], today)


def _end_of_month(first: date) -> date:
    """Return the first day of the month after."""
    return (first + timedelta(days=31)).replace(day=1)
