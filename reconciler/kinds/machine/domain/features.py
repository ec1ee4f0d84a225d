"""The features of a whole domain: firmware, agent, console, graphics, video, rng, TPM.

Up to libvirt 9.1 the definition keeps `<os firmware='efi'>`, and each start decides what it comes
to; from 9.2 on libvirt writes down which files it chose, and later which features these have. All
mean the same here. No path of a firmware file is ever written.

Which elements that are is in `core.field_table`; what else goes with them is here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Iterator, Mapping, Optional, Sequence, Tuple

from reconciler.core.field_table import FEATURES, NONE
from reconciler.core.frozen import regex, replace
from reconciler.core.machine import Machine
from reconciler.core.plan import Value
from reconciler.core.secret_refs import (
    Recognise,
    SecretRef,
    SecretText,
    is_same_secret,
    write_token,
)
from reconciler.core.xmltree import Element, children_of, copy_of, fragment, make, make_text, parse
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


# libvirt refuses these without a SPICE display: agent, folder sharing, smart card, USB redirection.
_SPICE_TYPES = ("spicevmc", "spiceport")
_SPICE_TAGS = ("channel", "serial", "console", "parallel", "smartcard", "redirdev")
# Displays that bring OpenGL, without which a video card with 3D acceleration does not start.
_GL_DISPLAYS = ("egl-headless", "sdl", "dbus")


def set_feature(root: Element, field: str, value: Value) -> None:
    """Give the domain the feature in that form, or take it away (False or `none`)."""
    feature = FEATURES[field]
    devices = layout.ensure(root, "devices")
    former = [
        element
        for path in feature.parts
        for element in devices.findall(path)
        if is_display(element)
    ]
    kept = [display for display in former if field == "graphics" and display.get("type") == value]
    kept = kept[:1]
    place = _place_before(former)
    for element in former:
        if element not in kept:
            layout.remove(element)
    if field == "graphics":
        _drop_unserved(devices, value)
    if is_wanted(field, value) and not kept:
        _put(devices, place, make_feature(field, value))


def set_password(root: Element, value: Value) -> None:
    """Give the display a password. Raises TerminalError if there is none."""
    displays = [display for display in root.findall("devices/graphics") if is_display(display)]
    if not displays:
        raise TerminalError("graphicsPassword: the machine has no display; set graphics: vnc")
    find_display(displays).set("passwd", str(value))


def find_display(displays: Sequence[Element]) -> Element:
    """Return the one of a domain's displays that stands for all, whatever their order."""
    return min(displays, key=lambda display: display.get("type", ""))


def write_live_display(xml: str, password: str) -> str:
    """Return the display of a running guest, with that password."""
    root = parse(xml)
    set_password(root, password)
    displays = [display for display in root.findall("devices/graphics") if is_display(display)]
    return fragment(copy_of(find_display(displays)))


def settle_password(desired: Machine, observed: Machine, recognise: Recognise) -> Machine:
    """Take the password that is there for the one that is named, also if they cannot be compared.

    What is not there at all differs for certain.
    """
    ref, there = desired.graphics_password, observed.graphics_password
    if not isinstance(ref, SecretRef) or not isinstance(there, SecretText):
        return observed
    if is_same_secret(write_token(ref), there.text, recognise):
        return replace(observed, graphics_password=ref)
    return observed


_CREDENTIAL = regex(
    r"io\.systemd\.credential(?P<binary>\.binary)?:(?P<name>[^=]+)=(?P<value>.*)", re.DOTALL
)
# What XML and QEMU's command line leave as it is; anything else is written in base64.
_PLAIN_TEXT = regex(r"[!-~](?:[ -~]*[!-~])?")


def find_smbios(root: Element) -> Optional[Element]:
    """Return what the guest is shown by SMBIOS; None if that is QEMU's or the host's own."""
    mode = root.find("os/smbios")
    if mode is None or mode.get("mode") != "sysinfo":
        return None
    return root.find("sysinfo[@type='smbios']")


def read_credentials(strings: Optional[Element]) -> str:
    """Return the credentials among the OEM strings of SMBIOS."""
    found = {} if strings is None else {name: text for _, name, text in _find_credentials(strings)}
    return json.dumps(found, sort_keys=True)


def _find_credentials(strings: Element) -> Iterator[Tuple[Element, str, str]]:
    for entry in strings.findall("entry"):
        found = _CREDENTIAL.fullmatch(entry.text or "")
        if found is not None:
            text = found["value"]
            yield entry, found["name"], _decode(text) if found["binary"] else text


