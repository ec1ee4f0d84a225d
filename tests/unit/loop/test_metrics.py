"""Metrics as Prometheus reads them."""

from __future__ import annotations

import ast
import http.client
import socket
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, get_args

import pytest

from reconciler.adapters.metrics import Exposition
from reconciler.control.gauges import Registry
from reconciler.control.journal_reporter import TroubleReporter
from reconciler.core import metrics
from reconciler.core.conditions import FAILURES, Result, kind_of
from reconciler.core.settings import MetricsSettings
from reconciler.errors import (
    NotFoundError,
    RefusedError,
    StoppingError,
    TerminalError,
    TransientError,
)

from .fakes import ListJournal

PACKAGE = Path(__file__).parents[3] / "reconciler"


def lines_of(text: str, name: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"{metrics.PREFIX}{name}")]


def test_names_are_unique_and_follow_the_conventions() -> None:
    names = [one.name for one in metrics.TABLE]
    assert len(names) == len(set(names))
    for one in metrics.TABLE:
        assert one.name.endswith("_total") == (one.type == "counter"), one.name
        assert one.meaning.endswith("."), one.name


def test_counters_add_up_and_start_at_zero() -> None:
    registry = Registry()
    assert lines_of(registry.render(), "watch_missed_total") == [
        "virt_reconciler_watch_missed_total 0"
    ]
    assert lines_of(registry.render(), "errors_total") == [
        'virt_reconciler_errors_total{kind="bug"} 0',
        'virt_reconciler_errors_total{kind="refused"} 0',
        'virt_reconciler_errors_total{kind="terminal"} 0',
        'virt_reconciler_errors_total{kind="transient"} 0',
    ]
    registry.count(metrics.PASSES, result="done")
    registry.count(metrics.PASSES, 2, result="done")
    registry.count(metrics.PASSES, result="stalled")
    assert lines_of(registry.render(), "passes_total") == [
        'virt_reconciler_passes_total{result="again"} 0',
        'virt_reconciler_passes_total{result="done"} 3',
        'virt_reconciler_passes_total{result="stalled"} 1',
    ]


def test_labels_are_escaped() -> None:
    registry = Registry()
    registry.set(metrics.LIBVIRT_CONNECTED, 1, driver='a"b\\c\nd')
    assert 'driver="a\\"b\\\\c\\nd"' in registry.render()


def test_of_a_revision_there_is_only_one() -> None:
    registry = Registry()
    registry.replace(metrics.SOURCE_INFO, 1, revision="one")
    registry.replace(metrics.SOURCE_INFO, 1, revision="two")
    assert lines_of(registry.render(), "source_info") == [
        'virt_reconciler_source_info{revision="two"} 1'
    ]


def test_a_histogram_counts_up_to_each_limit() -> None:
    registry = Registry()
    for seconds in (0.004, 0.2, 700.0):
        registry.observe(metrics.DURATION, seconds)
    lines = lines_of(registry.render(), "pass_seconds")
    assert 'virt_reconciler_pass_seconds_bucket{le="0.005"} 1' in lines
    assert 'virt_reconciler_pass_seconds_bucket{le="0.25"} 2' in lines
    assert 'virt_reconciler_pass_seconds_bucket{le="600"} 2' in lines
    assert lines[-3:] == [
        'virt_reconciler_pass_seconds_bucket{le="+Inf"} 3',
        "virt_reconciler_pass_seconds_sum 700.204",
        "virt_reconciler_pass_seconds_count 3",
    ]


