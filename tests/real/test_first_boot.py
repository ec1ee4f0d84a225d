"""The seed of cloud-init's on real libvirt: what the guest reads of it, and that it goes."""

from __future__ import annotations

import base64
import io
import os
import stat
import time
from dataclasses import replace
from typing import Any, Dict, Optional

import pycdlib
import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.libvirt.host import connect
from reconciler.control.ports import NoLocks
from reconciler.core.cloud_init import CloudInit, SeedUser
from reconciler.core.machine import Interface, Machine, Power
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.names import SeedMark, Worker
from reconciler.core.plan import Action, ActionKind
from reconciler.core.world import GuestState
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.deletion import plan_deletion
from reconciler.kinds.machine.domain.mark import read_owner
from tests.execution import execute_action
from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.real.booting import Bench
from tests.real.faults import Fault, FaultyHost, Killed, kill
from tests.real.scenarios import BASE
from tests.real.worlds import Product, Silent, manifest_of

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHX0 admin@example.com"
GIVEN = CloudInit(
    hostname="web01.example.com",
    ssh_keys=(KEY,),
    users=(SeedUser("deploy", sudo=True),),
    user_data={"packages": ["nginx"]},
)
LAN = Interface("lan", "default", mac="52:54:00:01:02:03", addresses=("192.0.2.10/24",))
OFF = replace(BASE, power=Power.STOPPED)
CALLS_OF_CREATION = 9  # define, volume, mark, seed, define, autostart … and more than there are
CDROMS = "devices/disk[@device='cdrom']"


class Later(NoLocks):
    """Nobody else is at work, and it is an hour later."""

    @property
    def me(self) -> Worker:  # type: ignore[override]
        """Return this run."""
        return Worker("", "", 1, 1, "", time.time() + 3600)


def with_seed(
    manifest: MachineManifest, cloud_init: Optional[CloudInit] = GIVEN
) -> MachineManifest:
    """Return the manifest with `cloudInit`."""
    return replace(manifest, cloud_init=cloud_init, generation=f"{hash(repr(cloud_init)):x}"[:12])


def off(machine: Machine = OFF, cloud_init: Optional[CloudInit] = GIVEN) -> MachineManifest:
    """Return the manifest of a machine that no test starts."""
    spec = '{"lifecycle": {"deletion": "undefine"}}'
    return replace(with_seed(manifest_of(machine), cloud_init), spec=spec)


def find_mark(product: Product, name: str = BASE.name) -> SeedMark:
    """Return what the mark says of the seed."""
    owner = read_owner(parse(product.xml(name)))
    assert owner is not None
    assert owner.seed is not None
    return owner.seed


def apply(product: Product, manifest: MachineManifest) -> None:
    """Apply, and hold that nothing is left to do then."""
    for outcome in product.apply(manifest):
        assert outcome.error is None
    assert plan(product, manifest).action is ActionKind.NONE


def plan(product: Product, manifest: MachineManifest) -> Action:
    """Return what is planned of the machine."""
    [action] = product.plan(manifest).actions
    return action


def drives(xml: str) -> Any:
    """Return the CD-ROM drives of a domain."""
    return parse(xml).xpath(CDROMS)


def read_drive(guest: Guest) -> Dict[str, str]:
    """Return the files of the medium in the guest's drive, as it reads the drive."""
    content = base64.b64decode(guest.exec("base64", "/dev/sr0"))
    image = pycdlib.PyCdlib()
    image.open_fp(io.BytesIO(content))
    assert image.pvd.volume_identifier.strip() == b"cidata"
    files = {}
    for child in image.list_children(joliet_path="/"):
        if child.is_file():
            name = child.file_identifier().decode("utf-16_be")
            text = io.BytesIO()
            image.get_file_from_iso_fp(text, joliet_path=f"/{name}")
            files[name] = text.getvalue().decode()
    image.close()
    return files


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_a_guest_reads_its_seed_and_loses_it_after_the_first_boot(
    bench: Bench, machine: str
) -> None:
    product = bench.product
    manifest = with_seed(bench.manifest(replace(BASE, machine=machine, interfaces=(LAN,))))
    guest = bench.boot(manifest)
    mark = find_mark(product)

    files = read_drive(guest)
    assert sorted(files) == ["meta-data", "network-config", "user-data", "vendor-data"]
    assert files["user-data"].startswith("#cloud-config\n")
    assert KEY in files["user-data"]
    assert "nginx" in files["user-data"]
    assert mark.instance in files["meta-data"]
    assert '"local-hostname": "web01.example.com"' in files["meta-data"]
    assert '"manual_cache_clean": true' in files["vendor-data"]
    assert '"192.0.2.10/24"' in files["network-config"]
    [drive] = drives(product.xml(BASE.name))
    assert drive.find("target").get("bus") == "scsi"
    assert stat.S_IMODE(os.stat(mark.path).st_mode) & 0o077 == 0

    assert plan(product, manifest).action is ActionKind.NONE
    boot_id = guest.boot_id()
    guest.exec("mkdir", "-p", f"/var/lib/cloud/instances/{mark.instance}")
    assert plan(product, manifest).action is ActionKind.NONE
    guest.exec("touch", f"/var/lib/cloud/instances/{mark.instance}/boot-finished")
    [change] = plan(product, manifest).changes
    assert (change.path, change.effect.value) == ("cloudInit", "live")

    apply(product, manifest)
    assert not os.path.exists(mark.path)
    assert drives(product.xml(BASE.name)) == []
    [drive] = drives(product.live_xml(BASE.name))
    assert drive.xpath("source/@file") == []
    assert guest.boot_id() == boot_id, "the guest was restarted"
    assert guest.media_size() == 0

    bench.cold_start(manifest)
    assert drives(product.live_xml(BASE.name)) == []


