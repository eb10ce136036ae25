import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from harness.machine import system
from harness.machine.packages import Package
from harness.machine.system import Allowance, Cache, allowance, describe, is_under_quota, slug, usable_cpus

XEON = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
stepping\t: 8
model name\t: Intel(R) Xeon(R) Platinum 8480+ @ 2.00GHz
flags\t\t: fpu fma avx2 avx512f avx512_vnni avx_vnni avx512_bf16 amx_bf16 amx_tile amx_int8 hypervisor

processor\t: 1
model name\t: another
"""
GRAVITON = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd aes asimddp sve i8mm bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""
CPU = "sys/devices/system/cpu"


@pytest.fixture(autouse=True)
def eight_cpus_allowed(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def xeon_files():
    """Return two sockets of two cores with two threads each; an L2 cache per core, an L3 per socket."""
    files = {
        "proc/cpuinfo": XEON,
        "proc/meminfo": "MemTotal:       24684084 kB\nMemFree:  1 kB",
        "proc/sys/kernel/osrelease": "6.8.0-generic",
        "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 24.04.2 LTS"',
        f"{CPU}/present": "0-7",
        f"{CPU}/smt/active": "1",
        f"{CPU}/intel_pstate/no_turbo": "1",
        "sys/devices/system/node/node0/cpulist": "0-3",
        "sys/devices/system/node/node1/cpulist": "4-7",
        "sys/class/dmi/id/sys_vendor": "QEMU",
        "sys/class/dmi/id/product_name": "Standard PC",
    }
    for cpu in range(8):
        socket, core = cpu // 4, cpu // 2
        folder = f"{CPU}/cpu{cpu}"
        files |= {
            f"{folder}/topology/physical_package_id": f"{socket}",
            f"{folder}/topology/core_cpus_list": f"{2 * core}-{2 * core + 1}",
            f"{folder}/cpufreq/scaling_governor": "performance",
            f"{folder}/cpufreq/scaling_driver": "intel_pstate",
            f"{folder}/cpufreq/cpuinfo_max_freq": "3800000",
            f"{folder}/cache/index2/level": "2",
            f"{folder}/cache/index2/type": "Unified",
            f"{folder}/cache/index2/size": "2048K",
            f"{folder}/cache/index2/shared_cpu_list": f"{2 * core}-{2 * core + 1}",
            f"{folder}/cache/index3/level": "3",
            f"{folder}/cache/index3/type": "Unified",
            f"{folder}/cache/index3/size": "105M",
            f"{folder}/cache/index3/shared_cpu_list": f"{4 * socket}-{4 * socket + 3}",
        }
    return files


def test_a_server_with_two_sockets_is_described(tmp_path):
    machine = describe(tree(tmp_path, xeon_files()))
    assert machine.cpu_model == "Intel(R) Xeon(R) Platinum 8480+ @ 2.00GHz"
    assert machine.cpu_vendor == "GenuineIntel"
    assert machine.cpu_signature == "6-143-8"
    assert (machine.sockets, machine.physical_cores, machine.cpus_present) == (2, 4, 8)
    assert machine.cpus_allowed == machine.usable_cpus == 8
    assert machine.smt is True
    assert machine.isa == (
        *("fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni"),
        *("amx_tile", "amx_int8", "amx_bf16"),
    )
    assert machine.caches == (Cache(2, "Unified", 2 << 20, 4), Cache(3, "Unified", 105 << 20, 2))
    assert machine.max_frequency_hz == 3_800_000_000
    assert (machine.governor, machine.frequency_driver, machine.turbo) == (
        "performance",
        "intel_pstate",
        False,
    )
    assert machine.numa_nodes == 2
    assert machine.memory_bytes == 24684084 * 1024
    assert (machine.operating_system, machine.kernel) == ("Ubuntu 24.04.2 LTS", "6.8.0-generic")
    assert machine.hypervisor is True
    assert machine.virtualization == "QEMU Standard PC"
    assert machine.performance_cpus is machine.efficiency_cpus is None
    assert slug(machine) == "intel-xeon-platinum-8480-4c"


def test_an_unreadable_machine_is_all_unknown(tmp_path):
    machine = describe(tmp_path)
    known = {name for name, value in vars(machine).items() if value is not None}
    assert known == {"architecture", "cpus_allowed", "versions"}
    assert machine.usable_cpus == 8
    assert slug(machine).endswith("-8c")


def test_frequency_facts_that_a_virtual_machine_hides_are_unknown(tmp_path):
    files = {
        name: text for name, text in xeon_files().items() if "cpufreq" not in name and "pstate" not in name
    }
    machine = describe(tree(tmp_path, files))
    assert machine.governor is machine.frequency_driver is machine.turbo is machine.max_frequency_hz is None


def test_governors_that_differ_are_all_named(tmp_path):
    files = xeon_files() | {f"{CPU}/cpu3/cpufreq/scaling_governor": "powersave"}
    assert describe(tree(tmp_path, files)).governor == "performance, powersave"


@pytest.mark.parametrize(("boost", "turbo"), [("1", True), ("0", False)])
def test_turbo_is_also_read_from_the_general_switch(boost, turbo, tmp_path):
    assert describe(tree(tmp_path, {f"{CPU}/cpufreq/boost": boost})).turbo is turbo


def test_the_core_kinds_of_a_hybrid_are_counted(tmp_path):
    files = xeon_files() | {"sys/devices/cpu_core/cpus": "0-3", "sys/devices/cpu_atom/cpus": "4,6-7"}
    machine = describe(tree(tmp_path, files))
    assert (machine.performance_cpus, machine.efficiency_cpus) == (4, 3)


def test_an_arm_machine_is_described_without_invention(tmp_path):
    machine = describe(tree(tmp_path, {"proc/cpuinfo": GRAVITON}))
    assert (machine.cpu_vendor, machine.cpu_model) == ("ARM", "ARM part 0xd40")
    assert machine.cpu_signature is None
    assert machine.isa == ("asimd", "asimddp", "i8mm", "bf16", "sve")
    assert machine.hypervisor is None  # Arm has no such flag
    assert slug(machine) == "arm-part-0xd40-8c"


@pytest.mark.parametrize("code", ["0x99", "nonsense"])
def test_an_unknown_arm_maker_is_left_as_its_number(code, tmp_path):
    machine = describe(tree(tmp_path, {"proc/cpuinfo": GRAVITON.replace("0x41", code)}))
    assert machine.cpu_vendor == (f"implementer {code}" if code == "0x99" else None)


@pytest.mark.parametrize(
    ("files", "quota", "cpus"),
    [
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "250000 100000"}, 2.5, 3),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "10000 100000"}, 0.1, 1),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "9900000 100000"}, 99.0, 8),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, None, 8),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "rubbish"}, None, 8),
        ({"proc/self/cgroup": "rubbish"}, None, 8),
        (
            {
                "proc/self/cgroup": "0::/a.slice/b.scope",
                "sys/fs/cgroup/a.slice/cpu.max": "200000 100000",
                "sys/fs/cgroup/a.slice/b.scope/cpu.max": "max 100000",
            },
            2.0,
            2,
        ),
        (
            {
                "proc/self/cgroup": "3:memory:/x\n1:cpu,cpuacct:/x",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "150000",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            },
            1.5,
            2,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/not/mounted/in/the/container",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            4.0,
            4,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
            8,
        ),
    ],
)
def test_a_quota_of_the_control_group_limits_the_usable_cpus(files, quota, cpus, tmp_path):
    machine = describe(tree(tmp_path, files))
    assert machine.cpu_quota_cores == quota
    assert machine.usable_cpus == usable_cpus(tmp_path) == cpus
    binds = quota is not None and quota < 8
    assert machine.is_under_quota == is_under_quota(tmp_path) == binds
    assert machine.quota_cores == (quota if binds else None)
    assert allowance(tmp_path).whole is not binds


@pytest.mark.parametrize(
    ("cpus", "quota", "binds"), [(2, 150_000, True), (1, 50_000, True), (2, 200_000, False)]
)
def test_a_quota_that_ends_within_the_last_cpu_is_one(cpus, quota, binds, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)), raising=False)
    group = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": f"{quota} 100000"}
    root = tree(tmp_path, group)
    assert usable_cpus(root) == cpus
    assert is_under_quota(root) is describe(root).is_under_quota is binds
    assert system.default_pinning(root) is (False if binds else None)


def test_the_free_memory_is_what_the_kernel_and_the_control_group_leave(tmp_path):
    assert system.free_memory_bytes(tmp_path) is None
    tree(tmp_path, {"proc/meminfo": "MemTotal:  9 kB\nMemAvailable:  4000000 kB"})
    assert system.free_memory_bytes(tmp_path) == 4_096_000_000
    group = {"proc/self/cgroup": "0::/job", "sys/fs/cgroup/job/memory.max": "1000000000"}
    assert system.free_memory_bytes(tree(tmp_path, group)) == 1_000_000_000


@pytest.mark.parametrize(
    ("line", "folder", "names"),
    [
        ("0::/job/inner", "job", ("memory.max", "memory.current", "")),
        ("4:memory:/job/inner", "memory/job", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")),
    ],
)
def test_what_a_control_group_has_taken_is_not_free_but_for_cached_files(line, folder, names, tmp_path):
    limit, taken, start = names
    group = f"sys/fs/cgroup/{folder}"
    files = {
        "proc/self/cgroup": line,
        "proc/meminfo": "MemAvailable: 4000000 kB",
        f"{group}/{limit}": "1000",
        f"{group}/{taken}": "700",
        f"{group}/memory.stat": f"anon 1\n{start}inactive_file 250\n{start}active_file 50\n",
        f"{group}/inner/{limit}": "900",
        f"{group}/inner/{taken}": "100",
    }
    root = tree(tmp_path, files)
    assert system.free_memory_bytes(root) == 600
    assert system.memory_limit_bytes(root) == 900
    assert system.free_memory_bytes(tree(tmp_path, {f"{group}/{taken}": "2000"})) == 0


def test_the_affinity_limits_the_usable_cpus(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert usable_cpus(tmp_path) == 1
    root = tree(tmp_path, xeon_files())
    assert slug(describe(root)).endswith("-1c")
    # The two threads of one core.
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 5}, raising=False)
    machine = describe(root)
    assert (machine.cpus_allowed, machine.cores_allowed, machine.physical_cores) == (2, 1, 4)
    assert slug(machine).endswith("-1c")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4}, raising=False)
    assert slug(describe(root)).endswith("-2c")


def test_the_p_cores_of_a_hybrid_that_are_allowed_are_counted(monkeypatch, tmp_path):
    root = tree(tmp_path, {"sys/devices/cpu_core/cpus": "0-3", "sys/devices/cpu_atom/cpus": "4-7"})
    for mask, cpus in (({2, 3}, 2), ({4, 5}, 0), ({3, 4}, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, mask=mask: mask, raising=False)
        assert describe(root).performance_cpus_allowed == cpus
    assert describe(tmp_path / "no hybrid").performance_cpus_allowed is None


def test_systems_without_an_affinity_count_their_cpus(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus(tmp_path) == 6


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("AMD EPYC 7763 64-Core Processor", "amd-epyc-7763-8c"),
        ("AMD EPYC", "amd-epyc-8c"),
        ("13th Gen Intel(R) Core(TM) i9-13900K", "13th-gen-intel-core-i9-13900k-8c"),
        ("Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz", "intel-core-i7-8650u-8c"),
        ("../../etc/passwd ä", "etc-passwd-8c"),
        ("word " * 50, "word-word-word-word-word-word-word-word-8c"),
    ],
)
def test_a_slug_is_fit_for_a_folder_name(model, name, tmp_path):
    assert slug(replace(describe(tmp_path), cpu_model=model)) == name


def test_this_machine_is_described_in_plain_json():
    machine = describe()
    document = json.loads(json.dumps(machine.to_dict()))
    assert document["usable_cpus"] == machine.usable_cpus >= 1
    assert document["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert document["versions"]["mlcommons_loadgen"].startswith("6.")
    assert document["versions"]["openvino"]
    assert document["memory_bytes"] > 0


def test_a_package_that_is_not_installed_has_no_version(monkeypatch, tmp_path):
    ghost = Package("ghost", ("no-such-package-at-all",), "ghost")
    monkeypatch.setattr(system, "RECORDED", (ghost,))
    assert describe(tmp_path).versions["ghost"] is None


def test_describing_the_machine_imports_nothing_heavy():
    code = (
        "import sys; from harness.machine import system; system.describe(); "
        "print([m for m in ('openvino', 'nncf', 'numpy', 'cv2', 'mlperf_loadgen') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_the_allowance_counts_cores_within_the_mask_and_the_quota(monkeypatch, tmp_path):
    files = xeon_files()
    for cpu in range(8):
        core = cpu // 2
        files[f"{CPU}/cpu{cpu}/topology/core_cpus_list"] = f"{2 * core}-{2 * core + 1}"
    root = tree(tmp_path, files)
    assert allowance(root) == Allowance(8, 4, None, True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4}, raising=False)
    assert allowance(root) == Allowance(3, 2, None, True)
    tree(root, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"})
    assert allowance(root) == Allowance(2, 2, None, False)


def test_the_allowance_tells_p_cores_only_where_there_are_e_cores_too(monkeypatch, tmp_path):
    root = tree(tmp_path, {"sys/devices/cpu_core/cpus": "0-3", "sys/devices/cpu_atom/cpus": "4-7"})
    assert allowance(root).performance_cpus == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3}, raising=False)
    assert allowance(root).performance_cpus is None
