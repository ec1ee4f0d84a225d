"""Whether the Windows in an image is generalized: what was read there, and what it means. Pure.

Windows itself says so, in its registry and in a file (Microsoft, "Windows Setup States"): of the
states only one is that of an image which `sysprep /generalize /oobe` has sealed, and which gives
each clone a name and a SID of its own when it starts.
"""

from __future__ import annotations

from typing import Mapping, Optional

from reconciler.core.frozen import frozen
from reconciler.errors import RefusedError

SEALED = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
COMPLETE = "IMAGE_STATE_COMPLETE"
STATE_KEY = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State"
STATE_VALUE = "ImageState"
STATE_FILE = "/Windows/Setup/State/State.ini"
SYSPREP = r"C:\Windows\System32\Sysprep\sysprep.exe /generalize /oobe /shutdown"
# Windows before 8.1 counts how often it was generalized (Microsoft, "Sysprep (Generalize) a Windows
# installation"): three times, and only Windows itself knows how often is left.
_COUNTED = frozenset({"winvista", "win7", "win8", "win2k8", "win2k8r2", "win2k12"})
REARM = "Windows before 8.1 can be generalized 3 times; how often is left: slmgr.vbs /dlv"

_STATES: Mapping[str, str] = {
    COMPLETE: f"is an installation in use ({COMPLETE}), so its clones would share host name and "
    "SID",
    "IMAGE_STATE_UNDEPLOYABLE": "has a setup that did not end (IMAGE_STATE_UNDEPLOYABLE), which "
    "cannot be deployed any more; take a former image, or install it anew",
    "IMAGE_STATE_GENERALIZE_RESEAL_TO_AUDIT": "is generalized for audit mode "
    "(IMAGE_STATE_GENERALIZE_RESEAL_TO_AUDIT), in which it never takes up a name",
}
CONTROLLER = (
    "is a domain controller, which sysprep does not support (Microsoft KB830958); make the "
    "template of a server that is not one"
)
HIBERNATED = (
    "is hibernated (Fast Startup, or hibernation), so what is on its disk is not its state; start "
    "it, run in it: shutdown /s /f /t 0"
)
BITLOCKER = (
    "is encrypted by BitLocker, so nothing can be read in it, and its clones would share a key; "
    r"start it, and run in it: manage-bde -off C:"
)
NO_WINDOWS = (
    "libguestfs finds no Windows in it; if it holds none, correct `os` of the template, else see: "
    "virt-inspector -a"
)
DAMAGED = "its registry is damaged, so nobody can tell; repair it, or take a former image"


_ANSWERS = (
    r"C:\Windows\Panther\unattend.xml lies in it, which Windows may prefer to the answer file of a "
    "clone"
)


@frozen
class WindowsImage:
    """What was read in an image.

    `state` is Windows' own word. Where it is empty, `fault` says why there is none, or `unchecked`
    why nobody has looked. `why` is what stands in the way of generalizing it. `has_answers`: an
    answer file lies in it, for which Windows looks before it looks at a CD-ROM.
    """

    state: str = ""
    fault: str = ""
    unchecked: str = ""
    why: str = ""
    has_answers: bool = False

    @property
    def is_sealed(self) -> bool:
        """Whether it is generalized."""
        return self.state == SEALED


def read_state(text: str) -> str:
    """Return the state of the words of virt-win-reg, or of State.ini; empty if there is none."""
    for line in text.splitlines():
        name, is_entry, value = line.strip().rpartition("=")
        word = value.strip().strip('"').replace(" ", "")
        if word.startswith("IMAGE_STATE_") and (not is_entry or name.strip() == STATE_VALUE):
            return word
    return ""


def describe_image(image: WindowsImage, declared: Optional[str]) -> str:
    """Return what a plan says of an image that may be cloned."""
    if image.is_sealed:
        answers = f"; {_ANSWERS}" if image.has_answers else ""
        return f"generalized, as read in its image{answers}"
    return f"generalized: {declared or 'not declared'}; not checked: {image.unchecked}"


def refuse_open(image: WindowsImage, where: str, path: str, os: Optional[str]) -> None:
    """Raise RefusedError for an image of which it is known that it is not generalized.

    `where` names the template, `os` is what the manifest takes its system for.
    """
    if image.is_sealed or image.unchecked:
        return
    counted = f". {REARM}" if os in _COUNTED else ""
    if image.fault:
        end = f" {path}" if image.fault == NO_WINDOWS else ""
        raise RefusedError(f"{where}: {path}: {image.fault}{end}")
    said = _STATES.get(image.state, f"is not generalized ({image.state})")
    if image.why:
        raise RefusedError(f"{where}: the Windows in {path} {said}; it {image.why}{counted}")
    if image.state == "IMAGE_STATE_UNDEPLOYABLE":
        raise RefusedError(f"{where}: the Windows in {path} {said}")
    raise RefusedError(
        f"{where}: the Windows in {path} {said}; start it and run in it: {SYSPREP}{counted}"
    )
