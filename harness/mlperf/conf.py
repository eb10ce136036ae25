"""MLPerf's rules (mlperf.conf) and a user's estimates (user.conf), in LoadGen's key = value syntax."""

import codecs
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness import resources
from harness.errors import ConfError, did_you_mean
from harness.mlperf.benchmark import BENCHMARKS, find_benchmark
from harness.mlperf.conf_syntax import KEYS, SCENARIOS, Entry, Fault, check_names, lookup, message, parse
from harness.mlperf.rules import SEEDS

_ROUND = re.compile(r"^# MLPerf Inference round: (v\d+\.\d+)$", re.MULTILINE)
_SLACK = 1.1


@dataclass(frozen=True)
class ScenarioRules:
    """What the rules demand of one benchmark in one scenario."""

    model: str
    scenario: str
    min_duration_ms: int
    min_query_count: int
    """Offline: the least number of samples in the one query."""
    performance_sample_count: int
    qsl_rng_seed: int
    sample_index_rng_seed: int
    schedule_rng_seed: int
    samples_per_query: int | None
    """None in Offline, where LoadGen derives it: see `offline_samples`."""
    target_latency_percentile: float | None
    """In per cent; None in Offline, whose result is a throughput."""
    target_latency_ms: float | None
    """Server: the latency bound; SingleStream and MultiStream: LoadGen's default estimate."""
    target_qps: float | None
    """Server and Offline: LoadGen's default estimate."""

    def offline_samples(self, target_qps: float, min_duration_ms: int | None = None) -> int:
        """Return the samples in LoadGen's Offline query (test_settings_internal.cc:145-158)."""
        duration_s = (self.min_duration_ms if min_duration_ms is None else min_duration_ms) / 1000
        return max(self.min_query_count, int(_SLACK * duration_s * target_qps))


@dataclass(frozen=True)
class Rules:
    """The rules file."""

    path: Path
    round: str
    """MLPerf Inference round, such as 'v6.1'."""
    entries: tuple[Entry, ...]

    def lookup(self, model: str, scenario: str, key: str) -> int | float | None:
        """Return the value in force, by LoadGen's order: model before scenario before wildcards."""
        entry = lookup(self.entries, model, scenario, key)
        return None if entry is None else entry.value

    def scenario(self, model: str, scenario: str) -> ScenarioRules:
        """Return all rules of one benchmark in one scenario.

        Raises:
            ConfError: the benchmark or scenario is not known, or the file lacks a key it needs.
        """
        if model not in BENCHMARKS:
            raise ConfError(f"No rules for '{model}' in {self.path}.{did_you_mean(model, BENCHMARKS)}")
        if scenario not in SCENARIOS:
            raise ConfError(f"Scenario '{scenario}' is not known.{did_you_mean(scenario, SCENARIOS)}")
        if scenario not in (known := BENCHMARKS[model].scenarios):
            raise ConfError(f"MLPerf's {model} has no scenario {scenario}: choose {', '.join(known)}.")

        def optional(key: str) -> float | None:
            value = self.lookup(model, scenario, key) if scenario in KEYS[key] else None
            return None if value is None else float(value)

        def whole(key: str) -> int:
            value = self.lookup(model, scenario, key)
            if value is None:
                raise ConfError(f"{self.path} has no {model}.{scenario}.{key}: add the rule.")
            return int(value)

        if scenario == "MultiStream":
            samples_per_query: int | None = whole("samples_per_query")
        else:
            samples_per_query = None if scenario == "Offline" else 1
        return ScenarioRules(
            model=model,
            scenario=str(scenario),
            min_duration_ms=whole("min_duration"),
            min_query_count=whole("min_query_count"),
            performance_sample_count=whole("performance_sample_count_override"),
            qsl_rng_seed=whole("qsl_rng_seed"),
            sample_index_rng_seed=whole("sample_index_rng_seed"),
            schedule_rng_seed=whole("schedule_rng_seed"),
            samples_per_query=samples_per_query,
            target_latency_percentile=optional("target_latency_percentile"),
            target_latency_ms=optional("target_latency"),
            target_qps=optional("target_qps"),
        )


