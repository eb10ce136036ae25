"""A served model beside the model itself: the same rounds, the same answers, and what serving costs."""

from pathlib import Path

import pytest
from conftest import BRIEF_S, Oracle
from endpoint.serving_process import free_ports, serving

from harness import typed
from harness.backend import deployment
from harness.comparison import session, table, variants
from harness.endpoint.address import parse
from harness.errors import HarnessError
from harness.files import read_json
from harness.loadgen.settings import RunSettings
from harness.machine import noise
from harness.machine.noise import Noise
from harness.measurement import series
from harness.mlperf.scenario import Scenario


def test_a_served_model_is_compared_with_the_model_itself(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: dict[str, list[Noise]] = {}
    monkeypatch.setattr(noise, "remarks", lambda series, _: judged.update(series) or [])
    deployment.write(oracle.card, tmp_path / "model.xml")
    with serving(tmp_path / "model.xml") as running:
        endpoint = running.endpoint()
        request = session.Request(
            (oracle.card,),
            tmp_path / "out",
            oracle.store.path,
            (Scenario.SINGLE_STREAM,),
            rounds=2,
            duration_s=BRIEF_S,
            endpoints=(endpoint,),
        )
        found = session.compare(request)
        here, there = found.variants
        assert there.name == f"oracle-grpc-127.0.0.1-{running.grpc_port}"
        assert (there.precision, there.computed) == ("served", "served")
        assert here.accuracy is not None
        assert there.accuracy is not None
        assert there.accuracy.good == here.accuracy.good == 57
        assert [pair.changed for pair in found.accuracy_pairs] == [0]
        means = {cell.variant: cell.interval() for cell in found.cells}
        assert means[there.name].center > means[here.name].center, "a call costs more than a function"
        assert any("the server is on this host" in remark for remark in found.remarks)
        # What the kernel counts as others' work is the server's, too.
        assert [one.other_cpus is None for name in judged for one in judged[name]] == [False] * 2 + [True] * 2
        assert there.name in table.text([found])
        pinned = [typed.structure(read_json(path), series.Facts) for path in tmp_path.rglob("series.json")]
        assert sorted(one.version for one in pinned) == ["", "3"], "of the model itself, and of the server"
        again = RunSettings(Scenario.SINGLE_STREAM, duration_s=BRIEF_S, endpoint=endpoint)
        folder = next(path.parent for path in tmp_path.rglob("series.json") if there.name in str(path))
        held = series.prepare(oracle.card, oracle.store, again, folder, tmp_path, print)
        assert held.settings.endpoint is not None
        assert held.settings.endpoint.version == "3", "a later call asks for what answered"
        other = session.Request(
            (oracle.card,), tmp_path / "out", oracle.store.path, precisions=("f32", "int8")
        )
        with pytest.raises(HarnessError, match="another set of models"):
            session.compare(other)


def test_a_model_and_its_endpoint_are_two_variants(oracle: Oracle) -> None:
    endpoints = [parse(f"grpc://[::1]:{port}/m") for port in free_ports(2)]
    found = variants.candidates([oracle.card], (), endpoints)
    assert [one.endpoint for one in found] == [None, *endpoints]
    with pytest.raises(HarnessError, match="Two variants are called"):
        variants.candidates([oracle.card], (), endpoints[:1] * 2)


def test_endpoints_have_one_number_of_threads(oracle: Oracle, tmp_path: Path) -> None:
    request = session.Request((oracle.card,), tmp_path, threads=(1, 2), endpoints=(parse("grpc://h:1/m"),))
    with pytest.raises(HarnessError, match="--threads 1,2 with --endpoint"):
        session.compare(request)
