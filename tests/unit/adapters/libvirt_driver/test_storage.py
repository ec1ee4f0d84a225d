"""Pools and volumes, as far as libvirt's test driver has them; the rest is in tests/real."""

from __future__ import annotations

from dataclasses import replace
from typing import List, Tuple

import pytest

from reconciler.adapters.libvirt.connections import Connections
from reconciler.adapters.libvirt.host import LibvirtHost
from reconciler.core.plan import CreateVolume
from reconciler.core.world import VolumeView
from reconciler.errors import MissingError, NotFoundError, RefusedError, TerminalError

MIB = 2**20
STEP = CreateVolume("root", "files", "vm.qcow2", "qcow2", 8 * MIB)


def quiet(what: str, done: int, total: int) -> None:
    """Tell nobody."""


@pytest.fixture
def template(host: LibvirtHost) -> VolumeView:
    return host.storage.create_volume(replace(STEP, name="template.qcow2"), quiet)


def clone(template: VolumeView, mode: str, **changes: object) -> CreateVolume:
    step = replace(STEP, clone=mode, origin=template.path, origin_format=template.format)
    return replace(step, **changes)  # type: ignore[arg-type]


def test_active_pools_are_listed(host: LibvirtHost) -> None:
    assert host.storage.list_pools() == ("files", "volumes")


def test_a_blank_volume_is_made_and_seen(host: LibvirtHost) -> None:
    volume = host.storage.create_volume(STEP, quiet)
    assert (volume.pool, volume.name, volume.capacity) == ("files", "vm.qcow2", 8 * MIB)
    assert host.storage.read_pool("files").volumes == {"vm.qcow2": volume}


def test_a_full_clone_is_made_and_its_progress_told(
    host: LibvirtHost, template: VolumeView
) -> None:
    told: List[Tuple[str, int, int]] = []
    host.storage.create_volume(clone(template, "full"), lambda *one: told.append(one))
    what, done, total = told[-1]
    assert what == "files/vm.qcow2"
    assert done == total


def test_a_name_that_is_taken_is_refused_and_nothing_touched(
    host: LibvirtHost, template: VolumeView
) -> None:
    before = host.storage.read_pool("files")
    for mode in ("none", "full", "linked", "reflink"):
        step = clone(template, mode, name="template.qcow2")
        with pytest.raises(RefusedError, match=r"files/template\.qcow2 already exists"):
            host.storage.create_volume(step, quiet)
    assert host.storage.read_pool("files") == before


@pytest.mark.parametrize("mode", ["full", "linked", "reflink"])
def test_an_image_is_never_cut_off(host: LibvirtHost, template: VolumeView, mode: str) -> None:
    with pytest.raises(RefusedError, match="never shrunk"):
        host.storage.create_volume(clone(template, mode, capacity=4 * MIB), quiet)
    assert set(host.storage.read_pool("files").volumes) == {"template.qcow2"}


@pytest.mark.parametrize("mode", ["linked", "reflink"])
def test_what_needs_files_is_refused_elsewhere_with_what_to_do(
    host: LibvirtHost, template: VolumeView, mode: str
) -> None:
    step = clone(template, mode, pool="volumes", name="vm")
    with pytest.raises(TerminalError, match=r"dir, fs, netfs.*of type logical.*clone: full"):
        host.storage.create_volume(step, quiet)


def test_an_image_that_is_not_as_planned_is_refused(
    host: LibvirtHost, template: VolumeView
) -> None:
    with pytest.raises(RefusedError, match=r"is qcow2 now, not raw.*plan again"):
        host.storage.create_volume(clone(template, "full", origin_format="raw"), quiet)


def test_an_image_outside_of_all_pools_is_refused_with_what_to_do(host: LibvirtHost) -> None:
    step = replace(STEP, clone="full", origin="/elsewhere/x.qcow2", origin_format="qcow2")
    with pytest.raises(MissingError, match=r"/elsewhere/x\.qcow2 is in no active.*pool-define-as"):
        host.storage.create_volume(step, quiet)


def test_an_unknown_pool_is_not_found(host: LibvirtHost) -> None:
    with pytest.raises(NotFoundError, match="absent"):
        host.storage.read_pool("absent")
    with pytest.raises(NotFoundError, match="absent"):
        host.storage.create_volume(replace(STEP, pool="absent"), quiet)


def test_an_unfinished_volume_is_deleted_and_one_that_is_gone_is_no_error(
    host: LibvirtHost, template: VolumeView
) -> None:
    for _ in range(2):
        host.storage.delete_partial("files", template.name)
    assert host.storage.read_pool("files").volumes == {}


def test_a_volume_is_deleted_at_its_path_only_and_one_that_is_gone_is_no_error(
    host: LibvirtHost, template: VolumeView
) -> None:
    with pytest.raises(RefusedError, match=r"files/template\.qcow2: deleting it: it lies at /no"):
        host.storage.delete_volume("files", template.name, "/elsewhere/template.qcow2")
    assert set(host.storage.read_pool("files").volumes) == {"template.qcow2"}
    for _ in range(2):
        host.storage.delete_volume("files", template.name, template.path)
    assert host.storage.read_pool("files").volumes == {}


def test_a_host_whose_files_are_not_ours_to_see_shares_no_blocks(
    host: LibvirtHost, template: VolumeView, connections: Connections
) -> None:
    assert not connections.is_local
    assert not host.storage.can_reflink(host.storage.read_pool("files"), template.path)


def test_a_clone_that_cannot_be_filled_is_deleted_and_the_error_says_so(
    host: LibvirtHost, template: VolumeView
) -> None:
    with pytest.raises(TerminalError, match=r"cannot reflink.*the unfinished volume was deleted"):
        host.storage.create_volume(clone(template, "reflink"), quiet)
    assert set(host.storage.read_pool("files").volumes) == {"template.qcow2"}
