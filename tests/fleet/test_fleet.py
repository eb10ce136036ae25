"""Fleets on a real Ray cluster: what is measured once, and what becomes of it when something dies."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Oracle

from fleet.nodes import (
    HOSTS,
    Cluster,
    busy,
    children_of,
    host_id,
    id_of,
    is_measuring,
    kill,
    trainers_of,
    wait_for,
    worker_of,
)
from harness.dataset import builtin
from harness.dataset.images import find_images
from harness.errors import DataError, HarnessError
from harness.fleet import session
from harness.fleet.home import RESULTS, TASK
from harness.fleet.order import Command, Preparation, packed
from harness.machine import host, system
from harness.model.card import find_card
from harness.process.cluster import SURROUNDINGS

pytest.importorskip("ray", reason="needs Ray: pip install '.[fleet]'")

RUN = ("run", "--scenario", "Offline", "--mode", "performance", "--duration", "0.1", "--threads", "1")
COMPARE = ("compare", "--scenario", "Offline", "--rounds", "2", "--duration", "0.1", "--threads", "1")
WITHOUT = """
import sys
class Gone:
    def find_spec(self, name, *rest):
        if name == "harness" and not any("_ray_pkg_" in path for path in sys.path):
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Gone())
"""
"""Makes an environment lack the harness, unless Ray brought it."""
VARIANTS = int(os.environ.get("HARNESS_FLEET_VARIANTS", "1"))
"""With 4, those who die do so at a comparison of four models: twelve figures on three machines."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    os.environ |= SURROUNDINGS
    made = Cluster(tmp_path_factory.mktemp("nodes"))
    yield made
    made.end()


