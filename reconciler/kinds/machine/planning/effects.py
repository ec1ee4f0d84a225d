"""The one table: what a difference does to a guest, and by which route it is carried out.

Rows are tried from the top; the first whose field, kind and condition fit is the answer. Nothing
else in the product decides an effect word or a route. `off` is the word while the guest is off.

What QEMU can do live is libvirt's documented set for virDomainAttachDeviceFlags,
virDomainUpdateDeviceFlags and virDomainDetachDeviceFlags; each row is proved on a running guest.
"""

from __future__ import annotations

from enum import Enum
from typing import Optional, Tuple

from reconciler.core.field_table import FEATURES
from reconciler.core.frozen import frozen
from reconciler.core.plan import Effect
from reconciler.kinds.machine.match import Difference, DifferenceKind
from reconciler.kinds.machine.planning import guards
from reconciler.kinds.machine.planning.guards import Guard, Guest


class Route(Enum):
    """How a live change reaches the running guest."""

    NONE = "define only"
    ATTACH = "attach device"
    DETACH = "detach device"
    UPDATE = "update device"
    BLOCK_RESIZE = "block resize"
    SET_VCPUS = "set vcpus"
    SET_MEMORY = "set memory"
    SET_AUTOSTART = "set autostart"
    SET_METADATA = "set metadata"
    START = "start"
    RESUME = "resume"
    WAKE = "wake up"
    SHUT_DOWN = "shut down"


@frozen
class EffectRow:
    """One row. `field` ending in `*` fits every field that begins so; `when` may narrow it.

    `cured` says that a cold start of its own is worth it for a NEXT_BOOT row; one that is not is
    never a reason to restart a guest. `needs_guest` says that the guest has a part in it, so that
    it is not tried while the guest is paused.
    """

    id: str
    field: str
    kind: Optional[DifferenceKind]
    running: Effect
    route: Route = Route.NONE
    off: Effect = Effect.OFFLINE
    when: Guard = guards.always
    reason: str = ""
    cured: bool = True
    needs_guest: bool = False

    def fits(self, difference: Difference, guest: Guest) -> bool:
        """Whether this row speaks of that difference in that guest."""
        return (
            self.names(difference.field)
            and self.kind in (None, difference.kind)
            and self.when(difference, guest)
        )

    def names(self, field: str) -> bool:
        """Whether this row is about that field."""
        return field.startswith(self.field[:-1]) if self.field[-1] == "*" else field == self.field


_ADD, _REMOVE, _CHANGE = DifferenceKind.ADD, DifferenceKind.REMOVE, DifferenceKind.CHANGE
_LIVE, _BOOT, _NO, _OFF = Effect.LIVE, Effect.NEXT_BOOT, Effect.WITHHELD, Effect.OFFLINE
_FULL = "the running machine has no free PCI slot for it"
_ORDER = "the boot order is read when the guest starts; a running one is not restarted for it"
_STAGED = "the guest must have bound the new driver first; or set lifecycle.busChange: direct"
_STAGED_ROWS = (
    ("disk-bus-staged", "disks[].bus"),
    ("interface-model-staged", "interfaces[].model"),
)
_COLD = "QEMU cannot change this while the guest runs"

