"""Fixtures of the tests on real libvirt: one private host for all, cleared after each test."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Iterator

import pytest

from reconciler.adapters.libvirt.host import LibvirtHost, connect
from tests.lab.guest import boot_overlays
from tests.lab.host import LabHost, temporary_host
from tests.lab.surroundings import hide_machine, remains, short_folder
from tests.real.booting import Bench
from tests.real.commands import Command
from tests.real.looping import Looping
from tests.real.worlds import Now, Product

LIMIT = 30  # seconds until what was ended is gone
# Beside `default`, so that an interface has somewhere else to go.
OTHER = "<network><name>other</name><bridge name='virbr7'/></network>"


@pytest.fixture(scope="session", autouse=True)
def surroundings() -> Iterator[None]:
    """Hide the machine's own libvirt and settings, and check that tests leave nothing behind."""
    hide_machine()
    yield
    deadline = time.monotonic() + LIMIT
    while remains() and time.monotonic() < deadline:  # the kernel ends some of it a moment later
        time.sleep(0.1)
    assert not remains()


@pytest.fixture(scope="session")
def lab() -> Iterator[LabHost]:
    """Return the host, started once, with a second pool `xfs` that shares blocks."""
    host = LabHost(short_folder())
    host.add_xfs_pool("xfs")
    with host:
        host.virsh("pool-define-as", "xfs", "dir", "--target", str(host.folder / "xfs"))
        host.virsh("pool-start", "xfs")
        network = host.folder / "other.xml"
        network.write_text(OTHER, encoding="ascii")
        host.virsh("net-create", str(network))
        yield host
    shutil.rmtree(host.folder)


@pytest.fixture(scope="session")
def lab_host(lab: LabHost) -> LibvirtHost:
    """Return the product's connections to the host."""
    return connect(lab.uri())


@pytest.fixture(scope="session")
def media(lab: LabHost) -> str:
    """Return a folder, in no pool, with two media and two disks of different size."""
    folder = lab.folder / "media"
    folder.mkdir()
    for name, size in (("one.iso", 2), ("two.iso", 4), ("one.img", 1024), ("two.img", 2048)):
        (folder / name).write_bytes(b"CD" * 1024 * size)
    return str(folder)


@pytest.fixture
def bench(product: Product, lab: LabHost, media: str) -> Bench:
    """Return a bench for one guest."""
    return Bench(product, lab.uri(), boot_overlays(), media)


@pytest.fixture
def product(
    request: pytest.FixtureRequest, lab: LabHost, lab_host: LibvirtHost
) -> Iterator[Product]:
    """Return the product on that host, with nothing there before and after."""
    is_dated = request.node.get_closest_marker("dated") is not None
    product = Product(connect(lab.uri(), locks=Now()) if is_dated else lab_host)
    product.clear()
    yield product
    product.clear()


@pytest.fixture
def command(product: Product, lab: LabHost, tmp_path: Path) -> Iterator[Command]:
    """Return the command beside an empty folder `m`, on a host without anything on it."""
    (tmp_path / "m").mkdir()
    yield Command(lab.uri(), tmp_path)
    product.clear()


@pytest.fixture(scope="module")
def own_host() -> Iterator[LabHost]:
    """Return a host whose daemon may be killed."""
    with temporary_host(kvm=False) as host:
        yield host


@pytest.fixture
def looping(own_host: LabHost) -> Iterator[Looping]:
    """Return a loop on an empty host."""
    looping = Looping(own_host).start()
    yield looping
    looping.stop()
    for name in own_host.virsh("list", "--all", "--name").stdout.split():
        own_host.virsh("destroy", name, check=False)
        own_host.virsh("undefine", name)
    for name in own_host.virsh("vol-list", "default").stdout.split()[::2]:
        own_host.virsh("vol-delete", name, "default")
