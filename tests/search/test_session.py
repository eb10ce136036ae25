"""A whole search on a tiny task: real training, quantization and LoadGen; cheap latencies and scores."""

import hashlib
import io
import json
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from harness import files
from harness.commands import options
from harness.dataset import builtin
from harness.dataset.images import find_images
from harness.dataset.recipe import Recipe
from harness.dataset.store import prepare
from harness.errors import DataError, HarnessError, OutputError
from harness.machine import system
from harness.mlperf.scenario import Scenario
from harness.model.architecture import Architecture, Stage
from harness.model.blocks import Block
from harness.model.card import AccuracySpec, read_card
from harness.search.request import (
    INHERITED,
    INITIAL_WEIGHTS,
    QUICK,
    RANDOM,
    UNTIL,
    Effort,
    Request,
    open_setting,
)
from harness.search.space.ranges import OPEN, REVISIONS
from harness.search.space.revisions import Space
from harness.search.strategy.scouting import Band, thoughts

torch = pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")

from harness.commands.search.report import command as report_command  # noqa: E402 - they need torch
from harness.commands.search.run import command as run_command  # noqa: E402
from harness.profiling import stopwatch  # noqa: E402
from harness.search import forecast, report, result, sentences, session  # noqa: E402
from harness.search.accuracy import material as materials  # noqa: E402
from harness.search.accuracy.material import Material, Supplies  # noqa: E402
from harness.search.accuracy.trainer import BRIEF, FINAL, MANY_EPOCHS, VERSIONS, Job, Tuned  # noqa: E402
from harness.search.document import Kernels, Layer, OverSeeds, Pair, Ratio, SearchResult  # noqa: E402
from harness.search.selection import contest, deployment, models  # noqa: E402
from harness.search.selection.trainings import Trainings, Whole  # noqa: E402
from harness.search.tools import Predictor, Tools  # noqa: E402
from harness.training import export  # noqa: E402
from harness.training.data import Augmentation  # noqa: E402
from harness.training.network import ResNet  # noqa: E402
from harness.training.ranks import Ranks  # noqa: E402
from harness.training.settings import Settings  # noqa: E402

SHAPE = Architecture(24, 32, "7x7-pool", 16, (Stage(64, (Block(16),) * 2), Stage(128, (Block(32),))))
RECIPE = Recipe(32, "area", 0.875)
EFFORT = Effort(
    scouts=8,
    shortlist=4,
    finetune_epochs=1,
    epochs=1,
    finals=2,
    seeds=2,
    rounds=2,
    duration_s=0.2,
)


def cheap_ms(architecture: Architecture) -> float:
    return architecture.count_macs() / 1e6


def cheap_measure(architectures: Sequence[Architecture], *_: Any) -> list[float]:
    """Return what networks take while the machine is slower than it was when the table was made."""
    return [1.02 * cheap_ms(one) for one in architectures]


def never(*_: Any) -> Any:
    raise AssertionError("nothing is to be measured")


TOOLS = Tools(
    lambda _: Predictor(cheap_ms, {"sha256": "cheap", "file": "cheap"}),
    cheap_measure,
    lambda *_: {"int8_share": 0.5, "wide": [{"name": "planted"}], "fallbacks": [], "total_us": 1.0},
    lambda *_: 3.0,
)


@pytest.fixture(scope="module", autouse=True)
def _less_of_what_is_not_in_question() -> Iterator[None]:
    """Quantize by one image of each class, and compare in one scenario."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deployment, "CALIBRATION_IMAGES", 24)
        one = partial(result.comparing.Request, scenarios=(Scenario.SINGLE_STREAM,))
        patch.setattr(result.comparing, "Request", one)
        yield


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Request:
    """Return a request for the tiny task, whose baseline is hardly trained."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("task")
    train = builtin.generate(root / "train", 24 * 16, "train", workers=1)
    tests = builtin.generate(root / "val", 48, workers=1)
    store = prepare(find_images(tests, 24), RECIPE, root / "store", "builtin")
    torch.manual_seed(1)
    network = ResNet(SHAPE).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.fill_(0.5)
    (root / "baseline").mkdir()
    augmentation = Augmentation(0.5, flip=False, trivial=True, first_size=24, growing_epochs=3)
    training = {"augmentation": augmentation.to_dict()}
    export.export(network, RECIPE, root / "baseline", "tiny", "a tiny baseline", training)
    card = read_card(root / "baseline" / "card.toml")
    return Request(card, train, store.path, root / "out", max_drop=0.9, effort=EFFORT, command="harness")


@pytest.fixture(scope="module")
def outcome(task: Request) -> SearchResult:
    with redirect_stderr(io.StringIO()) as told:
        assert session.run(replace(task, until="latencies"), TOOLS) is None
    (task.out.parent / "told").write_text(told.getvalue())
    found = session.run(task, TOOLS)
    assert found is not None
    report.write(task.out)
    return found