TABLE: Tuple[EffectRow, ...] = (
    EffectRow("uuid", "uuid", _CHANGE, _NO, off=_NO, reason="a UUID cannot be changed"),
    EffectRow(
        id="power-restore",
        field="power",
        kind=_CHANGE,
        running=_LIVE,
        route=Route.START,
        when=guards.is_saved,
        reason="the guest is resumed from its saved state",
    ),
    EffectRow(
        id="power-resume",
        field="power",
        kind=_CHANGE,
        running=_LIVE,
        route=Route.RESUME,
        when=guards.is_paused,
        reason="a paused guest that a job or a person paused is not resumed by the daemon",
    ),
    EffectRow(
        id="power-wake",
        field="power",
        kind=_CHANGE,
        running=_LIVE,
        route=Route.WAKE,
        when=guards.is_asleep,
        reason="the guest suspended itself; it is woken up",
    ),
    EffectRow(
        "power-crashed",
        "power",
        _CHANGE,
        Effect.RESTART,
        when=guards.has_crashed,
        reason="powered off hard and started, if disruption and forceOff allow it",
    ),
    EffectRow(
        "power-leaving",
        "power",
        _CHANGE,
        _NO,
        when=guards.is_shutting_down,
        reason="the guest is shutting down",
    ),
    EffectRow(
        id="power-on",
        field="power",
        kind=_CHANGE,
        running=_LIVE,
        route=Route.START,
        when=guards.wants_running,
    ),
    EffectRow(
        id="power-off",
        field="power",
        kind=_CHANGE,
        running=Effect.RESTART,
        route=Route.SHUT_DOWN,
        reason="the manifest wants it stopped: the guest is asked to shut down",
    ),
    EffectRow(
        id="autostart", field="autostart", kind=_CHANGE, running=_LIVE, route=Route.SET_AUTOSTART
    ),
    EffectRow(
        "machine-chipset",
        "machine",
        _CHANGE,
        _NO,
        off=_NO,
        when=guards.changes_chipset,
        reason="with another chipset the guest would find none of its devices",
    ),
    EffectRow("machine", "machine", _CHANGE, _BOOT, reason=_COLD),
    EffectRow(
        "firmware",
        "firmware",
        _CHANGE,
        _NO,
        off=_NO,
        reason="the installed system boots only with the firmware that it was installed with",
    ),
    EffectRow(
        id="cpus-plug",
        field="cpus.count",
        kind=_CHANGE,
        running=_LIVE,
        route=Route.SET_VCPUS,
        when=guards.can_plug_cpus,
    ),
    EffectRow(
        id="cpus-unplug",
        field="cpus.count",
        kind=_CHANGE,
        running=_LIVE,
        route=Route.SET_VCPUS,
        when=guards.can_unplug_cpus,
        needs_guest=True,
    ),
    EffectRow(
        "cpus-above",
        "cpus.count",
        _CHANGE,
        _BOOT,
        when=guards.above_cpu_maximum,
        reason="above the running guest's maximum",
    ),
    EffectRow(
        "cpus-below",
        "cpus.count",
        _CHANGE,
        _BOOT,
        reason="processors present since the start cannot be unplugged",
    ),
    EffectRow("cpus-shape", "cpus.*", _CHANGE, _BOOT, reason=_COLD),
    EffectRow(
        "memory-undeflated",
        "memory.size",
        _CHANGE,
        _BOOT,
        when=guards.is_not_deflated,
        reason="the balloon is set, but the guest has not followed (still booting, or no driver)",
        cured=False,
    ),
    EffectRow(
        id="memory-balloon",
        field="memory.size",
        kind=_CHANGE,
        running=_LIVE,
        route=Route.SET_MEMORY,
        when=guards.can_balloon,
        needs_guest=True,
    ),
    EffectRow(
        "memory-above",
        "memory.size",
        _CHANGE,
        _BOOT,
        reason="above the running guest's maximum, or it has no balloon",
    ),
    EffectRow("memory-maximum", "memory.maximum", _CHANGE, _BOOT, reason=_COLD),
    EffectRow("disk-no-slot", "disks[]", _ADD, _BOOT, when=guards.has_no_slot, reason=_FULL),
    EffectRow(
        id="disk-attach",
        field="disks[]",
        kind=_ADD,
        running=_LIVE,
        route=Route.ATTACH,
        when=guards.on_hotplug_bus,
    ),
    EffectRow(
        "disk-add", "disks[]", _ADD, _BOOT, reason="this bus cannot be plugged while running"
    ),
    EffectRow(
        id="disk-detach",
        field="disks[]",
        kind=_REMOVE,
        running=_LIVE,
        route=Route.DETACH,
        when=guards.on_hotplug_bus,
        needs_guest=True,
    ),
    EffectRow(
        "disk-remove",
        "disks[]",
        _REMOVE,
        _BOOT,
        reason="this bus cannot be unplugged while running",
    ),
    *(
        EffectRow(row, field, _CHANGE, _NO, off=_NO, when=guards.may_lack_driver, reason=_STAGED)
        for row, field in _STAGED_ROWS
    ),
    EffectRow("disk-bus", "disks[].bus", _CHANGE, _BOOT, reason=_COLD),
    EffectRow(
        "disk-size-unknown",
        "disks[].size",
        _CHANGE,
        _NO,
        off=_NO,
        when=guards.is_unread,
        reason="the size of its image cannot be read: does the image exist?",
    ),
    EffectRow(
        "disk-shrink",
        "disks[].size",
        _CHANGE,
        _NO,
        off=_NO,
        when=guards.shrinks,
        reason="a disk is never shrunk",
    ),
    EffectRow(
        id="disk-grow-other",
        field="disks[].size",
        kind=_CHANGE,
        running=_BOOT,
        route=Route.BLOCK_RESIZE,
        when=guards.gets_another_image,
        reason="the image that the disk gets is grown",
    ),
    EffectRow(
        id="disk-grow", field="disks[].size", kind=_CHANGE, running=_LIVE, route=Route.BLOCK_RESIZE
    ),
    EffectRow(
        "disk-format-other",
        "disks[].format",
        _CHANGE,
        _BOOT,
        when=guards.gets_another_image,
        reason="the format of the image that the disk gets",
    ),
    EffectRow(
        "disk-format",
        "disks[].format",
        _CHANGE,
        _NO,
        off=_NO,
        reason="an image is never converted in place",
    ),
    EffectRow("disk-source", "disks[].source", _CHANGE, _BOOT, reason=_COLD),
    EffectRow("disk-boot", "disks[].boot", _CHANGE, _BOOT, reason=_ORDER, cured=False),
    EffectRow("disk-tuning", "disks[].*", _CHANGE, _BOOT, reason=_COLD),
    EffectRow("cdrom-no-slot", "cdroms[]", _ADD, _BOOT, when=guards.has_no_slot, reason=_FULL),
    EffectRow(
        id="cdrom-attach",
        field="cdroms[]",
        kind=_ADD,
        running=_LIVE,
        route=Route.ATTACH,
        when=guards.can_plug_drive,
    ),
    EffectRow(
        "cdrom-add",
        "cdroms[]",
        _ADD,
        _BOOT,
        reason="neither this bus nor an empty drive can be plugged while running",
    ),
    EffectRow(
        id="cdrom-detach",
        field="cdroms[]",
        kind=_REMOVE,
        running=_LIVE,
        route=Route.DETACH,
        when=guards.on_hotplug_bus,
        needs_guest=True,
    ),
    EffectRow(
        "cdrom-remove",
        "cdroms[]",
        _REMOVE,
        _BOOT,
        reason="this bus cannot be unplugged while running",
    ),
    EffectRow(
        "cdrom-media", "cdroms[].media", _CHANGE, _LIVE, route=Route.UPDATE, needs_guest=True
    ),
    EffectRow("cdrom-boot", "cdroms[].boot", _CHANGE, _BOOT, reason=_ORDER, cured=False),
    EffectRow("cdrom-shape", "cdroms[].*", _CHANGE, _BOOT, reason=_COLD),
    EffectRow(
        "interface-no-slot", "interfaces[]", _ADD, _BOOT, when=guards.has_no_slot, reason=_FULL
    ),
    EffectRow(
        id="interface-attach", field="interfaces[]", kind=_ADD, running=_LIVE, route=Route.ATTACH
    ),
    EffectRow(
        "interface-detach", "interfaces[]", _REMOVE, _LIVE, route=Route.DETACH, needs_guest=True
    ),
    EffectRow("interface-link", "interfaces[].link", _CHANGE, _LIVE, route=Route.UPDATE),
    EffectRow(
        "interface-foreign",
        "interfaces[].*",
        _CHANGE,
        _BOOT,
        when=lambda difference, _: difference.leaves_other_kind,
        reason="libvirt cannot plug a running guest's card of this kind into another uplink",
    ),
    EffectRow("interface-network", "interfaces[].network", _CHANGE, _LIVE, route=Route.UPDATE),
    EffectRow("interface-bridge", "interfaces[].bridge", _CHANGE, _LIVE, route=Route.UPDATE),
    EffectRow("interface-boot", "interfaces[].boot", _CHANGE, _BOOT, reason=_ORDER, cured=False),
    EffectRow("interface-shape", "interfaces[].*", _CHANGE, _BOOT, reason=_COLD),
    *(
        EffectRow(field.replace("_", "-"), field, _CHANGE, _BOOT, reason=_COLD)
        for field in FEATURES
    ),
    EffectRow(
        id="graphics-password",
        field="graphics_password",
        kind=_CHANGE,
        running=_LIVE,
        route=Route.UPDATE,
        when=guards.has_password,
    ),
    EffectRow(
        id="graphics-password-first",
        field="graphics_password",
        kind=_CHANGE,
        running=_BOOT,
        reason="the guest's display was started without a password, and QEMU cannot add one",
    ),
    EffectRow("credentials", "credentials", _CHANGE, _BOOT, reason=_COLD),
    EffectRow("xml", "xml[*", None, _BOOT, reason=_COLD),
    EffectRow(
        id="metadata", field="metadata.*", kind=_CHANGE, running=_LIVE, route=Route.SET_METADATA
    ),
)


def find_row(difference: Difference, guest: Guest) -> EffectRow:
    """Return the row that speaks of this difference."""
    return next(row for row in TABLE if row.fits(difference, guest))
