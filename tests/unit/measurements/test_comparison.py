"""Measurements beside each other: what is the same, what is noise, and how it is shown."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, List, Tuple

import pytest

from reconciler.adapters.charts import draw_svg, show_value
from reconciler.core.measurements.charts import Bar, Chart, draw_charts
from reconciler.core.measurements.comparison import compare_measurements
from reconciler.core.measurements.values import (
    DiskResult,
    DiskRun,
    DiskSetup,
    Environment,
    Figure,
    Flow,
    Latency,
    Measurement,
    write_measurement,
)
from reconciler.core.render.html import policy
from reconciler.core.render.measurement_comparison import render_comparison, write_comparison
from reconciler.core.render.measurement_page import NARROW, WIDE, Picture, render_page
from reconciler.core.render.text import Page, Style
from reconciler.core.settings import Settings
from reconciler.core.xmltree import parse
from tests.unit.cli.fakes import FakeServices, Result, call

MIB = 2**20


def run(iops: float, latency: float) -> DiskRun:
    """Return a run of random reads."""
    found = Latency(latency / 4, latency / 2, latency, latency * 2)
    return DiskRun(1.0, read=Flow(MIB, int(iops * 4096), iops, found), from_storage=MIB)


def measure(
    name: str, *iops: float, bus: str = "sata", direct: bool = True, **given: Any
) -> Measurement:
    """Return random reads of a guest's disk, with that many operations a second in its runs."""
    runs = tuple(run(value, 1_000_000 / value) for value in iops)
    version = given.pop("tool_version", "fio-3.33")
    result = DiskResult("rand_read", "fio", version, direct, 4096, 32, "libaio", MIB, 30, runs)
    disk = DiskSetup("root", "vda", bus, "/images/web01.qcow2", "qcow2")
    place = Environment("kvm01", "5.14.0", "a processor", 2**30, machine="web01", disk=disk)
    return Measurement(
        f"disk-{name}",
        "2027-01-15T08:00:00Z",
        "1.0",
        place,
        label=name,
        results=(result,),
        **given,
    )


def show(*measurements: Measurement) -> str:
    """Return what a terminal of 100 columns shows."""
    return render_comparison(compare_measurements(measurements), Page(Style(), 100))


BEFORE, AFTER = measure("before", 1000, 1040), measure("after", 2000, 2080, bus="virtio")


def test_a_change_is_said_beside_the_first_and_what_differs_above() -> None:
    shown = show(BEFORE, AFTER).splitlines()
    assert shown[0].split() == ["DIFFERS", "before", "after"]
    assert shown[1].split() == ["bus", "sata", "virtio"]
    operations = next(line for line in shown if "operations" in line)
    assert operations.split() == [
        "rand_read",
        "direct,",
        "depth",
        "32",
        "operations",
        "1020",
        "2040",
        "+100%",
    ]
    assert "1.0ms -50%" not in operations
    assert "-50%" in next(line for line in shown if "p99 latency" in line)
    assert "noise" not in "".join(shown)


@pytest.mark.parametrize(
    ("first", "second"),
    [((1000, 1300), (1200, 1400)), ((1000,), (1040,)), ((1000, 1001), (1030, 1031))],
    ids=["overlap", "single runs", "below what a quiet machine does"],
)
def test_what_the_runs_themselves_do_is_called_noise(
    first: Tuple[float, ...], second: Tuple[float, ...]
) -> None:
    shown = show(measure("a", *first), measure("b", *second))
    assert " noise" in next(line for line in shown.splitlines() if "operations" in line)
    assert "noise: the runs of both overlap" in shown
    assert "%" not in shown


def test_what_was_measured_another_way_has_a_row_of_its_own() -> None:
    shown = show(BEFORE, measure("after", 9000, direct=False)).splitlines()
    rows = [line.split() for line in shown if "operations" in line]
    assert [row[-2:] for row in rows] == [["1020", "-"], ["-", "9000"]]


def test_what_may_explain_a_difference_is_said() -> None:
    other = replace(AFTER.environment, host="kvm02", memory=2**31)
    disturbed = replace(AFTER, environment=other, warnings=("web02 runs on this storage",))
    shown = " ".join(show(BEFORE, disturbed).split())
    assert "These differ too, and each can change the numbers: host, memory." in shown
    assert "after: something may have disturbed it; see virt-reconciler bench list after" in shown
    assert "These differ too" not in show(BEFORE, AFTER)


def test_the_same_label_twice_is_told_apart_by_id() -> None:
    again = replace(AFTER, label="before", id="disk-2")
    assert compare_measurements((BEFORE, again)).columns == ("disk-before", "disk-2")


def test_figures_of_hosts_are_compared() -> None:
    def figure(*values: float) -> Tuple[Figure, ...]:
        return (Figure("processor", "sha256, 1 process", "openssl", "3.0", "B", values),)

    one = replace(BEFORE, results=(), figures=figure(2.0 * MIB, 2.1 * MIB))
    two = replace(AFTER, results=(), figures=figure(4.0 * MIB, 4.2 * MIB))
    assert "2.1MiB/s" in show(one, two)
    assert "+100%" in show(one, two)


