"""What validate and plan say of Windows guests and of the drivers that are at hand."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

import pytest

from reconciler.core.frozen import replace
from reconciler.core.machine import Disk, Machine, Power
from reconciler.core.manifest import Desired, HostManifest, MachineManifest, Place
from reconciler.core.plan import Action, ActionKind, Define, PlanOptions
from reconciler.core.virtio_win import FOLDER, NETWORK_DRIVER, DriverMedia
from reconciler.core.world import World
from reconciler.kinds.host.planning import build_host
from reconciler.kinds.machine.checks import check_machine
from reconciler.kinds.machine.document import build_machine
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.machine.planning.windows_guests import find_drivers, settle_installation
from reconciler.kinds.machine.row import ROW
from tests.unit.memory_host import MemoryHost
from tests.unit.planning.worlds import GIB, domain, manifest_of, plan
from tests.unit.windows.media import make_medium

PLACE = Place("vm.yaml", 1, 1)
BAD, GOOD = make_medium("0.1.266"), make_medium("0.1.248")  # for Windows Server 2016


def build(os: str, **spec: Any) -> Tuple[MachineManifest, Mapping[str, Any]]:
    """Return a manifest and its document."""
    whole = {"os": os, "cpus": 2, "memory": "4GiB", **spec}
    data = {"metadata": {"name": "vm"}, "spec": whole}
    return build_machine(data, PLACE), data


def refuse(os: str, **spec: Any) -> List[str]:
    """Return what validate refuses."""
    manifest, data = build(os, **spec)
    return [
        f"{'.'.join(map(str, one.path))}: {one.message}" for one in check_machine(manifest, data)
    ]


def warn(os: str, **spec: Any) -> List[str]:
    """Return what validate warns of."""
    return list(ROW.find_warnings(build(os, **spec)[0]))


@pytest.mark.parametrize("os", ["winxp", "win2k3", "win2k3r2"])
@pytest.mark.parametrize("firmware", ["uefi", "uefi-secure"])
def test_uefi_is_refused_for_what_boots_from_bios_only(os: str, firmware: str) -> None:
    (message,) = refuse(os, firmware=firmware)
    assert message.startswith("spec.firmware: Windows ")
    assert "it boots from BIOS only; set firmware: bios (https://" in message


@pytest.mark.parametrize("os", ["winvista", "win2k8", "win7", "win2k8r2"])
def test_secure_boot_is_refused_for_what_has_none(os: str) -> None:
    (message,) = refuse(os, firmware="uefi-secure")
    assert "it has no Secure Boot; set firmware: bios (https://" in message
    assert refuse(os, firmware="uefi") == []


@pytest.mark.parametrize("os", ["win2k12r2", "win10", "win2k16", "win11", "win2k25", "rocky9"])
@pytest.mark.parametrize("firmware", ["bios", "uefi", "uefi-secure"])
def test_nothing_else_is_refused(os: str, firmware: str) -> None:
    assert refuse(os, firmware=firmware) == []


def test_an_old_windows_on_q35_is_warned_of() -> None:
    (warning,) = warn("winxp", disks=[{"name": "root", "bus": "ide", "size": "20GiB"}])
    assert warning.startswith(
        "spec.machine: Windows XP: it has no driver for SATA (AHCI) of its own, and q35 has no IDE "
    )
    assert (
        "set machine: pc and bus: ide. Rocky and RHEL 9 have it as pc-i440fx-rhel7.6.0" in warning
    )
    assert warn("winxp", machine="pc") == []
    assert warn("win2k8r2", machine="q35") == []


def test_windows_7_on_uefi_needs_a_certain_video() -> None:
    (warning,) = warn("win2k8r2", firmware="uefi", video="bochs")
    assert "boots from UEFI with limits: only with video: vga or qxl" in warning
    assert warn("win2k8r2", firmware="uefi", video="vga") == []


def test_windows_11_needs_uefi_and_a_tpm() -> None:
    (warning,) = warn("win11", firmware="bios")
    assert "Windows 11 needs UEFI" in warning
    (warning,) = warn("win11", tpm=False)
    assert "Windows 11: its setup requires a TPM; set tpm: true (https://" in warning
    assert warn("win10", firmware="bios", tpm=False) == []


def test_xp_on_scsi_and_98_on_virtio_are_warned_of() -> None:
    disks = [{"name": "root", "bus": "scsi", "size": "20GiB"}]
    (warning,) = warn("winxp", machine="pc", disks=disks)
    assert warning.startswith("spec.disks[root].bus: no virtio-win has the driver vioscsi for")
    disks[0]["bus"] = "virtio"
    (warning,) = warn("win98", disks=disks)
    assert "win98: virtio-win has no drivers for it; use ide and rtl8139 (https://" in warning


def test_an_iso_in_the_manifest_that_cannot_work_is_warned_of() -> None:
    cdroms = [{"name": "drivers", "media": "/isos/virtio-win-0.1.190.iso"}]
    (warning,) = warn("win2k8r2", cdroms=cdroms)
    assert warning.startswith("spec.cdroms: /isos/virtio-win-0.1.190.iso does not suit Windows Se")
    assert "take virtio-win 0.1.173: download https://fedorapeople.org/" in warning


class DriversHost(MemoryHost):
    """A host with virtio-win media; `asked` are the places that were looked at."""

    def __init__(self, found: Mapping[str, DriverMedia]) -> None:
        super().__init__()
        self.found, self.asked = found, []  # type: Mapping[str, DriverMedia], List[str]
        self.storage.find_driver_media = self.look  # type: ignore[method-assign]

    def look(self, place: str) -> DriverMedia:
        """Note the place."""
        self.asked.append(place)
        return self.found.get(place, DriverMedia())


def create(host: MemoryHost, os: str = "win2k16", host_spec: Any = None, **spec: Any) -> Action:
    """Plan a machine that is not there."""
    disks = [{"name": "root", "bus": "virtio", "size": "60GiB"}]
    manifest, _ = build(os, **{"disks": disks, "interfaces": [], **spec})
    hosts: List[HostManifest] = []
    if host_spec is not None:
        data = {"metadata": {"name": "h"}, "spec": {"selector": [host.domains.host], **host_spec}}
        hosts = [build_host(data, PLACE)]
    found = observe(host, Desired.of(manifest, *hosts)).plan(PlanOptions())
    return next(action for action in found.actions if action.name == "vm")


def test_a_new_windows_is_not_installed_with_drivers_that_it_refuses() -> None:
    action = create(DriversHost({"": DriverMedia((BAD,))}))
    assert action.action is ActionKind.FAILED
    assert action.steps == ()
    assert action.reason.startswith(
        f"disks[root].bus: {FOLDER}/virtio-win-0.1.266.iso (virtio-win 0.1.266) does not suit "
        "Windows Server 2016: Windows refuses the drivers as incompatible (https://"
    )
    assert "take virtio-win 0.1.248: download https://fedorapeople.org/" in action.reason


def test_it_is_installed_with_those_that_suit_and_the_plan_says_which() -> None:
    action = create(DriversHost({"": DriverMedia((BAD, GOOD))}))
    assert action.action is ActionKind.CREATE
    assert action.notes[0] == (
        "disks[root].bus: the setup of Windows needs the driver of virtio: "
        f"viostor/2k16/amd64/viostor.inf on {FOLDER}/virtio-win-0.1.248.iso (virtio-win 0.1.248)"
    )


def test_the_host_names_its_media_itself() -> None:
    host = DriversHost({"isos/v.iso": DriverMedia((GOOD,)), "": DriverMedia((BAD,))})
    action = create(host, host_spec={"virtioWin": "isos/v.iso"})
    assert action.action is ActionKind.CREATE
    assert host.asked == ["isos/v.iso"]
    host = DriversHost({"": DriverMedia((BAD,))})
    other = create(host, host_spec={"virtioWin": "isos/v.iso", "selector": ["elsewhere"]})
    assert other.action is ActionKind.FAILED


def test_an_iso_of_its_own_drive_counts_too() -> None:
    own = "/srv/virtio-win-0.1.248.iso"
    host = DriversHost({own: DriverMedia((GOOD,)), "": DriverMedia((BAD,))})
    action = create(host, cdroms=[{"name": "drivers", "media": own}])
    assert action.action is ActionKind.CREATE
    assert sorted(host.asked) == ["", own]


def test_without_media_the_plan_says_which_to_take() -> None:
    action = create(DriversHost({}))
    assert action.action is ActionKind.CREATE
    assert "no virtio-win is on this host; take virtio-win 0.1.248" in action.notes[0]


def test_what_is_not_seen_is_not_called_absent() -> None:
    action = create(DriversHost({"": DriverMedia(unseen=("isos cannot be read",))}))
    assert action.action is ActionKind.CREATE
    assert action.notes == (
        "disks[root].bus: the setup of Windows needs the driver of virtio; whether this host has "
        "virtio-win is not known",
        "not seen: isos cannot be read",
    )


def test_a_wrong_virtio_win_of_the_host_is_named() -> None:
    seen = DriverMedia(unseen=("/srv/v.iso does not exist on this host",), place="/srv/v.iso")
    action = create(DriversHost({"/srv/v.iso": seen}), host_spec={"virtioWin": "/srv/v.iso"})
    assert action.notes[1] == (
        "not seen: spec.virtioWin of the Host: /srv/v.iso does not exist on this host"
    )


def test_a_windows_that_no_virtio_win_is_for_may_have_drivers_of_its_own() -> None:
    action = create(DriversHost({}), "win98")
    assert action.action is ActionKind.CREATE
    assert any("win98: virtio-win has no drivers for it" in note for note in action.notes)


@pytest.mark.parametrize(
    ("os", "disk"),
    [
        ("rocky9", {"bus": "virtio", "size": "60GiB"}),
        ("win2k16", {"bus": "sata", "size": "60GiB"}),
        ("win2k16", {"size": "60GiB"}),
        ("win2k16", {"bus": "virtio", "source": {"path": "/dev/vg/has-its-drivers"}}),
    ],
)
def test_nobody_looks_for_drivers_that_are_not_needed(os: str, disk: Dict[str, Any]) -> None:
    host = DriversHost({"": DriverMedia((BAD,))})
    create(host, os, disks=[{"name": "root", **disk}])
    assert host.asked == []


def test_a_lost_machine_that_comes_back_on_its_own_disk_needs_no_drivers() -> None:
    disk = Disk("root", bus="virtio", size=GIB)
    manifest = manifest_of(Machine("vm", os="win2k16", disks=(disk,)))
    again = Action("VirtualMachine", "vm", ActionKind.CREATE, steps=(Define("<domain/>"),))
    nothing_read = World("h", "u", known=frozenset())
    assert settle_installation(again, manifest, nothing_read) == again


def test_what_an_old_windows_cannot_do_is_said_before_it_is_created() -> None:
    action = create(DriversHost({}), "winxp", disks=[{"name": "root", "size": "20GiB"}])
    assert any("set machine: pc and bus: ide" in note for note in action.notes)


def test_the_driver_of_a_network_card_is_found_too_and_folders_are_no_media_for_drives() -> None:
    folder = replace(GOOD, is_folder=True, path=FOLDER)
    manifest, _ = build("win2k16")
    world = World("h", "u", driver_media={"": DriverMedia((folder,))})
    choice = find_drivers(manifest, world, NETWORK_DRIVER, "x86_64")
    assert choice.driver is not None
    assert choice.driver.path == "NetKVM/2k16/amd64/netkvm.inf"
    assert find_drivers(manifest, world, NETWORK_DRIVER, only_isos=True).medium is None


SATA = (
    "<controller type='sata' index='0'/><disk type='file' device='disk'><driver name='qemu' "
    "type='qcow2'/><source file='/img/vm.qcow2'/><target dev='sda' bus='sata'/>"
    "<alias name='ua-root'/></disk>"
)


def move(*media: Any, bus: str = "virtio", os: str = "win2k16", **machine: Any) -> Action:
    """Plan the change of a disk's bus."""
    disk = Disk("root", bus=bus, source="/img/vm.qcow2", format="qcow2", alias="ua-root")
    wanted = Machine("vm", os=os, disks=(disk,), power=Power.STOPPED, **machine)
    sizes = {"/img/vm.qcow2": GIB}
    return plan(domain(SATA), wanted, sizes=sizes, driver_media={"": DriverMedia(tuple(media))})


def test_a_bus_change_without_a_suitable_driver_is_withheld_with_the_one_to_take() -> None:
    action = move(BAD)
    (change,) = [change for change in action.changes if change.path == "disks[root].bus"]
    assert change.effect.value == "withheld"
    assert "does not suit Windows Server 2016" in change.reason
    assert "take virtio-win 0.1.248" in change.reason


def test_a_bus_change_to_where_windows_has_a_driver_asks_for_none() -> None:
    action = move(BAD, bus="ide")
    assert all("virtio-win" not in change.reason for change in action.changes)


def test_a_bus_change_with_secure_boot_needs_drivers_that_microsoft_signed() -> None:
    old = make_medium("0.1.171")
    assert "with Secure Boot: not signed by Microsoft" in str(
        move(old, os="win2k19", firmware="uefi-secure").changes
    )
    assert "with Secure Boot" not in str(move(old, os="win2k19").changes)