def _decode(text: str) -> str:
    """Return the text of a binary credential; what is not text stays as it is written."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return text


def set_credentials(root: Element, value: Value) -> None:
    """Have the guest shown these credentials; what else it is shown by SMBIOS stays.

    Raises TerminalError where the guest is shown the SMBIOS of its host.
    """
    wanted = json.loads(str(value))
    mode = root.find("os/smbios")
    if wanted and mode is not None and mode.get("mode") == "host":
        raise TerminalError(
            "credentials: the guest is shown the host's SMBIOS, which leaves no room for them; "
            f"remove <smbios mode='host'/>: {layout.edit_command(root)}"
        )
    smbios = find_smbios(root)
    strings = None if smbios is None else smbios.find("oemStrings")
    for entry, name, text in () if strings is None else list(_find_credentials(strings)):
        if wanted.get(name) == text:
            del wanted[name]
        else:
            layout.remove(entry)
    if wanted:
        strings = layout.ensure(_ensure_smbios(root), "oemStrings")
        for name, text in wanted.items():
            layout.append(strings, make_text("entry", _write_credential(name, text)))
    elif smbios is not None:
        _drop_empty(root, smbios)


def _write_credential(name: str, text: str) -> str:
    if _PLAIN_TEXT.fullmatch(text):
        return f"io.systemd.credential:{name}={text}"
    return f"io.systemd.credential.binary:{name}={base64.b64encode(text.encode()).decode()}"


def _ensure_smbios(root: Element) -> Element:
    layout.ensure(root, "os/smbios").set("mode", "sysinfo")
    smbios = root.find("sysinfo[@type='smbios']")
    return _insert_sysinfo(root, "smbios") if smbios is None else smbios


def _insert_sysinfo(root: Element, kind: str) -> Element:
    section = make("sysinfo", {"type": kind})
    before = layout.ensure(root, "os").getprevious()
    layout.insert_first(root, section) if before is None else layout.insert_after(before, section)
    return section


def _drop_empty(root: Element, smbios: Element) -> None:
    """Show the guest QEMU's own SMBIOS again, where nothing is left of another."""
    strings = smbios.find("oemStrings")
    if strings is not None and not len(strings):
        layout.remove(strings)
        if not len(smbios):
            layout.remove(smbios)
            layout.remove_children(layout.ensure(root, "os"), "smbios")


FW_CFG_NAME = "opt/com.coreos/config"  # where Ignition looks


def find_ignition(root: Element) -> Optional[str]:
    """Return the path of the file that Ignition is given; None if there is none."""
    entry = root.find(f"sysinfo[@type='fwcfg']/entry[@name='{FW_CFG_NAME}']")
    return None if entry is None else entry.get("file")


def set_ignition(root: Element, value: Value) -> None:
    """Have QEMU hand on the file at that path (None: none); other entries of fw_cfg stay."""
    entry = root.find(f"sysinfo[@type='fwcfg']/entry[@name='{FW_CFG_NAME}']")
    if entry is None and value:
        section = root.find("sysinfo[@type='fwcfg']")
        section = _insert_sysinfo(root, "fwcfg") if section is None else section
        entry = make("entry", {"name": FW_CFG_NAME})
        layout.append(section, entry)
    if entry is not None and value:
        entry.set("file", str(value))
    elif entry is not None:
        section = entry.getparent()
        layout.remove(entry)
        if section is not None and not len(section):
            layout.remove(section)


def make_feature(field: str, value: Value) -> Sequence[Element]:
    """Return the elements of a new one."""
    text = FEATURES[field].xml.format(value)
    return children_of(parse(f"<devices>{text}</devices>", is_ours=True))


def is_display(element: Element) -> bool:
    """Whether it is not a mere renderer for other displays, which nobody looks at."""
    return element.get("type") != "egl-headless"


def is_wanted(field: str, value: Value) -> bool:
    """Whether an element is to be written for the value.

    A domain without a graphics card says so: where there is a display, libvirt would add a card.
    """
    return value not in (None, False, NONE) or (field == "video" and value == NONE)


def _put(devices: Element, place: Optional[Element], elements: Sequence[Element]) -> None:
    """Put new devices where the former ones were, else where libvirt would write them."""
    for element in elements:
        if place is None:
            layout.insert_device(devices, element)
        else:
            layout.insert_after(place, element)
            place = element


def _place_before(elements: Sequence[Element]) -> Optional[Element]:
    return elements[0].getprevious() if elements else None


def _drop_unserved(devices: Element, display: Value) -> None:
    """Take away what only the former display could serve: SPICE's devices, OpenGL."""
    if display != "spice":
        _drop_spice(devices)
    has_gl = any(_has_gl(element) for element in devices.findall("graphics"))
    for acceleration in devices.findall("video/model/acceleration[@accel3d='yes']"):
        if not has_gl:
            acceleration.set("accel3d", "no")


def _drop_spice(devices: Element) -> None:
    for child in list(devices.iterchildren(*_SPICE_TAGS)):
        if child.get("type") in _SPICE_TYPES:
            layout.remove(child)
    if devices.find("redirdev") is None:
        layout.remove_children(devices, "redirfilter")
    for audio in devices.findall("audio[@type='spice']"):
        audio.set("type", NONE)


def _has_gl(display: Element) -> bool:
    gl = display.find("gl")
    return display.get("type") in _GL_DISPLAYS or (gl is not None and gl.get("enable") == "yes")
