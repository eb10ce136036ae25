"""The whole way from a folder of results to a tree: everything is looked at before anything is written."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import HarnessError
from harness.mlperf import calendar, log
from harness.mlperf.rules import NEWEST, Round, find_round, round_of
from harness.model import file as model_file
from harness.model.card import Card
from harness.submission import archive, description, documentation, paperwork, results, tree
from harness.submission.eligibility import closed_model, reasons_against
from harness.submission.inference import infer
from harness.submission.results import PERFORMANCE, Result, entry_of, sure_entry_of
from harness.submission.verdict import refusal


@dataclass(frozen=True)
class Request:
    """What to submit, and as what."""

    results: Sequence[Path]
    submitter: str
    divisions: Sequence[str]
    """Of two, Closed gets the models that it takes, and Open the others."""
    system_type: str
    out: Path
    system_description: Path | None = None
    models: Sequence[str] = ()
    """Cards of models that are not shipped."""
    round: str | None = None
    """None: the round whose seeds the runs have."""
    inferred: bool = False
    """Whether to write the results that may be inferred from those measured."""
    archive: Path | None = None
    """Where to pack the tree as well."""
    replace: bool = False


@dataclass(frozen=True)
class Outcome:
    """A tree that was written."""

    root: Path
    round: Round
    submissions: Sequence[tree.Submission]
    files: Sequence[str]
    notes: Sequence[str]
    archive: Path | None = None

    @property
    def text(self) -> str:
        divisions = [one.division for one in self.submissions]
        lines = [
            f"{self.root}: a submission to {self.round.name}, {' and '.join(divisions)} "
            f"division{'s' * (len(divisions) > 1)}, {len(self.files)} files:"
        ]
        for submission in self.submissions:
            where = f"{submission.division}/" if len(divisions) > 1 else ""
            lines += [
                f"  {where}{one.shown}" + f", inferred from {one.measured}" * one.inferred
                for one in submission.results
            ]
        lines += [f"  note: {note}" for note in self.notes]
        sources = [one.folder.parents[2] for submission in self.submissions for one in submission.results]
        lines += [f"  keep {source}: it holds the whole accuracy logs" for source in dict.fromkeys(sources)]
        lines.append(f"  {calendar.outlook(self.round)}")
        if self.archive is not None:
            lines.append(f"  packed: {self.archive}, SHA-256 {files.sha256_file(self.archive)}")
        of_round = "" if self.round.name == NEWEST else f" --round {self.round.name}"
        lines.append(f"  next: harness check {self.root}{of_round} --official PATH")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        return {
            "root": str(self.root),
            "round": self.round.name,
            "deadline": self.round.deadline.isoformat(),
            "ended": calendar.has_ended(self.round),
            "divisions": [one.division for one in self.submissions],
            "submitter": self.submissions[0].submitter,
            "results": [
                {
                    "division": submission.division,
                    "system": one.system,
                    "model": one.model,
                    "scenario": one.scenario,
                    "inferred_from": one.measured if one.inferred else None,
                }
                for submission in self.submissions
                for one in submission.results
            ],
            "notes": list(self.notes),
            "archive": None
            if self.archive is None
            else {"path": str(self.archive), "sha256": files.sha256_file(self.archive)},
            "files": list(self.files),
        }


def submit(request: Request) -> Outcome:
    """Write the submission tree.

    Raises:
        HarnessError: lists all reasons why the rules refuse these results, or what is missing.
    """
    if "open" in request.divisions and request.system_type == "datacenter":
        raise HarnessError(f"--system-type datacenter: {paperwork.NO_DATACENTER}: give --system-type edge.")
    homes = [Path(division, request.submitter) for division in request.divisions]
    tree.require_free_target(request.out, homes, replace_it=request.replace)
    if request.archive is not None:
        archive.require_free_archive(request.archive, request.out, replace_it=request.replace)
    wanted = None if request.round is None else find_round(request.round)
    found, reasons = results.collect(*request.results)
    if not files.PLAIN_NAME.fullmatch(request.submitter):
        reasons.insert(
            0,
            f"the submitter '{request.submitter}' must be a word of letters, digits, '.', '_', '+' and '-'.",
        )
    made_for = wanted or _round_of(found)
    cards, card_reasons = results.find_cards(found, request.models)
    parts, part_reasons = _divide(found, cards, made_for, request)
    for division, members in parts.items():
        reasons += reasons_against(members, cards, made_for, division, request.system_type)
    reasons += [*card_reasons, *part_reasons]
    described: dict[str, dict[str, dict[str, str]]] = {}
    systems = {one.system for one in found}
    for division, members in parts.items():
        described[division], its_reasons = _describe(request, members, made_for, division, systems)
        reasons += [reason for reason in its_reasons if reason not in reasons]
    if reasons:
        places = " and ".join(map(str, request.results))
        raise refusal(f"{places} cannot be submitted", reasons)
    submissions = [
        tree.Submission(
            results=members,
            cards=cards,
            round=made_for,
            division=division,
            submitter=request.submitter,
            descriptions=described[division],
        )
        for division, members in parts.items()
    ]
    written = tree.write(submissions, request.out, replace_it=request.replace, packed=request.archive)
    notes = [note for one in submissions for note in _notes(one, request)]
    if request.inferred and not any(one.inferred for part in submissions for one in part.results):
        notes.append("nothing was inferred, for no scenario was missing that may be")
    return Outcome(request.out, made_for, submissions, written, list(dict.fromkeys(notes)), request.archive)


def _divide(
    found: Sequence[Result], cards: Mapping[str, Card], made_for: Round, request: Request
) -> tuple[dict[str, list[Result]], list[str]]:
    """Return division -> its results, inferred ones with them, and what keeps a division from having any."""
    if len(request.divisions) == 1:
        parts = {request.divisions[0]: list(found)}
    else:
        parts = {division: [] for division in request.divisions}
        of_closed: dict[str, bool] = {}
        for one in found:
            name, task = one.document.model.name, entry_of(one, made_for)
            if name not in of_closed and name in cards and task is not None:
                of_closed[name] = not any(closed_model(cards[name], task.reference_models))
            parts["closed" if of_closed.get(name) else "open"].append(one)
    reasons = [
        f"no model is one for the {division} division: leave out --division {division}."
        for division, members in parts.items()
        if found and not members
    ]
    if request.inferred:
        try:
            for members in parts.values():
                members += infer(members, made_for, request.system_type)
        except HarnessError as error:
            reasons.append(str(error))
    return parts, reasons


def _round_of(found: Sequence[Result]) -> Round:
    """Return the round of the first run whose log tells it; LoadGen's version decides."""
    for one in found:
        try:
            made = round_of(log.read_detail(one.folder / PERFORMANCE / log.DETAIL_LOG))
        except HarnessError:
            continue
        if made is not None:
            return made
    return find_round(NEWEST)