@pytest.fixture(scope="module")
def cards(oracle: Oracle, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return cards of models that travel with their files; the first one's lie beside it."""
    folder = tmp_path_factory.mktemp("cards")
    text = oracle.card_path.read_text().replace("oracle.xml", str(oracle.card_path.with_name("oracle.xml")))
    others = [folder / f"other-{number}.toml" for number in range(1, 4)]
    for path in others:
        path.write_text(text.replace('"oracle"', f'"{path.stem}"'))
    return [str(oracle.card_path), *map(str, others)]


def command_of(options: Sequence[str], cards: Sequence[str], store: Path, *more: str) -> Command:
    models = [word for card in cards for word in ("--model", card)]
    given = (*options, *models, "--data", str(store), *more)
    return packed(given, (*given, "--out", "{OUT}", "--json"), ["--model"], ["--data"])


@pytest.fixture(scope="module")
def command(cards: list[str], oracle: Oracle) -> Command:
    options = COMPARE if VARIANTS > 1 else RUN
    return command_of(options, cards[:VARIANTS], oracle.store.path, "--wait", "100")


def names(*hosts: str) -> list[str]:
    """Return the machines' names in a fleet."""
    kind, found = system.slug(system.describe()), []
    for name in hosts:
        with host_id(name):
            found.append(f"{kind}-{host.identity()[:8]}")
    return found


def words_of(command: Command, address: str, out: Path, *hosts: str) -> list[str]:
    words = ["--address", address, "--on", ",".join(names(*hosts)), "--out", str(out), "--", *command.given]
    return [sys.executable, "-m", "harness", "fleet", "run", *words]


def started(words: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def measured(out: Path) -> dict[str, int]:
    """Return when each machine's results came home."""
    return {path.as_posix(): path.stat().st_mtime_ns for path in out.rglob(TASK)}


def logged_of(row: session.Row) -> dict[str, tuple[float, float]]:
    """Return by the folder of its logs when LoadGen began and ended each test of a machine, Unix times."""
    found = {}
    for path in (row.folder / RESULTS).rglob("mlperf_log_detail.txt"):
        lines = [json.loads(line.removeprefix(":::MLLOG ")) for line in path.read_text().splitlines()]
        end = path.stat().st_mtime
        where = path.parent.relative_to(row.folder).as_posix()
        found[where] = end - max(line["time_ms"] for line in lines) / 1000, end
    assert found
    return found


@pytest.mark.parametrize("who", ["node", "worker", "driver"])
def test_what_dies_before_while_or_after_a_machine_measures_is_there_once(
    who: str, cluster: Cluster, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with busy("one"):
        with busy("two"):
            driver = started(words_of(command, cluster.address, out, *HOSTS))
            # Its worker stands still, so that it measures to the end and nothing comes home.
            wait_for(lambda: is_measuring("three") and children_of("three"))
            after = worker_of(children_of("three")[0])
            kill(after, signal.SIGSTOP)
            wait_for(lambda: not is_measuring("three"))
            wait_for(lambda: children_of("one") and children_of("two"))
        wait_for(lambda: list(cluster.cache("two").rglob("mlperf_log_detail.txt")))
        assert is_measuring("two")
        killed = time.time()
        if who == "node":
            cluster.lose(*HOSTS)
        elif who == "worker":
            for worker in [after, *(worker_of(children_of(name)[0]) for name in ("one", "two"))]:
                kill(worker)
        else:
            driver.kill()
            kill(after, signal.SIGCONT)
        told, errors = driver.communicate(timeout=PATIENCE_S)
    assert not measured(out), "nothing came home"
    if who != "driver":
        assert driver.returncode == 1, errors
        assert told.count(f"missing: {who} lost") == len(HOSTS)
    if who == "node":
        cluster.add(*HOSTS)

    rows = session.run(session.Request(cluster.address, command, out, tuple(names(*HOSTS))))
    assert [row.missing for row in rows] == ["", "", ""]
    assert {row.task.niceness for row in rows} == {0}
    one, two, three = map(logged_of, rows)
    assert one.keys() == two.keys() == three.keys(), "nothing is lost"
    assert min(one.values())[0] > killed
    assert max(two.values())[1] > killed
    assert max(three.values())[1] < killed, "what was measured is not measured again"
    for found in (one, two, three):
        assert all(end <= begin for (_, end), (begin, _) in pairwise(sorted(found.values())))
    assert not any("under-way" in path.name for path in out.iterdir())


def test_a_busy_host_is_a_row_that_says_so_and_later_only_that_is_measured(
    cluster: Cluster, cards: list[str], oracle: Oracle, tmp_path: Path
) -> None:
    command = command_of(RUN, cards[:1], oracle.store.path)
    request = session.Request(cluster.address, command, tmp_path / "out", tuple(names("one", "two")))
    with busy("two"):
        one, two = session.run(request)
    assert one.task is not None
    assert "(harness tune) is measuring" in two.missing
    before = measured(request.out)
    assert [row.missing for row in session.run(request)] == ["", ""]
    after = measured(request.out)
    assert len(after) == 2
    assert before.items() <= after.items()


def test_who_is_interrupted_leaves_no_machine_measuring(
    cluster: Cluster, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = started(words_of(command, cluster.address, out, "two"))
    wait_for(lambda: is_measuring("two"))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, errors
    assert not is_measuring("two")
    assert not any("under-way" in path.name for path in out.iterdir())


def test_a_table_has_what_a_million_images_cost(
    cluster: Cluster, cards: list[str], oracle: Oracle, tmp_path: Path
) -> None:
    out, prices = tmp_path / "out", tmp_path / "prices.csv"
    prices.write_text(f"kind,currency,price_per_hour\n{system.slug(system.describe())},EUR,0.36\n")
    command = command_of(COMPARE, cards[:2], oracle.store.path)
    words = words_of(command, cluster.address, out, "one")
    words[words.index("--on") : words.index("--on")] = ["--prices", str(prices)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    merging = [sys.executable, "-m", "harness", "fleet", "merge", str(out), "--prices", str(prices)]
    merged = subprocess.run([*merging, "--out", str(tmp_path / "all")], capture_output=True, text=True)
    assert merged.returncode == 0, merged.stderr
    for text, folder in ((done.stdout, out / "table"), (merged.stdout, tmp_path / "all")):
        assert "Cost, Offline, in EUR" in text
        costs = json.loads((folder / "compare.json").read_text())["costs"]
        assert [one["variant"] for one in costs] == ["oracle", "other-1"]
        assert all(
            one["price_per_million_samples"] == pytest.approx(100 / one["samples_per_second"])
            for one in costs
        )


def test_a_store_that_machines_lack_is_made_there_and_held_against_the_others(
    cluster: Cluster, cards: list[str], oracle: Oracle, tmp_path: Path
) -> None:
    # They share a disk, so that the second finds what the first has made.
    command = command_of(RUN, cards[:1], tmp_path / "store")
    request = session.Request(cluster.address, command, tmp_path / "out", tuple(names("one", "two")))
    with pytest.raises(DataError, match=r"cannot use the store .*store: copy one .* or let .* --prepare"):
        session.run(request)
    wrong = Preparation(tmp_path / "nothing", "custom")
    with pytest.raises(DataError, match=r"cannot prepare its store: No image folder at .*nothing"):
        session.run(replace(request, preparation=wrong))
    images = Preparation(oracle.store.path.parent / "images", "custom")
    rows = session.run(replace(request, preparation=images))
    assert [row.missing for row in rows] == ["", ""]
    for row in rows:
        assert row.member.stores[str(tmp_path / "store")].startswith(oracle.store.manifest.list_sha256)


def test_a_node_without_the_harness_is_named_and_it_can_be_sent(cluster: Cluster, tmp_path: Path) -> None:
    # Ray's workers also look where the driver was started, and in the environment that they share with it.
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    cluster.add("bare", PYTHONPATH=str(tmp_path), HARNESS_HOST_ID=id_of("two"))
    words = [sys.executable, "-m", "harness", "fleet", "status", "--address", cluster.address]
    try:
        refused = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
        sent = subprocess.run(
            [*words, "--send-harness", "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=100
        )
    finally:
        cluster.lose("bare")
    assert refused.returncode == 2, refused.stdout
    assert "install the harness there, send it with --send-harness" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert sent.returncode == 0, sent.stderr
    found = json.loads(sent.stdout)
    assert all(one["is_sent"] for one in found)
    assert sorted(one["name"] for one in found) == sorted(names(*HOSTS)), "two nodes of a host are a machine"


def test_a_worker_that_dies_costs_one_epoch_of_one_candidate(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")
    from harness.search import forecast
    from harness.search.accuracy.crew import hired
    from harness.search.accuracy.material import Supplies
    from harness.search.accuracy.trainer import BRIEF, Job
    from harness.search.space import baseline
    from harness.search.space.revisions import Space
    from harness.search.split import split
    from harness.training.data import Augmentation
    from harness.training.ranks import Ranks

    card = find_card("builtin-resnet50")
    images = find_images(builtin.generate(tmp_path / "train", 24 * 4, "train", workers=1), 24)
    original, state = baseline.read(card)
    parts = split(images, share=0.25)
    supplies = Supplies(original, state, parts, card.input.recipe, Augmentation(flip=False), 1)
    settings = replace(BRIEF, epochs=3, batch_size=24, precision="f32")
    # Two stems that must be fitted, here in another order than there.
    samples = Space(original, (32, original.size)).samples(1, 120)
    stems = {found.stem: found for found in samples if found.size == 32}
    stems.pop(original.stem)
    one, other, *_ = stems.values()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    material = supplies.material(Ranks(0, 1, torch.device("cpu")))
    material.train(Job(other, tmp_path / "before", replace(settings, epochs=1)))
    alone = material.train(Job(one, tmp_path / "alone", settings))
    torch.set_num_threads(threads)

    jobs = [Job(one, tmp_path / "one", settings), Job(other, tmp_path / "other", settings)]
    with (
        host_id("three"),
        hired(cluster.address, supplies) as crew,
        crew.ahead(jobs),
        ThreadPoolExecutor(1) as killer,
    ):
        killed = killer.submit(_kill_after_the_first_epoch, tmp_path / "one")
        found = crew.train(jobs[0])
        killed.result()
        paces = crew.asked(partial(forecast.rates, candidates=[one], precision="f32"))
        silent = crew.asked(attrgetter("nothing"))
    told = capsys.readouterr().err
    assert "it is on the machine that measures, alone" in told
    assert "2 workers train" in told
    assert re.search(rf"{one.key}, epoch [23]: worker lost", told)
    assert told.count("worker lost") <= 2, "each worker died once"
    assert [epoch.loss for epoch in found.history] == [epoch.loss for epoch in alone.history]
    assert found.accuracy == alone.accuracy
    assert [pace.at_once for pace in paces] == [1, 1]
    assert silent == []
    assert told.count("Of 2 workers one does not answer: ") == 2


def test_nodes_that_lack_images_do_not_train(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")
    from harness.search.accuracy.crew import hired
    from harness.search.accuracy.material import Supplies
    from harness.search.space import baseline
    from harness.search.split import split
    from harness.training.data import Augmentation

    card = find_card("builtin-resnet50")
    # Of this name each process has another folder, as machines have of one on a disk of their own.
    monkeypatch.chdir(tmp_path)
    here = Path("/proc/self/cwd")
    images = find_images(builtin.generate(tmp_path / "train", 24 * 2, "train", workers=1), 24)
    parts = split(replace(images, root=here / "train"), share=0.5)
    supplies = Supplies(*baseline.read(card), parts, card.input.recipe, Augmentation(), 1)
    lacking = r"can train \(it lacks images of /proc/self/cwd/train"
    with host_id("three"), pytest.raises(HarnessError, match=lacking), hired(cluster.address, supplies):
        pass


def _kill_after_the_first_epoch(folder: Path) -> None:
    wait_for(lambda: (folder / "checkpoint.pt").exists())
    time.sleep(0.2)
    for name in HOSTS:
        for worker in trainers_of(name):
            kill(worker)