@dataclass(frozen=True)
class UserConf:
    """A user.conf that says what its author means, as far as one benchmark is concerned."""

    path: Path
    text: str
    """The file as it was read, once: a pipe has no second time."""
    benchmark: str
    entries: tuple[Entry, ...]
    """The lines of this benchmark and of '*'."""
    open_only: tuple[str, ...]
    """One sentence per setting that makes a result eligible for the Open division only.

    A bound of Server above the rule is none of them: MLPerf's checker refuses it in every division.
    """

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the file's bytes."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def in_force(self, scenario: str) -> dict[str, Entry]:
        """Return key -> the line that LoadGen will heed in this scenario."""
        found = {
            key: lookup(self.entries, self.benchmark, scenario, key)
            for key, kinds in KEYS.items()
            if scenario in kinds
        }
        return {key: entry for key, entry in found.items() if entry is not None}

    def values(self, scenario: str) -> dict[str, int | float]:
        """Return key -> value as LoadGen will read them in this scenario; times in ms."""
        return {key: entry.value for key, entry in self.in_force(scenario).items()}


def read_rules(path: Path = resources.MLPERF_CONF) -> Rules:
    """Read the rules file.

    Raises:
        ConfError: the file is missing, names no round, or has a line that LoadGen would misread.
    """
    text = _read(path)
    entries, faults = parse(text)
    faults += check_names(entries)
    if faults:
        raise ConfError(message(str(path), faults))
    named = _ROUND.search(text)
    if named is None:
        raise ConfError(f"{path} names no round: add a line '# MLPerf Inference round: v6.1'.")
    return Rules(path, named[1], tuple(entries))


@cache
def shipped_rules() -> Rules:
    """Return the rules that come with the harness; they are read once."""
    return read_rules()


def read_user_conf(path: Path, benchmark: str, rules: Rules | None = None) -> UserConf:
    """Read a user.conf for `benchmark`, and refuse whatever LoadGen would ignore or misread.

    The traps are those of LoadGen's parser (test_settings_internal.cc:545-827); the keys that
    cannot be set, or only for Open, are those of its comments and of the submission rules.

    Raises:
        ConfError: lists every fault of the file, each with its line.
    """
    return _lint(_read(path), path, benchmark, rules or read_rules())


def render_user_conf(benchmark: str, scenario: str, **values: int | float) -> str:
    """Return the text of a user.conf that sets `values`, such as target_qps (1/s) or target_latency (ms).

    LoadGen reads the estimates target_qps and target_latency (SingleStream, MultiStream) as doubles
    (test_settings_internal.cc:602,798-803), so they are written in full; Server's target_latency
    and all counts and durations are whole numbers (:599).

    Raises:
        ConfError: `read_user_conf` would refuse the result.
    """
    lines = [
        f"{benchmark}.{scenario}.{key} = {value if isinstance(value, int) else float(value)!r}"
        for key, value in values.items()
    ]
    text = "\n".join(["# Written by the harness.", *lines]) + "\n"
    _lint(text, Path("the rendered user.conf"), benchmark, read_rules())
    return text


