"""LoadGen's key = value syntax: its lines, its keys, and the traps of its parser."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.errors import did_you_mean
from harness.mlperf.benchmark import BENCHMARKS, OTHER_BENCHMARKS
from harness.mlperf.scenario import Scenario

SCENARIOS = tuple(map(str, Scenario))
"""LoadGen's scenarios."""

Fault = tuple[int, str]
"""Line number and what is wrong there."""

_ANY = "*"
_BOM = "\ufeff"
_C_SPACE = re.compile(r"[ \t\r\v\f]+")
# What strtoul (base 0) or strtod takes from its first to its last character.
_C_NUMBER = re.compile(
    r"[+-]?(0x[0-9a-f]+|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?|nan)", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True)
class Entry:
    """One line `model.scenario.key = value`."""

    line: int
    model: str
    scenario: str
    key: str
    text: str
    """The value as written."""

    @property
    def foreign(self) -> bool:
        """Whether it is of a benchmark that is not run here."""
        return self.model in OTHER_BENCHMARKS

    @property
    def name(self) -> str:
        return f"{self.model}.{self.scenario}.{self.key}"

    @property
    def words(self) -> str:
        """The whole line and its number, as messages name it."""
        return f"line {self.line}: '{self.name} = {self.text}'"

    @property
    def value(self) -> int | float:
        return int(self.text) if self.text.isdigit() else float(self.text)


def lookup(entries: Iterable[Entry], model: str, scenario: str, key: str) -> Entry | None:
    """Find an entry in LoadGen's order (test_settings_internal.cc:569-596)."""
    named = {(entry.model, entry.scenario): entry for entry in entries if entry.key == key}
    for place in ((model, scenario), (_ANY, scenario), (model, _ANY), (_ANY, _ANY)):
        if place in named:
            return named[place]
    return None


def parse(text: str) -> tuple[list[Entry], list[Fault]]:
    """Split the text into entries, and report each line that LoadGen's parser (:633-685) trips over."""
    entries: list[Entry] = []
    faults: list[Fault] = []
    lines_of: dict[str, int] = {}
    for line, content in enumerate(text.split("\n"), start=1):
        if "\r" in content.removesuffix("\r"):
            faults.append(
                (line, "a carriage return stands inside the line: save the file with line ends of Unix")
            )
            continue
        words = [word for word in _C_SPACE.split(content) if word]
        if not words or words[0] == "#" or (words[0].startswith("#") and len(words) == 1):
            continue
        fault = _check_words(words)
        if fault is not None:
            faults.append((line, fault))
            continue
        model, scenario, key = words[0].rsplit(".", 2)
        entry = Entry(line, model, scenario, key, words[2])
        if entry.name in lines_of:
            faults.append((line, f"'{entry.name}' is also set in line {lines_of[entry.name]}: keep one"))
            continue
        lines_of[entry.name] = line
        entries.append(entry)
    return entries, faults


def _check_words(words: Sequence[str]) -> str | None:
    name = words[0]
    if name.startswith("#"):
        return "a comment needs a blank after '#', or LoadGen takes it for a key: write '# ...'"
    if any(_BOM in word for word in words[:3]):
        return (
            "a byte order mark (BOM, U+FEFF), which editors do not show, stands in the line, and LoadGen "
            "takes it for a part of the word: save the file as UTF-8 without BOM"
        )
    odd = next((char for word in words[:3] for char in word if not char.isascii()), None)
    if odd is not None:
        return f"the character U+{ord(odd):04X} is not plain ASCII: retype the line"
    if len(words) > 3 and words[3].startswith("#"):
        return "a comment after the value makes LoadGen reject the whole file: give it a line of its own"
    if len(words) != 3 or words[1] != "=":
        shown = " ".join(words[:4])
        return f"'{shown}' is not 'model.Scenario.key = value' with blanks around '=': write it so"
    if name.count(".") < 2 or not all(name.rsplit(".", 2)):
        return f"'{name}' is not of the form model.Scenario.key: write it like resnet50.Offline.target_qps"
    return None


