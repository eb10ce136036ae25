"""The report: one page that is whole, needs nobody else, and leads to every log."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sample_comparison import LATENCIES_MS, MACHINE, cell, comparison, variant

from harness.comparison import charts, page, published
from harness.comparison.document import Comparison
from harness.mlperf.scenario import Scenario
from harness.report import svg

_VOID = {"meta", "br", "wbr"}


class Page(HTMLParser):
    """Notes what a page is made of, and that every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def links(page_: Page) -> list[str]:
    return [value for name, value in page_.attributes if name == "href"]


def drawings(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def test_the_page_is_well_formed_and_holds_every_part() -> None:
    text = page.render([comparison()])
    found = Page(text)
    assert found.open == []
    whole = " ".join(found.texts)
    for part in (
        "Single-Stream, p90 latency in ms",
        "Offline, throughput in images/s",
        "3.96 - 15.9x",
        "Single-Stream latency, 1 thread",
        "Offline throughput, 1 thread",
        "Accuracy and latency, 1 thread",
        "Offline throughput per core",
        "Published in 2020",
        "Imaginary OS",
        "MLPerf Inference v6.1",
        "Not readable on this machine: frequency.",
    ):
        assert part in whole, part
    assert len(drawings(text)) == 4


@pytest.mark.parametrize("several", [False, True])
def test_the_page_needs_no_network(several: bool) -> None:
    found = comparison(source="../a")
    text = page.render([found, comparison(source="../b")] if several else [comparison()])
    parsed = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(parsed.tags)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    for name, value in parsed.attributes:
        if name in ("href", "src", "xlink:href"):
            assert not value.startswith(("/", "http", "data:")), value


def test_every_round_and_accuracy_test_is_linked() -> None:
    found = links(Page(page.render([comparison()])))
    for name in LATENCIES_MS:
        assert f"accuracy/{name}/model/Offline/accuracy/mlperf_log_detail.txt" in found
        for scenario in ("SingleStream", "Offline"):
            for number in (1, 2, 3):
                assert f"rounds/{name}/{scenario}/1-threads/round_{number}/mlperf_log_summary.txt" in found


def test_links_of_a_merged_page_lead_through_the_folders() -> None:
    found = links(Page(page.render([comparison(source="../a b"), comparison(source="../c")])))
    assert "../a%20b/rounds/fp32/Offline/1-threads/round_1/mlperf_log_summary.txt" in found
    assert "../c/rounds/fp32/Offline/1-threads/user.conf" in found


def test_names_cannot_break_the_page() -> None:
    sly = "<b>&\"'"
    made = comparison(machine=replace(MACHINE, cpu_model=sly), remarks=(sly,), not_official_because=(sly,))
    found = Page(page.render([made]))
    assert "b" not in found.tags
    assert any(sly in text for text in found.texts)


def test_a_page_without_accuracy_has_no_pareto_plot() -> None:
    untrained = comparison(variants=tuple(variant(name, None) for name in LATENCIES_MS), accuracy_pairs=())
    assert charts.pareto(untrained, 1) is None
    assert len(drawings(page.render([untrained]))) == 3


def test_one_scenario_alone_makes_a_page() -> None:
    both = comparison()
    for scenario, count in ((Scenario.OFFLINE, 2), (Scenario.SINGLE_STREAM, 2)):
        cells = tuple(one for one in both.cells if one.scenario is scenario)
        assert len(drawings(page.render([comparison(cells=cells)]))) == count


def points(drawing: ElementTree.Element, kind: str) -> list[tuple[float, float]]:
    return [
        (float(item.get("cx", "")), float(item.get("cy", "")))
        for item in drawing.iter("circle")
        if kind in (item.get("class") or "").split()
    ]


def test_percentiles_rise_to_the_right_and_lie_at_the_nines() -> None:
    text = charts.latencies(comparison(), Scenario.SINGLE_STREAM, 1)
    assert text is not None
    curve = points(ElementTree.fromstring(text), "v0")
    assert curve == sorted(curve, key=lambda point: (point[0], -point[1]))
    heights = [y for _, y in curve]
    # min, p50, p90, p99, p99.9: each nine is a third of the height.
    third = (heights[0] - heights[-1]) / 3
    assert heights[0] - heights[2] == pytest.approx(third, abs=0.1)
    assert heights[0] - heights[3] == pytest.approx(2 * third, abs=0.1)


def test_the_pareto_front_has_the_corners_that_nothing_betters() -> None:
    assert charts._front([(5, 70), (1, 60), (3, 75), (4, 74), (2, 58)]) == [(1, 60), (3, 60), (3, 75)]


def test_a_variant_that_misses_its_target_is_drawn_hollow() -> None:
    missed: Comparison = comparison(
        variants=(variant("fp32"), variant("int8", 600, False), variant("searched"))
    )
    text = charts.pareto(missed, 1)
    assert text is not None
    drawing = ElementTree.fromstring(text)
    assert len(points(drawing, "hollow")) == 1
    assert "int8 *" in [item.text for item in drawing.iter("text")]


def test_bars_are_as_long_as_their_values() -> None:
    text = charts.throughputs(comparison(), 1)
    assert text is not None
    widths = [float(item.get("width", "")) for item in ElementTree.fromstring(text).iter("rect")]
    assert widths[1] / widths[0] == pytest.approx(50 / 12.9, rel=0.01)
    assert widths[2] / widths[0] == pytest.approx(201 / 12.9, rel=0.01)


def test_the_per_core_chart_shows_every_published_cpu_beside_ours() -> None:
    both = comparison(cells=(cell(Scenario.OFFLINE, 4, "int8", [200.0, 200.0]),))
    text = charts.per_core([both])
    assert text is not None
    drawing = ElementTree.fromstring(text)
    kinds = [item.get("class") for item in drawing.iter("rect")]
    assert kinds.count("bar published") == 37
    # Four threads ran on two physical cores.
    assert "100  int8 on Imaginary CPU 9000, 4 threads" in [item.text for item in drawing.iter("text")]


@pytest.mark.parametrize(
    ("recipe", "shown"), [("area-224-0.875", True), ("area-64-0.875", False), ("none-32-1", False)]
)
def test_the_per_core_chart_is_for_images_as_large_as_the_published_ones(recipe: str, shown: bool) -> None:
    cells = (cell(Scenario.OFFLINE, 4, "int8", [200.0, 200.0]),)
    found = comparison(cells=cells)
    data = replace(found.data, dataset="builtin", pixels_sha256={recipe: "cd"})
    assert (charts.per_core([replace(found, data=data)]) is not None) == shown


def test_only_cores_that_were_allowed_count_per_core() -> None:
    cells = (cell(Scenario.OFFLINE, 2, "int8", [200.0, 200.0]),)
    text = charts.per_core([comparison(cells=cells, machine=replace(MACHINE, cores_allowed=1))])
    # Both threads ran on the same core.
    assert "200  int8 on Imaginary CPU 9000, 2 threads" in (text or "")


def test_the_published_figures_are_the_submitted_ones() -> None:
    results = published.cpu_results()
    first = [one for one in results if one.round == "v0.7"]
    best = max(first, key=lambda one: one.per_core)
    assert (best.submitter, best.cores, best.per_core) == ("Deci", 1, 148.019)
    closed = [one for one in first if one.division == "closed"]
    assert closed[0].per_core == pytest.approx(51.4148)
    newest = next(one for one in results if one.round == "v4.1")
    assert (newest.processor, newest.cores) == ("Xeon Platinum 8592+", 128)
    assert newest.per_core == pytest.approx(25643.7 / 128)


def test_rounds_and_divisions_stand_apart_and_nothing_that_ran_on_a_gpu_is_among_them() -> None:
    results = published.cpu_results()
    places = [(one.round, one.division) for one in results]
    assert places == sorted(places, key=lambda place: (-float(place[0][1:]), place[1]))
    assert len(set(places)) == 5
    assert not any("Arc" in one.processor for one in results)
    text = charts.per_core([comparison(cells=(cell(Scenario.OFFLINE, 4, "int8", [200.0, 200.0]),))])
    assert "148  v0.7 open, 75.90 %, Deci:" in (text or "")
    assert "FP32" in (text or "")


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (93.2, 94.1), (0.0, 1e6), (0.0, 148.0)])
def test_linear_ticks_are_round_and_inside(low: float, high: float) -> None:
    axis = svg.linear(low, high, 0, 100)
    assert 2 <= len(axis.ticks) <= 7
    assert all(low <= tick <= high for tick in axis.ticks)
    assert axis.place(high) == pytest.approx(100)


@pytest.mark.parametrize(("low", "high"), [(5.0, 5.0), (5.0, 5.1), (1.0, 90.0), (0.01, 1e5)])
def test_logarithmic_ticks_are_few_and_inside(low: float, high: float) -> None:
    axis = svg.logarithmic(low, high, 0, 100)
    assert 1 <= len(axis.ticks) <= 7
    assert all(-1 <= axis.place(tick) <= 101 for tick in axis.ticks)
    assert 0 < axis.place(low) <= axis.place(high) < 100


def test_a_page_is_small_enough_to_mail(tmp_path: Path) -> None:
    assert len(page.render([comparison()])) < 100_000


def test_the_speed_up_table_has_a_verdict_for_each_pair() -> None:
    texts = Page(page.render([comparison()])).texts
    assert "searched against int8" in texts
    assert "15.9x faster (15.6 - 16.2)" in texts