def test_a_comparison_as_json_has_every_number_in_full() -> None:
    data = json.loads(write_comparison(compare_measurements((BEFORE, AFTER))))
    assert [found["id"] for found in data["measurements"]] == ["disk-before", "disk-after"]
    first, second = data["rows"][0]["cells"]
    assert (first["mean"], first["low"], first["high"], first["change"]) == (1020, 1000, 1040, None)
    assert (second["change"], second["isNoise"], second["runs"]) == (1.0, False, 2)


class Reader(HTMLParser):
    """Collects the addresses of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: List[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Any]]) -> None:
        """Keep what it points to."""
        names = ("src", "srcset", "href")
        self.addresses += [str(value) for name, value in attrs if name in names]
        assert tag not in ("script", "link", "iframe")
        assert "style" not in dict(attrs)  # the page's policy forbids it

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data


def test_the_page_has_everything_in_itself_and_its_style_is_allowed() -> None:
    comparison = compare_measurements((replace(BEFORE, label="<b>"), AFTER))
    pictures = [
        Picture(chart.title, draw_svg(chart, WIDE), draw_svg(chart, NARROW))
        for chart in draw_charts(comparison)
    ]
    page = render_page(comparison, pictures)
    read = Reader(page)
    assert len(read.addresses) == 2 * len(pictures) == 4
    assert all(address.startswith("data:image/svg+xml;base64,") for address in read.addresses)
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert policy(style[0], has_pictures=True) in page
    assert "<b>" in read.text
    assert "+100%" in read.text
    assert "<b>" not in page
    svg = base64.b64decode(read.addresses[1].partition(",")[2]).decode()
    assert "prefers-color-scheme: dark" in svg


def test_a_page_without_charts_says_why() -> None:
    page = render_page(compare_measurements((BEFORE,)), (), "charts need matplotlib")
    assert "No charts: charts need matplotlib" in page


def test_a_page_of_many_results_says_from_when_until_when_they_are() -> None:
    found = [
        replace(BEFORE, id=f"disk-{day}", taken_at=f"2027-01-0{day}T08:00:00Z")
        for day in range(1, 6)
    ]
    page = render_page(compare_measurements(found), (), None)
    assert "5 results, 2027-01-01T08:00:00Z to 2027-01-05T08:00:00Z" in page


CHART = Chart(
    "operations-direct",
    "Operations, direct",
    "IOPS",
    ("rand_read", "rand_write"),
    ("before & after", "other"),
    ((Bar(1000, 900, 1100), Bar(20, 10, 30)), (None, Bar(5, 5, 5))),
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the drawing library from the machine's own settings."""
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_a_chart_is_the_same_each_time_with_its_words_as_text(width: int) -> None:
    svg = draw_svg(CHART, width)
    assert svg == draw_svg(CHART, width)
    words = "".join(map(str, parse(svg[svg.index("<svg") :]).itertext()))
    for text in ("Operations, direct, IOPS", "rand_read", "before & after", "1\u202f000", "20"):
        assert text in words
    assert "#0102" not in svg


def test_many_measurements_have_a_chart_for_each_row() -> None:
    found = [measure(f"m{index}", 1000 + index) for index in range(6)]
    charts = draw_charts(compare_measurements(found))
    assert [chart.groups for chart in charts] == [tuple(f"m{index}" for index in range(6))] * 2
    assert {len(chart.bars) for chart in charts} == {1}


@pytest.mark.parametrize(
    ("value", "shown"), [(0.01234, "0.0123"), (12.34, "12.3"), (1234567.0, "1\u202f234\u202f567")]
)
def test_numbers_have_three_digits_that_count(value: float, shown: str) -> None:
    assert show_value(value) == shown


def test_the_command_compares_what_is_kept_and_writes_a_folder_once(tmp_path: Path) -> None:
    services = FakeServices(settings=Settings(state=str(tmp_path / "state")))
    (tmp_path / "c.yaml").touch()

    def run_verb(*words: str) -> Result:
        return call(services, "--config", str(tmp_path / "c.yaml"), "bench", "compare", *words)

    kept = services.reach_measurements(str(tmp_path / "state"))
    for measurement in (AFTER, BEFORE):
        kept.keep(measurement)
    other = tmp_path / "other.json"
    other.write_text(write_measurement(measure("elsewhere", 500)), encoding="utf-8")
    done = run_verb("before", "after", str(other))
    assert done.status == 0
    assert done.out.splitlines()[0].split() == ["DIFFERS", "before", "after", "elsewhere"]
    words = ("before", "after", "--output-dir", str(tmp_path / "page"))
    done = run_verb(*words)
    assert sorted(done.out.split()) == [
        str(tmp_path / "page" / name)
        for name in ("comparison.json", "index.html", "operations-direct.svg", "p99-latency-direct.svg")
    ]  # fmt: skip
    again = run_verb(*words)
    assert again.status == 64
    assert "use --force" in again.err
    assert run_verb(*words, "--force").status == 0
    missing = run_verb("gone")
    assert missing.status == 64
    assert "no measurement has the ID, label or machine 'gone'" in missing.err
