"""What MLCommons' own checkers refuse, ours refuses; and it takes what is right.

Their verdicts on the mutants are recorded. When mutants or rounds were changed, record them anew, which takes
some minutes and a checkout of mlcommons/inference:

    HARNESS_UPDATE_VERDICTS=CHECKOUT pytest -n 0 tests/submission/test_mutants.py
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.mlperf import log
from harness.mlperf.rules import find_round
from harness.submission.check import check_tree
from harness.submission.verdict import Check, faults

from .broken_tree import Tree, linked_copy
from .checker_server import MODULES
from .mutants import Mutant, detection, make_bases, mutants

ROUND = find_round("v6.1")
RECORDED = Path(__file__).parents[1] / "fixtures" / "official_verdicts.json"
MUTANTS = mutants()

TAKEN: dict[str, str] = {
    "offline: accuracy.txt is of the official script with --verbose": "",
    "offline: accuracy.txt has its line twice": "",
    "offline: accuracy.txt has its hash first": "",
    "closed: accuracy.txt is at the target": "",
    "closed: user.conf has another model's lines besides": "",
    "closed: user.conf has lines of all kinds of models besides": "",
    "closed: user.conf has a comment besides": "",
    "closed: user.conf has a wildcard's estimate that the run's overrules": "",
    "closed: MultiStream is inferred from SingleStream": "",
    "closed: Offline is inferred from SingleStream": "",
    "closed: Offline is inferred from MultiStream": "",
    "closed: TEST01's accuracy failed, beside accuracy files": "",
    "closed: TEST01's accuracy failed and baseline_accuracy.txt is of the script with --verbose": "",
    "closed: the model is called resnet": "",
    "offline: another model is mapped to 'yolo-99'": "",
    "offline: another model is mapped to 'bert-99'": "",
    "offline: the model is called mine-of-old and mapped to resnet": "",
    "offline: the scenario is called offline": "",
    "offline: the submitter is called 'us.'": "",
    "offline: the submitter is called 'Ü'": "",
    "offline: the field submitter is 'us'": "",
    "offline: the field status is 'Available'": "",
    "offline: the field number_of_nodes is 1": "",
    "offline: the field host_processors_per_node is 2": "",
    "offline: the field another_key is 'x'": "",
    "offline: the field is_network is ''": "",
    "offline: the field cooling is a list": "'cooling' is [\"x\"], not a text",
    "offline: measurements.json's retraining is a list": "'retraining' is [\"x\"], not a text",
    "offline: the power description is good": "",
    "offline: results/this-machine/privateid.json at home": "",
    "offline: code/x.py at home": "",
    "offline: code/resnet/x.py at home": "",
    "offline: notes.md at home": "",
    "offline: LICENSE at home": "is unknown",
    "offline: measurements/x.json at home": "is unknown",
    "offline: accuracy/results.json in the scenario": "it has no place in a scenario's folder",
    "offline: performance/run_1/results.json in the scenario": "it has no place in a scenario's folder",
    "closed: TEST01/accuracy/results.json in the scenario": "it has no place in a scenario's folder",
    "closed: TEST04/performance/run_1/results.json in the scenario": "it has no place in a scenario's folder",
    "offline: performance/run_1/mlperf_log_trace.json in the scenario": "",
    "offline: mlperf.conf in the scenario": "",
    "offline: audit.config in the scenario": "it has no place in a scenario's folder",
    "systems: is untouched": "",
    "systems: their descriptions are swapped": "",
    "systems: one has the benchmark under its other name": "",
    "inferred: is untouched": "",
    "both: is untouched": "",
    "both: open has an accuracy of 10 %": "",
    "both: open has the results of closed, too": "",
    "both: closed has the models' mapping of open": "has no effect in Closed",
    "yolo: is untouched": "",
    "yolo: the model is mapped to 'yolo-99'": "",
    "yolo: the score is 'mAP=12.000%'": "",
    "yolo: accuracy.txt is of the official script with --verbose": "",
    "yolo: the system type is 'datacenter,edge'": "",
    "yolo closed: is untouched": "",
    "yolo closed: it enters yolo-95 with mAP=50.730%": "",
    "yolo closed: it enters yolo-99 with mAP=52.866%": "",
    "yolo closed: the system type is 'datacenter,edge'": "",
    "yolo closed: TEST01 answered otherwise, as accurately": "",
}
"""Mutants that are right or tolerated -> what a warning says of them, if one does."""

AGAINST_THE_RULES: dict[str, str] = {
    "closed: Offline and offline side by side": "is a second folder of Offline",
    "offline: Offline and offline side by side": "is a second folder of Offline",
    "closed: effective_performance_issue_same is True in Offline": "the samples are not drawn at random",
    "closed: effective_performance_issue_same is True in SingleStream": "the samples are not drawn at random",
    "closed: effective_performance_issue_unique is True in Offline": "the samples are not drawn at random",
    "closed: effective_performance_issue_same is True in TEST01": "did not run with the settings of TEST01",
    "closed: effective_target_latency_percentile is 0.5 in SingleStream": (
        "the percentile of latency is 0.5 where the rules ask for 0.9: remove target_latency_percentile from"
    ),
    "closed: effective_target_latency_percentile is 0.9 in MultiStream": "is 0.9 where the rules ask for 0.9",
    "closed: effective_samples_per_query is 4 in MultiStream": "a query is 4 where the rules ask for 8",
    "closed: effective_samples_per_query is 16 in MultiStream": "a query is 16 where the rules ask for 8",
    "closed: effective_samples_per_query is 8 in SingleStream": "a query is 8 where the rules ask for 1",
    "closed: effective_min_query_count is 100 in MultiStream": "is 100 where the rules ask for 662",
    "closed: user.conf of Offline is 'resnet50.Offline.target_qps = 41.0\\n'": (
        "is not the one that the run was made with (target_qps: 41.0 here, 40.0 in the log)"
    ),
    "closed: user.conf of Offline is '# nothing\\n'": "target_qps: 1.0 here, 40.0 in the log",
    "closed: user.conf of SingleStream is 'resnet50.SingleStream.target_latency = 9.0\\n'": (
        "target_latency: 9.0 here, 8.0 in the log"
    ),
    "closed: user.conf of MultiStream is 'resnet50.MultiStream.target_latency = 33\\n'": (
        "target_latency: 33 here, 32.0 in the log"
    ),
    "offline: the summary says 'Samples per second: 99.5'": (
        "is of another run than the detail log beside it (Samples per second: 99.5 here, 43.2717 there)"
    ),
    "offline: the summary says 'qsl_rng_seed : 7'": "qsl_rng_seed: 7 here",
    "offline: the summary says '1 ERROR encountered.'": "is cut off or tells of errors",
    "offline: the summary ends after line 10": "is cut off",
    "closed: the summary is another scenario's": "Scenario: MultiStream here, Offline there",
    "closed: the summary is TEST01's": "is of another run than the detail log beside it",
    "closed: accuracy's summary is the performance run's": "Mode: PerformanceOnly here, AccuracyOnly there",
    "closed: the performance run's summary is accuracy's": "LoadGen's verdict is nothing",
    "closed: SingleStream has the accuracy run of Offline": "is of a run of Offline, in the folder of Single",
    "closed: MultiStream has the accuracy run of Offline": "is of a run of Offline, in the folder of Multi",
    "offline: accuracy's log ends after line 300": "is cut off: it tells of",
    "offline: accuracy's log ends after line -1": "is cut off: it tells of",
    "offline: the detail log ends after line 90": "is cut off: it lacks 'num_errors'",
    "offline: an error in performance": "LoadGen logged 1 errors",
    "offline: accuracy.txt has a second line that is too low": "states several scores",
    "offline: performance/run_1/mlperf_log_detail.txt is a link": "is a link, and a submission holds files",
    "offline: a link to a folder in the sources": "is a link",
    "offline: a link to a folder in the root": "is a link",
    "offline: the submitter is called 'a b'": "has a blank, or a dot",
    "systems: that-machine has an error in performance": "LoadGen logged 1 errors",
    "inferred: MultiStream is of another duration than its source": "min_duration (ms): 600000 here, 700000",
    "inferred: Offline has an error in TEST01/performance/run_1/mlperf_log_detail.txt": "LoadGen logged 1 er",
    "both: open has an error in performance": "LoadGen logged 1 errors",
    "yolo: the score is 'accuracy=53.103%, good=810, total=1525'": "has no line 'mAP=...%'",
    "yolo: the score is 'mAP=101.000%'": "says 101.000 %, more than all",
    "yolo: the score is 'mAP=nan%'": "has no line 'mAP=...%'",
    "yolo: accuracy.txt has two scores": "states several scores",
    "yolo: effective_samples_per_query is 1524 in Offline": "is 1524 where the rules ask for 1525",
    "yolo: qsl_reported_total_count is 1524 in Offline": "holds 1524 samples where the data set has 1525",
    "yolo closed: effective_min_query_count is 661 in MultiStream": "is 661 where the rules ask for 662",
    "yolo closed: effective_samples_per_query is 4 in MultiStream": "a query is 4 where the rules ask for 8",
    "yolo closed: effective_target_latency_percentile is 0.5 in SingleStream": "the rules ask for 0.9",
    "yolo closed: result_validity is 'INVALID' in MultiStream": "LoadGen's verdict is INVALID",
    "yolo closed: TEST01 logged other answers than by its seed": "did not run with the settings of TEST01",
}
"""Mutants that no checker, or only one, refuses -> what ours says."""


def make(mutant: Mutant, bases: Mapping[str, Path], target: Path) -> Path:
    """Make a mutant's tree at `target`, in the place of what was there."""
    shutil.rmtree(target, ignore_errors=True)
    root = linked_copy(bases[mutant.base], target)
    mutant.apply(Tree(root))
    return root


