"""The throw-away machine of `bench matrix`: what it is made of, and how it is known again.

It is an ordinary machine of this product: its mark is stored before its first volume is made, and
names every volume. Its spec there has the ID of the matrix besides, and says that it is deleted
with its disks. A killed run leaves it behind, and the next run knows it by that ID.
"""

from __future__ import annotations

import json
import shlex
from typing import Iterator, Mapping, Optional, Tuple, Union

from reconciler.control.ports import Host
from reconciler.core.frozen import frozen, replace
from reconciler.core.guests import is_windows
from reconciler.core.images import DEFAULT_POOL
from reconciler.core.key import Key
from reconciler.core.machine import Disk, Power
from reconciler.core.manifest import (
    Desired,
    Lifecycle,
    MachineManifest,
    digest_generation,
    write_canonical,
)
from reconciler.core.measurements.matrix import Combination
from reconciler.core.plan import Action, ActionKind, Effect, PlanOptions
from reconciler.core.units import format_roughly
from reconciler.core.world import DomainView, PoolView, Reading, Unknown, VolumeView
from reconciler.core.xmltree import parse
from reconciler.errors import FullError, RefusedError, TransientError, UsageError
from reconciler.kinds.machine.answers import understand
from reconciler.kinds.machine.deletion import plan_deletion
from reconciler.kinds.machine.domain.mark import mentions_image, read_owner
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.machine.status import is_owned

KEPT_FREE = 0.05  # share of what is free in the pool that stays free
MATRIX = "benchMatrix"  # the key in the mark's spec
_LIFECYCLE = {"deletion": "deleteDisks", "forceOff": True}

PLAIN = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  cpus: 2
  memory: 2GiB
  guestAgent: true
  disks:
    - {{name: root, source: {{template: {template}}}}}
"""
PLAIN_TEMPLATE = """\
---
apiVersion: virt-reconciler/v1
kind: Template
metadata: {{name: {name}}}
spec:
  image: {image}
"""


def write_plain(name: str, template: Optional[str], image: Optional[str]) -> str:
    """Return the manifest of a machine with one disk, cloned from a template or an image."""
    machine, origin = json.dumps(name), json.dumps(template or name)
    text = PLAIN.format(name=machine, template=origin)
    if image is None:
        return text
    return text + PLAIN_TEMPLATE.format(name=machine, image=json.dumps(image))


def find_machine(desired: Desired, name: str) -> Optional[MachineManifest]:
    """Return the machine of that name."""
    return next((machine for machine in desired.machines if machine.name == name), None)


def make_throwaway(manifest: MachineManifest, matrix: str) -> MachineManifest:
    """Return the machine as it is made for a matrix: off, marked, and deleted with its disks.

    Raises RefusedError for one that has an image of somebody else, or that cannot be asked.
    """
    machine = manifest.machine
    if is_windows(machine.os):
        raise RefusedError(
            f"{machine.name}: runs Windows, which has neither fio nor dd; use a Linux image"
        )
    if machine.guest_agent is False:
        raise RefusedError(
            f"{machine.name}: its manifest has guestAgent: false, and the guest is measured by "
            "its agent; set guestAgent: true"
        )
    for disk in machine.disks or ():
        if disk.source is not None or disk.volume is not None:
            raise RefusedError(
                f"{machine.name}: disks[{disk.name}] is an image that is there already, and only "
                "disks that are made for the measurement are measured; give it a template, or "
                "only a size"
            )
    spec = json.loads(manifest.spec)
    spec = write_canonical({**spec, "lifecycle": _LIFECYCLE, MATRIX: matrix})
    return replace(
        manifest,
        machine=replace(machine, power=Power.STOPPED, autostart=False, guest_agent=True),
        spec=spec,
        generation=digest_generation(spec, manifest.labels),
        lifecycle=Lifecycle(deletion="deleteDisks", force_off=True),
        host=None,
        required_daemons=(),
    )


def choose_disk(manifest: MachineManifest, name: Optional[str]) -> Disk:
    """Return the disk that is measured: the one that is named, else the first."""
    disks = manifest.machine.disks or ()
    if not disks:
        raise UsageError(f"{manifest.name}: its manifest has no disk; add one to disks")
    found = next((disk for disk in disks if name in (None, disk.name)), None)
    if found is None:
        names = ", ".join(disk.name for disk in disks)
        raise UsageError(f"--disk {name}: the machine has no such disk; it has: {names}")
    return found


@frozen
class ThrowAway:
    """The machine of a matrix: its manifest, and the templates that it is cloned from."""

    manifest: MachineManifest
    templates: Desired
    disk: Disk

    @property
    def name(self) -> str:
        """Its name."""
        return self.manifest.name

    @property
    def key(self) -> Key:
        """Its kind and name."""
        return self.manifest.key

    @property
    def pool(self) -> str:
        """The pool that its disk is made in."""
        return self.disk.pool or DEFAULT_POOL

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing on the disk."""
        return self.disk.template is None and self.disk.origin is None


