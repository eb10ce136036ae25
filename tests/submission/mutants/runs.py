"""Mutants of the runs: logs, settings, and what stands beside them."""

from collections.abc import Sequence
from typing import Any

from harness.mlperf import log

from ..broken_tree import ABSENT, DETAIL, RUN, SUMMARY
from .changes import ACCURACY_DETAIL, Change, Named, again, changed, logged, moved, with_error, written

_LOGGED = (
    *("effective_scenario", "effective_test_mode", "effective_performance_sample_count"),
    *("effective_qsl_rng_seed", "effective_sample_index_rng_seed", "effective_schedule_rng_seed"),
    *("effective_min_query_count", "effective_samples_per_query", "effective_min_duration_ms"),
    *("effective_target_latency_ns", "effective_sample_concatenate_permutation", "result_validity"),
    *("early_stopping_met", "early_stopping_result", "result_mean_latency_ns", "result_query_count"),
    *("result_99.00_percentile_latency_ns", "sut_name", "qsl_reported_total_count", "num_errors"),
    *("loadgen_version", "power_begin", "result_samples_per_second"),
)


_LOGGED_STREAM = (
    *("early_stopping_met", "early_stopping_latency_ss", "early_stopping_latency_ms", "num_errors"),
    *("effective_min_query_count", "effective_samples_per_query", "result_validity"),
)


_LOGGED_ACCURACY = (
    *("effective_scenario", "effective_test_mode", "effective_accuracy_sample_count"),
    *("qsl_reported_total_count", "effective_qsl_rng_seed", "loadgen_version"),
)


_ENTRIES: tuple[tuple[str, Any], ...] = (
    ("is missing", ABSENT),
    ("is null", None),
    ("is a text", "x"),
)


def _details() -> Named:
    for base, scenario, file, keys in (
        ("offline", "Offline", DETAIL, _LOGGED),
        ("offline", "Offline", ACCURACY_DETAIL, _LOGGED_ACCURACY),
        ("stream", "SingleStream", DETAIL, _LOGGED_STREAM),
    ):
        place = file.partition("/")[0]
        for key in keys:
            for what, value in _ENTRIES:
                yield base, f"{key} {what} in {place}", logged(key, value, file, scenario)
            yield (
                base,
                f"{key} is there once more, before the right one, in {place}",
                again(key, 0, file, scenario, first=True),
            )
    for key in ("effective_scenario", "result_validity", "result_samples_per_second", "num_errors"):
        yield (
            "offline",
            f"{key} is there once more, after the right one",
            again(key, 0, DETAIL, "Offline", first=False),
        )
    for value in (1, "0", 7, 0.0):
        yield "offline", f"num_errors is {value!r}", logged("num_errors", value, DETAIL, "Offline")
    yield (
        "offline",
        "num_errors tells of errors in accuracy",
        again("num_errors", 3, ACCURACY_DETAIL, "Offline", first=False),
    )
    for file in (DETAIL, ACCURACY_DETAIL):
        place = file.partition("/")[0]
        for what, change in (
            ("has an entry that is no JSON", lambda data: data + b":::MLLOG {\n"),
            ("has an entry without a value", lambda data: data + b':::MLLOG {"key": "a"}\n'),
            ("has an entry that is a list", lambda data: data + b":::MLLOG []\n"),
            ("has a line of no log", lambda data: data + b"hello\n"),
            ("begins with a line of no log", lambda data: b"hello\n" + data),
            ("begins with a byte order mark", lambda data: b"\xef\xbb\xbf" + data),
            ("begins with an empty line", lambda data: b"\n" + data),
            ("has lines that end as in Windows", lambda data: data.replace(b"\n", b"\r\n")),
            ("is in UTF-16", lambda data: data.decode().encode("utf-16")),
            ("is there twice", lambda data: data + data),
        ):
            yield "offline", f"the log of {place} {what}", changed(f"Offline/{file}", change)
        yield "offline", f"an error in {place}", with_error(file)


def _cut(file: str, lines: int) -> Change:
    return changed(file, lambda data: b"".join(data.splitlines(keepends=True)[:lines]))


def _cuts() -> Named:
    for base, scenario, total in (("offline", "Offline", 91), ("stream", "SingleStream", 94)):
        for lines in (1, 20, 40, 55, 65, *range(total - 20, total, 3), total - 1):
            yield base, f"the detail log ends after line {lines}", _cut(f"{scenario}/{DETAIL}", lines)
    for lines in (1, 13, 30, 50, 60, 300, -12, -1):
        yield "offline", f"accuracy's log ends after line {lines}", _cut(f"Offline/{ACCURACY_DETAIL}", lines)
    for lines in (1, 6, 10, 30, -3, -1):
        yield "offline", f"the summary ends after line {lines}", _cut(f"Offline/{SUMMARY}", lines)
    for lines in (60, -1):
        yield (
            "closed",
            f"TEST04's log ends after line {lines}",
            _cut(f"Offline/TEST04/{DETAIL}", lines),
        )


