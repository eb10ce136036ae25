import csv
from dataclasses import replace

import pytest

from harness.errors import ModelError
from harness.frontier import catalogue
from harness.model.licence import is_permissive
from harness.resources import PUBLISHED


def test_the_catalogue_is_trimmed_and_every_row_says_what_its_accuracy_is_of() -> None:
    rows = catalogue.read()
    assert len(rows) == 300
    assert len({(row.tag, row.pixels) for row in rows}) == len(rows)
    for row in rows:
        assert 0.4 < row.top1 < 0.95
        assert row.source
        assert row.date
        assert row.licence
        assert row.pixels >= 128
    with (PUBLISHED / "imagenet.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == catalogue.COLUMNS


def test_networks_come_once_for_each_size_the_cheapest_first() -> None:
    chosen = catalogue.choose(["mobilenetv4*", "resnet50"])
    work = [row.params_m * row.pixels**2 for row in chosen if row.params_m]
    assert work == sorted(work)
    assert len(work) == len(chosen)
    assert len({row.name for row in chosen}) == len(chosen)
    assert {row.pixels for row in chosen if row.architecture == "resnet50"} == {160, 176, 224, 288}


def test_only_weights_that_may_be_used_commercially_are_chosen_unless_any_is_asked_for() -> None:
    assert all(is_permissive(row.licence) for row in catalogue.choose([]))
    everything = catalogue.choose([], permissive=False)
    assert any(not is_permissive(row.licence) for row in everything)
    swsl = next(row for row in everything if row.name == "resnet50@224")
    assert swsl.licence == "cc-by-nc-4.0"
    assert next(row for row in catalogue.choose([]) if row.name == "resnet50@224").top1 < swsl.top1


def test_a_licence_is_known_in_capitals_too(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [row.name for row in catalogue.choose([])]
    rows = tuple(replace(row, licence=row.licence.upper()) for row in catalogue.read())
    monkeypatch.setattr(catalogue, "read", lambda: rows)
    assert [row.name for row in catalogue.choose([])] == names


def test_a_floor_of_accuracy_and_sizes_narrow_the_choice() -> None:
    assert all(row.top1 >= 0.757 for row in catalogue.choose([], least_top1=0.757))
    assert {row.pixels for row in catalogue.choose([], sizes=[192])} == {192}


def test_a_pattern_without_a_network_names_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"'resnet5' matches no network of the catalogue. Did you mean '"):
        catalogue.choose(["resnet5"])
    with pytest.raises(ModelError, match=r"'zzzz\*' matches no network of the catalogue. Give a name"):
        catalogue.choose(["regnet*", "zzzz*"])


def test_a_pattern_of_which_nothing_is_allowed_names_the_options() -> None:
    with pytest.raises(ModelError, match=r"_small' names --min-top1 0.757 and .* leave none: ask"):
        catalogue.choose(["resnet50", "mobilenetv4_conv_small"], least_top1=0.757)
    assert catalogue.choose(["mobilenetv4_conv_small"])


def test_the_networks_of_v51_have_their_latency_and_are_not_built() -> None:
    assert len(catalogue.of_others()) == 81
    assert {row.source for row in catalogue.of_others()} == {"MLPerf v5.1 open"}
    with pytest.raises(ModelError, match=r"matches no network"):
        catalogue.choose(["efficientnet-fp32-lite0"])
