"""The frontier on the built-in task: real quantization, real answers and LoadGen; only times are planted."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import BRIEF_S

from harness.backend.macs import count_macs
from harness.commands.frontier import command
from harness.comparison import variants
from harness.comparison.output import REPORT as COMPARED
from harness.comparison.published import ROWS
from harness.comparison.variants import Candidate
from harness.dataset import builtin
from harness.dataset.images import find_images
from harness.dataset.store import Store, prepare
from harness.errors import DataError, HarnessError, ModelError, OutputError
from harness.frontier import catalogue, document, entrants, report, request, session
from harness.frontier.request import Request
from harness.measurement import probing
from harness.mlperf.scenario import Scenario
from harness.model import file as model_file
from harness.model.card import Card, find_card, read_card
from harness.profiling.conditions import Conditions

COUNT = 240
SIZES = (48, 64)
BASELINE = "builtin-uniform"


@dataclass
class Planted:
    """Times that go by the work that a network is."""

    quiet_ms: float = 1.0
    restless: int = 0
    visits_made: int = 0

    def visits(self, deployed: Any) -> Callable[[], float]:
        macs = count_macs(deployed)

        def visit() -> float:
            self.visits_made += 1
            return macs / 1e7

        return visit


@pytest.fixture(scope="session")
def card() -> Card:
    return find_card("builtin-searched")


@pytest.fixture(scope="session")
def store(card: Card, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("frontier")
    images = find_images(builtin.generate(folder / "images", COUNT), len(builtin.CLASSES))
    for size in SIZES:
        made = prepare(images, replace(card.input.recipe, size=size), folder / "store", "builtin")
    return made


def asked(out: Path, card: Card, store: Store | None, **others: Any) -> Request:
    request = Request(
        out,
        Conditions.of(Scenario.SINGLE_STREAM, 1),
        cards=(card,),
        data=None if store is None else store.path,
        least_top1=0.9,
        rounds=2,
        duration_s=BRIEF_S,
        baseline=BASELINE,
    )
    return replace(request, **others)


@pytest.fixture(autouse=True)
def _no_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "published", lambda asked: [])


@pytest.fixture(scope="module")
def found(card: Card, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished frontier."""
    out = tmp_path_factory.mktemp("found") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "published", lambda asked: [])
        patch.setattr(probing, "_PROBE_S", 0.1)
        session.find(asked(out, card, store), Planted())
    return out


def test_the_pick_is_the_fastest_that_keeps_the_target_and_goes_through_loadgen(found: Path) -> None:
    told = document.read(found)
    pick = told.pick
    rows = {row.name: row for row in told.networks}
    assert pick.keeps
    assert pick.total == COUNT
    assert pick.good >= pick.needed
    assert pick.good == rows[pick.name].race.right, "LoadGen and the race see the same answers"
    for row in rows.values():
        if row.speed.ms.center < rows[pick.name].speed.ms.center:
            assert row.race.fate == "cannot reach the target"
    assert (found / pick.loadgen / "result.json").is_file()
    assert (found / pick.compared / COMPARED).is_file()
    assert {one.against for one in pick.speedups} == {f"{BASELINE}-f32", f"{BASELINE}-int8"}


def test_the_picks_card_is_one_that_every_command_takes(found: Path) -> None:
    pick = document.read(found).pick
    card = read_card(found / pick.card)
    assert card.quantization["original"]
    assert card.accuracy is not None
    assert card.accuracy.target == pytest.approx(0.9)
    assert card.file.path == f"{card.name}.xml"


