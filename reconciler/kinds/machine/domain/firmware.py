"""The guest's firmware in domain XML: asked for by name, or resolved to files by libvirt.

Up to libvirt 9.1 the definition keeps `<os firmware='efi'>`, and each start decides what it comes
to; from 9.2 on libvirt writes down which files it chose, and later which features these have. All
mean the same here. No path of a firmware file is ever written.
"""

from __future__ import annotations

from typing import Mapping, Optional

from reconciler.core.frozen import replace
from reconciler.core.machine import Machine
from reconciler.core.xmltree import Element, make
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain import layout

BIOS, UEFI, SECURE = "bios", "uefi", "uefi-secure"
_EFI_FILES = ("ovmf", "edk2", "efi")

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


def leaves_secure_boot_open(os: Optional[Element]) -> bool:
    """Whether UEFI is asked for, and whether with Secure Boot is left to each start (libvirt 9.0).

    Most hosts start such a guest with Secure Boot.
    """
    if os is None or os.get("firmware") != "efi" or _asked_for_secure(os) is not None:
        return False
    loader = os.find("loader")
    return loader is None or not (loader.get("secure") or (loader.text or "").strip())


def settle_firmware(desired: Optional[str], observed: Machine) -> Machine:
    """Take the firmware of an existing machine for the one that is asked for, if it is that too.

    One with Secure Boot is UEFI as well: what a definition of libvirt 9.0 leaves open, and an
    export calls `uefi`, is with Secure Boot when it runs, or once a newer libvirt has read it.
    """
    is_secure = observed.firmware == SECURE
    if desired == UEFI and is_secure:
        return replace(observed, firmware=UEFI)
    if desired == SECURE and not is_secure and observed.firmware_open:
        return replace(observed, firmware=SECURE)
    return observed


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
    path = (loader.text or "").lower()
    return loader.get("type") == "pflash" or any(file in path for file in _EFI_FILES)


def _asked_for_secure(os: Element) -> Optional[bool]:
    """Return whether Secure Boot is asked for, itself or by its keys; None if that is not said."""
    features = {
        element.get("name"): element.get("enabled") for element in os.iterfind("firmware/feature")
    }
    said = [features[name] for name in ("secure-boot", "enrolled-keys") if name in features]
    return said[0] == "yes" if said else None