def test_a_search_goes_from_baseline_to_loadgen(task: Request, outcome: SearchResult) -> None:
    assert result.read(task.out) == outcome
    assert set(outcome.test.models) == {"tiny", "tiny-int8", "uniform", "searched"}
    for row in outcome.test.models.values():
        assert row.total == 48
        assert row.figures["SingleStream"][0] > 0
    scouts = outcome.estimator.scouts
    seen = {one.key: one for one in scouts.seen}
    assert len(seen) == len(scouts.seen) >= EFFORT.scouts + scouts.thoughts > EFFORT.shortlist
    assert len(outcome.shortlist) == EFFORT.shortlist
    assert max(one.accuracy for one in seen.values()) == max(one.look or 0 for one in outcome.shortlist)
    best = max(scouts.seen[: scouts.thoughts], key=lambda one: one.accuracy)
    assert f"After that look the best, {best.key} ({best.architecture.summary}), had" in report.text(task.out)
    for one in outcome.shortlist:
        scout = seen[one.key]
        assert one.look == scout.accuracy
        assert one.measured_ms == scout.measured_ms == pytest.approx(one.latency_ms)
        assert one.measured_ms <= outcome.wanted_ms
    assert outcome.test.searched_against_uniform.count == 48


def test_a_search_says_how_long_it_takes_what_it_does_and_how_much_is_left(
    task: Request, outcome: SearchResult
) -> None:
    told = (task.out.parent / "told").read_text()
    said = re.search(r"Forecast: about \S+ min \((.*)\)\.", told)
    assert said
    assert [part.split()[0] for part in said[1].split(", ")] == [*UNTIL, "comparison"]
    assert "Part 3 of 7, 'latencies', is done; about" in told
    assert re.search(r"brief training of [0-9a-f]{12}: epoch 1/1: loss", told)
    assert "Candidates train in " in told


def test_a_forecast_counts_what_trains_side_by_side(task: Request, tmp_path: Path) -> None:
    setting = open_setting(replace(task, out=tmp_path / "out"))
    alone = forecast.Rates(candidate_s=0.005, answer_s=0.0, load_s=0.0, read_s=0.001)
    usual, beside, kept = (
        forecast.forecast(setting, rates, 4, 1.0, {}).seconds
        for rates in (alone, replace(alone, at_once=2), replace(alone, read_s=0.0))
    )
    going_on = forecast.forecast(setting, alone, 4, 1.0, {"latency table": 60.0}, ("table", "scouts")).seconds
    assert going_on == usual | {"table": 0.0, "scouts": 0.0}
    assert 0.5 * usual["scouts"] < beside["scouts"] < usual["scouts"]
    assert beside["uniform"] == usual["uniform"]
    images = len(setting.images.learned.names) + len(setting.images.held_out.names)
    assert usual["scouts"] - kept["scouts"] == pytest.approx(0.001 * images)
    assert {**kept, "scouts": 0} == {**usual, "scouts": 0}


def test_places_that_train_side_by_side_do_as_much_as_they_do_one_by_one() -> None:
    one = forecast.Rates(candidate_s=0.01, answer_s=0.5, load_s=0.1, read_s=0.001)
    other = replace(one, candidate_s=0.03, load_s=0.0)
    found = forecast.together([one, other])
    assert found.at_once / (found.candidate_s + found.load_s) == pytest.approx(1 / 0.11 + 1 / 0.03)
    assert found.load_s / found.candidate_s == pytest.approx(0.1 / 0.04)
    assert found.at_once == 2
    alone = forecast.together([other])
    assert alone == replace(other, candidate_s=pytest.approx(0.03))


def test_the_control_is_not_faster_than_the_pick(outcome: SearchResult) -> None:
    assert outcome.uniform.measured_ms >= outcome.searched.measured_ms


def test_the_control_is_the_best_of_uniform_scalings_of_several_depths(outcome: SearchResult) -> None:
    controls = outcome.controls
    assert controls[0].key == outcome.uniform.key
    finished = [one.held_out for one in controls if one.held_out is not None]
    candidates = {one.key for one in outcome.shortlist} & set(outcome.trained)
    assert len(finished) == min(len(candidates), len(controls))
    assert controls[0].held_out == outcome.uniform.held_out == max(finished)
    assert {tuple(one.depths) for one in controls} <= {(2, 1), (1, 1)}


def test_what_is_wanted_over_the_baseline_is_held_against_it_as_it_was_measured(
    outcome: SearchResult,
) -> None:
    assert outcome.wanted_ms == pytest.approx(cheap_ms(SHAPE)) == outcome.baseline_ms


def test_each_int8_model_is_the_better_of_both_bias_corrections(outcome: SearchResult) -> None:
    for one in outcome.trained.values():
        assert set(one.accuracies) == {"fast", "accurate"}
        assert one.accuracy == max(one.accuracies.values())


def test_the_cards_say_where_they_come_from(task: Request, outcome: SearchResult) -> None:
    for name in ("searched", "uniform"):
        card = read_card(task.out / "models" / name / "card.toml")
        assert card.name == name
        facts = card.training
        assert Architecture.from_dict(facts["architecture"]).key == getattr(outcome, name).key
        assert facts["search"]["space"]["key"] == outcome.request.space.key
        assert facts["search"]["table"] == "cheap"
        assert facts["search"]["seed"] == 1
        assert Augmentation(**facts["augmentation"]) == Augmentation(0.5, flip=False)
        record = card.folder / card.quantization["record"]
        assert hashlib.sha256(record.read_bytes()).hexdigest() == card.quantization["record_sha256"]
        assert read_card(task.out / "models" / f"{name}-fp32" / "card.toml").name == f"{name}-fp32"


