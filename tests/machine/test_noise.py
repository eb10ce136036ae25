"""What the harness notices of a disturbed machine, on made-up /proc and /sys trees."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness import typed
from harness.machine import noise
from harness.machine.noise import Noise, Watch

QUIET = Noise(10.0, 2, 0.0, 0.02, 0, 0.0, 0, 3.0e9)


class Machine:
    """A fake machine with two CPUs, whose counters a test moves on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock_s = 0.0
        self.own_cpu_s = 0.0
        self.set("proc/self/cgroup", "0::/job/inner\n")
        self.stat()
        self.set("proc/vmstat", "nr_free_pages 5\npswpin 7\npswpout 8\n")
        self.set("sys/fs/cgroup/job/cpu.stat", "usage_usec 1\nnr_throttled 3\nthrottled_usec 1000\n")
        self.set("sys/fs/cgroup/cpu.stat", "nr_throttled 900\nthrottled_usec 5000000\n")
        self.frequency(3_000_000)

    def set(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def stat(self, user: int = 0, idle: int = 0, steal: int = 0) -> None:
        line = f"{100 + user} 0 50 {1000 + idle} 9 1 2 {40 + steal} 30 0"
        self.set("proc/stat", f"cpu  {line}\ncpu0 {line}\ncpu1 {line}\nintr 5 6\nctxt 9\n")

    def frequency(self, khz: int) -> None:
        for cpu in (0, 1):
            self.set(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", f"{khz}\n")

    def watch(self) -> Watch:
        return Watch(self.root, lambda: self.clock_s, lambda: self.own_cpu_s)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_said_of_a_quiet_machine(machine: Machine) -> None:
    watch = machine.watch()
    machine.clock_s, machine.own_cpu_s = 10.0, 9.9
    machine.stat(user=1000, idle=1000)
    watch.sample()
    seen = watch.stop()
    assert (seen.steal_share, seen.throttled_count, seen.swapped_pages) == (0.0, 0, 0)
    assert seen.other_cpus == pytest.approx(0.01)
    assert seen.frequency_hz == 3.0e9
    assert noise.remarks({"int8": [seen]}) == []


def test_steal_time_is_a_share_of_what_the_cpus_had_to_do(machine: Machine) -> None:
    watch = machine.watch()
    machine.clock_s, machine.own_cpu_s = 10.0, 10.0
    machine.stat(user=800, idle=1000, steal=200)
    seen = watch.stop()
    # Half of the CPUs' time nobody wanted.
    assert seen.steal_share == pytest.approx(0.2)
    assert noise.remarks({"int8": [seen]})[0].startswith(
        "The hypervisor gave 20.0 % of the busy CPUs' time to other"
    )


def test_the_load_of_others_is_what_is_busy_less_our_own(machine: Machine) -> None:
    watch = machine.watch()
    machine.clock_s, machine.own_cpu_s = 10.0, 10.0
    machine.stat(user=1500, idle=500)
    seen = watch.stop()
    assert seen.other_cpus == pytest.approx(0.5)
    assert noise.remarks({"int8": [seen]}) == [
        "Other processes kept 0.50 of 2 CPUs busy on average: stop them and measure again."
    ]


def test_the_load_of_others_is_held_against_the_cpus_that_a_test_used() -> None:
    beside = replace(QUIET, cpus=64, other_cpus=0.4)
    assert noise.remarks({"int8": [beside]}) == []
    found = noise.remarks({"on all": [beside], "on one": [beside]}, {"on all": 64, "on one": 1})
    assert found == [
        "Other processes kept 0.40 of 64 CPUs busy on average, beside the 1 that on one used: stop them and "
        "measure again."
    ]
    assert noise.remarks({"on all": [beside]}, {"on all": 64}) == []


def test_a_server_under_test_is_no_other_process() -> None:
    served = [replace(QUIET, cpus=8, other_cpus=7.5, swapped_pages=3)]
    assert "Other processes kept 7.50 of 8 CPUs busy" in noise.remarks({"served": served})[0]
    (remark,) = noise.remarks({"served": noise.without_others(served)})
    assert remark.startswith("3 pages were swapped")


def test_throttling_of_an_ancestor_group_is_seen(machine: Machine) -> None:
    watch = machine.watch()
    machine.clock_s = 10.0
    machine.set("sys/fs/cgroup/job/cpu.stat", "nr_throttled 45\nthrottled_usec 2501000\n")
    seen = watch.stop()
    assert (seen.throttled_count, seen.throttled_s) == (42, pytest.approx(2.5))
    assert "stopped us in 42 periods, 2.5 CPU-seconds in 10 s" in noise.remarks({"int8": [seen]})[0]


def test_throttling_is_read_from_version_1_groups_too(machine: Machine) -> None:
    machine.set("proc/self/cgroup", "3:cpuset:/x\n1:cpu,cpuacct:/job\n")
    name = "sys/fs/cgroup/cpu,cpuacct/job/cpu.stat"
    machine.set(name, "nr_periods 9\nnr_throttled 0\nthrottled_time 0\n")
    watch = machine.watch()
    machine.set(name, "nr_periods 19\nnr_throttled 4\nthrottled_time 300000000\n")
    seen = watch.stop()
    assert (seen.throttled_count, seen.throttled_s) == (4, pytest.approx(0.3))


def test_swapping_is_counted_in_pages(machine: Machine) -> None:
    watch = machine.watch()
    machine.set("proc/vmstat", "pswpin 10\npswpout 108\n")
    seen = watch.stop()
    assert seen.swapped_pages == 103
    assert noise.remarks({"int8": [seen]}) == ["103 pages were swapped in or out: free some memory."]


def test_a_frequency_that_falls_between_rounds_is_seen(machine: Machine) -> None:
    rounds = []
    for khz in (3_000_000, 2_400_000):
        machine.frequency(khz)
        watch = machine.watch()
        watch.sample()
        rounds.append(watch.stop())
    (remark,) = noise.remarks({"f32, Offline, 1 thread": [QUIET, QUIET], "int8, Offline, 1 thread": rounds})
    assert remark == (
        "The CPU's frequency went from 2.40 to 3.00 GHz between rounds of int8, Offline, 1 thread: set the "
        "governor to performance, and look at the cooling."
    )


def test_variants_that_run_at_other_frequencies_by_design_go_without_remark() -> None:
    slower = replace(QUIET, frequency_hz=2.0e9)
    assert noise.remarks({"f32": [QUIET, QUIET], "int8": [slower, slower]}) == []
    falling = [replace(QUIET, frequency_hz=hz) for hz in (2.0e9, 1.8e9)]
    sinking = [replace(QUIET, frequency_hz=hz) for hz in (3.0e9, 2.4e9)]
    (remark,) = noise.remarks({"int8": falling, "f32": sinking})
    assert "from 2.40 to 3.00 GHz between rounds of f32:" in remark


def test_what_cannot_be_read_is_none_and_goes_without_remark(tmp_path: Path) -> None:
    seen = Watch(tmp_path, lambda: 1.0, lambda: 0.0).stop()
    assert seen == Noise(0.0, None, None, None, None, None, None, None)
    assert noise.remarks({"int8": [seen]}) == []


def test_shares_are_weighed_by_time() -> None:
    short, long = replace(QUIET, wall_s=1.0, steal_share=0.5), replace(QUIET, wall_s=99.0, steal_share=0.0)
    assert noise.remarks({"int8": [short], "f32": [long]}) == []


def test_unstable_results_are_said_with_the_worst_number() -> None:
    steady = {"a, Offline": [100.0, 101.0], "b, Offline": [5.0]}
    assert noise.spread_remark(steady) is None
    assert noise.spread_remark(steady | {"c, Offline": [100.0, 120.0, 80.0], "d": [10.0, 11.0]}) == (
        "2 of 4 results may be unstable: in the worst (c, Offline) the standard deviation of the rounds is "
        "20 % of the mean; more --rounds help."
    )


def test_noise_survives_its_file() -> None:
    assert typed.structure(typed.unstructure(QUIET), Noise) == QUIET


def test_this_machine_can_be_watched() -> None:
    watch = Watch()
    sum(range(2_000_000))
    watch.sample()
    assert watch.stop().wall_s > 0
