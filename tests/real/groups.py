"""One scenario for each row of the effect table, in groups that share a guest.

Two rows are in different groups if both change the same field, or if a look at one would see the
other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Mapping, Tuple

from reconciler.core.machine import Cdrom, Disk, Interface, Memory, Overlay
from reconciler.core.plan import Effect
from tests.real.changes import alter, nothing, plug, put, unplug
from tests.real.looks import (
    card_seen,
    cdrom,
    disk,
    disk_seen,
    drives_seen,
    interface,
    link_seen,
    media_bytes,
    memory_in,
    processors,
)
from tests.real.scenarios import CPUS, Scenario, card, extra, mac_of
from tests.real.worlds import MIB

LIVE, BOOT = Effect.LIVE, Effect.NEXT_BOOT
# libvirt gives each a port, and none is to spare then.
MANY = plug(*(Interface(f"n{number}", "other", link="down") for number in range(17)))
ONE, TWO = "@one.iso", "@two.iso"  # in the bench's folder
SMALLER = Memory(256 * MIB, 320 * MIB)

PLUGGED: Tuple[Scenario, ...] = (
    Scenario("autostart", "autostart", LIVE, nothing, put(autostart=True), lambda one: one.autostart),
    Scenario(
        "cpus-plug", "cpus.count", LIVE, nothing, put(cpus=replace(CPUS, count=2)),
        lambda one: one.cpus and one.cpus.count, processors,
    ),
    Scenario(
        "memory-balloon", "memory.size", LIVE, put(memory=SMALLER),
        put(memory=replace(SMALLER, size=192 * MIB)),
        lambda one: one.memory and one.memory.size, memory_in(182272),
    ),
    Scenario(
        "disk-attach", "disks[extra]", LIVE, nothing, plug(extra("extra", "virtio", 11)),
        disk("extra", "bus"), disk_seen(11 * MIB),
    ),
    Scenario(
        "disk-detach", "disks[gone]", LIVE, plug(extra("gone", "virtio", 12)), unplug(Disk, "gone"),
        disk("gone", "bus"), disk_seen(12 * MIB),
    ),
    Scenario(
        "interface-attach", "interfaces[two]", LIVE, nothing, plug(card("two")),
        interface("two", "mac"), card_seen(mac_of("two")),
    ),
    Scenario(
        "interface-link", "interfaces[cut].link", LIVE, plug(card("cut")),
        alter(Interface, "cut", link="down"), interface("cut", "link"), link_seen(mac_of("cut")),
    ),
    Scenario(
        "cdrom-media", "cdroms[cd].media", LIVE, plug(Cdrom("cd", "sata", "")),
        alter(Cdrom, "cd", media=ONE), cdrom("cd", "media"), media_bytes,
    ),
    Scenario(
        "cdrom-add-empty", "cdroms[new]", BOOT, nothing, plug(Cdrom("new", "scsi", "")),
        cdrom("new", "bus"), drives_seen("scsi"),
    ),
)  # fmt: skip

MOVED: Tuple[Scenario, ...] = (
    Scenario(
        "cpus-above", "cpus.count", BOOT, nothing,
        put(cpus=replace(CPUS, count=5, maximum=None)),
        lambda one: one.cpus and one.cpus.count, processors,
    ),
    Scenario(
        "disk-attach-scsi", "disks[extra]", LIVE, nothing, plug(extra("extra", "scsi", 21)),
        disk("extra", "bus"), disk_seen(21 * MIB),
    ),
    Scenario(
        "disk-bus", "disks[moved].bus", BOOT, plug(extra("moved", "sata", 22)),
        alter(Disk, "moved", bus="virtio"), disk("moved", "bus"), disk_seen(22 * MIB),
    ),
    Scenario(
        "interface-detach", "interfaces[gone]", LIVE, plug(card("gone")), unplug(Interface, "gone"),
        interface("gone", "mac"), card_seen(mac_of("gone")),
    ),
    Scenario(
        "interface-link-up", "interfaces[cut].link", LIVE, plug(card("cut", link="down")),
        alter(Interface, "cut", link="up"), interface("cut", "link"), link_seen(mac_of("cut")),
    ),
    Scenario(
        "interface-shape", "interfaces[old].model", BOOT, plug(card("old")),
        alter(Interface, "old", model="e1000e"), interface("old", "model"), card_seen(mac_of("old")),
    ),
    Scenario(
        "cdrom-media-change", "cdroms[cd].media", LIVE, plug(Cdrom("cd", "sata", ONE)),
        alter(Cdrom, "cd", media=TWO), cdrom("cd", "media"), media_bytes,
    ),
    Scenario(
        "cdrom-shape", "cdroms[other].bus", BOOT, plug(Cdrom("other", "sata", "")),
        alter(Cdrom, "other", bus="scsi"), cdrom("other", "bus"), drives_seen("sata"),
    ),
    Scenario(
        "rng", "rng", BOOT, put(rng=False), put(rng=True), lambda one: one.rng,
        lambda guest: "virtio" in guest.exec("cat", "/sys/class/misc/hw_random/rng_available"),
    ),
)  # fmt: skip

GROWN: Tuple[Scenario, ...] = (
    Scenario(
        "cpus-below", "cpus.count", BOOT, put(cpus=replace(CPUS, count=2)), put(cpus=CPUS),
        lambda one: one.cpus and one.cpus.count, processors,
    ),
    Scenario(
        "memory-above", "memory.size", BOOT, nothing, put(memory=Memory(512 * MIB)),
        lambda one: one.memory and one.memory.size, memory_in(262144),
    ),
    Scenario(
        "disk-attach-usb", "disks[extra]", LIVE, nothing, plug(extra("extra", "usb", 31)),
        disk("extra", "bus"), disk_seen(31 * MIB),
    ),
    Scenario(
        "disk-add", "disks[added]", BOOT, nothing, plug(extra("added", "sata", 32)),
        disk("added", "bus"), disk_seen(32 * MIB),
    ),
    Scenario(
        "disk-grow", "disks[grown].size", LIVE, plug(extra("grown", "virtio", 33)),
        alter(Disk, "grown", size=34 * MIB), disk("grown", "size"), disk_seen(34 * MIB),
    ),
    Scenario(
        "interface-network", "interfaces[lan].network", LIVE, plug(card("lan")),
        alter(Interface, "lan", network="other"), interface("lan", "network"),
    ),
    Scenario(
        "interface-no-slot", "interfaces[old]", BOOT, nothing, plug(card("old", model="rtl8139")),
        interface("old", "mac"), card_seen(mac_of("old")),
    ),
    Scenario(
        "cdrom-media-eject", "cdroms[cd].media", LIVE, plug(Cdrom("cd", "sata", ONE)),
        alter(Cdrom, "cd", media=""), cdrom("cd", "media"), media_bytes,
    ),
    Scenario(
        "graphics", "graphics", BOOT, put(graphics="vnc"), put(graphics="none"),
        lambda one: one.graphics,
    ),
)  # fmt: skip

SHAPED: Tuple[Scenario, ...] = (
    Scenario(
        "cpus-shape", "cpus.maximum", BOOT, nothing, put(cpus=replace(CPUS, maximum=6)),
        lambda one: one.cpus and one.cpus.maximum,
    ),
    Scenario(
        "memory-maximum", "memory.maximum", BOOT, put(memory=SMALLER),
        put(memory=replace(SMALLER, maximum=384 * MIB)),
        lambda one: one.memory and one.memory.maximum,
    ),
    Scenario(
        "disk-remove", "disks[gone]", BOOT, plug(extra("gone", "sata", 41)), unplug(Disk, "gone"),
        disk("gone", "bus"), disk_seen(41 * MIB),
    ),
    Scenario(
        "disk-tuning", "disks[root].cache", BOOT, nothing, alter(Disk, "root", cache="writeback"),
        disk("root", "cache"),
    ),
    Scenario(
        "cdrom-attach", "cdroms[cd]", LIVE, nothing, plug(Cdrom("cd", "scsi", ONE)),
        cdrom("cd", "media"), drives_seen("scsi"),
    ),
    Scenario(
        "cdrom-add", "cdroms[added]", BOOT, nothing, plug(Cdrom("added", "sata", "")),
        cdrom("added", "bus"), drives_seen("sata"),
    ),
    Scenario(
        "interface-bridge", "interfaces[lan].bridge", LIVE, plug(card("lan")),
        alter(Interface, "lan", network=None, bridge="virbr0"), interface("lan", "bridge"),
    ),
    Scenario(
        "machine", "machine", BOOT, put(machine="pc-q35-6.2"), put(machine="pc-q35-7.2"),
        lambda one: one.machine,
    ),
    Scenario("console", "console", BOOT, put(console=True), put(console=False), lambda one: one.console),
)  # fmt: skip

TUNED: Tuple[Scenario, ...] = (
    Scenario(
        "disk-tuning-serial", "disks[named].serial", BOOT,
        plug(replace(extra("named", "virtio", 51), serial="ROOT")),
        alter(Disk, "named", serial="OTHER"), disk("named", "serial"),
        disk_seen(51 * MIB, "serial"),
    ),
    Scenario(
        "disk-tuning-readonly", "disks[kept].readonly", BOOT, plug(extra("kept", "virtio", 52)),
        alter(Disk, "kept", readonly=True), disk("kept", "readonly"), disk_seen(52 * MIB, "ro"),
    ),
    Scenario(
        "disk-source", "disks[found].source", BOOT,
        plug(Disk("found", "virtio", source="@one.img")), alter(Disk, "found", source="@two.img"),
        disk("found", "source"), disk_seen(4 * MIB),
    ),
    Scenario(
        "cdrom-detach", "cdroms[gone]", LIVE, plug(Cdrom("gone", "scsi", "")), unplug(Cdrom, "gone"),
        cdrom("gone", "bus"), drives_seen("scsi"),
    ),
    Scenario(
        "cdrom-remove", "cdroms[cd]", BOOT, plug(Cdrom("cd", "sata", "")), unplug(Cdrom, "cd"),
        cdrom("cd", "bus"), drives_seen("sata"),
    ),
    Scenario(
        "disk-boot", "disks[root].boot", BOOT, alter(Disk, "root", boot=1),
        alter(Disk, "root", boot=4), disk("root", "boot"),
    ),
    Scenario(
        "cdrom-boot", "cdroms[first].boot", BOOT, plug(Cdrom("first", "sata", "", boot=2)),
        alter(Cdrom, "first", boot=5), cdrom("first", "boot"),
    ),
    Scenario(
        "interface-boot", "interfaces[lan].boot", BOOT, plug(replace(card("lan"), boot=3)),
        alter(Interface, "lan", boot=6), interface("lan", "boot"),
    ),
    Scenario("video", "video", BOOT, put(video="virtio"), put(video="vga"), lambda one: one.video),
    Scenario(
        "xml", "xml[/domain/devices/memballoon/stats]", BOOT, nothing,
        put(overlays=(Overlay("/domain/devices/memballoon", "<stats period='7'/>"),)),
        lambda one: None,
    ),
)  # fmt: skip

CRAMPED: Tuple[Scenario, ...] = (
    Scenario(
        "disk-no-slot", "disks[extra]", BOOT, MANY, plug(extra("extra", "virtio", 61)),
        disk("extra", "bus"), disk_seen(61 * MIB),
    ),
    Scenario(
        "cdrom-no-slot", "cdroms[cd]", BOOT, MANY, plug(Cdrom("cd", "scsi", ONE)),
        cdrom("cd", "bus"), drives_seen("scsi"),
    ),
)  # fmt: skip

DEAF: Tuple[Scenario, ...] = (
    Scenario("guest-agent", "guest_agent", BOOT, nothing, put(guest_agent=False), lambda one: one.guest_agent),
)  # fmt: skip

# These boot the kernel as it is packed: one that QEMU 7.2 starts unpacked finds no PCI device awake
# where there is a TPM.
SEALED: Tuple[Scenario, ...] = (
    Scenario(
        "tpm", "tpm", BOOT, put(tpm=False), put(tpm=True), lambda one: one.tpm,
        lambda guest: guest.exec("ls", "/sys/class/tpm"),
    ),
)  # fmt: skip

GROUPS: Mapping[str, Tuple[Scenario, ...]] = {
    "plugged": PLUGGED, "moved": MOVED, "grown": GROWN, "shaped": SHAPED, "tuned": TUNED,
    "cramped": CRAMPED, "deaf": DEAF, "sealed": SEALED,
}  # fmt: skip
SCENARIOS: Tuple[Scenario, ...] = tuple(one for group in GROUPS.values() for one in group)