def test_a_second_call_measures_and_trains_nothing_again(task: Request, outcome: SearchResult) -> None:
    again = session.run(task, replace(TOOLS, measure=never))
    assert again is not None
    assert again.test.models == outcome.test.models
    assert again.searched == outcome.searched


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Settings of all trainings on all images."""
    seen: list[Settings] = []
    train = Material.train

    def watched(self: Material, job: Job, until_epoch: int | None = None) -> Tuned:
        if job.count is None:
            seen.append(job.settings)
        return train(self, job, until_epoch)

    monkeypatch.setattr(Material, "train", watched)
    return seen


def test_a_call_with_longer_trainings_goes_on_from_what_is_finished(
    task: Request, outcome: SearchResult, trained: list[Settings]
) -> None:
    longer = replace(EFFORT, epochs=2, finals=1)
    assert session.run(replace(task, effort=longer, until="finals"), TOOLS) is None
    assert [one.epochs for one in trained] == [2]


def test_rankings_are_held_against_random_networks_trained_to_the_end(
    task: Request, outcome: SearchResult, trained: list[Settings]
) -> None:
    found = session.run(replace(task, converged=2), TOOLS)
    assert found is not None
    trainings = [(one.seed, one.averaging) for one in trained]
    for seed in (task.seed + 1, task.seed + 2):
        assert trainings.count((seed, FINAL.averaging)) == trainings.count((seed, BRIEF.averaging)) == 2
    assert not trainings.count((task.seed, FINAL.averaging))
    assert found.searched == outcome.searched
    assert len({row.key for row in found.converged}) == 2
    for row in found.converged:
        briefs = {f"brief training, {weights} weights" for weights in INITIAL_WEIGHTS}
        assert set(row.scores) == {"MACs, weighed", "inherited weights"} | briefs
        assert all(0 <= accuracy <= 1 for accuracy in row.accuracies)
    assert not any((task.out / "converged").iterdir())
    assert "2 networks trained to convergence, 10 are needed" in report.text(task.out)
    result.write(replace(found, converged=5 * found.converged), task.out)
    assert "Kendall tau on 10 converged networks: MACs, weighed" in report.text(task.out)
    result.write(found, task.out)


def test_networks_of_random_weights_learn_alone_and_their_cards_say_so(task: Request, tmp_path: Path) -> None:
    random = replace(task, out=tmp_path / "out", initial_weights=RANDOM, effort=replace(EFFORT, seeds=1))
    found = session.run(random, TOOLS)
    assert found is not None
    assert found.request.initial_weights == RANDOM
    facts = read_card(random.out / "models" / "searched" / "card.toml").training
    assert "distillation" not in facts
    assert facts["search"]["initial_weights"] == RANDOM
    assert "inherits_from" not in facts
    assert "<td>random</td>" in (report.write(random.out)).read_text()
    with pytest.raises(OutputError, match="another set of initial weights"):
        open_setting(replace(random, initial_weights=None))


def test_what_candidates_begin_with_is_fair_to_all_of_the_space(task: Request, tmp_path: Path) -> None:
    settings = [
        open_setting(replace(task, out=tmp_path / name, space=name)) for name in (REVISIONS.name, OPEN.name)
    ]
    assert [one.initial_weights for one in settings] == [INHERITED, RANDOM]


def test_a_search_that_ranked_by_distilled_costs_is_not_gone_on_with(task: Request, tmp_path: Path) -> None:
    asked = replace(task, out=tmp_path / "out")
    open_setting(asked)
    path = asked.out / "parts" / "request.json"
    for estimator, is_known in (("macs", True), ("distilled", False)):
        files.write_json(path, files.read_json(path) | {"estimator": estimator})
        with nullcontext() if is_known else pytest.raises(OutputError, match="of another version of the har"):
            open_setting(asked)


def test_what_travels_names_its_images_by_absolute_paths(
    task: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(task.train.parent)
    near = replace(task, train=Path(task.train.name), out=tmp_path / "out")
    assert Supplies.of(open_setting(near)).parts.learned.root == task.train


def test_images_are_padded_where_the_card_or_somebody_says_so(task: Request, tmp_path: Path) -> None:
    padded = replace(task.card, training={"augmentation": Augmentation(padding=3).to_dict()})
    for padding, card, expected in (
        (None, task.card, None),
        (2, task.card, 2),
        (None, padded, 3),
        (0, padded, 0),
    ):
        wanted = replace(task, card=card, padding=padding, out=tmp_path / f"{padding}-{expected}")
        assert Supplies.of(open_setting(wanted)).augmentation.padding == expected


def test_padding_is_smaller_where_the_images_are(task: Request, tmp_path: Path) -> None:
    setting = open_setting(replace(task, padding=4, out=tmp_path))
    material = Supplies.of(setting).material(Ranks(0, 1, torch.device("cpu")))
    assert [material.augmentation(1, size).padding for size in (32, 24, 16)] == [4, 3, 2]


@pytest.mark.parametrize(
    ("form", "weights", "known"),
    [(2, INHERITED, True), (3, INHERITED, True), (2, RANDOM, False), (1, INHERITED, False)],
)
def test_a_search_begun_by_an_older_version_goes_on_where_its_networks_learn_as_before(
    task: Request, tmp_path: Path, form: int, weights: str, known: bool
) -> None:
    wanted = replace(task, out=tmp_path / "out", initial_weights=weights)
    open_setting(wanted)
    path = tmp_path / "out" / "parts" / "request.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    assert held["form"] == 3
    path.write_text(json.dumps(held | {"form": form}), encoding="utf-8")
    with nullcontext() if known else pytest.raises(OutputError, match="another version of the harness"):
        open_setting(wanted)
    other = {INHERITED: RANDOM, RANDOM: INHERITED}[weights]
    refused = "another set of initial weights" if known else "another version of the harness"
    with pytest.raises(OutputError, match=refused):
        open_setting(replace(wanted, initial_weights=other))


def test_a_folder_keeps_to_its_search(task: Request, outcome: SearchResult) -> None:
    with pytest.raises(OutputError, match="holds a search with another allowed drop, another wanted latency"):
        open_setting(replace(task, max_drop=0.5, target_ms=5.0))
    mirrored = {**task.card.training, "augmentation": {"flip": True}}
    with pytest.raises(OutputError, match="another way of varying images"):
        open_setting(replace(task, card=replace(task.card, training=mirrored)))


def test_two_searches_do_not_work_in_one_folder(task: Request, outcome: SearchResult) -> None:
    with (
        files.locked(task.out / "parts" / ".lock", OutputError("busy")),
        pytest.raises(OutputError, match=r"Another search is at work on .*: wait for it"),
    ):
        session.run(task, TOOLS)


def test_images_encoded_anew_under_their_names_are_another_set(
    task: Request, outcome: SearchResult, tmp_path: Path
) -> None:
    train = shutil.copytree(task.train, tmp_path / "train")
    open_setting(replace(task, train=train))
    with next(train.glob("*/*")).open("ab") as image:
        image.write(b"more")
    with pytest.raises(OutputError, match="another number of bytes in the images"):
        open_setting(replace(task, train=train))


def test_cards_are_held_to_the_baseline_s_accuracy_as_its_card_states_it_now(
    task: Request, outcome: SearchResult, tmp_path: Path
) -> None:
    out = shutil.copytree(task.out, tmp_path / "out")
    stated = replace(task.card, accuracy=AccuracySpec("top1", 0.8, 0.99))
    found = {**task.card.training, "search": {}}
    for card, fraction in ((stated, 0.1), (replace(stated, training=found), 0.099)):
        assert session.run(replace(task, out=out, card=card, until="models"), TOOLS) is None
        for name in ("searched", "searched-fp32", "uniform", "uniform-fp32"):
            target = read_card(out / "models" / name / "card.toml").accuracy
            assert target is not None
            assert (target.reference, target.target_fraction) == (0.8, fraction)


def test_a_quantized_baseline_is_refused_and_its_original_named(task: Request, tmp_path: Path) -> None:
    card = replace(task.card, name="searched", quantization={"original": "searched-fp32"})
    with pytest.raises(HarnessError, match=r"'searched' is quantized already, .* from, 'searched-fp32'\.$"):
        open_setting(replace(task, card=card, out=tmp_path / "out"))


def test_a_baseline_with_the_name_of_what_comes_out_is_refused(task: Request, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"The baseline is called 'uniform'.*: change the name in"):
        open_setting(replace(task, card=replace(task.card, name="uniform"), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def begun_elsewhere(task: Request, outcome: SearchResult, tmp_path: Path) -> Request:
    """Return the request of the search as if it had been begun on another machine."""
    out = shutil.copytree(task.out, tmp_path / "out")
    path = out / "parts" / "request.json"
    asked = json.loads(path.read_text(encoding="utf-8"))
    asked["objective"] |= {"cpu": "another CPU", "isa": ["avx512_fp16"]}
    path.write_text(json.dumps(asked), encoding="utf-8")
    return replace(task, out=out)


def test_a_search_that_was_begun_elsewhere_is_trained_here_and_measured_there(
    begun_elsewhere: Request, trained: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    longer = replace(begun_elsewhere, effort=replace(EFFORT, epochs=4, finals=1), threads=1)
    with pytest.raises(HarnessError, match="for another CPU, which is not the CPU here: go on there"):
        session.run(longer, TOOLS)
    assert session.run(replace(longer, until="finals"), replace(TOOLS, measure=stopwatch.measure_ms)) is None
    assert [one.epochs for one in trained] == [4]
    assert "This search is for another CPU" in capsys.readouterr().err
    more, tools = replace(EFFORT, scouts=12), replace(TOOLS, measure=stopwatch.measure_ms)
    assert session.run(replace(longer, effort=more, until="scouts"), tools) is None
    with pytest.raises(HarnessError, match="Times of another CPU are wanted, which is not the CPU here"):
        session.run(replace(longer, effort=more, until="finals"), tools)


def test_a_search_with_more_threads_than_there_are_here_is_trained_here(begun_elsewhere: Request) -> None:
    many = system.usable_cpus() + 1
    path = begun_elsewhere.out / "parts" / "request.json"
    asked = json.loads(path.read_text(encoding="utf-8"))
    asked["objective"]["threads"] = many
    path.write_text(json.dumps(asked), encoding="utf-8")
    there = open_setting(replace(begun_elsewhere, threads=many, until="finals"))
    assert there.conditions.threads == many


def test_a_search_that_was_moved_publishes_the_models_that_moved_with_it(
    task: Request, outcome: SearchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(task.out, tmp_path / "moved")
    read: list[Path] = []

    def watched(path: Path) -> Any:
        read.append(path)
        return read_card(path)

    for module in (contest, models):
        monkeypatch.setattr(module, "read_card", watched)
    assert session.run(replace(task, out=out, until="models"), TOOLS) is None
    assert len(read) >= 3
    assert all(path.is_relative_to(out) for path in read)


def test_a_search_keeps_to_the_latency_table_that_it_was_begun_with(
    task: Request, outcome: SearchResult
) -> None:
    other = Predictor(cheap_ms, {"sha256": "another", "file": "another"})
    with pytest.raises(HarnessError, match="begun with another latency table: repeat the --latency-table"):
        session.run(task, replace(TOOLS, predictor=lambda _: other))


def test_too_few_images_are_refused_before_anything_is_measured(
    task: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "BRIEF", replace(BRIEF, batch_size=1000))
    with pytest.raises(DataError, match=r"There are 336 images .* fewer than one batch of 1000: give more"):
        session.run(replace(task, out=tmp_path), replace(TOOLS, predictor=never))


def test_held_out_images_that_are_learned_from_are_refused(task: Request, tmp_path: Path) -> None:
    (tmp_path / "held-out").symlink_to(task.train)
    with pytest.raises(DataError, match=r"384 of the 384 images in --held-out .* are among those of --train"):
        open_setting(replace(task, out=tmp_path / "out", held_out=tmp_path / "held-out"))


def test_a_look_that_is_the_brief_fine_tuning_is_no_witness_for_it(outcome: SearchResult) -> None:
    asked = outcome.request
    short = replace(outcome, request=replace(asked, effort=replace(asked.effort, look_images=8)))
    said = [" ".join(sentences.sentences(one)) for one in (outcome, short)]
    assert ["tau of the shortlist's looks" in one for one in said] == [False, True]


def test_what_makes_the_label_of_an_answer_is_no_layer_that_falls_back(outcome: SearchResult) -> None:
    def said(*names: str) -> str:
        kernels = Kernels(1.0, (), tuple(Layer(name) for name in names), 1.0)
        shortlist = tuple(replace(one, kernels=kernels) for one in outcome.shortlist)
        return " ".join(sentences.sentences(replace(outcome, shortlist=shortlist)))

    assert "none falls back" in said("answers/Convert_1")
    assert "Not in INT8 kernels of their own in searched: stage 1." in said("answers/Convert_1", "stage 1")


def test_a_wanted_latency_that_nothing_keeps_is_said_in_the_report(
    task: Request, outcome: SearchResult
) -> None:
    missed = replace(outcome, wanted_ms=outcome.searched.measured_ms / 2)
    said = [" ".join(sentences.sentences(one)) for one in (outcome, missed)]
    assert ["is missed" in one for one in said] == [False, True]


def test_a_pick_that_is_a_uniform_scaling_is_called_that_and_held_against_no_other(
    outcome: SearchResult,
) -> None:
    same = replace(outcome, uniform=outcome.searched)
    found, nothing = (" ".join(sentences.sentences(one)) for one in (outcome, same))
    told = "the search has found nothing that uniform scaling does not find"
    assert [told in one for one in (found, nothing)] == [False, True]
    assert ["searched against uniform" in one for one in (found, nothing)] == [True, False]
    assert ["Control: the uniform scaling" in one for one in (found, nothing)] == [True, False]


def test_candidates_learn_from_images_varied_as_the_baselines_were(
    task: Request, outcome: SearchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    varied = {"smallest_area": 0.5, "flip": False, "trivial": True}
    assert outcome.request.images.variation == varied
    short = Augmentation(0.5, flip=False)
    long = replace(short, trivial=True, versions=VERSIONS)
    supplies = Supplies.of(open_setting(replace(task, out=tmp_path)))
    material = supplies.material(Ranks(0, 1, torch.device("cpu")))
    assert material.learned(32, MANY_EPOCHS - 1, 24).augmentation == short
    assert material.learned(32, MANY_EPOCHS, 24).augmentation == long
    for many, expected in ((2, short), (1, long)):
        monkeypatch.setattr(materials, "MANY_EPOCHS", many)
        material.train(Job(SHAPE, tmp_path / str(many), replace(BRIEF, batch_size=24), count=24))
        checkpoint = torch.load(tmp_path / str(many) / "checkpoint.pt", weights_only=True)
        assert checkpoint["identity"]["augmentation"] == expected.to_dict()


def test_report_shows_page_and_tables(task: Request, outcome: SearchResult) -> None:
    # Which of the two is faster in so short tests is chance, and the verdict goes by it.
    test = outcome.test
    speeds = {name: replace(one, ratio=None) for name, one in test.searched_over_uniform.items()}
    result.write(replace(outcome, test=replace(test, searched_over_uniform=speeds)), task.out)
    shown = CliRunner().invoke(report_command, ["--out", str(task.out)])
    result.write(outcome, task.out)
    assert shown.exit_code == 0, shown.output
    words = (
        "searched",
        "uniform",
        "networks were looked at",
        "Before any was measured the latency table was",
        "What had learned from all that was measured before was",
        "plainer one.",
        "estimator unvalidated",
        "the look was the brief training itself",
        "Kendall's tau with",
    )
    for word in (*words, "Minutes", "50 %", "planted"):
        assert word in shown.output
    bar = outcome.bar
    error = (bar.least * (1 - bar.least) / bar.images) ** 0.5
    assert f"on so many has a standard error of {100 * error:.2f} points" in shown.output
    page = (task.out / report.FILE_NAME).read_text(encoding="utf-8")
    assert page.count("<svg") == 5
    assert "http" not in page.replace("http://www.w3.org", "")
    assert json.loads(CliRunner().invoke(report_command, ["--out", str(task.out), "--json"]).output)


def test_a_quick_search_takes_less_of_all_that_is_not_given(
    task: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Request] = []
    monkeypatch.setattr(session, "run", seen.append)
    words = [
        "--baseline",
        str(task.card.folder / "card.toml"),
        "--train",
        str(task.train),
        "--data",
        str(task.data),
    ]
    for more in ([], ["--quick"], ["--quick", "--epochs", "20", "--duration", "10"]):
        done = CliRunner().invoke(run_command, [*words, "--out", str(tmp_path), *more])
        assert done.exit_code == 0, done.output
    longer = replace(QUICK, epochs=20, duration_s=10.0)
    assert [request.effort for request in seen] == [Effort(), QUICK, longer]


def test_trainings_on_some_images_are_kept_beside_those_on_all(task: Request, tmp_path: Path) -> None:
    folders = set()
    for images in (None, 100):
        asked = replace(task, out=tmp_path, effort=replace(EFFORT, images=images))
        trainings = Trainings(open_setting(asked), SimpleNamespace(precision="f32"))  # type: ignore[arg-type]
        whole = Whole(SHAPE, tmp_path, 2)
        jobs = [
            trainings._brief(SHAPE),
            trainings._final(SHAPE),
            trainings._brief_of(whole),
            trainings._rest_of(whole),
        ]
        assert {job.count for job in jobs} == {images}
        assert jobs[1].start == jobs[0].folder
        folders |= {job.folder for job in jobs[:2]}
        assert ("images" in trainings.effort) is (images is not None)
    assert len(folders) == 4


@pytest.mark.parametrize("only_now", [["--json"], ["--until", "finals"], ["--until=finals", "--json"]])
def test_cards_say_how_to_repeat_the_search_without_what_only_one_call_needed(only_now: list[str]) -> None:
    words = ["search", "run", "--train", "my images", *only_now, "--out", "found"]
    assert options.command_line(words) == "harness search run --train 'my images' --out found"


def test_a_folder_without_a_search_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no result\.json"):
        report.text(tmp_path)


def test_a_target_that_nobody_reaches_is_one_sentence(task: Request, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"the nearest, .* takes .* ask for less"):
        session.run(replace(task, out=tmp_path / "out", target_ms=1e-6), TOOLS)


def test_a_wanted_speed_is_one_over_the_baseline_in_f32(task: Request, tmp_path: Path) -> None:
    request = replace(task, out=tmp_path / "out", target_speedup=6.0, until="scouts")
    assert session.run(request, TOOLS) is None
    times = [
        cheap_ms(Architecture.from_dict(one)) / cheap_ms(SHAPE)
        for path in (tmp_path / "out" / "parts").glob("scouts-*.json")
        for one in json.loads(path.read_text(encoding="utf-8"))["found"]
    ]
    assert 0.4 < max(times) <= 0.5


@pytest.mark.parametrize(("reached", "warned"), [(1 / 24, True), (1 / 2, False)])
def test_a_user_is_warned_where_no_scout_does_better_than_guessing(
    task: Request,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reached: float,
    warned: bool,
) -> None:
    monkeypatch.setattr(Trainings, "looks", lambda _, networks: [reached] * len(networks))
    session.run(replace(task, out=tmp_path / "out", until="scouts"), TOOLS)
    assert ("scouts does better than guessing, and the estimator" in capsys.readouterr().err) is warned


def test_one_measurement_of_the_baseline_that_is_off_decides_nothing(task: Request, tmp_path: Path) -> None:
    factors = [1.14, 1.0, 1.0]

    def measure(architectures: Sequence[Architecture], *_: Any) -> list[float]:
        factor = factors.pop() if factors else 1.0
        *found_ms, reference_ms = cheap_measure(architectures)
        return [*found_ms, factor * reference_ms]

    for place in range(3):
        request = replace(task, out=tmp_path / f"{place}", until="table")
        assert session.run(request, replace(TOOLS, measure=measure)) is None
        assert not factors
        usual_ms = json.loads((request.out / "parts" / "usual-ms.json").read_text(encoding="utf-8"))
        assert sorted(usual_ms)[1] == pytest.approx(cheap_ms(SHAPE))
        assert sorted(usual_ms)[0] < 0.9 * cheap_ms(SHAPE)
        factors = [1.0, 1.0, 1.0]
        factors[place] = 1.14


def test_a_wanted_speed_is_one_over_the_baseline_as_measured_not_as_predicted(
    task: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def off_ms(architecture: Architecture) -> float:
        return (0.8 if architecture == SHAPE else 1.0) * cheap_ms(architecture)

    tools = replace(TOOLS, predictor=lambda _: Predictor(off_ms, {"sha256": "off", "file": "off"}))
    request = replace(task, out=tmp_path / "out", target_speedup=6.0, until="table")
    assert session.run(request, tools) is None
    assert f"are {cheap_ms(SHAPE) / 2:.3g} ms." in capsys.readouterr().err


def test_pick_and_control_are_trained_from_further_seeds_for_the_verdict(
    task: Request, outcome: SearchResult
) -> None:
    found = outcome.test.over_seeds
    assert found is not None
    assert found.seeds == (1, 2)
    assert found.points[0] == pytest.approx(outcome.test.searched_against_uniform.points)
    said = " ".join(sentences.sentences(outcome))
    assert f"Over 2 trainings of each: {found.mean:+.2f} points, +/- {found.half_width:.2f}" in said
    assert "Fewer than 3 trainings" in said
    cards = {path.name for path in (task.out / "seeds").glob("*/*.toml")}
    assert {f"{one.key}.toml" for one in (outcome.searched, outcome.uniform)} <= cards


def test_what_the_table_flatters_is_measured_and_the_table_learns_from_it(
    task: Request, tmp_path: Path
) -> None:
    def truth(architecture: Architecture) -> float:
        return (1.0 if architecture == SHAPE else 1.3) * cheap_ms(architecture)

    def measure(architectures: Sequence[Architecture], *_: Any) -> list[float]:
        return [1.02 * truth(one) for one in architectures]

    def refit(measured: Sequence[tuple[Architecture, float]]) -> Callable[[Architecture], float]:
        assert all(found_ms == pytest.approx(truth(one)) for one, found_ms in measured)
        return truth

    facts = {"sha256": "cheap", "file": "cheap", "reference_ms": truth(Space(SHAPE, (32,)).reference)}
    predictor = Predictor(cheap_ms, facts, refit)
    tools = replace(TOOLS, predictor=lambda _: predictor, measure=measure)
    request = replace(task, out=tmp_path / "out", target_speedup=4.0, until="scouts")
    assert session.run(request, tools) is None
    looked_at = 0
    for name in ("thoughts", "scouts-0-*"):
        (path,) = (tmp_path / "out" / "parts").glob(f"{name}.json")
        part = json.loads(path.read_text(encoding="utf-8"))
        for values in part["found"]:
            looked_at += 1
            assert truth(Architecture.from_dict(values)) <= 0.75 * truth(SHAPE)
    assert looked_at > 4


def test_where_int8_alone_is_as_fast_as_wanted_the_search_looks_far_for_what_is_fastest(
    task: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = replace(task, out=tmp_path / "out", target_speedup=2.0, until="scouts")
    assert session.run(request, TOOLS) is None
    assert "reaches that already" in capsys.readouterr().err
    looks = {path.name.split("-")[1] for path in (tmp_path / "out" / "parts").glob("brief-*.json")}
    first = thoughts(Space(SHAPE, (32,)), cheap_ms, Band(cheap_ms(SHAPE), Band.FAR))
    assert looks > {one.key for one in first}
    turn = json.loads(next((tmp_path / "out" / "parts").glob("scouts-0*.json")).read_text(encoding="utf-8"))
    assert min(cheap_ms(Architecture.from_dict(one)) for one in turn["found"]) < 0.8 * cheap_ms(SHAPE)


@pytest.mark.parametrize(
    ("p_value", "points", "ratio", "verdict"),
    [
        (0.5, 0.1, (1.02, 0.98, 1.06), "uniform is the plainer one"),
        (0.5, 0.1, None, "uniform is the plainer one"),
        (0.5, 0.1, (1.08, 1.05, 1.10), "but searched is faster: take it"),
        (0.01, 0.5, (1.02, 0.98, 1.06), "Take searched."),
        (0.01, 0.5, (1.08, 1.05, 1.10), "Take searched."),
        (0.01, 0.5, (0.93, 0.90, 0.95), "searched is more accurate and uniform faster"),
        (0.01, -0.5, (1.02, 0.98, 1.06), "Take uniform."),
    ],
)
def test_the_verdict_looks_at_accuracy_and_speed(
    p_value: float, points: float, ratio: tuple[float, float, float] | None, verdict: str
) -> None:
    assert verdict in sentences._verdict(Pair(48, 0, 0, points, p_value), Ratio("", ratio))


@pytest.mark.parametrize(
    ("points", "verdict"),
    [
        ((0.4, 0.5, 0.6), "Take searched."),
        ((0.1, -0.2, 0.4), "plainer"),
        ((-0.5, -0.6, -0.4), "Take uniform."),
    ],
)
def test_the_verdict_rests_on_all_trainings_where_there_are_several(
    points: tuple[float, ...], verdict: str
) -> None:
    mean = sum(points) / 3
    seeds = OverSeeds((1, 2, 3), points, mean, 0.3)
    for p_value in (0.001, 0.9):
        said = sentences._verdict(Pair(48, 0, 0, 0.5, p_value), Ratio("", None), seeds)
        assert said.startswith(f"Over 3 trainings of each: {mean:+.2f} points, +/- 0.30 (by seed")
        assert verdict in said
        assert "hardly" not in said


@pytest.mark.parametrize(
    ("wished", "told"),
    [
        ({"target_speedup": 2.0, "target_ms": 1.0}, "two wishes for one"),
        ({"target_speedup": 0.0}, "--target-speedup 0 is none"),
    ],
)
def test_wishes_that_cannot_be_are_one_sentence(
    task: Request, tmp_path: Path, wished: dict[str, float], told: str
) -> None:
    with pytest.raises(HarnessError, match=told):
        session.run(replace(task, out=tmp_path / "out", **wished), TOOLS)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("outcome")
def test_the_report_needs_no_torch(
    task: Request, harness_without: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = harness_without("torch", "search", "report", "--out", str(task.out), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((task.out / "result.json").read_text())


def test_data_of_another_class_count_is_refused(task: Request, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
    with pytest.raises(DataError, match="have 2 classes and the baseline 24"):
        open_setting(replace(task, train=tmp_path / "train", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_baseline_outside_the_space_is_refused(task: Request, tmp_path: Path) -> None:
    torch.manual_seed(1)
    odd = replace(SHAPE, stages=(Stage(64, (Block(24),)), Stage(128, (Block(32),))))
    export.export(ResNet(odd).eval(), RECIPE, tmp_path, "odd", "", {})
    with pytest.raises(HarnessError, match="outside the search space"):
        open_setting(replace(task, card=read_card(tmp_path / "card.toml"), out=tmp_path / "out"))


def test_without_its_library_the_search_names_the_extra(
    task: Request,
    tmp_path: Path,
    harness_without: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = harness_without(
        "torch", "search", "run",
        *("--baseline", str(task.card.folder / "card.toml"), "--train", str(task.train)),
        *("--data", str(task.data), "--out", str(tmp_path / "out")),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.endswith("pip install 'inference-harness[search]'.\n")
    assert not (tmp_path / "out").exists()


def learn_again(task: Request, out: Path) -> Request:
    """Return the request of a copy of the search that has to learn its first four looks and its pick anew."""
    shutil.copytree(task.out, out)
    parts, longest = out / "parts", f"epochs-{EFFORT.epochs}"
    looks = sorted(parts.glob("brief-*.json"), key=lambda path: path.stat().st_mtime_ns)[:4]
    for path in looks:
        path.unlink()
        shutil.rmtree(out / "tuned" / f"{path.name.split('-')[1]}-{longest}")
    key = result.read(out).searched.key
    (pick,) = parts.glob(f"final-{key}-*-{longest}.json")
    pick.unlink()
    shutil.rmtree(out / "trained" / pick.stem.removeprefix("final-"))
    # Its brief training is not asked for, and yet needed: the weights of it are where the longer one begins.
    shutil.rmtree(out / "tuned" / f"{key}-{longest}", ignore_errors=True)
    return replace(task, out=out, until="finals")


def assert_learned_alike(task: Request, out: Path) -> None:
    """Check what was learned again, bit for bit."""
    ours, theirs = ({path.name for path in (one / "parts").iterdir()} for one in (task.out, out))
    assert {name for name in ours if name.startswith(("brief-", "final-"))} <= theirs
    for path in (out / "parts").glob("*-*.json"):
        assert path.read_bytes() == (task.out / "parts" / path.name).read_bytes(), path.name
    for path in out.glob("t*ed/*/checkpoint.pt"):
        again, before = (
            torch.load(one / path.relative_to(out), weights_only=True)["network"] for one in (out, task.out)
        )
        assert all(torch.equal(value, before[name]) for name, value in again.items()), path


@pytest.mark.usefixtures("outcome")
def test_workers_of_a_cluster_train_candidates_bit_equal_to_alone(
    task: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install '.[fleet]'")
    request = learn_again(task, tmp_path / "out")
    assert session.run(replace(request, crew="local:2"), TOOLS) is None
    told = capsys.readouterr().err
    assert re.search(r"Forecast: about \S+ min \(table ", told)
    assert "is done; about" in told
    assert_learned_alike(task, tmp_path / "out")


OF_TORCHRUN = """
import os, pickle, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
sys.stderr = open("told-" + os.environ["RANK"], "w")
from test_session import TOOLS, deployment, session
deployment.CALIBRATION_IMAGES = {images}
assert session.run(pickle.loads(Path("request").read_bytes()), TOOLS) is None
"""


def under_torchrun(request: Request, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Search in two processes, which write what they tell to FOLDER/told-0 and told-1."""
    (folder / "request").write_bytes(pickle.dumps(request))
    script = OF_TORCHRUN.format(folder=str(Path(__file__).parent), images=deployment.CALIBRATION_IMAGES)
    (folder / "script.py").write_text(script)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*torchrun, "script.py"], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.usefixtures("outcome")
def test_an_error_of_the_first_process_of_torchrun_sends_the_other_home(
    task: Request, tmp_path: Path
) -> None:
    done = under_torchrun(replace(task, out=tmp_path / "out", target_ms=1e-6), tmp_path)
    first, other = ((tmp_path / name).read_text() for name in ("told-0", "told-1"))
    assert done.returncode == 1
    assert "architectures tried reaches 1e-06 ms" in first
    assert "Traceback" not in other


@pytest.mark.usefixtures("outcome")
def test_two_processes_of_torchrun_train_two_candidates_bit_equal_to_alone(
    task: Request, tmp_path: Path
) -> None:
    request = learn_again(task, tmp_path / "out")
    done = under_torchrun(request, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert_learned_alike(task, tmp_path / "out")
    learned = [
        set(re.findall(r"brief training of (\w+): epoch 1/1", (tmp_path / name).read_text()))
        for name in ("told-0", "told-1")
    ]
    assert all(learned)
    assert not learned[0] & learned[1]