def test_a_guest_starts_without_its_seed_and_the_drive_goes_after_a_time(
    bench: Bench, lab: LabHost
) -> None:
    product = bench.product
    manifest = with_seed(bench.manifest(OFF))
    apply(product, manifest)
    mark = find_mark(product)
    os.unlink(mark.path)
    running = with_seed(bench.manifest(BASE))
    guest = bench.boot(running)
    assert guest.media_size() == 0
    assert plan(product, running).action is ActionKind.NONE

    later = Product(connect(lab.uri(), locks=Later()))
    [change] = plan(later, running).changes
    assert (change.path, change.effect.value) == ("cloudInit", "live")
    apply(later, running)
    assert drives(product.xml(BASE.name)) == []


def test_a_rerun_waits_for_the_next_cold_start(bench: Bench, lab: LabHost) -> None:
    product = bench.product
    manifest = with_seed(bench.manifest(BASE))
    bench.boot(manifest)
    later = Product(connect(lab.uri(), locks=Later()))
    apply(later, manifest)
    former = find_mark(product)
    again = with_seed(bench.manifest(BASE), replace(GIVEN, hostname="other", reruns=True))
    [change] = plan(product, again).changes
    assert (change.path, change.effect.value) == ("cloudInit", "next-boot")
    apply(product, again)
    assert find_mark(product).instance != former.instance

    guest = bench.cold_start(again)
    assert find_mark(product).instance in read_drive(guest)["meta-data"]
    apply(later, again)
    assert drives(product.xml(BASE.name)) == []
    assert not [name for name in product.volumes() if name.endswith(".iso")]


def test_a_changed_seed_of_a_machine_that_was_never_started_is_made_anew(product: Product) -> None:
    apply(product, off())
    former = find_mark(product)
    apply(product, off(cloud_init=replace(GIVEN, hostname="other")))
    mark = find_mark(product)
    assert mark.path != former.path
    assert (os.path.exists(mark.path), os.path.exists(former.path)) == (True, False)
    [drive] = drives(product.xml(BASE.name))
    assert drive.find("source").get("file") == mark.path
    assert drive.find("source").get("startupPolicy") == "optional"


def test_a_deleted_machine_leaves_no_seed(product: Product) -> None:
    apply(product, off())
    path = find_mark(product).path
    action = plan_deletion(product.host, Desired(), BASE.name)
    assert path in [change.reason.partition("deleted: ")[2] for change in action.changes]
    done = execute_action(product.host, Desired(), action, Silent(), SystemClock())
    assert (done.error, os.path.exists(path)) == (None, False)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(CALLS_OF_CREATION))
def test_a_kill_in_the_creation_is_finished(product: Product, step: int, *, after: bool) -> None:
    fault = Fault(step, kill, after=after)
    try:
        product.apply(off(), host=FaultyHost.around(product.host, fault))
    except Killed:
        pass
    else:
        assert fault.calls <= step
    apply(product, off())
    assert product.volumes() == {"guest-root.qcow2", "guest-seed.iso"}
    assert len(drives(product.xml(BASE.name))) == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(6))
def test_a_kill_in_an_exchange_of_the_seed_is_finished(
    product: Product, step: int, *, after: bool
) -> None:
    apply(product, off())
    changed = off(cloud_init=replace(GIVEN, hostname="other"))
    fault = Fault(step, kill, after=after)
    try:
        product.apply(changed, host=FaultyHost.around(product.host, fault))
    except Killed:
        pass
    else:
        assert fault.calls <= step
    apply(product, changed)
    assert product.volumes() == {"guest-root.qcow2", "guest-seed-2.iso"}
    assert len(drives(product.xml(BASE.name))) == 1


def test_the_guest_is_off_and_the_seed_goes(product: Product, lab: LabHost) -> None:
    """The guest is started once, not by us, and shut down before anybody looks."""
    unmanaged = replace(OFF, power=None)
    apply(product, off(unmanaged))
    product.host.domains.start(BASE.name)
    apply(product, off(unmanaged))
    product.host.domains.power_off(BASE.name)
    assert product.host.domains.read_domain(BASE.name).state is GuestState.OFF
    later = Product(connect(lab.uri(), locks=Later()))
    assert [change.effect.value for change in plan(later, off(unmanaged)).changes] == ["offline"]
    apply(later, off(unmanaged))
    assert product.volumes() == {"guest-root.qcow2"}
