"""Results that the rules let a submitter infer: copies of a measured scenario, named after another one."""

from collections.abc import Sequence
from dataclasses import replace

from harness.errors import HarnessError
from harness.mlperf.rules import Round
from harness.submission.results import Result, entry_of

_EDGE = "edge"


def infer(found: Sequence[Result], made_for: Round, system_type: str) -> list[Result]:
    """Return results that stand in for the scenarios which were not measured.

    A MultiStream result may be inferred from SingleStream, and an Offline result from a measured MultiStream
    or from SingleStream; their directories are copies (inference_rules.adoc, edge-required-scenarios).

    Args:
        found: measured results.
        made_for: the round, which says what is inferred from what.
        system_type: of the systems; only edge systems may infer.

    Raises:
        HarnessError: the system type is none that may infer.
    """
    if _EDGE not in system_type.split(","):
        raise HarnessError(
            f"Only results of edge systems may be inferred, and --system-type is {system_type}: "
            f"leave out --inferred."
        )
    measured = {(one.system, one.model, one.scenario): one for one in found}
    made: dict[tuple[str, str, str], Result] = {}
    for system, model in dict.fromkeys((one.system, one.model) for one in found):
        for source, target in made_for.inferences:
            one, place = measured.get((system, model, source)), (system, model, target)
            if one is None or place in measured or place in made:
                continue
            task = entry_of(one, made_for)
            if task is not None and target in task.closed_scenarios.get(system_type, ()):
                made[place] = replace(one, scenario=target, inferred=True)
    return list(made.values())
