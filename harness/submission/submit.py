"""The whole way from a folder of results to a tree: everything is looked at before anything is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import HarnessError
from harness.mlperf import log
from harness.mlperf.rules import NEWEST, Round, find_round, round_of
from harness.model import file as model_file
from harness.submission import description, documentation, results, tree
from harness.submission.eligibility import reasons_against
from harness.submission.logs import DETAIL
from harness.submission.results import PERFORMANCE, Result
from harness.submission.verdict import refusal


@dataclass(frozen=True)
class Request:
    """What to submit, and as what."""

    results: Path
    submitter: str
    division: str
    system_type: str
    out: Path
    system_description: Path | None = None
    models: Sequence[str] = ()
    """Cards of models that are not shipped."""
    round: str | None = None
    """None: the round whose seeds the runs have."""
    replace: bool = False


@dataclass(frozen=True)
class Outcome:
    """A tree that was written."""

    root: Path
    round: Round
    submission: tree.Submission
    files: Sequence[str]
    notes: Sequence[str]

    @property
    def text(self) -> str:
        named = [f"  {one.model} {one.scenario}" for one in self.submission.results]
        return "\n".join(
            [
                f"{self.root}: a submission to {self.round.name}, {self.submission.division} division, "
                f"{len(self.files)} files:",
                *named,
                *(f"  note: {note}" for note in self.notes),
                f"  keep {self.submission.results[0].folder.parents[2]}: it holds the whole accuracy logs",
                f"  next: harness check {self.root} --official PATH",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        return {
            "root": str(self.root),
            "round": self.round.name,
            "division": self.submission.division,
            "submitter": self.submission.submitter,
            "system": self.submission.system,
            "results": [{"model": one.model, "scenario": one.scenario} for one in self.submission.results],
            "notes": list(self.notes),
            "files": list(self.files),
        }


def submit(request: Request) -> Outcome:
    """Write the submission tree.

    Raises:
        HarnessError: lists all reasons why the rules refuse these results, or what is missing.
    """
    tree.require_free_target(request.out, replace_it=request.replace)
    wanted = None if request.round is None else find_round(request.round)
    found, reasons = results.collect(request.results)
    if not files.PLAIN_NAME.fullmatch(request.submitter):
        reasons.insert(
            0,
            f"the submitter '{request.submitter}' must be a word of letters, digits, '.', '_', '+' and '-'.",
        )
    made_for = wanted or _round_of(found)
    cards, card_reasons = results.find_cards(found, request.models)
    reasons += reasons_against(found, cards, made_for, request.division, request.system_type)
    reasons += card_reasons
    described: dict[str, str] = {}
    try:
        if found:
            described = _describe(request, found[0], made_for)
    except HarnessError as error:
        reasons.append(str(error))
    if reasons:
        raise refusal(f"{request.results} cannot be submitted", reasons)
    submission = tree.Submission(
        results=found,
        cards=cards,
        round=made_for,
        division=request.division,
        submitter=request.submitter,
        description=described,
    )
    written = tree.write(submission, request.out, replace_it=request.replace)
    return Outcome(request.out, made_for, submission, written, _notes(submission, request))


def _round_of(found: Sequence[Result]) -> Round:
    """Return the round of the first run whose log tells it; LoadGen's version decides."""
    for one in found:
        try:
            made = round_of(log.read_detail(one.folder / PERFORMANCE / DETAIL))
        except HarnessError:
            continue
        if made is not None:
            return made
    return find_round(NEWEST)


def _describe(request: Request, one: Result, made_for: Round) -> dict[str, str]:
    path = request.system_description
    overrides = {} if path is None else description.read_overrides(path, made_for)
    machine = one.document.machine
    fixed = {
        "division": request.division,
        "submitter": request.submitter,
        "system_type": request.system_type,
    }
    if foreign := _foreign_data([one], made_for):
        remark = f"measured on '{foreign[0]}', not on MLPerf's data set"
        overrides["sw_notes"] = "; ".join(filter(None, [overrides.get("sw_notes"), remark]))
    return description.describe(machine.to_dict(), made_for, fixed, overrides, description.parts_of(machine))


def _notes(submission: tree.Submission, request: Request) -> list[str]:
    """Return what the submitter should know of the tree.

    Open results, too, must be of a Closed benchmark's validation set, or a pre-approved one, and of all of it
    (inference_rules.adoc, "Relaxed constraints for the Open division", 2 and 3).
    """
    notes = []
    if foreign := _foreign_data(submission.results, submission.round):
        notes.append(
            f"measured on '{', '.join(foreign)}', which MLPerf does not take: its Open division, too, wants "
            f"the whole validation set of a Closed benchmark; the README of each result says so"
        )
    if request.division == "open" and request.system_type == "datacenter":
        notes.append("the older official checker refuses resnet50 on datacenter systems; edge passes both")
    return notes + _left_out(submission)


def _left_out(submission: tree.Submission) -> list[str]:
    """Name the models that nobody can get: too large for the tree, and without an address."""
    notes = {}
    for one in submission.results:
        card = submission.card(one)
        paths = model_file.files(card)
        if card.file.url is None and not documentation.small_enough(paths, submission.round):
            task = submission.round.tasks[one.document.benchmark]
            folder = documentation.folder_name(one, task, submission.division)
            size = max(path.stat().st_size for path in paths)
            # A card cannot hold the address of an IR, which is two files.
            how = "in a comment" if paths[0].suffix.lower() == ".xml" else "as 'url' in place of 'path'"
            notes[folder] = (
                f"{card.name}: its file of {size:,} bytes is larger than a submission may hold: "
                f"publish it and name its address in src/{folder}/card.toml, {how}"
            )
    return list(notes.values())


def _foreign_data(found: Sequence[Result], made_for: Round) -> list[str]:
    """Return the data sets that are not those of the benchmarks."""
    return sorted(
        {
            one.document.data.dataset
            for one in found
            if (task := made_for.tasks.get(one.document.benchmark))
            and one.document.data.dataset != task.benchmark.dataset
        }
    )
