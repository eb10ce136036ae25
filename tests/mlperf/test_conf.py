import json
import re
import subprocess
import sys
from pathlib import Path

import mlperf_loadgen
import pytest
from conftest import PATIENCE_S

from harness import resources
from harness.errors import ConfError
from harness.files import sha256_file
from harness.mlperf.conf import read_rules, read_user_conf, render_user_conf

GOOD = """\
# estimates of one machine
resnet50.SingleStream.target_latency = 12.5
*.Offline.target_qps = 84.2
resnet50.*.performance_sample_count_override = 2048
"""

LOADGEN = """
import json, sys
import mlperf_loadgen as lg

results = []
for text in json.load(sys.stdin):
    with open(sys.argv[1], "w", encoding="utf-8", newline="") as file:
        file.write(text)
    settings = lg.TestSettings()
    code = settings.FromConfig(sys.argv[1], "resnet50", "Offline", 2)
    results.append([
        code, settings.offline_expected_qps, settings.min_query_count, settings.min_duration_ms,
        settings.server_target_latency_ns / 1e6, settings.single_stream_expected_latency_ns / 1e6,
    ])
print(json.dumps(results))
"""
UNTOUCHED = {"code": 0, "qps": 1.0, "queries": 100, "duration": 10_000, "bound": 100.0, "latency": 1.0}


def write(folder: Path, text: str) -> Path:
    path = folder / "user.conf"
    path.write_bytes(text.encode())
    return path


def test_a_good_file_says_what_it_means(tmp_path):
    conf = read_user_conf(write(tmp_path, GOOD), "resnet50")
    assert conf.values("SingleStream") == {"target_latency": 12.5, "performance_sample_count_override": 2048}
    assert conf.values("Offline") == {"target_qps": 84.2, "performance_sample_count_override": 2048}
    assert conf.open_only == ()
    assert [entry.line for entry in conf.entries] == [2, 3, 4]


def test_the_shipped_file_passes_and_sets_nothing():
    conf = read_user_conf(resources.USER_CONF, "resnet50")
    assert conf.entries == ()


def test_the_examples_in_the_shipped_file_pass(tmp_path):
    lines = resources.USER_CONF.read_text().splitlines()
    examples = [line.removeprefix("# ") for line in lines if line.startswith("# resnet50.")]
    assert len(examples) == 3
    assert len(read_user_conf(write(tmp_path, "\n".join(examples)), "resnet50").entries) == 3


