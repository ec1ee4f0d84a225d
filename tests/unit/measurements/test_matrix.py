"""Matrices: which combinations there are, what their numbers say, and the machine that is made."""

from __future__ import annotations

import json
from typing import Mapping, Optional, Sequence

import pytest

from reconciler.adapters.manifests.reader import load_files
from reconciler.cli import bench_arguments
from reconciler.core.frozen import replace
from reconciler.core.machine import Power
from reconciler.core.manifest import MachineManifest
from reconciler.core.manifest_files import ManifestFile
from reconciler.core.measurements import matrix
from reconciler.core.measurements.matrix import Combination, judge_matrix, list_combinations
from reconciler.core.measurements.values import Measurement
from reconciler.core.render.measurement_matrix import render_matrix
from reconciler.core.render.text import Page, Style
from reconciler.errors import RefusedError, UsageError
from reconciler.kinds.machine.matrix_machine import (
    MATRIX,
    arrange,
    choose_disk,
    find_machine,
    make_throwaway,
    write_plain,
)
from tests.unit.measurements.samples import HOST, MIB, make_measurement, make_result, make_run

OFFERED = ("usb", "sata", "virtio")
PLAIN = Page(Style(unicode=False), 0)


def test_each_bus_cache_and_io_mode_is_combined_but_what_cannot_be() -> None:
    found = list_combinations(OFFERED)
    assert len(found) == 3 * (2 * 3 + 3 * 2)
    assert found[0] == Combination("virtio", "none", "native")
    uncached = {each.cache for each in found if each.io == "native"}
    assert uncached == {"none", "directsync"}


def test_only_what_is_chosen_is_combined() -> None:
    found = list_combinations(OFFERED, ["sata"], ["writeback", "none"], ["threads"])
    assert [each.label for each in found] == ["sata-none-threads", "sata-writeback-threads"]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ((["ide"], [], []), "--bus ide: this host does not offer it for the machine type; it has: virtio, sata, usb"),
        (([], ["unsafe"], ["native"]), "--io native needs --cache none"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(chosen: Sequence[Sequence[str]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        list_combinations(OFFERED, *chosen)


def test_the_grammar_has_the_same_words() -> None:
    assert (matrix.BUSES, matrix.CACHES, matrix.IO_MODES) == (
        bench_arguments.BUSES,
        bench_arguments.CACHES,
        bench_arguments.IO_MODES,
    )


def make_combination(
    combination: Combination, bandwidths: Sequence[int], warning: Optional[str] = None
) -> Measurement:
    """Return what was measured on a combination."""
    results = [make_result([make_run(each) for each in bandwidths], direct=True)]
    found = make_measurement(*(results if bandwidths else ()))
    environment = replace(HOST, machine="bench01", disk=combination.make_setup("root"))
    return replace(
        found,
        environment=environment,
        label=combination.label,
        group="matrix-1",
        warnings=(warning,) if warning else (),
    )


def render(measured: Mapping[Combination, Sequence[int]]) -> str:
    """Return the text of a matrix of these bandwidths."""
    found = [make_combination(each, values) for each, values in measured.items()]
    return render_matrix(judge_matrix(found), PLAIN)


VIRTIO, THREADS = Combination("virtio", "none", "native"), Combination("virtio", "none", "threads")
SATA = Combination("sata", "none", "threads")


def test_the_table_ends_with_what_is_noise_and_what_differs() -> None:
    text = render(
        {
            VIRTIO: (100 * MIB, 104 * MIB),
            THREADS: (98 * MIB, 101 * MIB),
            SATA: (50 * MIB, 52 * MIB),
        }
    )
    lines = [line.split() for line in text.splitlines()]
    assert ["virtio", "none", "native", "26.1k", "best"] in lines
    assert ["virtio", "none", "threads", "25.5k", "noise"] in lines
    assert ["sata", "none", "threads", "13.1k", "-50%"] in lines
    assert (
        "rand_read direct: virtio-none-native is the fastest; no difference to "
        "virtio-none-threads; 1 combination slower, sata-none-threads most of all (-50%)." in text
    )
    assert (
        "By bus, as a share of the best of each column, on average: virtio 99%, sata 50%." in text
    )


def test_no_difference_is_said_to_be_none() -> None:
    text = render({VIRTIO: (100 * MIB, 104 * MIB), THREADS: (98 * MIB, 101 * MIB)})
    assert "rand_read direct: no difference beyond noise." in text


def test_a_combination_that_failed_is_in_the_table_with_its_reason() -> None:
    found = [
        make_combination(VIRTIO, (), "QEMU refused it"),
        make_combination(SATA, (50 * MIB, 52 * MIB)),
    ]
    text = render_matrix(judge_matrix(found), PLAIN)
    assert ["virtio", "none", "native", "-"] in [line.split() for line in text.splitlines()]
    assert "Not measured: virtio, cache=none, io=native: QEMU refused it" in text
    assert "only sata-none-threads was measured" in text


def test_a_table_that_is_wider_than_the_terminal_is_continued_below() -> None:
    results = [
        make_result([make_run(MIB)], direct=direct, profile=name)
        for name in ("rand_read", "rand_write", "rand_rw")
        for direct in (True, False)
    ]
    measured = replace(make_combination(VIRTIO, (MIB,)), results=tuple(results))
    text = render_matrix(judge_matrix([measured]), Page(Style(unicode=False), 70))
    table = [line for line in text.splitlines() if line.startswith(("BUS", "virtio "))]
    assert len(table) > 2
    assert all(len(line) <= 70 for line in table)


def load(text: str) -> MachineManifest:
    """Return the machine of a manifest."""
    loaded = load_files([ManifestFile("m.yaml", text.encode())])
    assert not loaded.problems
    found = find_machine(loaded.desired, "bench01")
    assert found is not None
    return found


def test_the_machine_is_marked_and_deleted_with_its_disks() -> None:
    made = make_throwaway(load(write_plain("bench01", None, "/images/base.qcow2")), "matrix-1")
    spec = json.loads(made.spec)
    assert spec[MATRIX] == "matrix-1"
    assert spec["lifecycle"] == {"deletion": "deleteDisks", "forceOff": True}
    assert made.machine.power is Power.STOPPED
    arranged = arrange(made, "root", SATA, Power.RUNNING)
    [disk] = arranged.machine.disks or ()
    assert (disk.bus, disk.cache, disk.io) == ("sata", "none", "threads")
    assert arranged.machine.power is Power.RUNNING


MACHINE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: bench01}}
spec: {{cpus: 1, memory: 1GiB, {more}}}
"""
BLANK = "disks: [{name: data, size: 1GiB}]"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("disks: [{name: data, source: {path: /dev/sdb}}]", "an image that is there already"),
        ("disks: [{name: d, source: {pool: a, volume: b}}]", "an image that is there already"),
        (f"guestAgent: false, {BLANK}", "set guestAgent: true"),
        (f"os: win2k22, {BLANK}", "runs Windows"),
    ],
)
def test_a_machine_that_cannot_be_thrown_away_or_measured_is_refused(more: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        make_throwaway(load(MACHINE.format(more=more)), "matrix-1")


def test_a_disk_that_the_machine_has_not_is_refused_with_those_it_has() -> None:
    manifest = load(MACHINE.format(more=BLANK))
    assert choose_disk(manifest, None).name == "data"
    with pytest.raises(UsageError, match="--disk root: the machine has no such disk; it has: data"):
        choose_disk(manifest, "root")
