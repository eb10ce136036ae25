"""Our own checker of submission trees, which also looks where the official modular one does not.

That one ignores whether a result is VALID, LoadGen's errors in performance logs, summaries, calibration
documents and unknown files, and finds nothing wrong with an empty tree.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.mlperf import conf
from harness.mlperf.conf_syntax import SCENARIOS
from harness.mlperf.rules import DIVISIONS, Round, Task
from harness.submission import compliance, housekeeping, logs, paperwork
from harness.submission.verdict import Check, Ledger

_SCENARIO_OF = {name.lower(): name for name in SCENARIOS}
"""MLCommons' tool for inferred results names their folders in lower case."""
_SCENARIO_FILES = ("measurements.json", "user.conf", "README.md")
_LOGS = (logs.SUMMARY, logs.DETAIL)
# LoadGen writes them too, and the checkers do not mind them.
_OPTIONAL_LOGS = (logs.ACCURACY, "mlperf_log_trace.json")
_HOME = ("systems", "results", "src", "documentation")
_ROOT_FOLDERS = (*DIVISIONS, "network", ".git", ".github", "assets")


def check_tree(root: Path, made_for: Round) -> list[Check]:
    """Hold a submission tree against the rules of a round; every fault in one pass.

    Raises:
        HarnessError: there is no such folder.
    """
    if not root.is_dir():
        raise HarnessError(f"No folder {root}: give the folder that `harness submit --out` wrote.")
    checker = _Checker(root, made_for, Ledger())
    checker.run()
    return checker.ledger.checks


@dataclass(frozen=True)
class _Home:
    """One submitter's folder."""

    path: Path
    division: str
    submitter: str