def _describe(
    request: Request, members: Sequence[Result], made_for: Round, division: str, systems: Collection[str]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return system -> its description, and what is missing in any; `systems` are those of all divisions."""
    first = {one.system: one for one in reversed(members)}
    path = request.system_description
    try:
        stated = {} if path is None else description.read_overrides(path, made_for, systems)
    except HarnessError as error:
        return {}, [str(error)]
    described: dict[str, dict[str, str]] = {}
    reasons = []
    for system, one in sorted(first.items()):
        overrides = dict(stated.get(system, {}))
        if foreign := _foreign_data([one], made_for):
            remark = f"measured on '{foreign[0]}', not on MLPerf's data set"
            overrides["sw_notes"] = "; ".join(filter(None, [overrides.get("sw_notes"), remark]))
        machine = one.document.machine
        fixed = {
            "division": division,
            "submitter": request.submitter,
            "system_type": request.system_type,
        }
        parts, named = description.parts_of(machine), system if len(first) > 1 else None
        try:
            described[system] = description.describe(machine, made_for, fixed, overrides, parts, named)
        except HarnessError as error:
            reasons.append(str(error))
    return described, reasons


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
    return notes + _left_out(submission)


def _left_out(submission: tree.Submission) -> list[str]:
    """Name the models that nobody can get: too large for the tree, and without an address."""
    notes = {}
    for one in submission.results:
        card = submission.card(one)
        paths = model_file.files(card)
        if card.file.url is None and not documentation.small_enough(paths, submission.round):
            task = sure_entry_of(one, submission.round)
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
            if (task := entry_of(one, made_for)) and one.document.data.dataset != task.benchmark.dataset
        }
    )
