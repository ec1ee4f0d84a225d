"""Measurements as text for a terminal: a table of each, what the cache did, what is noise."""

from __future__ import annotations

from typing import Iterator, List, Optional, Sequence, Tuple

from reconciler.core.measurements.judgement import UNSTEADY, Spread, judge_cache, spread_of
from reconciler.core.measurements.values import (
    DISK_OPTIONS,
    DiskResult,
    DiskRun,
    Environment,
    Figure,
    Flow,
    Measurement,
)
from reconciler.core.render.text import Page, lay_columns, lay_text
from reconciler.core.render.words import count, escape
from reconciler.core.units import format_roughly

_LATENCIES = ("p50", "p95", "p99", "p999")
HEADS = (
    *("PROFILE", "MODE", "DEPTH", "BANDWIDTH", "IOPS"),
    *("P50", "P95", "P99", "P99.9", "CPU", "SPREAD"),
)
FIGURE_HEADS = ("WHAT", "HOW", "TOOL", "RESULT", "SPREAD")
LIST_HEADS = ("ID", "TAKEN AT", "WHERE", "LABEL", "WHAT")
_THOUSAND, _SECOND = 1_000.0, 1_000_000.0  # microseconds
_PERCENT = 100
_MANY = 10_000
NONE = "-"


def render_measurement(measurement: Measurement, page: Page) -> str:
    """Return a measurement in full."""
    return "\n".join(_lay_measurement(measurement, page)) + "\n"


def _lay_measurement(measurement: Measurement, page: Page) -> Iterator[str]:
    yield page.style.paint(escape(_title(measurement)), "bold")
    yield from lay_text(escape(describe_environment(measurement.environment)), page)
    if measurement.results:
        yield ""
        yield from lay_text(escape(describe_tools(measurement)), page)
        engines = {result.engine for result in measurement.results if result.engine}
        rows = [
            row
            for result in measurement.results
            for row in _rows(result, page, with_engine=len(engines) > 1)
        ]
        yield from lay_columns([HEADS, *rows], page, ("P95", "P99.9", "CPU", "DEPTH"))
    if measurement.figures:
        yield ""
        rows = [_figure_row(figure) for figure in measurement.figures]
        yield from lay_columns([FIGURE_HEADS, *rows], page)
    sentences = (*_find_sentences(measurement), *_warn(measurement))
    if sentences:
        yield ""
    for sentence in sentences:
        yield from lay_text(escape(sentence), page)


def _title(measurement: Measurement) -> str:
    label = f" ({measurement.label})" if measurement.label else ""
    return f"{measurement.id}{label}, {measurement.taken_at}"


def describe_environment(environment: Environment) -> str:
    """Return where it was measured, in one line."""
    memory = environment.memory
    disk = environment.disk
    words = [
        f"{environment.machine} on {environment.host}" if environment.machine else environment.host,
        f"kernel {environment.guest_kernel or environment.kernel}",
        *([f"QEMU {environment.qemu}"] if environment.qemu else []),
        *([f"machine type {environment.machine_type}"] if environment.machine_type else []),
        *([f"memory {format_roughly(memory)}"] if memory is not None else []),
        *([f"pool {environment.pool}"] if environment.pool else []),
        *([environment.storage] if environment.storage else []),
        *([_describe_filesystem(environment)] if environment.filesystem else []),
    ]
    if disk is not None:
        words.append(f"disk {disk.name} ({disk.target}): {describe_setup(environment)}")
    return " · ".join(words)


def describe_setup(environment: Environment) -> str:
    """Return how the guest gets its disk: `virtio, qcow2, cache=none, io=native`."""
    disk = environment.disk
    if disk is None:
        return NONE
    options = [(name, getattr(disk, name)) for name in DISK_OPTIONS]
    given = [f"{name}={value}" for name, value in options if value is not None]
    thread = [] if disk.iothread is None else [f"iothread={disk.iothread}"]
    return ", ".join((disk.bus, disk.image_format, *given, *thread))


def _describe_filesystem(environment: Environment) -> str:
    on = f" on {environment.device}" if environment.device else ""
    return f"{environment.filesystem}{on}"


def describe_tools(measurement: Measurement) -> str:
    """Return the file and the programs: `file 1.0GiB · fio-3.35, libaio, 30s a run · nice 10`."""
    tools = dict.fromkeys(
        ", ".join(
            (
                result.tool_version or result.tool,
                *([result.engine] if result.engine else []),
                *([f"{result.seconds}s a run"] if result.seconds is not None else []),
            )
        )
        for result in measurement.results
    )
    sizes = dict.fromkeys(result.size for result in measurement.results if result.size)
    limits = measurement.limits
    return " · ".join(
        (
            *(f"file {format_roughly(size)}" for size in sizes),
            *tools,
            *([f"nice {limits.nice}"] if limits.nice else []),
            *([f"ionice {limits.io_class}"] if limits.io_class else []),
            *([f"at most {format_roughly(limits.rate)}/s"] if limits.rate is not None else []),
        )
    )


