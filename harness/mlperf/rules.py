"""MLPerf Inference rounds as data: dates, seeds, LoadGen versions, benchmarks and required fields.

Source: the submission checker's constants.py (mlcommons/inference, August 2026) unless noted.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

from harness.errors import HarnessError, did_you_mean
from harness.mlperf import names
from harness.mlperf.benchmark import BENCHMARKS, Benchmark

DIVISIONS = ("open", "closed")
SYSTEM_TYPES = ("edge", "datacenter")
STATUSES = ("available", "preview", "rdi")


@dataclass(frozen=True)
class Seeds:
    """What LoadGen draws samples and arrival times with."""

    qsl_rng_seed: int
    sample_index_rng_seed: int
    schedule_rng_seed: int


SEEDS = tuple(item.name for item in fields(Seeds))


@dataclass(frozen=True)
class Task:
    """A benchmark as one round has it."""

    benchmark: Benchmark
    official_name: str
    """The checker's name, which is not LoadGen's."""
    closed_folder: str
    """Name of the benchmark's folder in the Closed division."""
    closed_scenarios: Mapping[str, tuple[str, ...]]
    """System type -> the scenarios that Closed demands, all of them; a type that is absent has none."""
    performance_sample_count: int
    offline_sample_count: int
    """Least number of samples in Offline's query."""
    server_latency_ns: int | None
    """None where the benchmark has no Server."""
    audits: tuple[str, ...]
    """Compliance tests that Closed demands of each scenario."""
    audit_sampling_target: int
    """TEST01: how many responses are logged, about."""
    reference_models: tuple[str, ...]
    """Shipped cards whose weights are MLPerf's; only these, or quantized from these, enter Closed."""

    @property
    def target_fraction(self) -> float:
        """Share of the reference accuracy that Closed demands."""
        return self.benchmark.targets.get(self.official_name, self.benchmark.target_fraction)


@dataclass(frozen=True)
class Round:
    """One round of MLPerf Inference."""

    name: str
    deadline: date
    """Last day of submissions (README.md of mlcommons/inference)."""
    loadgen_versions: tuple[str, ...]
    """Releases of mlcommons-loadgen with this round's seeds, the oldest first (read from their wheels)."""
    seeds: Seeds
    tasks: Mapping[str, Task]
    """The checker's name -> task."""
    min_duration_ms: int
    system_fields: tuple[str, ...]
    """Keys that a system description must have."""
    filled_system_fields: frozenset[str]
    """Those of them that must not be empty."""
    power_fields: tuple[str, ...]
    """Further keys that a system description may have; submissions with measured power have them."""
    measurement_fields: tuple[str, ...]
    """Keys that measurements.json must have, none empty."""
    inferences: tuple[tuple[str, str], ...]
    """(measured, inferred): on edge systems the one scenario's result may stand in for the other's; where a
    scenario is inferred from several, the first that was measured counts."""
    max_accuracy_log_bytes: int
    max_file_bytes: int

    def task(self, name: str) -> Task | None:
        """Return the task with the checker's `name`."""
        return self.tasks.get(name)

    def entry(self, benchmark: str, reaches: Callable[[Task], bool]) -> Task | None:
        """Return the task that a result of a benchmark enters, by LoadGen's name.

        Of several the one of the highest target that the result reaches; else the lowest.
        """
        tasks = [task for task in self.tasks.values() if task.benchmark.name == benchmark]
        tasks.sort(key=lambda task: task.target_fraction)
        return (tasks[:1] + [task for task in tasks[1:] if reaches(task)])[-1] if tasks else None

    def guess_task(self, folder: str, mapping: Mapping[str, str] | None = None) -> Task | None:
        """Return the task that the checker finds for a benchmark's folder (Config.get_mlperf_model)."""
        return self.task(names.official_name(self.name, folder, mapping or {}))