def plan_arrangement(
    host: Host, machine: ThrowAway, combination: Combination, power: Power
) -> Tuple[Desired, Action]:
    """Plan the machine as it is to be, as any other; nothing else may have to be made for it."""
    manifest = arrange(machine.manifest, machine.disk.name, combination, power)
    desired = Desired.of(*machine.templates.templates, manifest)
    plan = observe(host, desired).plan(PlanOptions())
    for action in plan.actions:
        if action.key != machine.key and action.steps:
            raise RefusedError(explain_pull(action.name))
    action = next(action for action in plan.actions if action.key == machine.key)
    if action.action is ActionKind.FAILED:
        raise (TransientError if action.transient else RefusedError)(action.reason or "")
    withheld = [each for each in action.changes if each.effect is Effect.WITHHELD]
    if withheld:
        raise RefusedError(f"{withheld[0].path}: {withheld[0].reason}")
    return desired, action


def plan_removal(host: Host, name: str) -> Action:
    """Plan the machine's end, which its own mark describes. Raises NotFoundError if it is gone."""
    action = plan_deletion(host, Desired(), name)
    if action.action is not ActionKind.DELETE:
        raise TransientError(f"{name}: not removed: {action.reason}")
    return action


def arrange(
    manifest: MachineManifest, disk: str, combination: Combination, power: Power
) -> MachineManifest:
    """Return the machine with its disk on that combination."""
    machine = manifest.machine
    disks = tuple(
        replace(each, bus=combination.bus, cache=combination.cache, io=combination.io)
        if each.name == disk
        else each
        for each in machine.disks or ()
    )
    return replace(manifest, machine=replace(machine, disks=disks, power=power))


def find_leftovers(views: Mapping[str, Union[DomainView, Unknown]]) -> Iterator[Tuple[str, str]]:
    """Yield (name, ID of the matrix) of each throw-away machine on the host."""
    for name, view in views.items():
        reading = understand(view)
        matrix = read_matrix(reading) if isinstance(reading, Reading) else ""
        if matrix:
            yield name, matrix


def read_matrix(reading: Reading) -> str:
    """Return the ID of the matrix that a domain was made for; empty if it was made for none."""
    if reading.owner is None or not is_owned(reading):
        return ""
    try:
        return str(json.loads(reading.owner.spec).get(MATRIX, ""))
    except (ValueError, AttributeError):
        return ""  # somebody edited it


def refuse_existing(
    name: str, views: Mapping[str, Union[DomainView, Unknown]], pools: Tuple[PoolView, ...]
) -> None:
    """Raise RefusedError if there is a domain, or a volume, that has the name."""
    other = "only a machine that does not exist yet is measured; give another NAME"
    if name in views:
        raise RefusedError(f"domain {name} exists, and it was left unchanged; {other}")
    for pool in pools:
        for volume in pool.volumes:
            if volume == name or volume.startswith((f"{name}.", f"{name}-")):
                raise RefusedError(
                    f"volume {pool.name}/{volume} exists, and it was left unchanged; {other}"
                )


def refuse_full(machine: ThrowAway, pools: Tuple[PoolView, ...], written: int) -> None:
    """Raise FullError if the disk could fill its pool; each combination writes its file anew."""
    size = machine.disk.size
    most = written if size is None else min(written, size)
    free = next((pool.available for pool in pools if pool.name == machine.pool), None)
    if free is not None and most > free * (1 - KEPT_FREE):
        raise FullError(
            f"storage pool {machine.pool}: disk {machine.disk.name} can grow by "
            f"{format_roughly(most)}, and {format_roughly(free)} are free; give a smaller --size, "
            "or fewer combinations: --bus, --cache, --io"
        )


def find_made(host: Host, name: str) -> Tuple[VolumeView, ...]:
    """Return the volumes that were made for the machine, as its mark has them."""
    owner = read_owner(parse(host.domains.read_domain(name).persistent_xml))
    pools = (host.storage.read_pool(pool) for pool in host.storage.list_pools())
    volumes = (volume for pool in pools for volume in pool.volumes.values())
    return tuple(volume for volume in volumes if owner and volume.path in owner.made)


def delete_volumes(host: Host, volumes: Tuple[VolumeView, ...]) -> None:
    """Delete what was made for a machine whose definition is gone, but what another domain has."""
    views = host.domains.list_domains().values()
    known = [view for view in views if isinstance(view, DomainView)]
    texts = [xml for view in known for xml in (view.persistent_xml, view.live_xml) if xml]
    for volume in volumes:
        used = (mentions_image(xml, volume.pool, volume.name, volume.path) for xml in texts)
        if len(known) == len(views) and not any(used):
            host.storage.delete_volume(volume.pool, volume.name, volume.path)


def explain_pull(template: str) -> str:
    """Say that the image of a template has to be fetched before."""
    return (
        f"the image of template {template} is not fetched yet; fetch it first: "
        f"virt-reconciler template pull {shlex.quote(template)} MANIFESTS"
    )
