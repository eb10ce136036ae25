"""Make the golden logs anew, with the real LoadGen: `python tests/golden/make.py`.

Afterwards run MLPerf's own script (vision/classification_and_detection/tools) by hand, in tests/golden:
`accuracy-imagenet.py --mlperf-accuracy-file accuracy.json --imagenet-val-file val_map.txt > accuracy.txt`
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SAMPLES = 105
"""Not a multiple of 8, so that the MultiStream accuracy log holds duplicates."""
ANSWERS = (np.arange(SAMPLES) * 37 % 1000).astype(np.float32)


def main() -> None:
    if len(sys.argv) == 4:
        run(*sys.argv[1:])
        return
    with tempfile.TemporaryDirectory() as folder:
        for scenario, mode, name, target in (
            ("SingleStream", "PerformanceOnly", "mlperf_log_detail.txt", "singlestream_detail.txt"),
            ("Offline", "PerformanceOnly", "mlperf_log_detail.txt", "offline_detail.txt"),
            ("MultiStream", "AccuracyOnly", "mlperf_log_accuracy.json", "accuracy.json"),
        ):
            subprocess.run([sys.executable, __file__, scenario, mode, folder], check=True)
            (HERE / target).write_bytes(Path(folder, name).read_bytes())
    labels = [int(answer) if index % 4 else 999 for index, answer in enumerate(ANSWERS)]
    lines = [f"image_{index:03d}.JPEG {label}" for index, label in enumerate(labels)]
    (HERE / "val_map.txt").write_text("\n".join(lines) + "\n")


def run(scenario: str, mode: str, folder: str) -> None:
    import mlperf_loadgen as lg

    empty = Path(folder, "user.conf")
    empty.touch()
    settings = lg.TestSettings()
    settings.FromConfig(str(empty), "resnet50", scenario, 1)
    settings.scenario = getattr(lg.TestScenario, scenario)
    settings.mode = getattr(lg.TestMode, mode)
    settings.performance_sample_count_override = 16
    settings.min_query_count = 100
    settings.min_duration_ms = 300
    settings.single_stream_expected_latency_ns = 1e6
    settings.offline_expected_qps = 1000

    def issue(samples: list) -> None:
        if mode == "PerformanceOnly":
            time.sleep(0.0008 * len(samples) if scenario == "SingleStream" else 0.5)
        lg.QuerySamplesComplete(
            [lg.QuerySampleResponse(item.id, ANSWERS[item.index :].ctypes.data, 4) for item in samples]
        )

    sut = lg.ConstructSUT(issue, lambda: None)
    qsl = lg.ConstructQSL(SAMPLES, 16, lambda _: None, lambda _: None)
    output = lg.LogOutputSettings()
    output.outdir = folder
    log_settings = lg.LogSettings()
    log_settings.log_output = output
    log_settings.enable_trace = False
    lg.StartTestWithLogSettings(sut, qsl, settings, log_settings, "/nonexistent/audit.config")
    lg.DestroyQSL(qsl)
    lg.DestroySUT(sut)


if __name__ == "__main__":
    main()