_SYSTEM_FIELDS = (
    *("division", "submitter", "status", "system_name", "system_type", "system_type_detail"),
    *("number_of_nodes", "host_processor_model_name", "host_processors_per_node"),
    *("host_processor_core_count", "host_processor_frequency", "host_processor_caches"),
    *("host_processor_interconnect", "host_memory_capacity", "host_memory_configuration"),
    *("host_storage_capacity", "host_storage_type", "host_networking", "host_network_card_count"),
    *("host_networking_topology", "accelerators_per_node", "accelerator_model_name"),
    *("accelerator_memory_capacity", "accelerator_memory_configuration"),
    *("accelerator_host_interconnect", "accelerator_interconnect", "accelerator_interconnect_topology"),
    *("accelerator_frequency", "accelerator_on-chip_memories", "cooling", "framework"),
    *("operating_system", "other_software_stack", "hw_notes", "sw_notes"),
)
_MAY_BE_EMPTY = {
    *("system_type_detail", "host_processor_frequency", "host_processor_caches"),
    *("host_processor_interconnect", "accelerator_interconnect_topology", "accelerator_frequency"),
    *("accelerator_on-chip_memories", "hw_notes", "sw_notes"),
}
SYSTEM_POWER = "system_power_capacity"
"""Watts that the system is built for; <system>_power.yaml may say it in its stead (system_check.py)."""
# SYSTEM_DESC_REQUIRED_FIELDS_POWER in the checker's constants.
_POWER_FIELDS = (
    *(SYSTEM_POWER, "power_management", "filesystem", "boot_firmware_version"),
    *("management_firmware_version", "other_hardware", "number_of_type_nics_installed"),
    *("nics_enabled_firmware", "nics_enabled_os", "nics_enabled_connected", "network_speed_mbit"),
    *("power_supply_quantity_and_rating_watts", "power_supply_details", "disk_drives"),
    *("disk_controllers", "system_power_only"),
)
NETWORK_KEY = "is_network"
"""Whatever text it has, the checkers want the other fields of the Network division, too."""
NETWORK_FIELDS = (
    *(NETWORK_KEY, "network_type", "network_media", "network_rate", "nic_loadgen", "number_nic_loadgen"),
    *("net_software_stack_loadgen", "network_protocol", "number_connections", "nic_sut", "number_nic_sut"),
    *("net_software_stack_sut", "network_topology"),
)
"""Further keys of a system description in the Network division (SYSTEM_DESC_REQUIRED_FIELDS_NETWORK_MODE)."""
NETWORK_SUT = "Network SUT"
"""What the name of a system under test holds there (inference_rules.adoc, QDL Constraints)."""
# inference_rules.adoc, edge-required-scenarios; the order is that of preprocess_submission.py.
_INFERENCES = (
    ("SingleStream", "MultiStream"),
    ("MultiStream", "Offline"),
    ("SingleStream", "Offline"),
)
_RESNET = Task(
    benchmark=BENCHMARKS["resnet50"],
    official_name="resnet",
    closed_folder="resnet50",
    closed_scenarios={
        "edge": ("SingleStream", "MultiStream", "Offline"),
        "datacenter,edge": ("SingleStream", "MultiStream", "Offline", "Server"),
    },
    performance_sample_count=1024,
    offline_sample_count=24_576,
    server_latency_ns=15_000_000,
    audits=("TEST01", "TEST04"),
    # compliance/TEST01/resnet50/audit.config
    audit_sampling_target=4096,
    # Zenodo 4735647 (ONNX), and torchvision's weights, which MLPerf's PyTorch model has.
    reference_models=("resnet50-mlperf", "resnet50-torchvision"),
)