@pytest.mark.parametrize("text", ["", "#\n", "####\n", " \t\n", "# a = b\r\n*.Offline.target_qps = 1e3\r\n"])
def test_comments_blank_lines_and_windows_line_ends_are_fine(text, tmp_path):
    read_user_conf(write(tmp_path, text), "resnet50")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "resnet50.Offline.targt_qps = 5",
            "key 'targt_qps' is not known, so LoadGen would ignore it. Did you mean 'target_qps'?",
        ),
        ("resnet50.Offline.min_duration_ms = 600000", "Did you mean 'min_duration'?"),
        (
            "resnet50.offline.target_qps = 5",
            "scenario 'offline' is not known, so LoadGen would ignore the line. Did you mean 'Offline'?",
        ),
        (
            "resnet.Offline.target_qps = 5",
            "model 'resnet' is not known to LoadGen's rules, which go by "
            "benchmark and not by model card: use 'resnet50' or 'yolo' or '*'.",
        ),
        ("mobilenet_v2.Offline.target_qps = 5", "model 'mobilenet_v2' is not known"),
        ("Offline.target_qps = 5", "is not of the form model.Scenario.key"),
        ("resnet50..target_qps = 5", "is not of the form model.Scenario.key"),
        ("resnet50.Offline.target_qps=5", "with blanks around '=': write it so"),
        ("resnet50.Offline.target_qps =5", "with blanks around '=': write it so"),
        ("resnet50.Offline.target_qps= 5", "with blanks around '=': write it so"),
        ("resnet50.Offline.target_qps 5", "with blanks around '=': write it so"),
        ("resnet50.Offline.target_qps =", "with blanks around '=': write it so"),
        ("resnet50.Offline.target_qps = 5 6", "with blanks around '=': write it so"),
        ("resnet50.Offline.target_qps = 5 # guess", "makes LoadGen reject the whole file: give it a line"),
        ("resnet50.Offline.target_qps = 5 #", "a comment after the value"),
        ("#resnet50.Offline.target_qps = 5", "a comment needs a blank after '#'"),
        ("#two words", "a comment needs a blank after '#'"),
        (
            "\ufeffresnet50.Offline.target_qps = 5",
            "a byte order mark (BOM, U+FEFF), which",
        ),
        ("\ufeff# a comment", "save the file as UTF-8 without BOM"),
        ("\ufeff", "save the file as UTF-8 without BOM"),
        ("# a comment\rresnet50.Offline.target_qps = 5", "save the file with line ends of Unix"),
        ("bert.Offline.target_qps = fast", "'fast' is no number, and LoadGen rejects the whole file"),
        ("bert.Offline.target_qps =5", "with blanks around '=': write it so"),
        ("wan-2.2.Offline.target_qps = 5", "model 'wan-2.2' is not known"),
        ("resnet50.Offline.target_qps\u00a0=\u00a05", "the character U+00A0 is not plain ASCII"),
        ("resnet50.Offline.target_qps = fast", "the value is not a positive plain number: write it like"),
        ("resnet50.Offline.target_qps = 1,5", "is not a positive plain number"),
        ("resnet50.Offline.target_qps = 0x10", "is not a positive plain number"),
        ("resnet50.Offline.target_qps = -5", "is not a positive plain number"),
        ("resnet50.Offline.target_qps = nan", "is not a positive plain number"),
        ("resnet50.Offline.target_qps = inf", "is not a positive plain number"),
        ("resnet50.Offline.target_qps = 1e400", "must be above 0 and finite"),
        ("resnet50.Offline.target_qps = 0", "must be above 0 and finite"),
        ("resnet50.Offline.min_query_count = 30000.5", "must be a whole number in plain digits"),
        ("resnet50.Offline.min_query_count = 3e4", "must be a whole number in plain digits"),
        ("resnet50.Offline.min_query_count = 030000", "must be a whole number in plain digits"),
        ("resnet50.Offline.min_query_count = -30000", "must be a whole number in plain digits"),
        ("resnet50.Offline.min_query_count = 99999999999", "is too large: stay below 2147483648"),
        ("resnet50.Offline.min_query_count = " + 5000 * "9", "must be a whole number"),
        ("resnet50.Server.target_latency = 7.5", "must be a whole number in plain digits"),
        ("resnet50.Server.coalesce_queries = 2", "must be 0 or 1"),
        ("resnet50.MultiStream.samples_per_query = 0", "must be at least 1"),
        ("resnet50.SingleStream.target_latency_percentile = 100", "must be below 100 per cent"),
        ("*.Offline.target_qps = 90", "'*.Offline.target_qps' is also set in line 3: keep one"),
        (
            "*.Offline.target_latency = 5",
            "'target_latency' has no effect in Offline, only in SingleStream "
            "and MultiStream and Server: remove the line",
        ),
        ("*.SingleStream.target_qps = 5", "has no effect in SingleStream, only in Server and Offline"),
        ("*.*.target_latency = 5", "would set Server's bound together with the estimates: name the scenario"),
        ("*.*.qsl_rng_seed = 1", "is ignored here, for LoadGen takes it from its built-in rules"),
        ("*.*.sample_index_rng_seed = 1", "'sample_index_rng_seed' is ignored here"),
        ("*.*.schedule_rng_seed = 1", "'schedule_rng_seed' is ignored here"),
        ("*.*.accuracy_log_probability = 1", "'accuracy_log_probability' is ignored here"),
        ("*.*.max_duration = 700000", "'max_duration' cuts a run short, which LoadGen logs as an error"),
        ("*.*.max_query_count = 700000", "'max_query_count' cuts a run short"),
        ("*.*.accuracy_sample_count_override = 500", "would score a part of the data set"),
        ("*.*.performance_issue_same = 1", "belongs to MLPerf's compliance tests (audit.config)"),
        ("*.*.use_token_latencies = 1", "is for language models"),
        ("*.*.mode = 1", "is given on the command line (--mode)"),
        (
            "*.SingleStream.min_duration = 5000",
            "is below the rule, and nothing may loosen mlperf.conf: give at least 600000 in SingleStream.",
        ),
        ("resnet50.MultiStream.min_query_count = 100", "give at least 662 in MultiStream."),
        ("*.*.min_query_count = 1000", "give at least 24576 in Offline."),
        ("resnet50.Offline.performance_sample_count_override = 64", "give at least 1024 in Offline."),
    ],
)
def test_each_trap_is_reported_with_its_line(line, message, tmp_path):
    path = write(tmp_path, GOOD + line + "\n")
    with pytest.raises(ConfError) as error:
        read_user_conf(path, "resnet50")
    assert str(error.value).startswith(f"{path}, line 5: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_all_faults_of_a_file_appear_at_once(tmp_path):
    lines = ["a=b", "*.Offline.target_qps = 5 # x", "*.*.min_duration = 10", "*.*.max_duration = 1", GOOD]
    with pytest.raises(ConfError) as error:
        read_user_conf(write(tmp_path, "\n".join(lines)), "resnet50")
    head, *faults = str(error.value).splitlines()
    assert head == f"{tmp_path / 'user.conf'} has 4 faults:"
    assert [fault.split(":")[0].strip() for fault in faults] == ["line 1", "line 2", "line 3", "line 4"]
    assert faults[2].endswith(
        "give at least 600000 in SingleStream, 600000 in MultiStream, 600000 in Server, 600000 in Offline."
    )


def test_a_wider_line_below_the_rule_passes_when_a_narrower_one_stands_before_it(tmp_path):
    text = "*.Offline.min_query_count = 10\nresnet50.Offline.min_query_count = 30000\n"
    assert read_user_conf(write(tmp_path, text), "resnet50").values("Offline") == {"min_query_count": 30000}


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("*.SingleStream.target_latency_percentile = 50", 90),
        ("*.Server.target_latency_percentile = 97", 99),
        ("resnet50.MultiStream.samples_per_query = 4", 8),
        ("resnet50.Server.target_latency = 10", 15),
    ],
)
def test_settings_for_open_only_are_noted(line, rule, tmp_path):
    (note,) = read_user_conf(write(tmp_path, line), "resnet50").open_only
    scenario = line.split(".")[1]
    assert note == (
        f"line 1: '{line}' makes {scenario} results eligible for the Open division only (the rule is {rule})."
    )


