"""Our own checker of submission trees, which also looks where the official modular one does not.

That one ignores whether a result is VALID, LoadGen's errors in performance logs, summaries, calibration
documents and unknown files, and finds nothing wrong with an empty tree.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.mlperf.conf_syntax import SCENARIOS
from harness.mlperf.rules import DIVISIONS, Round, Task
from harness.submission import housekeeping, paperwork, scenario_folder
from harness.submission.run_settings import Rules
from harness.submission.verdict import Check, Ledger

_SCENARIO_OF = {spelt: name for name in SCENARIOS for spelt in (name, name.lower())}
"""MLCommons' tool for inferred results writes lower case; the checkers know no other spelling."""
_PRIVATE_ID = "privateid.json"
"""What the modular checker writes beside a system's results with --private-ids."""
_POWER = "_power.yaml"
_HOME = ("systems", "results", "src", "documentation", "code")
"""submission_structure.md still says code, where the checkers of v6.0 and v6.1 want src."""
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
            housekeeping.check_link(self.ledger, path, self.root)
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
        sizes = self.round.max_file_bytes
        if not housekeeping.check_names_and_sizes(self.ledger, home.path, self.root, sizes):
            return
        for path in sorted(home.path.iterdir()):
            known = (
                path.name in _HOME if path.is_dir() else path.name in ("model_mapping.json", "calibration.md")
            )
            known = known or path.suffix in (".md", ".pdf")
            self._hold_known(path, known, f"known here: {', '.join(_HOME)}", warning=True)
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
        if document is paperwork.UNREADABLE:
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
            elif path.name.endswith(_POWER):
                paperwork.check_power_description(self.ledger, path, self._shown(path))
            else:
                self._hold_known(path, False, "only descriptions may lie here", warning=True)

    def _system(self, home: _Home, system: Path, mapping: dict[str, str]) -> None:
        path = home.path / "systems" / f"{system.name}.json"
        self._hold(
            "the system's name is no file's",
            system,
            ".json" not in system.name,
            "has '.json' in its name, which the older checker cuts off",
            "rename it, and its description",
        )
        document = self._json(path)
        system_type = ""
        if document is not paperwork.UNREADABLE:
            paperwork.check_description(
                self.ledger, document, self._shown(path), self.round, home.division, home.submitter
            )
            if isinstance(document, dict):
                system_type = ",".join(sorted(str(document.get("system_type", "")).split(",")))
        self._stray_files(system, "only benchmarks' folders may lie here", besides=(_PRIVATE_ID,))
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
            else f"name it {' or '.join(_closed_folders(self.round))}, or use the open division",
        ):
            return
        assert task is not None
        self._stray_files(model, "only scenarios' folders may lie here")
        present: set[str] = set()
        rules = Rules(self.round, task, home.division, system_type)
        for folder in _folders(model):
            scenario = _SCENARIO_OF.get(folder.name)
            if self._hold(
                "the folder is a scenario's",
                folder,
                scenario is not None,
                "is no scenario",
                f"rename it, or move it elsewhere; known here: {', '.join(SCENARIOS)}",
            ):
                assert scenario is not None
                self._hold(
                    "each scenario has one folder",
                    folder,
                    scenario not in present,
                    f"is a second folder of {scenario}",
                    "keep one",
                )
                present.add(scenario)
                self.results += 1
                scenario_folder.check(self.ledger, folder, self.root, scenario, rules)
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

    def _json(self, path: Path) -> Any:
        return paperwork.read_json(self.ledger, path, self._shown(path))

    def _stray_files(self, folder: Path, rule: str, besides: tuple[str, ...] = ()) -> None:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_file() and path.name not in besides:
                self._hold_known(path, False, rule)

    def _hold_known(self, path: Path, passed: bool, rule: str, *, warning: bool = False) -> None:
        detail = f"is unknown: {rule}"
        self._hold("the file or folder is known", path, passed, detail, "move it elsewhere", warning=warning)

    def _hold(
        self, name: str, path: Path, passed: bool, detail: str, cure: str, *, warning: bool = False
    ) -> bool:
        return self.ledger.hold(name, self._shown(path), passed, detail, cure, warning=warning)

    def _fail(self, name: str, path: Path, detail: str, cure: str) -> None:
        self._hold(name, path, False, detail, cure)

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _closed_folders(made_for: Round) -> list[str]:
    return [task.closed_folder for task in made_for.tasks.values()]


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