def _rows(result: DiskResult, page: Page, *, with_engine: bool) -> Iterator[Tuple[str, ...]]:
    """Yield a row for a result, or one for its reads and one for its writes."""
    if not result.runs:
        return
    ways = [way for way in ("read", "write") if getattr(result.runs[0], way) is not None]
    for way in ways:
        flows: List[Flow] = [flow for run in result.runs for flow in [getattr(run, way)] if flow]
        spread = Spread.from_values([flow.bandwidth for flow in flows])
        yield (
            f"{result.profile} {way}" if len(ways) > 1 else result.profile,
            f"{result.mode} {result.engine}".rstrip() if with_engine else result.mode,
            str(result.depth) if result.engine else NONE,
            f"{format_roughly(round(spread.mean))}/s",
            show_operations(Spread.from_values([flow.iops for flow in flows]).mean),
            *(_show_latency(flows, name, page) for name in _LATENCIES),
            _show_cpu(result.runs),
            show_spread(spread),
        )


def show_spread(spread: Spread) -> str:
    """Return how far the runs lie apart, as a share of their mean."""
    if spread.count == 1:
        return "1 run"
    unsteady = " unsteady" if spread.is_unsteady else ""
    return f"{spread.share * _PERCENT:.0f}%{unsteady}"


def show_operations(value: float) -> str:
    """Return a number of operations a second."""
    return f"{value / _THOUSAND:.1f}k" if value >= _MANY else f"{value:.0f}"


def show_latency(microseconds: float, microsecond: str = "us") -> str:
    """Return a latency in a unit that leaves it short; the smallest is called `microsecond`."""
    if microseconds >= _SECOND:
        return f"{microseconds / _SECOND:.1f}s"
    if microseconds >= _THOUSAND:
        return f"{microseconds / _THOUSAND:.1f}ms"
    return f"{microseconds:.0f}{microsecond}"


def _show_latency(flows: Sequence[Flow], name: str, page: Page) -> str:
    values = [getattr(flow.latency, name) for flow in flows if flow.latency is not None]
    if not values:
        return NONE
    return show_latency(Spread.from_values(values).mean, "µs" if page.style.unicode else "us")


def _show_cpu(runs: Sequence[DiskRun]) -> str:
    used = [
        run.cpu_user + run.cpu_system
        for run in runs
        if run.cpu_user is not None and run.cpu_system is not None
    ]
    return f"{Spread.from_values(used).mean:.0f}%" if used else NONE


def _figure_row(figure: Figure) -> Tuple[str, ...]:
    spread = Spread.from_values(figure.values)
    tool = (figure.tool_version or figure.tool).partition(" (")[0]
    return figure.subject, figure.about, tool, show_figure(figure, spread), show_spread(spread)


def show_figure(figure: Figure, spread: Spread) -> str:
    """Return the mean of a figure with its unit."""
    if figure.unit == "B":
        return f"{format_roughly(round(spread.mean))}/s"
    return f"{spread.mean:.0f} {figure.unit}/s"


def _find_sentences(measurement: Measurement) -> Iterator[str]:
    yield from (finding.sentence for finding in judge_cache(measurement))
    unsteady = [
        f"{result.profile} {result.mode}"
        for result in measurement.results
        if result.runs and spread_of(result, lambda run: run.bandwidth).is_unsteady
    ]
    if unsteady:
        yield (
            f"The runs of {', '.join(unsteady)} differ by more than {UNSTEADY * _PERCENT:.0f}%: "
            "their mean is no basis for a comparison. Measure longer (--runtime), on a quiet host."
        )


def _warn(measurement: Measurement) -> Iterator[str]:
    yield from (f"Warning: {warning}" for warning in measurement.warnings)


def render_list(measurements: Sequence[Measurement], page: Page) -> str:
    """Return a line for each measurement."""
    rows = [
        (
            measurement.id,
            measurement.taken_at,
            escape(_show_place(measurement.environment)),
            measurement.label or NONE,
            escape(_summarise(measurement)),
        )
        for measurement in measurements
    ]
    return "\n".join(lay_columns([LIST_HEADS, *rows], page)) + "\n"


def _show_place(environment: Environment) -> str:
    place = environment.pool or environment.storage or ""
    if environment.machine is None:
        return place or environment.host
    return (
        f"{environment.machine}: {describe_setup(environment)}"
        if environment.disk
        else (f"{environment.machine}{f': {place}' if place else ''}")
    )


def _summarise(measurement: Measurement) -> str:
    """Return the first direct random read or what else is first: `rand_read direct 12.3k IOPS`."""
    result = find_headline(measurement.results)
    if result is not None:
        return say_headline(result)
    return count(len(measurement.figures), "figure")


def find_headline(results: Sequence[DiskResult]) -> Optional[DiskResult]:
    """Return the result that says most about a disk in one number."""
    measured = [result for result in results if result.runs]
    by_worth = sorted(
        measured, key=lambda result: (not result.direct, result.profile != "rand_read")
    )
    return by_worth[0] if by_worth else None


def say_headline(result: DiskResult) -> str:
    """Return a result in one number."""
    name = f"{result.profile} {result.mode}"
    if result.counts_operations:
        return f"{name} {show_operations(spread_of(result, lambda run: run.iops).mean)} IOPS"
    return f"{name} {format_roughly(round(spread_of(result, lambda run: run.bandwidth).mean))}/s"