_YOLOS = tuple(
    Task(
        benchmark=BENCHMARKS["yolo"],
        official_name=name,
        closed_folder=name,
        closed_scenarios=dict.fromkeys(("edge", "datacenter,edge"), BENCHMARKS["yolo"].scenarios),
        performance_sample_count=64,
        offline_sample_count=1525,
        server_latency_ns=None,
        audits=("TEST01",),
        # compliance/TEST01/yolo/audit.config
        audit_sampling_target=64,
        # YOLO11l is distributed to members of MLCommons only.
        reference_models=(),
    )
    for name in BENCHMARKS["yolo"].targets
)


def _round(name: str, deadline: date, loadgen_versions: Iterable[str], seeds: Seeds) -> Round:
    return Round(
        name=name,
        deadline=deadline,
        loadgen_versions=tuple(loadgen_versions),
        seeds=seeds,
        tasks={task.official_name: task for task in (_RESNET, *_YOLOS)},
        min_duration_ms=600_000,
        system_fields=_SYSTEM_FIELDS,
        filled_system_fields=frozenset(_SYSTEM_FIELDS) - _MAY_BE_EMPTY,
        power_fields=_POWER_FIELDS,
        inferences=_INFERENCES,
        measurement_fields=(
            *("input_data_types", "retraining", "starting_weights_filename"),
            *("weight_data_types", "weight_transformations"),
        ),
        max_accuracy_log_bytes=10 * 1024,
        max_file_bytes=50 * 1024 * 1024,
    )


# The newest first; v5.1 and older have another tree.
ROUNDS = {
    made.name: made
    for made in (
        _round(
            "v6.1",
            date(2026, 7, 31),
            ("6.0.16", "6.0.17"),
            Seeds(2085463073848966840, 2747215439041700203, 16159082839903944936),
        ),
        _round(
            "v6.0",
            date(2026, 2, 13),
            (f"6.0.{patch}" for patch in range(5, 16)),
            Seeds(2465351861681999779, 14276810075590677512, 3936089224930324775),
        ),
    )
}
NEWEST = next(iter(ROUNDS))


@dataclass(frozen=True)
class Expected:
    """A round that is to come; its seeds are announced four weeks before its deadline."""

    name: str
    month: date
    """The first day of the month in which its deadline is expected."""


EXPECTED = Expected("v7.0", date(2027, 2, 1))
"""After the newest (docs/submission of mlcommons/inference: .0 rounds in February, .1 rounds in August)."""


def find_round(name: str) -> Round:
    """Return the round of that name.

    Raises:
        HarnessError: the name is not known.
    """
    if name not in ROUNDS:
        raise HarnessError(f"Round '{name}' is not known.{did_you_mean(name, ROUNDS)}")
    return ROUNDS[name]


def round_of(detail: Mapping[str, Any]) -> Round | None:
    """Return the round whose seeds a LoadGen log has; LoadGen's version decides it."""
    for made in ROUNDS.values():
        if all(detail.get(f"effective_{key}") == seed for key, seed in vars(made.seeds).items()):
            return made
    return None


def rounds_of_loadgen(version: str) -> list[str]:
    """Return the rounds that runs with this release of LoadGen can belong to."""
    release = version.split(" ")[0]
    return [made.name for made in ROUNDS.values() if release in made.loadgen_versions]


def choose_division(name: str) -> str:
    """Return the division of that name.

    Raises:
        HarnessError: the name is not known, or the division is not for one machine.
    """
    plain = name.lower()
    if plain == "network":
        raise HarnessError("The network division needs a LoadGen on another machine: give open or closed.")
    return _choose("Division", plain, DIVISIONS)


def choose_system_type(name: str) -> str:
    """Return the system type of that name.

    Raises:
        HarnessError: the name is not known.
    """
    plain = ",".join(sorted(name.lower().replace(" ", "").split(",")))
    return _choose("System type", plain, (*SYSTEM_TYPES, "datacenter,edge"))


def _choose(what: str, name: str, known: Iterable[str]) -> str:
    if name not in known:
        raise HarnessError(f"{what} '{name}' is not known.{did_you_mean(name, known)}")
    return name
