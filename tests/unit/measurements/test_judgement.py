"""What is noise, and what the page cache did."""

from __future__ import annotations

from typing import Any, Optional, Sequence

import pytest

from reconciler.core.frozen import replace
from reconciler.core.measurements.judgement import (
    CacheFinding,
    Spread,
    compare_spreads,
    judge_cache,
    spread_of,
)
from reconciler.core.measurements.values import DiskResult
from tests.unit.measurements.samples import (
    GIB,
    HOST,
    MIB,
    make_measurement,
    make_result,
    make_run,
)


def test_a_spread_has_the_mean_and_how_far_apart_the_runs_are() -> None:
    result = make_result([make_run(100), make_run(140)], direct=True)
    spread = spread_of(result, lambda run: run.bandwidth)
    assert spread == Spread(120.0, 100, 140, 2)
    assert spread.share == pytest.approx(1 / 3)
    assert spread.is_unsteady


def test_runs_without_a_speed_have_no_spread() -> None:
    assert Spread.from_values([0, 0]).share == 0


@pytest.mark.parametrize(
    ("before", "after", "change", "is_noise"),
    [
        ((100, 102), (200, 204), 1.0, False),
        ((100, 102), (103, 105), 0.03, True),  # less than any two runs differ by
        ((100, 140), (130, 170), 0.25, True),  # the runs overlap
        ((100, 180), (190, 200), 0.39, True),  # the runs of one differ by more
        ((100,), (103,), 0.03, True),
        ((100,), (200,), 1.0, False),
        ((200, 204), (100, 102), -0.5, False),
    ],
)
def test_a_difference_counts_only_beyond_that_of_the_runs(
    before: Sequence[float], after: Sequence[float], change: float, is_noise: bool
) -> None:
    difference = compare_spreads(Spread.from_values(before), Spread.from_values(after))
    assert difference.is_noise is is_noise
    assert difference.change == pytest.approx(change, abs=0.01)


def judge(buffered: DiskResult, direct: Optional[DiskResult], **environment: Any) -> CacheFinding:
    """Return the finding on the buffered result."""
    results = (buffered,) if direct is None else (direct, buffered)
    place = replace(HOST, **environment)
    (finding,) = judge_cache(make_measurement(*results, environment=place))
    return finding


DIRECT = make_result([make_run(100 * MIB, from_storage=100 * MIB)], direct=True)


def test_reads_that_the_storage_never_saw_were_only_memory() -> None:
    buffered = make_result([make_run(2000 * MIB, from_storage=8 * MIB)], direct=False)
    assert judge(buffered, DIRECT) == CacheFinding(
        "rand_read",
        "rand_read: 2.0GiB/s through the page cache, 100.0MiB/s direct (20.0 times the direct "
        "speed). The file has 1.0GiB, the memory 16.0GiB: all of it fits into the cache. "
        "This was only memory: it says nothing about the disk.",
        only_memory=True,
    )


def test_reads_that_came_from_the_storage_were_not_only_memory_however_fast() -> None:
    buffered = make_result([make_run(500 * MIB, from_storage=400 * MIB)], direct=False)
    finding = judge(buffered, DIRECT)
    assert not finding.only_memory
    assert "only memory" not in finding.sentence


def test_reads_are_judged_by_speed_where_the_kernel_counts_nothing() -> None:
    direct = make_result([make_run(100 * MIB, from_storage=0)], direct=True)
    fast = make_result([make_run(2000 * MIB, from_storage=0)], direct=False)
    slow = make_result([make_run(110 * MIB, from_storage=0)], direct=False)
    assert judge(fast, direct).only_memory
    assert not judge(slow, direct).only_memory


def make_write(bandwidth: int, *, direct: bool) -> DiskResult:
    """Return a result that wrote."""
    return make_result([make_run(bandwidth, writes=True)], direct=direct, profile="rand_write")


def test_writes_are_judged_by_speed_and_by_what_fits_into_memory() -> None:
    direct, buffered = make_write(100 * MIB, direct=True), make_write(900 * MIB, direct=False)
    assert judge(buffered, direct).only_memory
    assert not judge(buffered, direct, memory=GIB // 2).only_memory
    assert "not all of it fits" in judge(buffered, direct, memory=GIB // 2).sentence
    assert not judge(make_write(120 * MIB, direct=False), direct).only_memory


def test_without_a_direct_run_nothing_is_claimed() -> None:
    finding = judge(make_write(900 * MIB, direct=False), None)
    assert finding.sentence.startswith("rand_write: 900.0MiB/s through the page cache. ")
    assert not finding.only_memory


def test_unknown_memory_is_said_to_be_unknown() -> None:
    direct, buffered = make_write(100 * MIB, direct=True), make_write(900 * MIB, direct=False)
    finding = judge(buffered, direct, memory=None)
    assert "how much memory there is is unknown" in finding.sentence
    assert not finding.only_memory


def test_a_file_system_in_memory_is_only_memory_in_whatever_way() -> None:
    environment = replace(HOST, filesystem="tmpfs")
    found = judge_cache(make_measurement(DIRECT, environment=environment))
    assert found == (
        CacheFinding(
            "rand_read",
            "rand_read, direct: the file system is tmpfs, so this was only memory; it says "
            "nothing about a disk.",
            only_memory=True,
        ),
    )


def test_a_direct_result_of_another_depth_is_not_compared_with() -> None:
    other = replace(DIRECT, depth=16)
    buffered = make_result([make_run(2000 * MIB)], direct=False)
    assert "direct" not in judge(buffered, other).sentence


def test_hdparm_reads_from_memory_with_one_option_and_from_the_device_with_the_other() -> None:
    run = make_run(2000 * MIB)
    cached = make_result([run], direct=False, profile="cache_read", size=0)
    device = make_result([run], direct=False, profile="device_read", size=0)
    (finding,) = judge_cache(make_measurement(cached, device))
    assert (finding.profile, finding.only_memory) == ("cache_read", True)
