"""One scenario for each row of the effect table: what changes, and how a guest would notice.

Data only. `seen` looks into the running guest, `stored` at a machine read from XML; both are
compared before and after. A row that the guest cannot see (a cache mode) is judged by its XML.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Callable, Mapping, Optional, Tuple

from reconciler.core.manifest import Lifecycle
from reconciler.core.match import by_name
from reconciler.core.model import (
    Cdrom,
    Cpus,
    Disk,
    Interface,
    Machine,
    Memory,
    Overlay,
    Power,
)
from reconciler.core.plan import Effect
from tests.lab.guest import Guest
from tests.real.worlds import GIB, MIB

MAC = "52:54:00:aa:00:01"
SECOND = "52:54:00:aa:00:02"
CPUS = Cpus(2, 4)

BASE = Machine(
    "guest",
    os="rocky9",
    power=Power.RUNNING,
    autostart=False,
    cpus=CPUS,
    memory=Memory(384 * MIB, 512 * MIB),
    disks=(Disk("root", "virtio", GIB, serial="ROOT"),),
    interfaces=(Interface("lan", network="default", model="virtio", mac=MAC),),
)


@dataclass(frozen=True)
class Scenario:
    """What one row of the table promises, on a running guest.

    `before` and `after` replace fields of the base machine. `read` picks what changes out of a
    machine read from XML, `seen` out of the guest. `packed` boots the kernel as it is packed: one
    that QEMU 7.2 starts unpacked finds no PCI device awake where there is a TPM.
    """

    row: str
    path: str
    effect: Effect
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    read: Callable[[Machine], Any]
    seen: Optional[Callable[[Guest], Any]] = None
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    packed: bool = False

    def machine(self, *, changed: bool) -> Machine:
        """Return the machine before or after the change."""
        machine = replace(BASE, **self.before)
        return replace(machine, **self.after) if changed else machine


def disk(name: str, attribute: str) -> Callable[[Machine], Any]:
    """Read one field of a disk."""
    return lambda machine: getattr(by_name(machine.disks, name), attribute, None)


def cdrom(attribute: str) -> Callable[[Machine], Any]:
    """Read one field of the drive `cd`."""
    return lambda machine: getattr(by_name(machine.cdroms, "cd"), attribute, None)


def interface(name: str, attribute: str) -> Callable[[Machine], Any]:
    """Read one field of an interface."""
    return lambda machine: getattr(by_name(machine.interfaces, name), attribute, None)


def disk_count(guest: Guest) -> int:
    """Count the guest's disks, CD-ROMs left out."""
    return len([one for one in guest.block_devices() if not one.startswith("sr")])


def disk_names(guest: Guest) -> Tuple[str, ...]:
    """Return the guest's names of its disks."""
    return tuple(sorted(one for one in guest.block_devices() if not one.startswith("sr")))


def disk_sizes(guest: Guest) -> Tuple[int, ...]:
    """Return the bytes of the guest's disks."""
    return tuple(
        size for name, size in guest.block_devices().items() if name not in drive_names(guest)
    )


def drive_names(guest: Guest) -> Tuple[str, ...]:
    """Return the guest's names of its CD-ROM drives."""
    return tuple(sorted(one for one in guest.block_devices() if one.startswith("sr")))


ROOT = BASE.disks or ()
LAN = BASE.interfaces or ()


def more(bus: str) -> Mapping[str, Any]:
    """Return the disks with a second one on that bus."""
    return {"disks": (*ROOT, Disk("extra", bus, GIB))}


def drive(bus: str, media: str = "") -> Mapping[str, Any]:
    """Return one CD-ROM drive."""
    return {"cdroms": (Cdrom("cd", bus, media),)}


def changed_root(**fields: Any) -> Mapping[str, Any]:
    """Return the disks with the root disk changed."""
    return {"disks": (replace(ROOT[0], **fields),)}


def changed_lan(**fields: Any) -> Mapping[str, Any]:
    """Return the interfaces with the first one changed."""
    return {"interfaces": (replace(LAN[0], **fields),)}


# libvirt gives each a port, and none is to spare then.
MANY: Mapping[str, Any] = {
    "interfaces": (*LAN, *(Interface(f"n{number}", "other", link="down") for number in range(16)))
}
LIVE, BOOT = Effect.LIVE, Effect.NEXT_BOOT
NO_DRIVE: Mapping[str, Any] = {"cdroms": ()}