@pytest.fixture(scope="module")
def bases(_trees: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_bases(_trees, tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def ours(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Check]]:
    """Return what our checker finds in each mutant."""
    target = tmp_path_factory.mktemp("mutants") / "tree"
    with pytest.MonkeyPatch.context() as patch:
        # Nearly all lines of their logs are the same.
        patch.setattr(log, "json", SimpleNamespace(loads=functools.cache(json.loads)))
        return {one.id: check_tree(make(one, bases, target), ROUND) for one in MUTANTS}


@pytest.fixture(scope="module")
def official(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bool]]:
    """Return whether each of MLCommons' checkers takes a mutant."""
    checkout = os.environ.get("HARNESS_UPDATE_VERDICTS")
    if checkout:
        verdicts = dict(ask(Path(checkout), bases, tmp_path_factory.mktemp("recorded") / "tree"))
        _write(Path(checkout), verdicts)
    recorded: dict[str, list[bool]] = json.loads(RECORDED.read_text())["verdicts"]
    return {name: known(name, verdicts) for name, verdicts in recorded.items()}


def known(name: str, verdicts: list[bool]) -> list[bool]:
    """Return the verdicts of the checkers that know a mutant's benchmark.

    The older one breaks on every Offline result of yolo, as its OFFLINE_MIN_SPQ_SINCE_V4 lacks it.
    """
    return verdicts[:1] if name.startswith(detection.OPEN) else verdicts