_BUILT_IN = "is ignored here, for LoadGen takes it from its built-in rules: remove the line"
_CUTS = "cuts a run short, which LoadGen logs as an error: remove the line"
_COMPLIANCE = "belongs to MLPerf's compliance tests (audit.config): remove the line"
_TOKENS = "is for language models: remove the line"
_REFUSED = {
    **dict.fromkeys(SEEDS, _BUILT_IN),
    **dict.fromkeys(("accuracy_log_probability", "test05", "test05_qsl_rng_seed"), _BUILT_IN),
    **dict.fromkeys(("test05_sample_index_rng_seed", "test05_schedule_rng_seed"), _BUILT_IN),
    **dict.fromkeys(("max_duration", "max_query_count"), _CUTS),
    **dict.fromkeys(("performance_issue_unique", "performance_issue_same"), _COMPLIANCE),
    **dict.fromkeys(("performance_issue_same_index", "accuracy_log_rng_seed"), _COMPLIANCE),
    "accuracy_log_sampling_target": _COMPLIANCE,
    **dict.fromkeys(("use_token_latencies", "ttft_latency", "tpot_latency"), _TOKENS),
    **dict.fromkeys(("infer_token_latencies", "token_latency_scaling_factor"), _TOKENS),
    "accuracy_sample_count_override": "would score a part of the data set: remove the line",
    "mode": "is given on the command line (--mode): remove the line",
}
_FLOORS = ("min_duration", "min_query_count", "performance_sample_count_override")
_OPEN_ONLY = {
    *((scenario, "target_latency_percentile") for scenario in ("SingleStream", "MultiStream", "Server")),
    ("MultiStream", "samples_per_query"),
    ("Server", "target_latency"),
}


def _lint(text: str, path: Path, benchmark: str, rules: Rules) -> UserConf:
    entries, faults = parse(text)
    refused = [entry for entry in entries if entry.key in _REFUSED and not entry.foreign]
    faults += [(entry.line, f"'{entry.key}' {_REFUSED[entry.key]}") for entry in refused]
    named = [entry for entry in entries if entry.model in find_benchmark(benchmark).entries]
    faults += [
        (entry.line, f"'{entry.model}' is the checker's name, and LoadGen ignores it: write '{benchmark}'")
        for entry in named
    ]
    allowed = [entry for entry in entries if entry not in refused]
    faults += check_names(allowed, without=_REFUSED)
    lines = {line for line, _ in faults}
    others = BENCHMARKS.keys() - {benchmark}
    sound = [
        entry
        for entry in allowed
        if entry.line not in lines and not entry.foreign and entry.model not in others
    ]
    faults += _check_floors(sound, benchmark, rules)
    if faults:
        raise ConfError(message(str(path), faults))
    return UserConf(path, text, benchmark, tuple(sound), tuple(_open_only(sound, benchmark, rules)))


def _check_floors(entries: Sequence[Entry], benchmark: str, rules: Rules) -> list[Fault]:
    faults: dict[tuple[int, str], list[str]] = {}
    for scenario in SCENARIOS:
        for key in _FLOORS:
            entry = lookup(entries, benchmark, scenario, key)
            rule = rules.lookup(benchmark, scenario, key)
            if entry is not None and rule is not None and entry.value < rule:
                fault = f"'{entry.name} = {entry.text}' is below the rule, and nothing may loosen mlperf.conf"
                faults.setdefault((entry.line, fault), []).append(f"{rule} in {scenario}")
    return [(line, f"{fault}: give at least {', '.join(floors)}") for (line, fault), floors in faults.items()]


def _open_only(entries: Sequence[Entry], benchmark: str, rules: Rules) -> Iterable[str]:
    for scenario, key in sorted(_OPEN_ONLY):
        entry = lookup(entries, benchmark, scenario, key)
        rule = rules.lookup(benchmark, scenario, key)
        if entry is None or entry.value == rule:
            continue
        if key == "target_latency" and rule is not None and entry.value > rule:
            continue
        yield (
            f"{entry.words} makes {scenario} results eligible for the Open division only "
            f"(the rule is {rule})."
        )


_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
        if content.startswith(_WIDE) or b"\0" in content:
            raise ConfError(
                f"{path} holds wide characters (UTF-16 or UTF-32), which LoadGen cannot read: save it as "
                f"UTF-8 without BOM."
            )
        return content.decode("utf-8")
    except FileNotFoundError as error:
        raise ConfError(f"No file {path}: check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfError(f"Cannot read {path} ({error}): give a text file.") from error
