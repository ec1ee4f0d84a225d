"""Adapt definitions that need SPICE, qxl or OpenGL to a host whose QEMU lacks them.

Debian 12's QEMU has all three; Rocky 9's and a minimal Debian 13's have none, and libvirt refuses to
define a domain that uses them. Everything else in a definition is kept.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from typing import Any, Tuple

from lxml import etree

from reconciler.core.machine import Machine
from reconciler.core.world import MachineCaps
from tests.lab.host import LabHost

# Devices that only work with SPICE.
ITS_OWN = (
    "devices/*[@type='spicevmc']",
    "devices/*[@type='spiceport']",
    "devices/audio[@type='spice']",
)
# Other kinds of `graphics` only have `listen`.
ITS_SETTINGS = "devices/graphics[@type='spice']/*[not(self::listen)]"
ONLY_QXL = ("ram", "vram", "vgamem", "heads")


@dataclass(frozen=True)
class Offering:
    """What the QEMU of a host supports."""

    spice: bool
    qxl: bool
    gl: bool

    @classmethod
    def of(cls, lab: LabHost) -> Offering:
        """Ask the host's libvirt, and its QEMU about OpenGL, which libvirt does not report."""
        root: Any = etree.fromstring(lab.virsh("domcapabilities").stdout)
        found = [element.text for element in root.iterfind("devices/*/enum/value")]
        asked = [root.findtext("path"), "-device", "help"]
        devices = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
        return cls(spice="spice" in found, qxl="qxl" in found, gl='"virtio-gpu-gl' in devices)

    def fit(self, definition: str) -> str:
        """Return the definition without what the host lacks; the same text if it lacks nothing."""
        lacking = (("spice", self.spice), ("qxl", self.qxl), ("acceleration", self.gl))
        if all(has or word not in definition for word, has in lacking):
            return definition
        root: Any = etree.fromstring(definition)
        if not self.spice:
            self._take_spice(root)
        if not self.qxl:
            for model in root.iterfind("devices/video/model[@type='qxl']"):
                model.set("type", "vga" if model.get("primary") == "yes" else "virtio")
                for name in ONLY_QXL:
                    model.attrib.pop(name, None)
        if not self.gl:
            _remove(root, "devices/video/model/acceleration")
        return str(etree.tostring(root, encoding="unicode"))

    def _take_spice(self, root: Any) -> None:
        for path in ITS_OWN:
            _remove(root, path)
        if root.find("devices/graphics[@type='vnc']") is not None:  # QEMU has one of each kind
            _remove(root, "devices/graphics[@type='spice']")
        _remove(root, ITS_SETTINGS)
        for graphics in root.iterfind("devices/graphics[@type='spice']"):
            graphics.set("type", "vnc")
            graphics.attrib.pop("tlsPort", None)

    def narrow(self, machine: Machine, caps: MachineCaps) -> Tuple[Machine, MachineCaps]:
        """Return a machine and the capabilities of another host without what this host lacks."""
        missing = {one for one in ("spice", "qxl") if self.word(one) != one}
        caps = replace(caps, graphics=caps.graphics - missing, video=caps.video - missing)
        return replace(
            machine,
            graphics=machine.graphics and self.word(machine.graphics),
            video=machine.video and self.word(machine.video),
        ), caps

    def word(self, word: str) -> str:
        """Return the manifest's word for what `fit` puts in place of this one."""
        stand_ins = {} if self.spice else {"spice": "vnc"}
        return {**stand_ins, **({} if self.qxl else {"qxl": "vga"})}.get(word, word)


def _remove(root: Any, path: str) -> None:
    for element in root.xpath(path):
        element.getparent().remove(element)
