"""One command on the machines of a cluster: each alone on its host, nothing twice, what is missing said."""

import datetime
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import __version__, files
from harness.console import note, progress
from harness.errors import DataError, HarnessError
from harness.fleet import duty, home, luggage, member
from harness.fleet.duty import Order, Outcome
from harness.fleet.member import Member
from harness.fleet.order import Command, Preparation
from harness.machine import system
from harness.process.cluster import Cluster, Failed, Lost, Node, joined

FILE_NAME = "fleet.json"
FORMAT = 1
_POLL_S = 0.5
_QUIET_S = 60.0
_ENDED = (0, 1)
"""Exit codes of a command that came to its end: all is good, or a test is invalid or misses its target."""


@dataclass(frozen=True)
class Request:
    """What to measure, where, and where the results come home to."""

    address: str
    command: Command
    out: Path
    kinds: tuple[str, ...] = ()
    """Of machines; empty: one of each kind."""
    preparation: Preparation | None = None
    """None: every machine has the stores."""
    sends_harness: bool = False
    """Whether the harness travels; else it is installed on every machine."""


@dataclass(frozen=True)
class Row:
    """One machine of the table."""

    member: Member
    folder: Path
    task: home.Task | None
    missing: str = ""
    """Why there is no task."""

    def to_dict(self, out: Path) -> dict[str, Any]:
        done = (
            home.to_dict(self.task) if self.task else {"machine": self.member.name, "missing": self.missing}
        )
        return {**done, "cpu": self.member.cpu, "folder": self.folder.relative_to(out).as_posix()}


def status(address: str, sends_harness: bool = False) -> list[Member]:
    """Return the machines of a cluster.

    Raises:
        HarnessError: the cluster cannot be joined, or a node cannot answer.
    """
    with _joined(address, sends_harness) as cluster:
        return _greet(cluster)


def run(request: Request) -> list[Row]:
    """Measure what is missing, and return a row a machine; fleet.json in the folder tells the same.

    A machine that is lost, or whose command fails, is a row that says why; the same call measures just those
    again. When interrupted, it waits until no machine measures any more.

    Raises:
        HarnessError: the command, the cluster, the machines or the folder do not fit.
    """
    command = request.command
    files.require_own(request.out, FILE_NAME)
    files.make_writable_folder(request.out)
    with files.alone(request.out), _joined(request.address, request.sends_harness) as cluster:
        chosen = member.choose(_greet(cluster, command), request.kinds)
        member.require_same(chosen, member.versions(system.describe()))
        parcels = cluster.send(command.parcels)
        if request.preparation is not None:
            orders = request.preparation.orders(command)
            # Those that share a file system have the store when the first has made it.
            for count in (1, len(chosen)):
                if lacking := [one for one in chosen if one.lacks_store][:count]:
                    _prepare(orders, lacking, parcels, cluster)
                    known = {one.name: one for one in _greet(cluster, command)}
                    chosen = [known.get(one.name, one) for one in chosen]
        member.require_stores(chosen)
        if not (request.out / FILE_NAME).exists():
            _write(request, ())
        rows = _measured(request.out, command, chosen, parcels, cluster)
    _write(request, rows)
    return rows


@contextmanager
def _joined(address: str, sends_harness: bool) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory() as folder:
        package = luggage.pack(Path(folder)) if sends_harness else None
        with joined(address, package) as cluster:
            yield cluster


def _greet(cluster: Cluster, command: Command | None = None) -> list[Member]:
    """Return one member a host, with the stores of a command; nodes without CPUs are for other things.

    Raises:
        HarnessError: a node cannot answer, or none has a CPU.
    """
    given = (list(command.stores), list(command.recipes)) if command is not None else ([],)
    asked = [
        (node, cluster.start(node, member.hello, *given, exclusively=False))
        for node in cluster.nodes()
        if node.places()
    ]
    found = []
    for node, started in asked:
        try:
            found.append(member.of(node.id, cluster.result(started)))
        except Lost as lost:
            note(f"Ray's node {node.id[:8]} is left out: {lost}.")
        except Failed as failed:
            raise HarnessError(
                f"Ray's node {node.id[:8]} cannot answer for its machine: {failed}; install the harness "
                f"there, send it with --send-harness, or take the node out of the cluster."
            ) from failed
    if not found:
        raise HarnessError("No node of the Ray cluster has a CPU: start others, without --num-cpus 0.")
    return member.machines(found)