def test_the_file_is_replaced_in_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "vr.prom"
    texts = iter(["one\n", "two\n"])
    exposition = Exposition(MetricsSettings(file=str(path)), lambda: next(texts))
    exposition.write()
    first = path.open(encoding="ascii")
    exposition.write()
    assert (first.read(), path.read_text(encoding="ascii")) == ("one\n", "two\n")
    first.close()
    assert [one.name for one in tmp_path.iterdir()] == ["vr.prom"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    exposition = Exposition(MetricsSettings(file=str(tmp_path / "no" / "vr.prom")), lambda: "")
    with pytest.raises(TransientError, match=r"cannot write .*/no/vr.prom: No such file"):
        exposition.write()


def test_a_file_that_cannot_be_written_keeps_nobody_from_asking(tmp_path: Path) -> None:
    settings = MetricsSettings(str(tmp_path / "no" / "vr.prom"), "127.0.0.1", 0)
    exposition = Exposition(settings, lambda: "metrics\n")
    for _ in range(2):
        with pytest.raises(TransientError, match="cannot write"):
            exposition.show()
    assert get(exposition.port, "/metrics")[:2] == (200, b"metrics\n")
    exposition.stop()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1"])
def test_an_address_answers_metrics_and_nothing_else(address: str) -> None:
    exposition = Exposition(MetricsSettings(address=address, port=0), lambda: "metrics\n")
    exposition.show()
    status, body, kind = get(exposition.port, "/metrics", address)
    assert (status, body) == (200, b"metrics\n")
    assert kind.startswith("text/plain; version=0.0.4")
    assert get(exposition.port, "/healthz", address)[:2] == (200, b"ok\n")
    assert get(exposition.port, "/", address)[0] == 404
    assert get(exposition.port, "/metrics", address, "POST")[0] == 501
    exposition.stop()


def get(
    port: int, path: str, address: str = "127.0.0.1", method: str = "GET"
) -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection(address, port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.headers["Content-Type"]
    connection.close()
    return found


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104 - refused
def test_an_address_of_a_network_is_not_listened_on(address: str) -> None:
    exposition = Exposition(MetricsSettings(address=address, port=0), lambda: "")
    with pytest.raises(RefusedError, match="from a network"):
        exposition.show()
    assert exposition.port == 0


def test_a_port_that_is_taken_is_named_and_tried_again() -> None:
    first = Exposition(MetricsSettings(address="127.0.0.1", port=0), lambda: "")
    first.start()
    second = Exposition(MetricsSettings(address="127.0.0.1", port=first.port), lambda: "second")
    with pytest.raises(TransientError, match=r"cannot listen on 127\.0\.0\.1"):
        second.show()
    first.stop()
    second.show()
    assert get(second.port, "/metrics")[1] == b"second"
    second.stop()


def test_who_says_nothing_keeps_nobody_waiting() -> None:
    exposition = Exposition(MetricsSettings(address="127.0.0.1", port=0), lambda: "metrics\n")
    exposition.start()
    with socket.create_connection(("127.0.0.1", exposition.port)):
        assert get(exposition.port, "/metrics")[0] == 200
    exposition.stop()


def test_counts_of_several_threads_are_all_there() -> None:
    registry = Registry()
    stop = threading.Event()

    def count() -> None:
        for number in range(500):
            registry.count(metrics.PASSES, result="done")
            registry.observe(metrics.DURATION, number)

    def read() -> None:
        while not stop.is_set():
            registry.render()

    reader = threading.Thread(target=read)
    counters = [threading.Thread(target=count) for _ in range(4)]
    for one in (reader, *counters):
        one.start()
    for one in counters:
        one.join()
    stop.set()
    reader.join()
    text = registry.render()
    assert 'virt_reconciler_passes_total{result="done"} 2000\n' in text
    assert "virt_reconciler_pass_seconds_count 2000" in text


def test_every_metric_is_shown_with_its_help_and_type() -> None:
    registry = Registry()
    for one in metrics.TABLE:
        labels: Dict[str, Any] = dict.fromkeys(one.labels, "x")
        if one.type == "histogram":
            registry.observe(one.name, 1, **labels)
        elif one.type == "counter":
            registry.count(one.name, **labels)
        else:
            registry.set(one.name, 1.5, **labels)
    text = registry.render()
    for one in metrics.TABLE:
        name = f"{metrics.PREFIX}{one.name}"
        if one.known:
            name_there = f"{name}{{{one.labels[0]}="
            assert all(f'{name_there}"{each}"}} 0\n' in text for each in one.known)
        assert f"# HELP {name} {one.meaning}\n# TYPE {name} {one.type}\n{name}" in text
    assert set("\\\n").isdisjoint("".join(one.meaning for one in metrics.TABLE))


# A name or label that is not in the table would end a pass: found here, not at run time.


def uses() -> Iterator[tuple[str, str, str, frozenset[str]]]:
    """Yield place, method, constant and labels of each use of a meter in the code."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Attribute) and getattr(first.value, "id", "") == "metrics":
                    labels = frozenset(keyword.arg or "**" for keyword in node.keywords)
                    yield f"{path.name}:{node.lineno}", node.func.attr, first.attr, labels


METHODS = {"counter": {"count"}, "gauge": {"set", "replace"}, "histogram": {"observe"}}


def test_the_code_counts_as_the_table_says() -> None:
    found = [one for one in uses() if one[1] in ("count", "set", "replace", "observe")]
    assert len(found) > 10
    for place, method, constant, labels in found:
        metric = metrics.BY_NAME[getattr(metrics, constant)]
        assert method in METHODS[metric.type], place
        assert labels == frozenset(metric.labels), place


def test_every_metric_is_counted_somewhere() -> None:
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
        if path.name not in ("metrics.py", "metering.py")
    )
    constants = {value: name for name, value in vars(metrics).items() if isinstance(value, str)}
    missing = [one.name for one in metrics.TABLE if f"metrics.{constants[one.name]}" not in text]
    assert missing == []


def test_the_kinds_that_are_counted_are_those_that_are_known() -> None:
    assert metrics.BY_NAME[metrics.ERRORS].known == FAILURES
    results = {arg.__name__.lower() for arg in get_args(Result)}
    assert results == set(metrics.BY_NAME[metrics.PASSES].known)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TransientError("x"), "transient"),
        (StoppingError("x"), "transient"),
        (RefusedError("x"), "refused"),
        (NotFoundError("x"), "terminal"),
        (TerminalError("x"), "terminal"),
        (KeyError("x"), "bug"),
    ],
)
def test_errors_have_kinds(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


def test_a_trouble_is_told_when_it_comes_and_when_it_comes_again() -> None:
    journal = ListJournal()
    once = TroubleReporter(journal, "metrics are not shown")
    troubles = [TransientError("full"), TransientError("full"), None, TransientError("full")]

    def do() -> None:
        trouble = troubles.pop(0)
        if trouble is not None:
            raise trouble

    assert [once.run(do) for _ in range(4)] == [False, False, True, False]
    assert journal.lines("failed") == ["metrics are not shown: full"] * 2