SCENARIOS: Tuple[Scenario, ...] = (
    Scenario("autostart", "autostart", LIVE, {}, {"autostart": True}, lambda one: one.autostart),
    Scenario(
        "cpus-plug", "cpus.count", LIVE, {}, {"cpus": replace(CPUS, count=3)},
        lambda one: one.cpus and one.cpus.count, lambda guest: guest.online_cpus(),
    ),
    Scenario(
        "cpus-above", "cpus.count", BOOT, {}, {"cpus": replace(CPUS, count=5, maximum=None)},
        lambda one: one.cpus and one.cpus.count, lambda guest: guest.online_cpus(),
    ),
    Scenario(
        "cpus-below", "cpus.count", BOOT, {}, {"cpus": replace(CPUS, count=1)},
        lambda one: one.cpus and one.cpus.count, lambda guest: guest.online_cpus(),
    ),
    Scenario(
        "cpus-shape", "cpus.maximum", BOOT, {}, {"cpus": replace(CPUS, maximum=6)},
        lambda one: one.cpus and one.cpus.maximum,
    ),
    Scenario(
        "memory-balloon", "memory.size", LIVE, {}, {"memory": Memory(256 * MIB, 512 * MIB)},
        lambda one: one.memory and one.memory.size, lambda guest: guest.memory_kib() // 102400,
    ),
    Scenario(
        "memory-above", "memory.size", BOOT, {}, {"memory": Memory(768 * MIB)},
        lambda one: one.memory and one.memory.size, lambda guest: guest.memory_kib() // 204800,
    ),
    Scenario(
        "memory-maximum", "memory.maximum", BOOT, {}, {"memory": Memory(384 * MIB, 640 * MIB)},
        lambda one: one.memory and one.memory.maximum,
    ),
    Scenario("disk-attach", "disks[extra]", LIVE, {}, more("virtio"), disk("extra", "bus"), disk_names),
    Scenario(
        "disk-attach-scsi", "disks[extra]", LIVE, {}, more("scsi"), disk("extra", "bus"), disk_names
    ),
    Scenario(
        "disk-attach-usb", "disks[extra]", LIVE, {}, more("usb"), disk("extra", "bus"), disk_names
    ),
    Scenario(
        "disk-no-slot", "disks[extra]", BOOT, MANY, more("virtio"), disk("extra", "bus"), disk_names
    ),
    Scenario(
        "cdrom-no-slot", "cdroms[cd]", BOOT, {**MANY, **NO_DRIVE}, drive("scsi", "@one.iso"),
        cdrom("bus"), drive_names,
    ),
    Scenario(
        "interface-no-slot", "interfaces[two]", BOOT, {},
        {"interfaces": (*LAN, Interface("two", "default", model="rtl8139", mac=SECOND))},
        interface("two", "mac"), lambda guest: sorted(guest.interfaces()),
    ),
    Scenario("disk-add", "disks[extra]", BOOT, {}, more("sata"), disk("extra", "bus"), disk_names),
    Scenario(
        "disk-detach", "disks[extra]", LIVE, more("virtio"), {"disks": ROOT}, disk("extra", "bus"),
        disk_names,
    ),
    Scenario(
        "disk-remove", "disks[extra]", BOOT, more("sata"), {"disks": ROOT}, disk("extra", "bus"),
        disk_names,
    ),
    Scenario(
        "disk-bus", "disks[root].bus", BOOT, changed_root(bus="sata"), changed_root(bus="virtio"),
        disk("root", "bus"), disk_names,
    ),
    Scenario(
        "disk-grow", "disks[root].size", LIVE, {}, changed_root(size=2 * GIB), disk("root", "size"),
        lambda guest: sorted(guest.block_devices().values())[-1],
    ),
    Scenario(
        "disk-tuning", "disks[root].cache", BOOT, {}, changed_root(cache="writeback"),
        disk("root", "cache"),
    ),
    Scenario(
        "disk-boot", "disks[root].boot", BOOT, changed_root(boot=1), changed_root(boot=2),
        disk("root", "boot"),
    ),
    Scenario(
        "cdrom-boot", "cdroms[cd].boot", BOOT, {"cdroms": (Cdrom("cd", "sata", boot=1),)},
        {"cdroms": (Cdrom("cd", "sata", boot=2),)}, cdrom("boot"),
    ),
    Scenario(
        "interface-boot", "interfaces[lan].boot", BOOT, changed_lan(boot=1), changed_lan(boot=2),
        interface("lan", "boot"),
    ),
    Scenario(
        "disk-tuning-serial", "disks[root].serial", BOOT, {}, changed_root(serial="OTHER"),
        disk("root", "serial"), lambda guest: guest.exec("cat", "/sys/block/vda/serial").strip(),
    ),
    Scenario(
        "disk-tuning-readonly", "disks[root].readonly", BOOT, {}, changed_root(readonly=True),
        disk("root", "readonly"), lambda guest: guest.exec("cat", "/sys/block/vda/ro").strip(),
    ),
    Scenario(
        "cdrom-attach", "cdroms[cd]", LIVE, NO_DRIVE, drive("scsi", "@one.iso"), cdrom("media"),
        drive_names,
    ),
    Scenario(
        "cdrom-add-empty", "cdroms[cd]", BOOT, NO_DRIVE, drive("scsi"), cdrom("bus"), drive_names
    ),
    Scenario("cdrom-add", "cdroms[cd]", BOOT, NO_DRIVE, drive("sata"), cdrom("bus"), drive_names),
    Scenario("cdrom-detach", "cdroms[cd]", LIVE, drive("scsi"), NO_DRIVE, cdrom("bus"), drive_names),
    Scenario("cdrom-remove", "cdroms[cd]", BOOT, drive("sata"), NO_DRIVE, cdrom("bus"), drive_names),
    Scenario(
        "cdrom-media", "cdroms[cd].media", LIVE, drive("sata"), drive("sata", "@one.iso"),
        cdrom("media"), lambda guest: guest.medium_size(),
    ),
    Scenario(
        "cdrom-media-change", "cdroms[cd].media", LIVE, drive("sata", "@one.iso"),
        drive("sata", "@two.iso"), cdrom("media"), lambda guest: guest.medium_size(),
    ),
    Scenario(
        "cdrom-media-eject", "cdroms[cd].media", LIVE, drive("sata", "@one.iso"), drive("sata"),
        cdrom("media"), lambda guest: guest.medium_size(),
    ),
    Scenario(
        "cdrom-shape", "cdroms[cd].bus", BOOT, drive("sata"), drive("scsi"), cdrom("bus"),
    ),
    Scenario(
        "interface-attach", "interfaces[two]", LIVE, {},
        {"interfaces": (*LAN, Interface("two", "default", mac=SECOND))}, interface("two", "mac"),
        lambda guest: sorted(guest.interfaces()),
    ),
    Scenario(
        "interface-detach", "interfaces[two]", LIVE,
        {"interfaces": (*LAN, Interface("two", "default", mac=SECOND))}, {"interfaces": LAN},
        interface("two", "mac"), lambda guest: sorted(guest.interfaces()),
    ),
    Scenario(
        "interface-link", "interfaces[lan].link", LIVE, {}, changed_lan(link="down"),
        interface("lan", "link"), lambda guest: guest.carrier(MAC),
    ),
    Scenario(
        "interface-link-up", "interfaces[lan].link", LIVE, changed_lan(link="down"),
        changed_lan(link="up"), interface("lan", "link"), lambda guest: guest.carrier(MAC),
    ),
    Scenario(
        "interface-network", "interfaces[lan].network", LIVE, {}, changed_lan(network="other"),
        interface("lan", "network"),
    ),
    Scenario(
        "interface-bridge", "interfaces[lan].bridge", LIVE, {},
        changed_lan(network=None, bridge="virbr0"), interface("lan", "bridge"),
    ),
    Scenario(
        "interface-shape", "interfaces[lan].model", BOOT, {}, changed_lan(model="e1000e"),
        interface("lan", "model"),
    ),
    Scenario(
        "machine", "machine", BOOT, {"machine": "pc-q35-6.2"}, {"machine": "pc-q35-7.2"},
        lambda one: one.machine,
    ),
    Scenario(
        "disk-source", "disks[root].source", BOOT, changed_root(source="@one.img", size=None),
        changed_root(source="@two.img", size=None), disk("root", "source"), disk_sizes,
    ),
    Scenario("guest-agent", "guest_agent", BOOT, {}, {"guest_agent": False}, lambda one: one.guest_agent),
    Scenario("console", "console", BOOT, {"console": True}, {"console": False}, lambda one: one.console),
    Scenario("graphics", "graphics", BOOT, {"graphics": "vnc"}, {"graphics": "none"}, lambda one: one.graphics),
    Scenario("video", "video", BOOT, {"video": "virtio"}, {"video": "vga"}, lambda one: one.video),
    Scenario(
        "rng", "rng", BOOT, {"rng": False}, {"rng": True}, lambda one: one.rng,
        lambda guest: "virtio" in guest.exec("cat", "/sys/class/misc/hw_random/rng_available"),
    ),
    Scenario(
        "tpm", "tpm", BOOT, {"tpm": False}, {"tpm": True}, lambda one: one.tpm,
        lambda guest: guest.exec("ls", "/sys/class/tpm"), packed=True,
    ),
    Scenario(
        "xml", "xml[/domain/devices/memballoon/stats]", BOOT, {},
        {"overlays": (Overlay("/domain/devices/memballoon", "<stats period='7'/>"),)},
        lambda one: None,
    ),
)  # fmt: skip
