"""The doctor, on made-up machines and on this one."""

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Oracle

from harness import doctor
from harness.doctor import GOOD, NOTE, WRONG, Finding
from harness.machine import system
from harness.machine.packages import RECORDED

CPUINFO = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz
physical id\t: 0
core id\t: 0
flags\t: fpu fma avx2 avx512f {flags}
"""


def machine(
    root: Path, flags: str = "avx512_vnni", governor: str = "performance", load: str = "0.00"
) -> Path:
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(CPUINFO.format(flags=flags))
    (root / "proc" / "loadavg").write_text(f"{load} 0.10 0.05 1/100 1\n")
    (root / "proc" / "meminfo").write_text("MemTotal:       16000000 kB\n")
    policy = root / "sys/devices/system/cpu/cpu0/cpufreq"
    policy.mkdir(parents=True)
    (policy / "scaling_governor").write_text(f"{governor}\n")
    return root


def found(findings: list[Finding], subject: str) -> Finding:
    return next(finding for finding in findings if finding.subject == subject)


def test_a_quiet_machine_with_vnni_has_nothing_wrong_about_its_hardware(tmp_path: Path) -> None:
    findings = doctor.examine(root=machine(tmp_path))
    assert found(findings, "Instructions").state == GOOD
    assert found(findings, "Load").state == GOOD
    assert "computes no BF16" in found(findings, "Instructions").detail
    assert found(findings, "Frequency governor") == Finding("Frequency governor", GOOD, "performance")
    if platform.machine() == "x86_64":
        assert "; without AMX" in found(findings, "Instructions").detail


@pytest.mark.parametrize(
    ("fault", "subject", "state", "words"),
    [
        ({"flags": ""}, "Instructions", NOTE, "INT8 gains less here"),
        ({"governor": "powersave"}, "Frequency governor", WRONG, "cpupower frequency-set -g performance"),
        ({"load": "3.50"}, "Load", WRONG, "others compute here, too"),
    ],
)
def test_each_fault_of_a_machine_is_named_with_its_cure(
    tmp_path: Path, fault: dict[str, str], subject: str, state: str, words: str
) -> None:
    finding = found(doctor.examine(root=machine(tmp_path, **fault)), subject)
    assert finding.state == state
    assert words in f"{finding.detail}: {finding.cure}"
    assert bool(finding.cure) == (state == WRONG)


@pytest.mark.parametrize(
    ("limit", "state", "words"),
    [
        ("8000000000", NOTE, "8.0 GB of 16.4 GB, by the limit of the control group"),
        ("1000000000", WRONG, "let the container have 4.0 GB or more"),
        ("max", GOOD, "16.4 GB"),
        ("9223372036854771712", GOOD, "16.4 GB"),
    ],
)
def test_a_containers_memory_limit_counts(tmp_path: Path, limit: str, state: str, words: str) -> None:
    root = machine(tmp_path)
    (root / "proc" / "self").mkdir()
    (root / "proc" / "self" / "cgroup").write_text("0::/box\n")
    (root / "sys/fs/cgroup/box").mkdir(parents=True)
    (root / "sys/fs/cgroup/box/memory.max").write_text(f"{limit}\n")
    finding = found(doctor.examine(root=root), "Memory")
    assert finding.state == state
    assert words in f"{finding.detail}: {finding.cure}"


def test_what_a_virtual_machine_hides_is_said(tmp_path: Path) -> None:
    findings = doctor.examine(root=tmp_path)
    assert found(findings, "Frequency governor").state == NOTE
    assert found(findings, "Turbo") == Finding("Turbo", NOTE, "cannot be read here")


def test_another_version_is_noted_and_a_loadgen_of_no_round_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = {package.key: package.tested for package in RECORDED}
    versions = {**tested, "openvino": "2027.0.0", "mlcommons_loadgen": "9.9.9", "nncf": None}
    monkeypatch.setattr(system, "_versions", lambda: versions)
    findings = doctor.examine(root=machine(tmp_path))
    assert found(findings, "openvino") == Finding("openvino", NOTE, "2027.0.0; tested with 2026.4.1")
    assert found(findings, "nncf").state == WRONG
    assert found(findings, "MLPerf round").cure == "run `pip install mlcommons-loadgen==6.0.17`"
    assert not doctor.is_fit(findings)


def test_a_store_is_opened_and_judged(oracle: Oracle, tmp_path: Path) -> None:
    good = found(doctor.examine(oracle.store.path, machine(tmp_path)), "store")
    assert good.state == NOTE
    assert "60 images of custom" in good.detail
    assert found(doctor.examine(tmp_path, tmp_path), "store").state == WRONG


def test_a_store_whose_pixels_changed_is_wrong(
    new_oracle: Callable[..., Oracle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_oracle(count=20).store
    monkeypatch.setattr("harness.dataset.store._HASHED_WHOLE_BYTES", 0)
    [entry] = store.recipes.values()
    with (store.path / entry.file).open("r+b") as file:
        file.seek(300)
        file.write(b"changed")
    judged = found(doctor.examine(store.path, machine(tmp_path)), "store")
    assert judged.state == WRONG
    assert "has other pixels than were prepared" in judged.detail


def test_the_command_prints_a_line_for_each_finding_or_json_alone() -> None:
    plain = subprocess.run([sys.executable, "-m", "harness", "doctor"], capture_output=True, text=True)
    as_json = subprocess.run(
        [sys.executable, "-m", "harness", "doctor", "--json"], capture_output=True, text=True
    )
    findings = json.loads(as_json.stdout)
    assert len(plain.stdout.splitlines()) == len(findings)
    assert "MLPerf round: runs with this LoadGen belong to v6.1; MLPerf v6.1 took submissions" in plain.stdout
    assert as_json.returncode == (1 if any(finding["state"] == WRONG for finding in findings) else 0)
