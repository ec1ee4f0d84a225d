r"""A guest whose agent answers as Windows' does: no Windows can be here.

It is the tests' tiny Linux, with the shell script `windows-agent` in place of qemu-ga. What it says
is true of the guest (disks, addresses, serials, devices, drivers), in the form that a Windows gives
it. Sources of that form, looked up in November 2026:

- QEMU's qga/commands-win32.c and qga/qapi-schema.json: `guest-get-disks` (all of
  GUID_DEVINTERFACE_DISK, `\\.\PhysicalDriveN`, the newest first), the bus as the driver registers it
  (`win2qemu[]`, which has no virtio: viostor is scsi, vioscsi is sas), the PCI address with
  SPDRP_UI_NUMBER as slot, or -1 in all places where Windows does not know one; `guest-get-devices`
  (leaves out what has no driver; numbers in decimal; the date in ns); `guest-get-osinfo`
  (`mswindows`, build as kernel-release, server or client as variant); which commands are not
  supported.
- Answers of a Windows Server 2022 on QEMU (virsh qemu-agent-command, published with the notes of
  the TrueNAS project Pademelon): disk on viostor behind a PCIe port `scsi`, bus 4, slot 0, its serial
  as it is; CD-ROM on AHCI -1 everywhere; loopback without hardware-address; IPv6 with its zone.
- Answers in the tests of KubeVirt (collectGuestDevices, parseGuestGetDisks): "Red Hat VirtIO SCSI
  controller", driver-date 1651363200000000000, device-id 4162, vendor-id 6900.

What is installed is kept in the first sector of the system disk, as a Windows keeps it in its
registry. A driver that is not started at boot leaves a system disk on its bus unseen; then the guest
stops before its agent, as with INACCESSIBLE_BOOT_DEVICE. `pnputil.exe` reads the INF on the CD-ROM,
and loads the module that stands for the driver.

None of this proves anything about a real Windows but that it is asked, and understood, as its agent
is documented.
"""

from __future__ import annotations

import base64
import shlex
from functools import cache
from pathlib import Path
from typing import Tuple

from reconciler.core.machine import Overlay
from tests.lab.guest import Guest
from tests.lab.guest_image import CACHE, COMMAND_LINE, build_guest, locked, write_whole
from tests.lab.guest_kernel import list_modules
from tests.lab.initramfs import Initramfs

SCRIPT = Path(__file__).resolve().with_name("windows-agent")
HOST_NAME = "WIN2016"
SETTINGS = {
    "host_name": HOST_NAME,
    "product": "Windows Server 2016 Standard",
    "version": "Windows Server 2016",
    "id": "2016",
    "build": "14393",
    "folder": "2k16",  # of virtio-win's: drivers of others do not fit
}
ISO_9660 = ("isofs",)
FOLDERS = {"netkvm": "NetKVM"}  # of a service on the ISO, where it is written otherwise


def boot_windows(*, may_exec: bool = True, starts: bool = True) -> Tuple[Overlay, ...]:
    """Return what makes any machine boot it, as `boot_overlays` does.

    `may_exec` allows guest-exec; `starts` says that an installed storage driver is started at boot,
    as it is; without it the guest does not come up from a disk on its bus.
    """
    image = build_guest()
    options = {**SETTINGS, "exec": "true" if may_exec else "false", "start": "03"[not starts]}
    return (
        Overlay("/domain/os", f"<kernel>{image.kernel}</kernel>"),
        Overlay("/domain/os", f"<initrd>{_build(tuple(options.items()))}</initrd>"),
        Overlay("/domain/os", f"<cmdline>{COMMAND_LINE}</cmdline>"),
    )


@cache
def _build(options: Tuple[Tuple[str, str], ...]) -> Path:
    """Return the initramfs, with the agent and what it needs after all that every guest has."""
    image = build_guest()
    modules = list_modules(CACHE / "kernel", ISO_9660)
    settings = [*options, ("ISO_MODULES", " ".join(modules))]
    more = Initramfs()
    more.add("windows", "".join(f"{name}={shlex.quote(text)}\n" for name, text in settings))
    more.add("bin/windows-agent", SCRIPT)
    for name, content in modules.items():
        more.add(f"modules/{name}", content)
    whole = image.initrd.read_bytes()
    whole += bytes(-len(whole) % 512) + more.pack()
    chosen = dict(options)
    variant = image.initrd.with_name(
        f"{image.initrd.name}-windows-{chosen['exec']}{chosen['start']}"
    )
    with locked(variant.parent):
        if not variant.exists() or variant.read_bytes() != whole:
            write_whole(variant, whole)
    return variant


class WindowsGuest(Guest):
    """The witness of such a guest: what its Linux sees, and what its agent could not answer."""

    def exec(self, *command: str) -> str:
        """Run a program of the Linux that it really is, and return what it prints."""
        script = base64.b64encode(" ".join(map(shlex.quote, command)).encode()).decode()
        return base64.b64decode(self.ask("lab-run", arg=[script])).decode()

    def list_unanswered(self) -> str:
        """Return the commands and programs that were asked for in this boot, and are not there."""
        return str(self.ask("lab-unanswered"))

    def install(self, service: str, drive: str = "E") -> str:
        """Install a driver from the CD-ROM by hand, as a person does in the guest."""
        folder = FOLDERS.get(service, service)
        inf = rf"{drive}:\{folder}\{SETTINGS['folder']}\amd64\{service}.inf"
        return base64.b64decode(self.ask("lab-install", limit=60, arg=[inf])).decode()
