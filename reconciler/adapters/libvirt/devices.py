"""Change devices of a running guest, around what QEMU and libvirt answer on the way.

Live configuration only. A medium is never forced out: a guest that has it mounted is using it.
Errors are libvirt's own, which the caller translates, but where more can be said than libvirt does.
"""

from __future__ import annotations

import time

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.objects import Domain
from reconciler.errors import TransientError

# What is said of a drive whose tray did not open: by QEMU ("Tray of device 'sata0-0-0' is not
# open", "is locked and force was not specified") and by libvirt, which waits 5 s for the guest
# ("timed out waiting to open tray of 'sda'", qemuHotplugWaitForTrayEject).
_TRAY = ("is not open", "is locked", "waiting to open tray")
# A guest that was asked may open its tray a moment later, and the next call finds it open; QEMU
# also loses this race now and then (https://gitlab.com/qemu-project/qemu/-/issues/933).
_TRAY_WAITS = (1.0, 2.0)  # seconds before each further try
# QEMU's words when a device was asked for before and the guest has not answered yet
# (softmmu/qdev-monitor.c, qmp_device_del). Our caller waits for the device to go either way.
_ALREADY_ASKED = "already in the process of unplug"


def update(domain: Domain, xml: str) -> None:
    """Change a device: its medium, its link. Raises TransientError if the tray stays shut."""
    for wait in _TRAY_WAITS:
        try:
            domain.updateDeviceFlags(xml, binding.AFFECT_LIVE)
        except binding.Error as error:
            if not _is_about_tray(error):
                raise
            time.sleep(wait)
        else:
            return
    _update_at_last(domain, xml)


def detach(domain: Domain, xml: str) -> None:
    """Ask for a device back; that it was asked for before is no error."""
    try:
        domain.detachDeviceFlags(xml, binding.AFFECT_LIVE)
    except binding.Error as error:
        if _ALREADY_ASKED not in binding.message_of(error):
            raise


def set_vcpus(domain: Domain, count: int) -> None:
    """Plug processors in, or ask for them back.

    libvirt waits 5 s for the guest to give one back (qemuDomainRemoveDeviceWaitTime); a slow one
    does so later, which is no error. Our caller waits for it.
    """
    try:
        domain.setVcpusFlags(count, binding.AFFECT_LIVE)
    except binding.Error as error:
        if binding.code_of(error) != binding.OPERATION_TIMEOUT:
            raise


def _update_at_last(domain: Domain, xml: str) -> None:
    """Try for the last time.

    libvirt older than 9.3 (Debian 12, Rocky 9.2) opens no tray of a drive that was plugged into
    the running guest: it does not know that there is one until it is restarted, and forcing does
    not help (NEWS of 9.3.0, "Properly detect tray of hotplugged CD-ROM devices"; tried on 9.0).
    And when firmware or a driver resets the SCSI bus while the tray is open, QEMU shuts it without
    telling (scsi_disk_reset); libvirt takes it for open, and opens it never again.
    """
    try:
        domain.updateDeviceFlags(xml, binding.AFFECT_LIVE)
    except binding.Error as error:
        if not _is_about_tray(error):
            raise
        raise TransientError(
            f"domain {domain.name()}: the CD-ROM drive's tray stays shut: unmount the medium in "
            "the guest; or, of a drive that was reset while its tray was open, or that was plugged "
            "in while it ran, and libvirt is older than 9.3, restart libvirt's daemon "
            f"(libvirt: {binding.message_of(error)})"
        ) from error


def _is_about_tray(error: Exception) -> bool:
    message = binding.message_of(error)
    return any(words in message for words in _TRAY)
