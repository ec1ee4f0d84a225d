"""The one table of the fields of a machine: everything that is the same for each of them.

One row says what the manifest calls a field and how it writes its value, where it is in domain XML,
what a new machine gets that does not set it, and what the host must offer. Reading, writing,
creating, exporting and the manual follow these rows. What only one field needs is elsewhere in
`kinds.machine`: edits with side effects (`domain`), conditions (`planning.effects`), values of
several fields (`document`, `export`). Pure, and no XML library is loaded for it.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Iterable, Mapping, Optional, Tuple

from reconciler.core.fields import (
    BY_HAND,
    LOWER,
    POWER,
    SECRET,
    SIZE,
    WHOLE,
    Feature,
    Field,
    Form,
    NewGuest,
    Offer,
)
from reconciler.core.plan import Value

NONE = "none"
GUEST_AGENT_CHANNEL = "org.qemu.guest_agent.0"
# Every system has drivers for the buses that the chipset brings along.
_BUSES: Mapping[str, Tuple[str, ...]] = {
    "pc": ("ide", "sata", "scsi", "usb"),
    "q35": ("sata", "scsi", "usb"),
    "": ("scsi", "sata", "usb"),
}
_CPU_MODES: Mapping[str, Tuple[Value, ...]] = {
    "kvm": ("host-passthrough", "host-model", "maximum", None),
    "qemu": ("maximum", "host-model", None),
}


def no_choice(_: NewGuest) -> Tuple[Value, ...]:
    """Say that there is a default, which depends on more than a `NewGuest`."""
    return ()


def _plain_buses(new: NewGuest) -> Tuple[Value, ...]:
    return _BUSES.get(new.chipset, _BUSES[""])


def _disk_buses(new: NewGuest) -> Tuple[Value, ...]:
    plain = _plain_buses(new)
    return plain if new.is_windows else tuple(dict.fromkeys(("virtio", "scsi", *plain)))


def _cards(new: NewGuest) -> Tuple[Value, ...]:
    """Windows has no driver for virtio."""
    if not new.is_windows:
        return ("virtio",)
    return ("e1000e",) if new.chipset == "q35" else ("e1000",)


def _videos(new: NewGuest) -> Tuple[Value, ...]:
    """Windows has drivers for the plain cards only."""
    plain = ("vga", "bochs", "qxl", "cirrus", NONE)
    return plain if new.is_windows else ("virtio", *plain)


_DEVICE_NAME = Field("name", notation=BY_HAND, elsewhere="is alias, or target or MAC")
_DEVICE_ALIAS = Field("alias", "alias/@name", Form.ALIAS, notation=None)
_DEVICE_BOOT = Field("boot", "boot/@order", Form.INTEGER, WHOLE)

DISK: Tuple[Field, ...] = (
    _DEVICE_NAME,
    Field("format", "driver/@type", moves=True, note="its template's or volume's; else `qcow2`"),
    Field("cache", "driver/@cache", default=no_choice, note="`none` where `io` is `native`"),
    Field("io", "driver/@io"),
    Field("discard", "driver/@discard", default=lambda _: ("unmap",)),
    Field("source", "source", Form.SOURCE, BY_HAND, moves=True, note="a blank volume"),
    Field("target", "target/@dev", note="the next free one"),
    Field("bus", "target/@bus", default=_disk_buses, offer=Offer("disk_buses"), moves=True),
    Field("readonly", "readonly", Form.PRESENCE, absent=False),
    Field("shareable", "shareable", Form.PRESENCE, absent=False),
    Field("serial", "serial/text()"),
    _DEVICE_BOOT,
    _DEVICE_ALIAS,
    Field(
        "size",
        notation=SIZE,
        elsewhere="a property of the volume",
        note="its template's or volume's; required for a blank volume",
        moves=True,
    ),
    Field("pool", notation=BY_HAND, elsewhere="how the source is found", note="`default`"),
    Field("volume", notation=None, elsewhere="how the source is found"),
    Field("template", notation=None, elsewhere="how the volume is made"),
    Field("clone", notation=None, elsewhere="how the volume is made"),
    Field("origin", notation=None, elsewhere="what the volume is a copy of"),
    Field("imported", notation=None, elsewhere="what is copied into the volume"),
)

CDROM: Tuple[Field, ...] = (
    _DEVICE_NAME,
    Field("media", "source", Form.MEDIA, BY_HAND, absent=""),
    Field("target", "target/@dev", note="the next free one"),
    Field("bus", "target/@bus", default=_plain_buses, offer=Offer("cdrom_buses")),
    _DEVICE_BOOT,
    _DEVICE_ALIAS,
    Field("pool", notation=None, elsewhere="how the medium is found"),
    Field("volume", notation=None, elsewhere="how the medium is found"),
)

INTERFACE: Tuple[Field, ...] = (
    _DEVICE_NAME,
    Field(
        "mac",
        "mac/@address",
        notation=LOWER,
        note="derived from the names of the machine and the interface",
    ),
    Field("network", "source/@network", Form.NETWORK),
    Field("bridge", "source/@bridge", Form.BRIDGE),
    Field("model", "model/@type", default=_cards),
    _DEVICE_BOOT,
    Field("link", "link/@state", absent="up"),
    _DEVICE_ALIAS,
    *(
        Field(name, notation=BY_HAND, elsewhere="told to the guest by the seed (cloud_init.py)")
        for name in ("addresses", "gateways", "nameservers")
    ),
    Field("uplink", notation=None, elsewhere="each type of interface has its own (read.py)"),
)

CPUS: Tuple[Field, ...] = (
    Field("count", "vcpu", Form.ONLINE, WHOLE, note="`maximum`, else 1"),
    Field("maximum", "vcpu/text()", Form.INTEGER, WHOLE, note="`count`"),
    Field("sockets", "cpu/topology/@sockets", Form.INTEGER, WHOLE),
    Field("cores", "cpu/topology/@cores", Form.INTEGER, WHOLE),
    Field("threads", "cpu/topology/@threads", Form.INTEGER, WHOLE),
    Field(
        "mode",
        "cpu/@mode",
        default=lambda new: _CPU_MODES.get(new.accelerator, (None,)),
        offer=Offer("cpu_modes", "cpu/mode[@supported='yes']/@name"),
        note="`custom` where `model` is set",
    ),
    Field("model", "cpu/model/text()"),
    Field("unpluggable", "vcpus", Form.UNPLUGGABLE, notation=None),
)

MEMORY: Tuple[Field, ...] = (
    Field("size", "currentMemory|memory", Form.BYTES, SIZE, note="`maximum`; one is required"),
    Field("maximum", "memory", Form.BYTES, SIZE, note="`size`"),
    Field("balloon", "devices/memballoon", Form.BALLOON, notation=None),
)

# Where domain capabilities list them.
_GRAPHICS = "devices/graphics[@supported='yes']/enum[@name='type']/value"
_VIDEO = "devices/video[@supported='yes']/enum[@name='modelType']/value"
_TPM = "devices/tpm[@supported='yes']/enum[@name='backendModel'][value='emulator']"

MACHINE: Tuple[Field, ...] = (
    Field("name", "name/text()", notation=None),
    Field("uuid", "uuid/text()", notation=LOWER, note="libvirt makes one"),
    Field("os", elsewhere="stored in our mark", note="not known: like Linux"),
    Field(
        "power",
        notation=POWER,
        elsewhere="libvirt keeps the state outside the XML",
        note="`unmanaged`: a new machine is not started",
    ),
    Field("autostart", elsewhere="libvirt keeps it outside the XML", note="`false`"),
    Field(
        "machine",
        "os/type/@machine",
        default=no_choice,
        note="`q35`, as the newest version that the host has",
    ),
    Field(
        "firmware",
        "os",
        Form.FIRMWARE,
        default=lambda _: ("bios",),
        offer=Offer("firmware", always="bios"),
    ),
    Field(
        "guest_agent",
        "devices",
        Form.GUEST_AGENT,
        default=lambda _: (True,),
        feature=Feature(
            (f"channel/target[@name='{GUEST_AGENT_CHANNEL}']/..",),
            "<channel type='unix'><source mode='bind'/>"
            f"<target type='virtio' name='{GUEST_AGENT_CHANNEL}'/></channel>",
        ),
    ),
    Field(
        "console",
        "devices/serial|devices/console",
        Form.PRESENCE,
        default=lambda _: (True,),
        feature=Feature(("serial", "console"), "<serial type='pty'/><console type='pty'/>"),
    ),
    Field(
        "graphics",
        "devices/graphics/@type",
        absent=NONE,
        default=lambda _: ("vnc", "spice", NONE),
        offer=Offer("graphics", _GRAPHICS, always=NONE),
        feature=Feature(
            ("graphics",),
            "<graphics type='{}' port='-1' autoport='yes'>"
            "<listen type='address' address='127.0.0.1'/></graphics>",
        ),
    ),
    Field(
        "graphics_password",
        "devices/graphics/@passwd",
        Form.SECRET,
        SECRET,
        note="no password",
    ),
    Field(
        "video",
        "devices/video/model/@type",
        absent=NONE,
        default=_videos,
        offer=Offer("video", _VIDEO, always=NONE),
        feature=Feature(("video",), "<video><model type='{}'/></video>"),
        note="`none` where `graphics` is `none`",
    ),
    Field(
        "tpm",
        "devices/tpm",
        Form.PRESENCE,
        default=lambda new: (new.needs_tpm, False),
        offer=Offer("tpm", _TPM, always=False),
        feature=Feature(
            ("tpm",), "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
        ),
        note="`true` for Windows 11 and Windows Server 2025, which need it",
    ),
    Field(
        "rng",
        "devices/rng",
        Form.PRESENCE,
        default=lambda new: (not new.is_windows, False),
        offer=Offer("rng", always=False),
        feature=Feature(
            ("rng",), "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
        ),
    ),
    Field("credentials", "sysinfo/oemStrings", Form.CREDENTIALS, BY_HAND, note="none"),
    Field("firmware_open", notation=None, elsewhere="read beside the firmware (read.py)"),
    Field("overlays", notation=None, elsewhere="compared on the tree itself (overlays.py)"),
    *(
        Field(name, notation=BY_HAND, elsewhere="a table of its own")
        for name in ("cpus", "disks", "cdroms")
    ),
    Field("memory", notation=BY_HAND, elsewhere="a table of its own", note="required"),
    Field(
        "interfaces",
        notation=BY_HAND,
        elsewhere="a table of its own",
        note="one on the network `default`, if there is one",
    ),
)

TABLES: Mapping[str, Tuple[Field, ...]] = {
    "disks[].": DISK,
    "cdroms[].": CDROM,
    "interfaces[].": INTERFACE,
    "cpus.": CPUS,
    "memory.": MEMORY,
    "": MACHINE,
}
FEATURES: Mapping[str, Feature] = {
    field.name: field.feature for field in MACHINE if field.feature is not None
}
# What a change of these asks of the host; everything else QEMU has on every host.
OFFERED = tuple(field.name for field in MACHINE if field.feature and field.offer)


def find_field(prefix: str, name: str) -> Optional[Field]:
    """Return the row of a field that is in the XML, given the table's prefix (`disks[].`)."""
    return next((field for field in TABLES[prefix] if field.name == name and field.path), None)


def bound(prefix: str) -> Tuple[Field, ...]:
    """Return the rows of a table that are in the XML."""
    return tuple(field for field in TABLES[prefix] if field.path)


def named(prefix: str) -> Tuple[Field, ...]:
    """Return the rows of a table that the manifest has as one field, in its own notation."""
    return tuple(
        field
        for field in TABLES[prefix]
        if field.notation is not None and field.notation is not BY_HAND
    )


def find_elements(prefix: str) -> Tuple[str, ...]:
    """Return the paths of all elements that a table names."""
    return tuple(path for field in bound(prefix) for path in field.tag.split("|"))


def find_parts(prefix: str) -> Tuple[str, ...]:
    """Return the paths of all elements and attributes that a table names."""
    attributes = (field.path for field in bound(prefix) if field.leaf.startswith("@"))
    return (*find_elements(prefix), *attributes)


def in_order(kind: type, table: Iterable[Field]) -> Tuple[Field, ...]:
    """Return rows in the order of the model, in which people read them."""
    order = [attribute.name for attribute in fields(kind)]
    return tuple(sorted(table, key=lambda field: order.index(field.name)))