def _settings() -> Named:
    rules: Sequence[tuple[str, str, Any]] = (
        *(("Offline", "effective_min_duration_ms", 599_999), ("Offline", "effective_min_query_count", 0)),
        *(
            ("Offline", "effective_samples_per_query", 24_575),
            ("Offline", "effective_samples_per_query", 24_576),
        ),
        *(("Offline", "effective_performance_sample_count", 1023), ("Offline", "effective_qsl_rng_seed", 1)),
        *(("Offline", "effective_performance_issue_same", True),),
        *(("Offline", "effective_performance_issue_unique", True),),
        *(("SingleStream", "effective_performance_issue_same", True),),
        *(("SingleStream", "effective_target_latency_percentile", 0.5),),
        *(("SingleStream", "effective_samples_per_query", 8), ("SingleStream", "early_stopping_met", False)),
        *(("MultiStream", "effective_target_latency_percentile", 0.9),),
        *(
            ("MultiStream", "effective_samples_per_query", 4),
            ("MultiStream", "effective_samples_per_query", 16),
        ),
        *(("MultiStream", "effective_min_query_count", 100), ("Offline", "result_validity", "INVALID")),
        *(("Offline", "result_samples_per_second", 0), ("MultiStream", "early_stopping_latency_ms", 0)),
    )
    for scenario, key, value in rules:
        yield "closed", f"{key} is {value!r} in {scenario}", logged(key, value, DETAIL, scenario)
    for source, target in (
        *(("SingleStream", "MultiStream"), ("SingleStream", "Offline"), ("MultiStream", "Offline")),
        *(("Offline", "SingleStream"), ("MultiStream", "SingleStream"), ("Offline", "MultiStream")),
    ):
        yield "closed", f"{target} is inferred from {source}", _inferred(source, target)
        yield (
            "closed",
            f"{target} has the accuracy run of {source}",
            moved(f"{source}/accuracy", f"{target}/accuracy"),
        )
        yield (
            "closed",
            f"{target} has the performance run of {source}",
            moved(f"{source}/performance", f"{target}/performance"),
        )
    yield (
        "closed",
        "the accuracy run lies in place of the performance run",
        moved("Offline/accuracy", f"Offline/{RUN}"),
    )
    for what, text in (
        ("another model's lines besides", "bert.Offline.target_qps = 5\n*.Server.target_qps = 3\n"),
        ("lines of all kinds of models besides", "gptj-99.Server.target_qps = 5\nrnnt.*.min_duration = 6\n"),
        ("another estimate", "resnet50.Offline.target_qps = 80.0\n"),
        ("a wildcard's estimate that the run's overrules", "*.Offline.target_qps = 80.0\n"),
        ("a shorter run", "resnet50.Offline.min_duration = 60000\n"),
        ("a comment besides", "# made by hand\n"),
        ("a line that is no setting", "hello\n"),
    ):
        yield (
            "closed",
            f"user.conf has {what}",
            changed("Offline/user.conf", lambda data, text=text: data + text.encode()),  # type: ignore[misc]
        )
    for scenario, text in (
        ("Offline", "resnet50.Offline.target_qps = 41.0\n"),
        ("Offline", "# nothing\n"),
        ("SingleStream", "resnet50.SingleStream.target_latency = 9.0\n"),
        ("MultiStream", "resnet50.MultiStream.target_latency = 33\n"),
        (
            "MultiStream",
            "resnet50.MultiStream.target_latency = 32\nresnet50.MultiStream.samples_per_query = 4\n",
        ),
    ):
        yield "closed", f"user.conf of {scenario} is {text!r}", written(f"{scenario}/user.conf", text)


def _inferred(source: str, target: str) -> Change:
    return lambda tree: tree.copy_scenario(source, target)


def _disagreements() -> Named:
    for label, by in (
        *(("Samples per second: .*", "Samples per second: 99.5"), ("Scenario : .*", "Scenario : Server")),
        *(("Mode     : .*", "Mode     : AccuracyOnly"), ("Result is : .*", "Result is : INVALID")),
        *(("samples_per_query : .*", "samples_per_query : 99999"), ("target_qps : .*", "target_qps : 41")),
        *(
            ("min_duration \\(ms\\): .*", "min_duration (ms): 60000"),
            ("qsl_rng_seed : .*", "qsl_rng_seed : 7"),
        ),
        *(
            ("performance_issue_same : 0", "performance_issue_same : 1"),
            ("SUT name : .*", "SUT name : Other"),
        ),
        *(
            ("Mean latency .*", "Mean latency (ns)               : 5"),
            ("No errors .*", "1 ERROR encountered."),
        ),
        *(("performance_sample_count : .*", "performance_sample_count : 64"),),
        *(("accuracy_sample_count : .*", "accuracy_sample_count : 500"),),
    ):
        yield "offline", f"the summary says {by!r}", _replaced(f"Offline/{SUMMARY}", label, by)
    yield (
        "closed",
        "the summary is another scenario's",
        _copied_file(f"MultiStream/{SUMMARY}", f"Offline/{SUMMARY}"),
    )
    yield "closed", "the summary is TEST01's", _copied_file(f"Offline/TEST01/{SUMMARY}", f"Offline/{SUMMARY}")
    yield (
        "closed",
        "accuracy's summary is the performance run's",
        _copied_file(f"Offline/{SUMMARY}", f"Offline/accuracy/{log.SUMMARY_LOG}"),
    )
    yield (
        "closed",
        "the performance run's summary is accuracy's",
        _copied_file(f"Offline/accuracy/{log.SUMMARY_LOG}", f"Offline/{SUMMARY}"),
    )
    yield (
        "closed",
        "TEST04's summary is the performance run's",
        _copied_file(f"Offline/{SUMMARY}", f"Offline/TEST04/{SUMMARY}"),
    )


def _replaced(file: str, pattern: str, by: str) -> Change:
    return lambda tree: tree.replace(tree.model / file, pattern, by)


def _copied_file(source: str, target: str) -> Change:
    return lambda tree: tree.write(tree.model / target, (tree.model / source).read_bytes())


def all_of_them() -> Named:
    """Yield the mutants of this module."""
    yield from _details()
    yield from _cuts()
    yield from _settings()
    yield from _disagreements()
