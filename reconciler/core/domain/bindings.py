"""The one table of which field of the model stands where in domain XML.

Reading and editing are both driven by it. A path is a small XPath (`target/@bus`, `vcpu/text()`,
`readonly`); what it cannot say is a converter's. What must happen elsewhere in the domain when a
field changes does not belong here: that is in the modules beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Tuple

from reconciler.core.domain import forms
from reconciler.core.domain.forms import Form
from reconciler.core.xmltree import Element

Kids = Mapping[str, Element]
Reader = Callable[[Kids, Element], Any]


@dataclass(frozen=True)
class Binding:
    """One field and its place below the device's element (or the domain's).

    `form` converts the text there. A path that ends in an element name, not `@…` or `text()`,
    means the presence of that element, or is left to the form altogether.
    """

    field: str
    path: str
    form: Form = forms.TEXT

    @property
    def tag(self) -> str:
        """The element of the path."""
        return self.path.rsplit("/", 1)[0] if self.leaf else self.path

    @property
    def leaf(self) -> str:
        """The path's last part, if it is an attribute or text."""
        last = self.path.rsplit("/", 1)[-1]
        return last if last.startswith("@") or last == "text()" else ""


DISK: Tuple[Binding, ...] = (
    Binding("format", "driver/@type"),
    Binding("cache", "driver/@cache"),
    Binding("io", "driver/@io"),
    Binding("discard", "driver/@discard"),
    Binding("source", "source", forms.SOURCE),
    Binding("target", "target/@dev"),
    Binding("bus", "target/@bus"),
    Binding("readonly", "readonly", forms.PRESENCE),
    Binding("shareable", "shareable", forms.PRESENCE),
    Binding("serial", "serial/text()"),
    Binding("boot", "boot/@order", forms.INTEGER),
    Binding("alias", "alias/@name", forms.ALIAS),
)

CDROM: Tuple[Binding, ...] = (
    Binding("media", "source", forms.MEDIA),
    Binding("target", "target/@dev"),
    Binding("bus", "target/@bus"),
    Binding("boot", "boot/@order", forms.INTEGER),
    Binding("alias", "alias/@name", forms.ALIAS),
)

INTERFACE: Tuple[Binding, ...] = (
    Binding("mac", "mac/@address"),
    Binding("network", "source/@network", forms.NETWORK),
    Binding("bridge", "source/@bridge", forms.BRIDGE),
    Binding("model", "model/@type"),
    Binding("boot", "boot/@order", forms.INTEGER),
    Binding("link", "link/@state", forms.LINK),
    Binding("alias", "alias/@name", forms.ALIAS),
)

CPUS: Tuple[Binding, ...] = (
    Binding("count", "vcpu", forms.ONLINE),
    Binding("maximum", "vcpu/text()", forms.INTEGER),
    Binding("sockets", "cpu/topology/@sockets", forms.INTEGER),
    Binding("cores", "cpu/topology/@cores", forms.INTEGER),
    Binding("threads", "cpu/topology/@threads", forms.INTEGER),
    Binding("mode", "cpu/@mode"),
    Binding("model", "cpu/model/text()"),
    Binding("unpluggable", "vcpus", forms.UNPLUGGABLE),
)

MEMORY: Tuple[Binding, ...] = (
    Binding("size", "currentMemory|memory", forms.BYTES),
    Binding("maximum", "memory", forms.BYTES),
    Binding("balloon", "devices/memballoon", forms.BALLOON),
)

MACHINE: Tuple[Binding, ...] = (
    Binding("name", "name/text()"),
    Binding("uuid", "uuid/text()"),
    Binding("machine", "os/type/@machine"),
    Binding("firmware", "os", forms.FIRMWARE),
    Binding("guest_agent", "devices", forms.GUEST_AGENT),
    Binding("console", "devices/serial|devices/console", forms.PRESENCE),
    Binding("graphics", "devices/graphics/@type", forms.OR_NONE),
    Binding("video", "devices/video/model/@type", forms.OR_NONE),
    Binding("rng", "devices/rng", forms.PRESENCE),
    Binding("tpm", "devices/tpm", forms.PRESENCE),
)

TABLES: Mapping[str, Tuple[Binding, ...]] = {
    "disks[].": DISK,
    "cdroms[].": CDROM,
    "interfaces[].": INTERFACE,
    "cpus.": CPUS,
    "memory.": MEMORY,
    "": MACHINE,
}

# Fields of the model that do not stand in the XML, each with the reason.
UNBOUND: Mapping[str, str] = {
    "os": "hint: stands in our mark",
    "power": "libvirt keeps the state outside the XML",
    "autostart": "libvirt keeps it outside the XML",
    "firmware_open": "hint: read beside the firmware (read.py)",
    "overlays": "compared on the tree itself (overlays.py)",
    "disks": "a table of its own",
    "cdroms": "a table of its own",
    "interfaces": "a table of its own",
    "cpus": "a table of its own",
    "memory": "a table of its own",
    "disks[].name": "is alias or target",
    "disks[].size": "a property of the volume",
    "disks[].pool": "hint: how the source is found",
    "disks[].volume": "hint: how the source is found",
    "disks[].template": "hint: how the volume is made",
    "disks[].clone": "hint: how the volume is made",
    "cdroms[].name": "is alias or target",
    "cdroms[].pool": "hint: how the medium is found",
    "cdroms[].volume": "hint: how the medium is found",
    "interfaces[].name": "is alias or MAC",
    "interfaces[].uplink": "said in other words by each type of interface (read.py)",
}


def find_binding(prefix: str, field: str) -> Optional[Binding]:
    """Return the row of a field, given the table's prefix (`disks[].`)."""
    return next((one for one in TABLES[prefix] if one.field == field), None)