class _Checker:
    def __init__(self, root: Path, made_for: Round, ledger: Ledger) -> None:
        self.root = root
        self.round = made_for
        self.ledger = ledger
        self.results = 0

    def run(self) -> None:
        for path in sorted(self.root.iterdir()):
            if path.is_file():
                self._hold_known(path, path.suffix in (".md", ".pdf"), "only .md and .pdf files may lie here")
            elif path.name == "network":
                self._fail(
                    "the division is known", path, "is a division that the harness cannot check", "remove it"
                )
            elif path.name in DIVISIONS:
                self._division(path)
            else:
                self._hold_known(path, path.name in _ROOT_FOLDERS, f"known here: {', '.join(DIVISIONS)}")
        if self.results == 0:
            self._fail(
                "the tree has a result", self.root, "holds no result", "make the tree with `harness submit`"
            )

    def _division(self, division: Path) -> None:
        for path in sorted(division.iterdir()):
            if path.is_file():
                self._hold_known(path, False, "only submitters' folders may lie here")
            else:
                self._submitter(_Home(path, division.name, path.name))

    def _submitter(self, home: _Home) -> None:
        housekeeping.check_names_and_sizes(self.ledger, home.path, self.root, self.round.max_file_bytes)
        for path in sorted(home.path.iterdir()):
            known = (
                path.name in _HOME if path.is_dir() else path.name in ("model_mapping.json", "calibration.md")
            )
            self._hold_known(path, known or path.suffix in (".md", ".pdf"), f"known here: {', '.join(_HOME)}")
        for name in ("systems", "results", "src"):
            folder = home.path / name
            self._hold("the folder is there", folder, folder.is_dir(), "is missing", "make the tree again")
        calibration = [home.path / "documentation" / "calibration.md", home.path / "calibration.md"]
        self._hold(
            "the calibration is documented",
            calibration[0],
            any(path.is_file() and path.stat().st_size for path in calibration),
            "is missing or empty",
            "describe how the model was quantized, or that it was not",
            warning=home.division == "open",
        )
        mapping = self._mapping(home)
        systems = _folders(home.path / "results")
        self._systems_without_results(home, {path.name for path in systems})
        self._stray_files(home.path / "results", "only systems' folders may lie here")
        for system in systems:
            self._system(home, system, mapping)

    def _mapping(self, home: _Home) -> dict[str, str]:
        path = home.path / "model_mapping.json"
        if not path.exists():
            return {}
        if not self._hold(
            "Closed has no model mapping",
            path,
            home.division == "open",
            "has no effect in Closed",
            "remove it",
            warning=True,
        ):
            return {}
        document = self._json(path)
        if document is None:
            return {}
        return paperwork.check_mapping(self.ledger, document, self._shown(path), self.round)

    def _systems_without_results(self, home: _Home, measured: set[str]) -> None:
        folder = home.path / "systems"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix == ".json":
                self._hold(
                    "each description has results",
                    path,
                    path.stem in measured,
                    "describes a system without results",
                    "remove it or add the results",
                )
            else:
                self._hold_known(path, path.name.endswith("_power.yaml"), "only descriptions may lie here")

    def _system(self, home: _Home, system: Path, mapping: dict[str, str]) -> None:
        path = home.path / "systems" / f"{system.name}.json"
        document = self._json(path)
        system_type = ""
        if document is not None:
            paperwork.check_description(
                self.ledger, document, self._shown(path), self.round, home.division, home.submitter
            )
            if isinstance(document, dict):
                system_type = ",".join(sorted(str(document.get("system_type", "")).split(",")))
        self._stray_files(system, "only benchmarks' folders may lie here")
        for model in _folders(system):
            self._model(home, model, mapping, system_type)

    def _model(self, home: _Home, model: Path, mapping: dict[str, str], system_type: str) -> None:
        task = self.round.guess_task(model.name, mapping)
        if not self._hold(
            "the folder is a benchmark's",
            model,
            task is not None,
            f"is no benchmark of {self.round.name} that the harness knows",
            "name the model in model_mapping.json"
            if home.division == "open"
            else "name the folder resnet50, or use the open division",
        ):
            return
        assert task is not None
        self._stray_files(model, "only scenarios' folders may lie here")
        present = set()
        for folder in _folders(model):
            scenario = _SCENARIO_OF.get(folder.name.lower())
            if self._hold(
                "the folder is a scenario's",
                folder,
                scenario is not None,
                "is no scenario",
                f"move it elsewhere; known here: {', '.join(SCENARIOS)}",
            ):
                assert scenario is not None
                present.add(scenario)
                self._scenario(folder, scenario, logs.Rules(self.round, task, home.division, system_type))
        if home.division == "closed":
            self._closed_set(model, task, system_type, present)

    def _closed_set(self, model: Path, task: Task, system_type: str, present: set[str]) -> None:
        self._hold(
            "Closed has the benchmark under its own name",
            model,
            model.name in (task.closed_folder, task.official_name),
            f"is no name of a benchmark (known: {task.closed_folder}, {task.official_name})",
            "rename the folder, or use the open division",
        )
        wanted = task.closed_scenarios.get(system_type)
        if not self._hold(
            "the benchmark is one of this system type",
            model,
            wanted is not None,
            f"is no Closed benchmark of {system_type or 'unknown'} systems in {self.round.name}",
            "use the system type edge",
        ):
            return
        assert wanted is not None
        missing = [name for name in wanted if name not in present]
        self._hold("Closed has all scenarios", model, not missing, f"lacks {', '.join(missing)}", "run them")
        surplus = sorted(present - set(wanted))
        self._hold(
            "Closed has no other scenarios",
            model,
            not surplus,
            f"has also {', '.join(surplus)}",
            "remove them",
        )

    def _scenario(self, scenario: Path, name: str, rules: logs.Rules) -> None:
        self.results += 1
        self._expected_files(scenario, rules.task.audits)
        for file_name in _SCENARIO_FILES:
            path = scenario / file_name
            self._hold(
                "the file is there and not empty",
                path,
                path.is_file() and path.stat().st_size > 0,
                "is missing or empty",
                "make the tree again with `harness submit`",
            )
        document = self._json(scenario / "measurements.json", missing_is_noted=True)
        if document is not None:
            shown = self._shown(scenario / "measurements.json")
            paperwork.check_measurements(self.ledger, document, shown, self.round)
        self._user_conf(scenario / "user.conf", rules)
        run = scenario / "performance" / "run_1"
        detail = logs.check_performance(self.ledger, run, self._shown(run), name, rules)
        folder = scenario / "accuracy"
        logs.check_accuracy(self.ledger, folder, self._shown(folder), rules, truncated=True)
        for test in rules.task.audits:
            path = scenario / test
            wanted = rules.division == "closed"
            if path.is_dir():
                compliance.check(self.ledger, path, self._shown(path), test, rules, name, detail)
            elif wanted:
                self._fail("the compliance test is there", path, "is missing", "run `harness compliance`")

    def _user_conf(self, path: Path, rules: logs.Rules) -> None:
        if not path.is_file():
            return
        try:
            given = conf.read_user_conf(path, rules.task.benchmark.name)
        except HarnessError as error:
            self._fail("user.conf is sound", path, str(error).rstrip("."), "use the one of the run")
            return
        for fault in given.open_only:
            self._hold(
                "user.conf fits the division",
                path,
                rules.division == "open",
                fault.rstrip("."),
                "use the open division",
            )

    def _expected_files(self, scenario: Path, audits: tuple[str, ...]) -> None:
        run = "performance/run_1"
        expected = {*_SCENARIO_FILES, "mlperf.conf"}
        expected |= {f"{run}/{name}" for name in (*_LOGS, *_OPTIONAL_LOGS)}
        expected |= {f"accuracy/{name}" for name in (*_LOGS, *_OPTIONAL_LOGS, logs.ACCURACY_TEXT)}
        for test in audits:
            expected |= {f"{test}/{name}" for name in compliance.FILES[test]}
            expected |= {f"{test}/{run}/{name}" for name in (*_LOGS, *_OPTIONAL_LOGS)}
        for path in sorted(scenario.rglob("*")):
            if path.is_file():
                name = path.relative_to(scenario).as_posix()
                self._hold_known(path, name in expected, "it has no place in a scenario's folder")

    def _json(self, path: Path, *, missing_is_noted: bool = False) -> Any:
        """Return the document, or None when it cannot be read, which is noted."""
        if missing_is_noted and not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._fail("the file is there", path, "is missing", "make the tree again with `harness submit`")
        except (OSError, ValueError) as error:
            self._fail("the file is JSON", path, f"is cut off or no JSON ({error})", "make the tree again")
        return None

    def _stray_files(self, folder: Path, rule: str) -> None:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_file():
                self._hold_known(path, False, rule)

    def _hold_known(self, path: Path, passed: bool, rule: str) -> None:
        self._hold("the file or folder is known", path, passed, f"is unknown: {rule}", "move it elsewhere")

    def _hold(
        self, name: str, path: Path, passed: bool, detail: str, cure: str, *, warning: bool = False
    ) -> bool:
        return self.ledger.hold(name, self._shown(path), passed, detail, cure, warning=warning)

    def _fail(self, name: str, path: Path, detail: str, cure: str) -> None:
        self._hold(name, path, False, detail, cure)

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