def ask(checkout: Path, bases: Mapping[str, Path], target: Path) -> Iterator[tuple[str, list[bool]]]:
    script = Path(__file__).with_name("checker_server.py")
    command = [sys.executable, "-B", script, checkout, ROUND.name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for mutant in MUTANTS:
            print(make(mutant, bases, target), file=server.stdin, flush=True)
            yield mutant.id, json.loads(server.stdout.readline())


def _write(checkout: Path, verdicts: dict[str, list[bool]]) -> None:
    done = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    facts: dict[str, Any] = {
        "source": "github.com/mlcommons/inference, tools/submission",
        "commit": done.stdout.strip(),
        "round": ROUND.name,
        "checkers": list(MODULES),
    }
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(taken)}" for name, taken in verdicts.items())
    head = json.dumps(facts, indent=1).removesuffix("\n}")
    RECORDED.write_text(f'{head},\n "verdicts": {{\n{lines}\n }}\n}}\n')


def test_every_mutant_has_recorded_verdicts(official: dict[str, list[bool]]) -> None:
    assert list(official) == [one.id for one in MUTANTS], "record the verdicts anew"
    refused = [taken for taken in official.values() if not all(taken)]
    assert 300 < len(refused) < len(official)


def test_what_an_official_checker_refuses_is_refused(
    ours: dict[str, list[Check]], official: dict[str, list[bool]]
) -> None:
    taken = [name for name, verdicts in official.items() if not all(verdicts) and not faults(ours[name])]
    assert taken == []


def test_every_fault_of_a_mutant_names_its_file_and_a_cure(ours: dict[str, list[Check]]) -> None:
    wrong = [check for checks in ours.values() for check in checks if not check.passed]
    assert [check for check in wrong if not (check.path and check.detail and check.cure)] == []
    assert [check.sentence for check in wrong if "\n" in check.sentence] == []


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_right_is_taken(
    name: str, ours: dict[str, list[Check]], official: dict[str, list[bool]]
) -> None:
    assert all(official[name])
    assert [check.sentence for check in faults(ours[name])] == []
    warnings = [check.sentence for check in faults(ours[name], strict=True)]
    assert [TAKEN[name] in sentence for sentence in warnings] == ([True] if TAKEN[name] else [])


@pytest.mark.parametrize("name", AGAINST_THE_RULES)
def test_what_is_against_the_rules_is_refused(name: str, ours: dict[str, list[Check]]) -> None:
    said = [check.sentence for check in faults(ours[name])]
    assert any(AGAINST_THE_RULES[name] in sentence for sentence in said), said


def test_the_bases_of_the_mutants_are_good_and_stay_so(
    ours: dict[str, list[Check]], bases: dict[str, Path]
) -> None:
    for base in bases.values():
        assert [check.sentence for check in check_tree(base, ROUND) if not check.passed] == []
