"""The columns of the table of results: one test a row, units in the names."""

from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
"""One test: values by the names of columns; one that is not known may be left out."""


@dataclass(frozen=True)
class Column:
    """One column; a value that is not known is missing (NaN, NaT or <NA>)."""

    name: str
    kind: str
    """pandas' name of the type: string, Int64, Float64, boolean or datetime64[ns, UTC]."""
    meaning: str


COLUMNS = (
    Column("source", "string", "What wrote the test: run, compare or submission."),
    Column("submitter", "string", "Folder of the submitter; submissions only."),
    Column("division", "string", "closed, open or network; submissions only."),
    Column("system", "string", "Name of the system."),
    Column("cpu", "string", "Name of the CPU."),
    Column("cpus", "Int64", "Logical CPUs that the machine has; own tests only."),
    Column("cores", "Int64", "Cores that computed; of a submission the system's, of a server unknown."),
    Column("threads", "Int64", "CPU threads that OpenVINO used; own tests without a server only."),
    Column("accelerator", "string", "Name of the accelerator; submissions only."),
    Column("benchmark", "string", "LoadGen's name of the benchmark."),
    Column("model", "string", "Name of the model card; in a submission the benchmark's folder."),
    Column("precision", "string", "What most layers computed in; 'served': a server did; own tests only."),
    Column("endpoint", "string", "Address of the server that computed, where one did; runs only."),
    Column("on_this_host", "boolean", "Whether that server ran beside LoadGen; runs only."),
    Column("scenario", "string", "SingleStream, MultiStream, Server or Offline; with a fault its folder."),
    Column("mode", "string", "performance or accuracy."),
    Column("round", "Int64", "Number of the alternating round; comparisons only."),
    Column("valid", "boolean", "LoadGen said VALID and logged no error; of accuracy: it logged no error."),
    Column("official", "boolean", "Whether the test may be submitted; submissions: always."),
    Column("p50_ms", "Float64", "Median latency of a query, in milliseconds."),
    Column("p90_ms", "Float64", "90th percentile of the latency, in milliseconds."),
    Column("p99_ms", "Float64", "99th percentile of the latency, in milliseconds."),
    Column("samples_per_second", "Float64", "Score of Offline and Server, in samples a second."),
    Column("samples_per_second_per_core", "Float64", "The same, divided by cores."),
    Column("accuracy", "Float64", "Accuracy as a fraction: top-1, or what the benchmark counts."),
    Column("target", "Float64", "What is wanted of the accuracy, as a fraction; own tests only."),
    Column("passed", "boolean", "Whether the target is reached; own tests only."),
    Column("joules_per_sample", "Float64", "Energy of the processor a sample, unofficial; own tests only."),
    Column("price_per_hour", "Float64", "What the machine costs an hour, as given; own tests, no servers."),
    Column("currency", "string", "Of the prices, as given; own tests, no servers."),
    Column("price_per_million_samples", "Float64", "Of a million samples at that price and score."),
    Column("harness_version", "string", "Version of the harness; own tests only."),
    Column("openvino_version", "string", "Version of OpenVINO; own tests only."),
    Column("nncf_version", "string", "Version of NNCF; own tests only."),
    Column("loadgen_version", "string", "Version of LoadGen."),
    Column("date", "datetime64[ns, UTC]", "When the test was made."),
    Column("fault", "string", "Why the test could not be read: what no path tells is not known then."),
    Column("path", "string", "Folder of the test's logs."),
)


def rate(samples_per_second: float | None, cores: int | None) -> Row:
    """Return a score of samples a second, and what of it is each core's."""
    per_core = samples_per_second / cores if samples_per_second is not None and cores else None
    return {"samples_per_second": samples_per_second, "samples_per_second_per_core": per_core}