def test_the_same_call_again_measures_nothing_twice(found: Path, card: Card, store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in (found / "models").iterdir() if path.suffix == ".xml"}
    stopwatch = Planted()
    again = session.find(asked(found, card, store), stopwatch)
    assert stopwatch.visits_made == 0
    assert again.pick.good == document.read(found).pick.good
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_a_card_that_was_corrected_since_is_quantized_and_asked_anew(
    found: Path, card: Card, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_PROBE_S", 0.1)
    out = shutil.copytree(found, tmp_path / "out")
    wrong = replace(card, input=replace(card.input, channels="BGR"))
    stopwatch = Planted()
    told = session.find(asked(out, wrong, store), stopwatch).pick
    assert stopwatch.visits_made > 0
    assert told.name == document.read(found).pick.name, "its LoadGen test is made anew, too"
    assert read_card(out / told.card).input.channels == "BGR"
    assert told.good != document.read(found).pick.good
    assert told.good == document.read(out).pick.good


def test_two_networks_of_one_name_are_refused_before_they_are_made(
    found: Path, card: Card, store: Store, tmp_path: Path
) -> None:
    twin = read_card(found / document.read(found).pick.card)
    twin = replace(twin, name=f"{card.name}-int8", folder=twin.folder)
    with pytest.raises(HarnessError, match=f"called '{twin.name}', {twin.name} and the INT8 twin of"):
        session.find(replace(asked(tmp_path / "out", card, store), cards=(card, twin)), Planted())


def test_the_report_tells_the_pick_what_it_is_worth_and_what_to_do_next(found: Path) -> None:
    pick = document.read(found).pick
    told = report.text(found)
    assert f"The pick is {pick.name}" in told
    assert f"harness run --model {found / pick.card}" in told
    assert "standard error" in told
    page = report.write(found).read_text()
    count = document.read(found).data.count
    for row in document.read(found).networks:
        part = "" if row.race.answered == count else f" of {row.race.answered:,}"
        assert f">{100 * row.race.top1:.2f} %{part}<" in page
    others = sum(one.top1 >= 0.7 for one in catalogue.of_others())
    assert page.count("<circle") == len(document.read(found).networks) + len(ROWS) + others
    assert pick.name in page


def test_times_of_other_conditions_are_refused(found: Path, card: Card, store: Store) -> None:
    other = asked(found, card, store, conditions=Conditions.of(Scenario.OFFLINE, 1))
    with pytest.raises(OutputError, match="are of another scenario, hint: give another --out"):
        session.find(other, Planted())


def test_what_just_misses_is_quantized_in_other_ways_too(
    found: Path, card: Card, store: Store, tmp_path: Path
) -> None:
    pick = document.read(found).pick
    out = shutil.copytree(found, tmp_path / "out")
    # What it reaches is less than by a standard error above it.
    size = next((size for size in SIZES if f"-{size}-" in pick.name), card.input.size)
    request = asked(out, card, store, least_top1=pick.top1, sizes=(size,), max_drop=0.5)
    raced, timed = session._raced(request, store, Planted())
    ways = ("", "-accurate", "-performance", "-drop0.5")
    assert {one.name for one in timed} == {f"{pick.name}{way}" for way in ways}
    assert {one.settings.suffix for one in raced.entrants.values()} == set(ways)


def test_a_pick_that_came_quantized_is_copied_so_that_every_command_takes_it(
    found: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_PROBE_S", 0.1)
    mine = read_card(found / document.read(found).pick.card)
    out = tmp_path / "out"
    told = session.find(asked(out, mine, store), Planted())
    assert told.pick.name == mine.name
    copy = read_card(out / told.pick.card)
    assert model_file.sha256(copy) == model_file.sha256(mine)
    assert f"harness run --model {out / told.pick.card}" in report.text(out)
    again = model_file.copied(copy, copy.name, copy.folder)
    assert model_file.sha256(again) == model_file.sha256(mine), "a copy of itself destroys nothing"


def test_recipes_of_other_cards_are_not_tried(card: Card, store: Store) -> None:
    other = replace(card, input=replace(card.input, exif_rotation=not card.input.exif_rotation))
    assert {one.size for one in entrants.recipes(card, store, ())} == {*SIZES, card.input.size}
    with pytest.raises(DataError, match="holds no images of"):
        entrants.recipes(other, store, SIZES)


def test_where_nothing_keeps_the_target_the_nearest_is_told_and_by_how_much(
    found: Path, tmp_path: Path
) -> None:
    told = document.read(found)
    assert told.pick is not None
    told = replace(told, pick=replace(told.pick, keeps=False, good=200, needed=221))
    document.write(told, tmp_path)
    nearest = f"The nearest is {told.pick.name}: it knows 200 of"
    assert f"Nothing keeps 90.00 % by a standard error. {nearest}" in report.text(tmp_path)
    assert "21 images too few" in report.text(tmp_path)


def test_without_a_store_accuracies_stay_published_and_named_so(card: Card, tmp_path: Path) -> None:
    told = session.find(asked(tmp_path / "out", card, None), Planted())
    assert told.pick is None
    assert told.networks[0].race is None
    assert told.networks[0].published.top1 == pytest.approx(0.955)
    assert "No accuracy was measured: give a store" in report.text(tmp_path / "out")


def test_a_network_that_cannot_be_built_is_a_row_with_its_reason(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = request.catalogue.choose(["levit_128s"])[0]
    monkeypatch.setattr(request, "published", lambda asked: [replace(row, tag="no_such_network.in1k")])
    told = session.find(asked(tmp_path / "out", card, None), Planted())
    broken = next(one for one in told.networks if one.name.startswith("no_such_network"))
    assert broken.speed is None
    assert broken.failure
    assert "Could not be timed: no_such_network@224" in report.text(tmp_path / "out")


def test_a_card_that_cannot_be_made_ready_is_a_row_with_its_reason_and_the_others_race(
    card: Card, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "published", lambda asked: [])
    monkeypatch.setattr(probing, "_PROBE_S", 0.1)
    broken = replace(card, name="broken")
    make = variants.quantized

    def quantized(one: Candidate, *rest: Any) -> Any:
        if one.name.startswith("broken"):
            raise ModelError("Model 'broken' cannot be quantized (it has a part that NNCF does not know).")
        return make(one, *rest)

    monkeypatch.setattr(variants, "quantized", quantized)
    out = tmp_path / "out"
    told = session.find(replace(asked(out, card, store), cards=(broken, card)), Planted())
    assert told.pick is not None
    rows = {one.name: one.failure for one in told.networks if one.speed is None}
    assert rows.keys() == {"broken-48-int8", "broken-int8"}
    assert all("cannot be quantized" in failure for failure in rows.values())
    assert "Could not be timed: broken-48-int8, broken-int8; the table says why." in report.text(out)
    with pytest.raises(HarnessError, match=r"None of the cards could be timed: Model 'broken' cannot be"):
        session.find(replace(asked(tmp_path / "none", card, store), cards=(broken,)), Planted())


def test_a_store_without_a_size_names_the_command_that_adds_it(
    card: Card, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"no images of 96 px, .* --model builtin-searched --size 96 --out "):
        session.find(asked(tmp_path / "out", card, store, sizes=(96,)), Planted())


def test_a_card_without_a_permissive_licence_is_refused_unless_any_is_allowed(
    card: Card, store: Store, tmp_path: Path
) -> None:
    other = replace(card, licence="CC-BY-NC-4.0")
    with pytest.raises(HarnessError, match=r"states the licence 'CC-BY-NC-4.0', .* give --licence any"):
        session.find(asked(tmp_path / "out", other, store), Planted())


def test_a_folder_of_something_else_is_left_alone(card: Card, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        session.find(asked(tmp_path, card, None), Planted())
    assert json.loads(json.dumps(sorted(path.name for path in tmp_path.iterdir()))) == ["mine.txt"]


def test_options_of_what_is_not_done_are_refused(found: Path, store: Store, tmp_path: Path) -> None:
    for option in ("--calibration-data", "--max-drop"):
        done = CliRunner().invoke(command, [option, "0.1", "--out", str(tmp_path / "out")])
        assert done.exit_code == 2
        assert f"Without --data nothing is quantized to be raced: leave out {option}" in done.stderr
    mine = read_card(found / document.read(found).pick.card)
    quantized = asked(tmp_path / "out", mine, store)
    for idle in (replace(quantized, calibration_data=store.path), replace(quantized, max_drop=0.1)):
        with pytest.raises(HarnessError, match="is for cards that are quantized here, and there is none"):
            session.find(idle, Planted())
    assert not (tmp_path / "out").exists()


def test_only_trained_classifiers_of_imagenet_are_cards_of_the_frontier() -> None:
    with pytest.raises(HarnessError, match="'builtin-resnet50' is no trained classifier of ImageNet's 1,000"):
        request.cards_at_hand(["builtin-resnet50"])
    with pytest.raises(HarnessError, match="'resnet50-seeded' is no trained classifier"):
        request.cards_at_hand(["resnet50-seeded"])
