"""What a guest would be given for its first boot now, and whether it was given another. Pure.

cloud-init, Ignition and Windows are given one thing each, which is called the seed. A Windows whose
template has cloudbase-init is given it in the way of cloud-init.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Mapping, Optional, Tuple, Union

from reconciler.core.cloud_init import CloudInit, Seed, list_file_refs, render_seed
from reconciler.core.ignition import RESULT, Ignition, render_ignition
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.names import CLOUD_INIT, IGNITION, NAMED, WINDOWS, SeedMark
from reconciler.core.secret_refs import SealedSecret
from reconciler.core.world import Unknown, World

if TYPE_CHECKING:
    from reconciler.core.answer_file import WindowsIdentity

    Given = Union[CloudInit, Ignition, WindowsIdentity]

KEPT: Mapping[str, str] = {
    CLOUD_INIT: "cloudInit changed since the guest got its seed, and the guest is not told "
    "(onChange: keep); to have it run cloud-init again as a new instance, set cloudInit.onChange: "
    "rerun",
    IGNITION: "ignition changed since the guest got it, and the guest is not told: Ignition runs "
    "at the first boot only",
    WINDOWS: "windows changed since the guest got its answer file, and the guest is not told: "
    "Windows reads it at the first boot only",
}
NOT_GIVEN: Mapping[str, str] = {
    CLOUD_INIT: "cloudInit is for the first boot, and this machine was made without it; to give "
    "it to the guest at the next cold start, set cloudInit.onChange: rerun",
    IGNITION: "ignition is for the first boot, and this machine was made without it; the guest "
    "is not given it",
    WINDOWS: "windows is for the first boot of a generalized image, and this machine was made "
    "without it; the guest is not given it",
}
LATER = "cloudInit changed; the new seed is made when the first boot is over (onChange: rerun)"
RERUN = (
    "cloud-init runs everything again as for a new machine: new SSH host keys, users, host name, "
    "scripts and packages. If a seed of the guest was removed before, first run in the guest: sudo "
    "cloud-init clean"
)
CHANGED = (" changed since", ": a secret that it names changed since")
_DIGITS = 12


def find_given(manifest: MachineManifest, desired: Desired) -> Optional[Given]:
    """Return what the manifest gives the guest; None if it gives nothing."""
    windows = manifest.windows
    if windows is None:
        return manifest.ignition if manifest.cloud_init is None else manifest.cloud_init
    if not has_cloudbase(manifest, desired):
        return windows
    from reconciler.core.answer_file import with_cloudbase  # noqa: PLC0415 - start-up time

    return with_cloudbase(windows, manifest.cloud_init)


def has_cloudbase(manifest: MachineManifest, desired: Desired) -> bool:
    """Whether a template that the machine is cloned from has cloudbase-init."""
    names = (disk.template for disk in manifest.machine.disks or () if disk.template)
    return any(template.cloudbase for template in map(desired.template, names) if template)


def name_given(given: Given) -> str:
    """Return the manifest's field."""
    if isinstance(given, CloudInit):
        return CLOUD_INIT
    return IGNITION if isinstance(given, Ignition) else WINDOWS


def find_sign(manifest: MachineManifest, mark: SeedMark) -> str:
    """Return by what the guest's agent is asked whether the first boot is over."""
    if mark.field == IGNITION:
        return RESULT
    if manifest.windows is not None:
        return f"{NAMED}{manifest.windows.computer_name}"
    return mark.instance


def find_changed(seed: Optional[Seed], mark: Optional[SeedMark], world: World) -> str:
    """Say, after the name of the field, that the guest would be given something else now."""
    if seed is None:
        return ""
    if mark is None or seed.digest != mark.digest:
        return CHANGED[0]
    sealed = seal_seed(seed, world) if mark.secrets else ""
    return CHANGED[1] if sealed and sealed != mark.secrets else ""


def seal_seed(seed: Seed, world: World) -> str:
    """Return a digest of the secrets of a seed, with the host's key; empty if one is not known."""
    found = [
        (str(ref), world.find_secret(ref)) for ref in sorted(list_file_refs(seed.files), key=str)
    ]
    lasting = [
        f"{ref} {secret.digest.hex()}"
        for ref, secret in found
        if isinstance(secret, SealedSecret) and secret.is_lasting
    ]
    if not found or len(lasting) < len(found):
        return ""
    return hashlib.sha256("\n".join(lasting).encode()).hexdigest()[:_DIGITS]


def find_unread_secrets(seed: Seed, world: World) -> Tuple[str, ...]:
    """Say which of its secrets cannot be compared."""
    found = (world.find_secret(ref) for ref in list_file_refs(seed.files))
    return tuple(
        f"secret not compared: {secret.reason}" for secret in found if isinstance(secret, Unknown)
    )


def render_given(manifest: MachineManifest, given: Given, count: int) -> Seed:
    """Return the seed, as the guest would be given it now."""
    if isinstance(given, Ignition):
        return render_ignition(given, manifest.name, count)
    if isinstance(given, CloudInit):
        return render_seed(given, manifest.name, manifest.machine.interfaces or (), count)
    from reconciler.core.answer_file import render_answers  # noqa: PLC0415 - start-up time

    return render_answers(given, manifest.name, count)