def test_a_bound_of_server_above_the_rule_is_not_called_fit_for_open(tmp_path):
    assert read_user_conf(write(tmp_path, "resnet50.Server.target_latency = 16"), "resnet50").open_only == ()


def test_an_open_only_setting_that_equals_the_rule_needs_no_note(tmp_path):
    text = "*.Server.target_latency = 15\n*.*.target_latency_percentile = 99\n"
    (note,) = read_user_conf(write(tmp_path, text), "resnet50").open_only
    assert "SingleStream" in note


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(ConfError, match=r"No file .*missing\.conf: check the path\."):
        read_user_conf(tmp_path / "missing.conf", "resnet50")
    with pytest.raises(ConfError, match="Cannot read"):
        read_user_conf(tmp_path, "resnet50")
    (tmp_path / "user.conf").write_bytes(b"\xff")
    with pytest.raises(ConfError, match=r"give a text file"):
        read_user_conf(tmp_path / "user.conf", "resnet50")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_of_wide_characters_is_named_as_what_it_is(encoding, tmp_path):
    path = tmp_path / "user.conf"
    path.write_bytes(GOOD.encode(encoding))
    with pytest.raises(ConfError, match=r"wide characters .*save it as UTF-8 without BOM"):
        read_user_conf(path, "resnet50")


def built_in_rules():
    """Return the mlperf.conf that LoadGen's library carries."""
    library = Path(mlperf_loadgen.__file__).read_bytes()
    start = library.index(b"# The format of this config file is")
    return library[start : library.index(b"\0", start)].decode()


def test_lines_of_all_other_benchmarks_of_loadgen_are_known_and_ignored(tmp_path):
    lines = re.findall(r"(?m)^\S+ = \S+$", built_in_rules())
    foreign = [line for line in lines if not line.startswith(("*.", "resnet50."))]
    assert len({line.rsplit(".", 2)[0] for line in foreign}) > 25
    foreign += ["bert.Interactive.target_qps = 0x10", "dlrm-v2.Offline.no_such_key = -1e3"]
    conf = read_user_conf(write(tmp_path, "\n".join([*foreign, GOOD])), "resnet50")
    assert conf.values("Offline") == {"target_qps": 84.2, "performance_sample_count_override": 2048}
    assert len(conf.entries) == 3
    assert conf.open_only == ()
    (read,) = loadgen_reads([conf.text], tmp_path)
    assert (read["code"], read["qps"], read["latency"]) == (0, 84.2, 12.5)


def test_the_text_is_kept_as_it_was_read(tmp_path):
    text = "# Z\u00fcrich\r\n" + GOOD
    conf = read_user_conf(write(tmp_path, text), "resnet50")
    assert conf.text == text
    assert conf.sha256 == sha256_file(tmp_path / "user.conf")


def test_an_unknown_benchmark_is_refused(tmp_path):
    with pytest.raises(ConfError, match=r"Benchmark 'resnet' is not known\. Did you mean 'resnet50'\?"):
        read_user_conf(write(tmp_path, GOOD), "resnet")


@pytest.mark.parametrize("value", [1 / 3, 1e-7, 123456.78901234567, 1e17, 5])
def test_rendering_keeps_every_digit(value, tmp_path):
    path = write(tmp_path, render_user_conf("resnet50", "Offline", target_qps=value))
    assert read_user_conf(path, "resnet50").values("Offline") == {"target_qps": value}


