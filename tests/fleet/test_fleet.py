"""A real Ray cluster on this host, whose nodes say that they are three machines."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Oracle

from harness.errors import HarnessError
from harness.fleet import member, session
from harness.fleet.home import TASK
from harness.fleet.order import Command, packed
from harness.machine import host, system

pytest.importorskip("ray", reason="needs Ray: pip install '.[fleet]'")

HOSTS = ("one", "two", "three")
COMMAND = ("compare", "--scenario", "Offline", "--rounds", "2", "--duration", "0.1", "--threads", "1")


class Cluster:
    """Nodes that can be lost and come again."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster as Made

        self._folder = folder
        self._made: Any = Made(
            initialize_head=True, head_node_args={**self._facts("one"), "include_dashboard": False}
        )
        self.nodes = {"one": self._made.head_node}
        for name in HOSTS[1:]:
            self.add(name)
        self.address: str = self._made.address

    def _facts(self, name: str) -> dict[str, Any]:
        env = {"HARNESS_HOST_ID": name, "HARNESS_CACHE": str(self._folder / name)}
        return {"num_cpus": 1, "object_store_memory": 80_000_000, "env_vars": env}

    def add(self, name: str) -> None:
        self.nodes[name] = self._made.add_node(**self._facts(name))

    def lose(self, name: str) -> None:
        self._made.remove_node(self.nodes.pop(name), allow_graceful=False)

    def end(self) -> None:
        self._made.shutdown()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster(tmp_path_factory.mktemp("nodes"))
    yield made
    made.end()