def _prepare(orders: Sequence[Order], chosen: Sequence[Member], parcels: Any, cluster: Cluster) -> None:
    """Let machines make what their stores lack, one order after the other.

    Raises:
        DataError: one cannot.
    """
    nodes = {node.id: node for node in cluster.nodes()}
    for order in orders:
        started = {
            cluster.start(nodes[one.node], duty.carry_out, order, parcels): one
            for one in chosen
            if one.node in nodes
        }
        with progress(f"prepare on {len(chosen)} machines", len(started)) as bar:
            for task, one in started.items():
                outcome: Outcome = cluster.result(task)
                if outcome.exit_code:
                    raise DataError(f"{one.at} cannot prepare its store: {_last(outcome)}")
                bar.advance()


def _measured(
    out: Path, command: Command, chosen: Sequence[Member], parcels: Any, cluster: Cluster
) -> list[Row]:
    nodes = {node.id: node for node in cluster.nodes()}
    settings = {one.name: command.settings(one.versions, one.stores) for one in chosen}
    folders = {one.name: home.folder_of(out, one, command.models, settings[one.name]) for one in chosen}
    rows = {
        one.name: Row(one, folders[one.name], task)
        for one in chosen
        if (task := home.read(folders[one.name])) is not None
    }
    if rows:
        note(f"{len(rows)} of {len(chosen)} machines have measured this already.")
    under_way: dict[Any, tuple[Member, Order]] = {}
    with progress(f"{command.name} on {len(chosen)} machines", len(chosen)) as bar:
        bar.advance(len(rows))
        try:
            for one in chosen:
                if one.name in rows:
                    continue
                if one.node not in nodes:
                    rows[one.name] = Row(one, folders[one.name], None, "node lost before it began")
                    continue
                order = command.order(settings[one.name])
                under_way[cluster.start(nodes[one.node], duty.carry_out, order, parcels)] = one, order
            while under_way:
                for started in cluster.wait(list(under_way), _POLL_S):
                    one, order = under_way.pop(started)
                    rows[one.name] = _row(cluster, started, out, command, one, folders[one.name])
                    if rows[one.name].task is not None:
                        _clear(cluster, nodes[one.node], order)
                    bar.advance()
        except BaseException:
            _stop(cluster, [(started, nodes[one.node]) for started, (one, _) in under_way.items()])
            raise
    return [rows[one.name] for one in chosen]


def _row(cluster: Cluster, started: Any, out: Path, command: Command, one: Member, folder: Path) -> Row:
    try:
        outcome: Outcome = cluster.result(started)
    except HarnessError as error:
        note(f"{one.name}: {error}")
        return Row(one, folder, None, str(error))
    if outcome.exit_code not in _ENDED or not _is_json(outcome.stdout):
        why = _last(outcome)
        note(f"{one.name}: {why}")
        return Row(one, folder, None, why)
    return Row(one, folder, home.write(out, folder, one, command.given, outcome))


def _last(outcome: Outcome) -> str:
    """Return why an order came to no end."""
    words = (outcome.last_words or f"exit code {outcome.exit_code}").splitlines()
    return words[-1].removeprefix("harness: ")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _clear(cluster: Cluster, node: Node, order: Order) -> None:
    """Remove on the machine what has come home; a machine that is lost by now keeps it."""
    try:
        cluster.result(cluster.start(node, duty.clear, order.key, exclusively=False))
    except HarnessError as error:
        note(f"The copy of a result stays on node {node.id[:8]}: {error}")


def _stop(cluster: Cluster, under_way: Sequence[tuple[Any, Node]]) -> None:
    """End what is under way, and wait until no machine measures."""
    for started, _ in under_way:
        cluster.cancel(started)
    for _, node in under_way:
        try:
            cluster.result(cluster.start(node, duty.wait_until_quiet, _QUIET_S, exclusively=False))
        except HarnessError as error:
            note(f"Node {node.id[:8]} may still measure: {error}")


def _write(request: Request, rows: Sequence[Row]) -> None:
    files.write_json(
        request.out / FILE_NAME,
        {
            "format": FORMAT,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "harness": __version__,
            "command": list(request.command.given),
            "rows": [row.to_dict(request.out) for row in rows],
        },
    )