@pytest.mark.parametrize(
    ("scenario", "values", "message"),
    [
        ("Offline", {"target_qps": float("nan")}, "the rendered user.conf, line 2: "),
        ("Offline", {"target_qps": 0.0}, "must be above 0"),
        ("Offline", {"target_latency": 5.0}, "has no effect in Offline"),
        ("Server", {"target_latency": 7.5}, "must be a whole number"),
        ("Offline", {"min_duration": 1000}, "nothing may loosen mlperf.conf"),
    ],
)
def test_nothing_is_rendered_that_loadgen_would_misread(scenario, values, message):
    with pytest.raises(ConfError, match=message):
        render_user_conf("resnet50", scenario, **values)


def test_loadgen_really_falls_into_the_traps_that_we_report(tmp_path):
    """Each of these is refused by us; LoadGen ignores it, misreads it, or rejects the whole file (-22)."""
    key = "resnet50.Offline.target_qps"
    traps = [
        (f"{key}=5", {}),
        (f"{key} =", {}),
        (f"{key} =5", {"code": -22}),
        (f"{key}= 5", {"code": -22}),
        (f"{key} = 5 # x", {"code": -22}),
        (f"{key} = 5 #", {"code": -22}),
        (f"#two words\n{key} = 5", {"code": -22}),
        (f"{key} = 5 6", {"qps": 6.0}),
        (f"{key} = 1\n{key} = 7", {"qps": 7.0}),
        (f"\ufeff{key} = 5", {}),
        (f"\ufeff# comment\n{key} = 5", {"code": -22}),
        (f"# comment\r{key} = 5", {}),
        (f"bert.Offline.target_qps = fast\n{key} = 5", {"code": -22}),
        (f"{key}\u00a0=\u00a05", {}),
        ("resnet50.Offline.targt_qps = 5", {}),
        ("resnet50.offline.target_qps = 5", {}),
        ("resnet.Offline.target_qps = 5", {}),
        ("resnet50.Offline.min_query_count = 0100", {"queries": 64}),
        ("resnet50.Offline.min_query_count = -1", {"queries": 2**64 - 1}),
        ("resnet50.Offline.min_query_count = 30000.9", {"queries": 30_000}),
        ("resnet50.Offline.min_duration = 1e6", {"duration": 1}),
        ("resnet50.Server.target_latency = 7.5", {"bound": 7.0}),
        ("*.*.target_latency = 3", {"bound": 3.0, "latency": 3.0}),
        ("*.Offline.target_latency = 3", {}),
        ("*.*.qsl_rng_seed = 5", {}),
    ]
    for text, _ in traps:
        with pytest.raises(ConfError):
            read_user_conf(write(tmp_path, text), "resnet50")
    assert loadgen_reads([text for text, _ in traps], tmp_path) == [UNTOUCHED | seen for _, seen in traps]


def test_loadgen_reads_estimates_as_doubles(tmp_path):
    """Offline's target_qps and SingleStream's target_latency; Server's bound is cut to whole ms (above)."""
    texts = [
        render_user_conf("resnet50", "SingleStream", target_latency=0.123456789012345),
        render_user_conf("resnet50", "Offline", target_qps=1 / 3),
        render_user_conf("resnet50", "Offline", target_qps=1e-7),
    ]
    latency, *rates = loadgen_reads(texts, tmp_path)
    assert latency["latency"] == pytest.approx(0.123456789012345, rel=1e-15)
    assert [read["qps"] for read in rates] == [1 / 3, 1e-7]


def loadgen_reads(texts, folder):
    done = subprocess.run(
        [sys.executable, "-c", LOADGEN, str(folder / "loadgen.conf")],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    return [dict(zip(UNTOUCHED, values, strict=True)) for values in json.loads(done.stdout)]


@pytest.mark.parametrize("name", ["yolo-95", "yolo-99"])
def test_a_line_by_the_checkers_name_of_the_benchmark_is_refused_as_loadgen_ignores_it(name, tmp_path):
    path = write(tmp_path, f"{name}.Offline.target_qps = 5\n")
    with pytest.raises(ConfError, match=rf"line 1: '{name}' is the checker's name, .* write 'yolo'"):
        read_user_conf(path, "yolo")
    assert read_user_conf(path, "resnet50").entries == ()


def test_yolo_has_no_server() -> None:
    with pytest.raises(
        ConfError, match=r"yolo has no scenario Server: choose SingleStream, MultiStream, Off"
    ):
        read_rules().scenario("yolo", "Server")
