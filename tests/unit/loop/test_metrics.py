"""Metrics as Prometheus reads them."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from reconciler.adapters.metrics import Exposition
from reconciler.control.metering import Registry
from reconciler.core.loop import metrics
from reconciler.core.loop.settings import MetricsSettings
from reconciler.errors import TransientError


def lines_of(text: str, name: str) -> list[str]:
    return [one for one in text.splitlines() if one.startswith(f"{metrics.PREFIX}{name}")]


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
    registry.count(metrics.PASSES, result="done")
    registry.count(metrics.PASSES, 2, result="done")
    registry.count(metrics.PASSES, result="stalled")
    assert lines_of(registry.render(), "passes_total") == [
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


def test_an_address_answers_metrics_and_nothing_else() -> None:
    exposition = Exposition(MetricsSettings(address="127.0.0.1", port=0), lambda: "metrics\n")
    exposition.start()
    status, body, kind = get(exposition.port, "/metrics")
    assert (status, body) == (200, b"metrics\n")
    assert kind.startswith("text/plain; version=0.0.4")
    assert get(exposition.port, "/healthz")[:2] == (200, b"ok\n")
    assert get(exposition.port, "/")[0] == 404
    exposition.stop()


def get(port: int, path: str) -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.headers["Content-Type"]
    connection.close()
    return found


def test_a_port_that_is_taken_is_named() -> None:
    first = Exposition(MetricsSettings(address="127.0.0.1", port=0), lambda: "")
    first.start()
    second = Exposition(MetricsSettings(address="127.0.0.1", port=first.port), lambda: "")
    with pytest.raises(TransientError, match=r"cannot listen on 127\.0\.0\.1"):
        second.start()
    first.stop()