@pytest.fixture(scope="module")
def command(oracle: Oracle, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Return a comparison of two models whose cards and files travel."""
    other = tmp_path_factory.mktemp("other") / "other.toml"
    text = oracle.card_path.read_text().replace('"oracle"', '"other"')
    other.write_text(text.replace("oracle.xml", str(oracle.card_path.with_name("oracle.xml"))))
    cards, store = [str(oracle.card_path), str(other)], str(oracle.store.path)
    given = (*COMMAND, "--model", cards[0], "--model", cards[1], "--data", store)
    return packed(given, (*given, "--out", "{OUT}", "--json"), cards, [store])


def harness(*words: str) -> list[str]:
    return [sys.executable, "-m", "harness", "fleet", "run", *words]


def words_of(command: Command, cluster: Cluster, out: Path) -> list[str]:
    return harness("--address", cluster.address, "--on", "all", "--out", str(out), "--", *command.given)


def wait_for(condition: Any, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_measuring(name: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Return whether somebody has the turn of one of the hosts."""
    with monkeypatch.context() as patch:
        patch.setenv("HARNESS_HOST_ID", name)
        return host._is_locked(host._turn_of(os.getuid()))


def intervals(rows: list[session.Row]) -> list[tuple[str, str]]:
    return sorted((row.task.started, row.task.ended) for row in rows if row.task is not None)


def test_every_machine_measures_once_and_a_lost_one_is_measured_later(
    cluster: Cluster, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = session.Request(cluster.address, command, tmp_path / "out", ("all",))
    process = subprocess.Popen(
        words_of(command, cluster, request.out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: is_measuring("three", monkeypatch))
    cluster.lose("three")
    told, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert "missing: node lost" in told
    first = json.loads((request.out / session.FILE_NAME).read_text())
    assert [("missing" in row) for row in first["rows"]].count(True) == 1
    wait_for(lambda: not is_measuring("three", monkeypatch))

    cluster.add("three")
    before = {path: path.stat().st_mtime_ns for path in request.out.rglob(TASK)}
    assert len(before) == 2
    rows = session.run(request)
    assert [row.missing for row in rows] == ["", "", ""]
    assert {row.task and row.task.niceness for row in rows} == {0}
    after = {path: path.stat().st_mtime_ns for path in request.out.rglob(TASK)}
    assert len(after) == 3
    assert before.items() <= after.items(), "what had come home was not measured again"
    assert all((path.parent / "results" / "compare.json").is_file() for path in after)


def test_who_is_interrupted_leaves_no_machine_measuring(
    cluster: Cluster, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        words_of(command, cluster, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: is_measuring("two", monkeypatch))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 130, errors
    assert not any(is_measuring(name, monkeypatch) for name in HOSTS)
    assert not any("under-way" in path.name for path in out.iterdir())


def test_a_host_that_somebody_measures_on_is_a_row_that_says_so(
    cluster: Cluster, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_HOST_ID", "two")
    name = host.identity()[:8]
    with host.measuring("harness tune"):
        members = [one for one in session.status(cluster.address) if one.host.startswith(name)]
        request = session.Request(cluster.address, command, tmp_path / "out", (members[0].name,))
        (row,) = session.run(request)
    assert "(harness tune) is measuring" in row.missing
    assert not list(request.out.rglob(TASK))


def test_two_nodes_of_a_host_are_one_machine(cluster: Cluster) -> None:
    cluster.nodes["again"] = cluster._made.add_node(**cluster._facts("two"))
    try:
        assert len(session.status(cluster.address)) == len(HOSTS)
    finally:
        cluster.lose("again")


def test_what_a_worker_of_ray_sets_does_not_reach_the_measurement(
    cluster: Cluster, command: Command, tmp_path: Path
) -> None:
    rows = session.run(session.Request(cluster.address, command, tmp_path / "out"))
    assert len(rows) == 1, "by default one machine of each kind"
    compared = json.loads((rows[0].folder / "results" / "compare.json").read_text())
    names = [variant["name"] for part in compared["comparisons"] for variant in part["variants"]]
    assert names == ["oracle", "other"]
    shutil.rmtree(tmp_path / "out")


def test_another_version_is_refused_with_the_difference() -> None:
    here = member.versions(system.describe())
    one = member.Member(node="", hostname="here", stores={}, **_facts(here))
    other = replace(one, versions={**here, "openvino": "2020.4"}, hostname="there")
    member.require_same([one], here)
    with pytest.raises(HarnessError, match=r"\(there\) has openvino 2020.4, here is 20\d\d"):
        member.require_same([one, other], here)


def test_another_store_is_refused(oracle: Oracle, tmp_path: Path) -> None:
    here = member.versions(system.describe())
    path = str(oracle.store.path)
    one = member.Member(node="", hostname="here", **_facts(here), stores=member.hello([path])["stores"])
    other = replace(one, stores={path: "another"}, hostname="there")
    member.require_same([one, one], here)
    with pytest.raises(HarnessError, match="holds other samples"):
        member.require_same([one, other], here)
    missing = str(tmp_path / "nothing")
    lacks = replace(one, stores=member.hello([missing])["stores"])
    with pytest.raises(HarnessError, match=r"cannot use the store: .*nothing"):
        member.require_same([lacks], here)


def _facts(versions: Any) -> dict[str, Any]:
    return {
        "host": "0" * 16,
        "kind": "cpu-1c",
        "cpu": "CPU",
        "cores": 1,
        "memory_bytes": None,
        "versions": versions,
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--address", "127.0.0.1:9", "--", "compare", "--model", "builtin-resnet50"], "Nobody answers at"),
        (["--address", "nowhere", "--", "compare", "--model", "builtin-resnet50"], "is no address"),
        (["--address", "local:0", "--", "compare", "--model", "builtin-resnet50"], "as in local:1"),
        (["--address", "auto", "--", "prepare"], "A fleet cannot do 'prepare'"),
        (["--address", "auto", "--", "compare", "--model", "builtin-resnet5"], "Did you mean"),
        (["--address", "auto", "--", "compare", "--model=builtin-resnet50", "--out=x"], "leave them out"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(words: list[str], told: str, tmp_path: Path) -> None:
    done = subprocess.run(
        harness("--out", str(tmp_path / "out"), *words), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_without_ray_the_extra_is_named(harness_without: Any) -> None:
    done = harness_without("ray", "fleet", "status", "--address", "auto")
    assert done.returncode == 2
    assert "inference-harness[fleet]" in done.stderr