def check_names(entries: Iterable[Entry], without: Iterable[str] = ()) -> list[Fault]:
    """Report entries whose model, scenario, key or value LoadGen would not take as meant.

    Keys in `without` count as unknown.
    """
    known = set(KEYS) - set(without)
    faults = []
    for entry in entries:
        fault = None
        if entry.foreign:
            if not _C_NUMBER.fullmatch(entry.text):
                fault = f"'{entry.text}' is no number, and LoadGen rejects the whole file: write one"
        elif entry.model not in (_ANY, *BENCHMARKS):
            fault = (
                f"model '{entry.model}' is not known to LoadGen's rules, which go by benchmark and not by "
                f"model card: use {' or '.join(repr(name) for name in (*BENCHMARKS, _ANY))}"
            )
        elif entry.scenario not in (_ANY, *SCENARIOS):
            near = did_you_mean(entry.scenario, (*SCENARIOS, _ANY))
            fault = f"scenario '{entry.scenario}' is not known, so LoadGen would ignore the line.{near}"
        elif entry.key not in known:
            fault = (
                f"key '{entry.key}' is not known, so LoadGen would ignore it.{did_you_mean(entry.key, known)}"
            )
        elif entry.scenario not in (_ANY, *KEYS[entry.key]):
            used = " and ".join(KEYS[entry.key])
            fault = f"'{entry.key}' has no effect in {entry.scenario}, only in {used}: remove the line"
        elif entry.scenario == _ANY and entry.key == "target_latency":
            fault = (
                "'target_latency' for any scenario would set Server's bound together with the estimates: "
                "name the scenario"
            )
        else:
            checks = KEYS[entry.key]
            wrong = checks.get(entry.scenario, next(iter(checks.values())))(entry.text)
            fault = f"'{entry.name} = {entry.text}': the value {wrong}" if wrong else None
        if fault is not None:
            faults.append((entry.line, fault))
    return faults


def message(name: str, faults: Iterable[Fault]) -> str:
    """Return one message for all faults of the file `name`, in the order of their lines."""
    lines = [
        f"line {line}: {text}" if text.endswith((".", "?")) else f"line {line}: {text}."
        for line, text in sorted(faults)
    ]
    if len(lines) == 1:
        return f"{name}, {lines[0]}"
    return "\n".join([f"{name} has {len(lines)} faults:", *(f"  {line}" for line in lines)])


_Check = Callable[[str], str | None]


def _number(text: str) -> str | None:
    """Check what LoadGen reads with strtod."""
    if not re.fullmatch(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return "is not a positive plain number: write it like 12.5"
    return None if 0 < float(text) < math.inf else "must be above 0 and finite"


def _per_cent(text: str) -> str | None:
    fault = _number(text)
    return fault if fault or float(text) < 100 else "must be below 100 per cent"


def _whole(text: str, limit: int = 2**31) -> str | None:
    """Check what LoadGen reads with strtoull in base 0, which stops at '.', 'e', and takes 010 for 8."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,20}", text):
        return (
            "must be a whole number in plain digits, for LoadGen cuts off fractions and exponents, wraps "
            "signs and takes a leading 0 for octal: write it like 600000"
        )
    return None if int(text) < limit else f"is too large: stay below {limit}"


def _count(text: str) -> str | None:
    return "must be at least 1" if text == "0" else _whole(text)


def _seed(text: str) -> str | None:
    return _whole(text, 2**64)


def _switch(text: str) -> str | None:
    return None if text in ("0", "1") else "must be 0 or 1"


def _everywhere(check: _Check) -> dict[str, _Check]:
    return dict.fromkeys(SCENARIOS, check)


# key -> scenario -> check of the value; LoadGen reads the key in these scenarios only.
KEYS: dict[str, dict[str, _Check]] = {
    "target_latency": {"SingleStream": _number, "MultiStream": _number, "Server": _whole},
    "target_qps": {"Server": _number, "Offline": _number},
    "target_latency_percentile": dict.fromkeys(("SingleStream", "MultiStream", "Server"), _per_cent),
    "samples_per_query": {"MultiStream": _count},
    "max_async_queries": {"Server": _whole},
    "coalesce_queries": {"Server": _switch},
    "min_duration": _everywhere(_whole),
    "min_query_count": _everywhere(_whole),
    "performance_sample_count_override": _everywhere(_whole),
    "sample_concatenate_permutation": _everywhere(_switch),
    "print_timestamps": _everywhere(_switch),
    "qsl_rng_seed": _everywhere(_seed),
    "sample_index_rng_seed": _everywhere(_seed),
    "schedule_rng_seed": _everywhere(_seed),
}
