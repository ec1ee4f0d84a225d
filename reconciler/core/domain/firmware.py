"""The guest's firmware in domain XML: asked for by name, or resolved to files by libvirt.

Up to libvirt 9.1 the definition keeps `<os firmware='efi'>`; from 9.2 on libvirt writes down what
it chose. Both mean the same here. No path of a firmware file is ever written.
"""

from __future__ import annotations

from typing import Mapping, Optional

from reconciler.core.domain import layout
from reconciler.core.xmltree import Element, make
from reconciler.errors import TerminalError

BIOS, UEFI, SECURE = "bios", "uefi", "uefi-secure"
_EFI_FILES = ("OVMF", "edk2", "efi")

# Per firmware: the features that libvirt is asked for.
_FEATURES: Mapping[str, Mapping[str, str]] = {
    UEFI: {"secure-boot": "no"},
    SECURE: {"secure-boot": "yes", "enrolled-keys": "yes"},
}


def read_firmware(os: Optional[Element]) -> str:
    """Return bios, uefi or uefi-secure."""
    if os is None:
        return BIOS
    loader = os.find("loader")
    if os.get("firmware") != "efi" and not _is_efi(loader):
        return BIOS
    asked = _asked_for_secure(os)
    if asked is None:
        asked = loader is not None and loader.get("secure") == "yes"
    return SECURE if asked else UEFI


def write_firmware(root: Element, value: str) -> None:
    """Ask for a firmware by name, and forget the files that the former one was resolved to."""
    if value not in (BIOS, *_FEATURES):
        raise TerminalError(f"firmware: {value!r} is not one of bios, uefi, uefi-secure")
    os = layout.ensure(root, "os")
    layout.remove_children(os, "firmware", "loader", "nvram")
    layout.set_attribute(os, "firmware", None if value == BIOS else "efi")
    if value != BIOS:
        layout.append(os, _features(value))
    if value == SECURE:
        layout.append(os, make("loader", {"secure": "yes"}))
        layout.ensure(root, "features/smm").set("state", "on")


def _features(value: str) -> Element:
    rows = _FEATURES[value].items()
    return make(
        "firmware",
        None,
        *(make("feature", {"enabled": enabled, "name": name}) for name, enabled in rows),
    )


def _is_efi(loader: Optional[Element]) -> bool:
    if loader is None:
        return False
    path = loader.text or ""
    return loader.get("type") == "pflash" or any(one in path for one in _EFI_FILES)


def _asked_for_secure(os: Element) -> Optional[bool]:
    for feature in os.iterfind("firmware/feature"):
        if feature.get("name") == "secure-boot":
            return feature.get("enabled") == "yes"
    return None
