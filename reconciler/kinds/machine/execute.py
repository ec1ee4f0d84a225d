"""Carry out one step of a plan through the ports, and know how to take it back.

A table: step type → function. A function performs its step and returns how to undo it, or None
where there is nothing to undo or it must not be undone (a grown disk, a started guest).
"""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from dataclasses import field
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Set, Type

from reconciler.control.ports import Clock, Host, Progress
from reconciler.core import plan
from reconciler.core.cloud_init import fill_files
from reconciler.core.frozen import frozen, replace
from reconciler.core.machine import Machine
from reconciler.core.names import name_seed_field
from reconciler.core.secret_refs import SecretRef, fill_tokens, find_refs
from reconciler.core.transfers import CopyDisks
from reconciler.core.windows_images import refuse_open
from reconciler.core.world import DomainView, GuestState
from reconciler.core.xmltree import Element, attributes_of, is_element, parse, serialise
from reconciler.errors import NotFoundError, RefusedError, TransientError
from reconciler.kinds.api import wait_until
from reconciler.kinds.machine.domain.create import set_uuid
from reconciler.kinds.machine.domain.mark import drop_owner, mentions_image, read_owner, sign_mark
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.guest_steps import GUEST_STEPS, read_definition
from reconciler.kinds.machine.image_steps import IMAGE_STEPS
from reconciler.kinds.machine.planning.guards import list_refs
from reconciler.kinds.machine.planning.states import is_deaf, refuse_to_ask

Undo = Callable[[], None]

DETACH_LIMIT = 20.0  # seconds; a guest's driver needs about one
ASK_AGAIN = 10.0  # seconds; a guest that is still booting loses the first power-button press


@frozen
class StepContext:
    """One action in progress, on a domain that was `former`; `stored` are its new definitions.

    `takes_long`: one of its steps copies the data of an image, or runs programs on one.
    """

    host: Host
    clock: Clock
    name: str
    former: Optional[DomainView]
    progress: Progress
    takes_long: bool = True
    stored: List[str] = field(default_factory=list)


def reveal(host: Host, machine: Machine, step: plan.Step) -> plan.Step:
    """Return a step with the secrets that the machine names, read now, for the call to libvirt.

    What everyone may read of a domain (metadata, title, description) gets none.
    """
    if isinstance(step, plan.CreateSeed):
        return replace(step, files=fill_files(step.files, lambda ref: host.secrets.read(ref).text))
    if not isinstance(step, (plan.Define, plan.UpdateDevice, plan.AttachDevice)):
        return step
    known = set(list_refs(machine))
    if not known.intersection(find_refs(step.xml)):
        return step
    texts: Dict[SecretRef, str] = {}

    def read(ref: SecretRef) -> Optional[str]:
        if ref in known and ref not in texts:
            texts[ref] = host.secrets.read(ref).text
        return texts.get(ref)

    root = parse(step.xml)
    for element in _list_private(root):
        for name, value in attributes_of(element):
            if find_refs(value):
                text = fill_tokens(value, read)
                _refuse_long(element, name, text, find_refs(value)[0])
                element.set(name, text)
        if element.text and find_refs(element.text):
            element.text = fill_tokens(element.text, read)
    return replace(step, xml=serialise(root))


def _list_private(root: Element) -> Iterator[Element]:
    """Yield the elements that only a writer of libvirt's gets to see whole."""
    yield root
    for child in root:
        if is_element(child) and child.tag not in _PUBLIC:
            yield from child.iter("*")


_PUBLIC = frozenset({"metadata", "name", "title", "description"})
VNC_PASSWORD = 8  # characters; libvirt refuses more


def _refuse_long(element: Element, name: str, text: str, ref: SecretRef) -> None:
    is_vnc = element.tag == "graphics" and element.get("type") == "vnc" and name == "passwd"
    if is_vnc and len(text) > VNC_PASSWORD:
        raise TransientError(
            f"graphicsPassword: {ref}: has {len(text)} characters, and VNC permits "
            f"{VNC_PASSWORD}; write a shorter one into it"
        )


def _create_volume(work: StepContext, step: plan.CreateVolume) -> Undo:
    if step.machine and step.origin and read_former(work.host, step.machine) is None:
        raise TransientError(f"{step.machine}, which is cloned, is not there; apply again")
    if step.windows and step.origin:  # it was fetched after it was planned
        image = work.host.preparer.read_windows(step.origin, step.origin_format or "")
        refuse_open(image, f"disks[{step.disk}]", step.origin, step.windows)
    path = work.host.storage.create_volume(step, work.progress).path
    if step.machine and step.origin and work.host.domains.read_domain(step.machine).is_active:
        _take_back_volume(work, step, path)
        raise TransientError(f"{step.machine} was started while it was cloned; apply again")
    return lambda: _take_back_volume(work, step, path)


def _copy_disks(work: StepContext, step: CopyDisks) -> None:
    work.host.domains.copy_disks(step, work.progress)
    for disk in (disk for disk in step.disks if disk.capacity is not None):
        work.host.storage.resize_volume(disk.path, disk.capacity or 0)


def _take_back_volume(work: StepContext, step: plan.CreateVolume, path: str) -> None:
    """Delete a volume that was made for nothing; never one that a guest has got meanwhile."""
    found = read_former(work.host, work.name)
    if found and found.live_xml and mentions_image(found.live_xml, step.pool, step.name, path):
        raise RefusedError(f"volume {step.pool}/{step.name} is in use by the running guest")
    work.host.storage.delete_partial(step.pool, step.name)


def _delete_partial(work: StepContext, step: plan.DeletePartial) -> None:
    work.host.storage.delete_partial(step.pool, step.name)


def _create_seed(work: StepContext, step: plan.CreateSeed) -> Undo:
    work.host.storage.create_seed(step)
    return lambda: work.host.storage.delete_partial(step.pool, step.name)


def _delete_seed(work: StepContext, step: plan.DeleteSeed) -> None:
    """Delete a seed; never one that the running guest has."""
    live = work.host.domains.read_domain(work.name).live_xml or ""
    if live and mentions_image(live, step.pool, step.name, step.path):
        raise TransientError(f"volume {step.pool}/{step.name} is still in use by the guest")
    work.host.storage.delete_volume(step.pool, step.name, step.path)


def _resize_volume(work: StepContext, step: plan.ResizeVolume) -> None:
    work.host.storage.resize_volume(step.path, step.capacity)


def _block_resize(work: StepContext, step: plan.BlockResize) -> None:
    work.host.domains.resize_block(work.name, step.target, step.capacity)


def _define(work: StepContext, step: plan.Define) -> Undo:
    """Store a definition. That of a new machine comes twice: without its new disks, then whole.

    The whole one is always validated; the first only where its volumes take long, so that a wrong
    definition is found before they are made.
    """
    begun = read_former(work.host, work.name) if work.former is None else None
    xml = step.xml if begun is None else set_uuid(step.xml, begun.uuid)
    _refuse_changed(work, begun)
    mark = None if work.takes_long or work.former is not None else read_owner(parse(xml))
    is_whole = mark is None or not mark.is_unfinished
    work.host.domains.define(sign_mark(xml, work.host.locks.me), validate=is_whole)
    work.stored.append(read_definition(work))
    if begun is None:
        return lambda: restore(work)
    stub = begun.persistent_xml
    return lambda: _store_again(work, stub)


def _store_again(work: StepContext, xml: str) -> None:
    _refuse_changed(work)
    work.host.domains.define(xml)
    work.stored.append(read_definition(work))


def _refuse_changed(work: StepContext, now: Optional[DomainView] = None) -> None:
    """Refuse to overwrite a definition that somebody changed while this action was under way.

    A snapshot that was taken meanwhile moved the disks, and what the guest wrote since would be
    lost with it. `now` is the domain, where the caller has just read it.
    """
    former = work.former.persistent_xml if work.former is not None else None
    known = work.stored[-1] if work.stored else former
    if known is None and now is None:
        return
    found = read_definition(work) if now is None else now.persistent_xml
    if known is None or _strip(found) != _strip(known):
        raise RefusedError(
            f"the definition of {work.name} was made or changed by someone else meanwhile, so it "
            "is not overwritten; plan again"
        )


def _strip(xml: str) -> str:
    """Return a definition without our mark, and without the space that it was in."""
    return re.sub(r">\s+<", "><", drop_owner(xml))


def restore(work: StepContext) -> None:
    """Put the former definition back, or take the new one away where there was none."""
    if work.former is None:
        with suppress(NotFoundError):  # a machine that comes back is defined twice
            work.host.domains.undefine_new(work.name)
    else:
        _store_again(work, work.former.persistent_xml)


def _attach(work: StepContext, step: plan.AttachDevice) -> Undo:
    work.host.domains.attach(work.name, step.xml)

    def unplug() -> None:
        _detach(work, plan.DetachDevice(step.path, step.xml))

    return unplug


def _update(work: StepContext, step: plan.UpdateDevice) -> None:
    work.host.domains.update(work.name, step.xml)


def _detach(work: StepContext, step: plan.DetachDevice) -> Undo:
    work.host.domains.detach(work.name, step.xml)
    if not wait_until(work.clock, DETACH_LIMIT, lambda: not _is_plugged(work, step.xml)):
        raise TransientError(
            f"{step.path}: the guest did not release the device within {DETACH_LIMIT:.0f} s"
        )
    return lambda: work.host.domains.attach(work.name, step.xml)


def _is_plugged(work: StepContext, xml: str) -> bool:
    """Whether the running guest still has the device, known by its target or its MAC."""
    live = parse(work.host.domains.read_domain(work.name).live_xml or "<domain/>")
    there = (key for device in live.iterfind("devices/*") for key in _plugged_keys(device))
    return not _plugged_keys(parse(xml)).isdisjoint(there)


def _plugged_keys(device: Element) -> Set[Optional[str]]:
    if device.tag == "interface":
        return {mac.get("address") for mac in device.findall("mac")}
    return {target.get("dev") for target in device.findall("target")} - {None}


def _set_vcpus(work: StepContext, step: plan.SetVcpus) -> None:
    work.host.domains.set_vcpus(work.name, step.count)
    if not wait_until(work.clock, DETACH_LIMIT, lambda: _online_cpus(work) == step.count):
        raise TransientError(
            f"cpus.count: the guest did not come to {step.count} within {DETACH_LIMIT:.0f} s; "
            f"it has {_online_cpus(work)}"
        )


def _online_cpus(work: StepContext) -> Optional[int]:
    live = work.host.domains.read_domain(work.name).live_xml
    cpus = read_machine(parse(live)).cpus if live else None
    return cpus.count if cpus else None


def _set_memory(work: StepContext, step: plan.SetMemory) -> None:
    work.host.domains.set_memory(work.name, step.kib)


def _set_autostart(work: StepContext, step: plan.SetAutostart) -> Optional[Undo]:
    work.host.domains.set_autostart(work.name, step.enabled)
    former = work.former
    if former is None:
        return None  # it goes with the definition
    return lambda: work.host.domains.set_autostart(work.name, former.autostart)


def _set_metadata(work: StepContext, step: plan.SetMetadata) -> Undo:
    work.host.domains.set_metadata(work.name, sign_mark(step.xml, work.host.locks.me), step.live)
    return lambda: restore(work)


def _start(work: StepContext, step: plan.Start) -> None:  # noqa: ARG001 - the table's shape
    work.host.domains.start(work.name)
    if work.former is not None and work.former.saved and _find_state(work) is GuestState.PAUSED:
        work.host.domains.resume(work.name)  # it was saved while it was paused


def _resume(work: StepContext, step: plan.Resume) -> None:  # noqa: ARG001 - the table's shape
    work.host.domains.resume(work.name)


def _wake(work: StepContext, step: plan.Wake) -> None:  # noqa: ARG001 - the table's shape
    work.host.domains.wake(work.name)
    if not wait_until(work.clock, DETACH_LIMIT, lambda: _find_state(work) is GuestState.RUNNING):
        raise TransientError(
            f"the guest did not wake up within {DETACH_LIMIT:.0f} s: "
            f"virsh dompmwakeup {shlex.quote(work.name)}"
        )


def _delete_volume(work: StepContext, step: plan.DeleteVolume) -> None:
    if not _is_off(work):
        raise RefusedError("the guest was started meanwhile, so its disks stay; plan again")
    work.host.storage.delete_volume(step.pool, step.name, step.path)


def _undefine(work: StepContext, step: plan.Undefine) -> None:  # noqa: ARG001 - the table's shape
    work.host.domains.undefine(work.name)


def _shut_down(work: StepContext, step: plan.Shutdown) -> None:
    """Ask, ask again, wait; cut the power only where the manifest says so; wake who sleeps."""
    if is_deaf(work.host.domains.read_domain(work.name)):
        _give_up(work, step)
        return
    deadline = work.clock.now() + step.timeout
    while not _is_off(work):
        if work.clock.now() >= deadline:
            _give_up(work, step)
            return
        if _find_state(work) is GuestState.PMSUSPENDED:
            _wake(work, plan.Wake())
        work.host.domains.shut_down(work.name)
        wait_until(work.clock, min(ASK_AGAIN, deadline - work.clock.now()), lambda: _is_off(work))


def _give_up(work: StepContext, step: plan.Shutdown) -> None:
    view = work.host.domains.read_domain(work.name)
    force, count = step.force, work.host.domains.count_written if step.unwritten else None
    force = force or (count is not None and count(work.name, step.unwritten) == 0)
    if not force and is_deaf(view):
        raise TransientError(refuse_to_ask(view))
    if not force:
        raise TransientError(
            f"the guest did not shut down within {step.timeout} s and goes on running; changes "
            "that need it off wait (lifecycle.forceOff: true allows a hard stop)"
        )
    work.host.domains.power_off(work.name)


def _is_off(work: StepContext) -> bool:
    return _find_state(work) is GuestState.OFF


def _find_state(work: StepContext) -> GuestState:
    return work.host.domains.read_domain(work.name).state


def read_former(host: Host, name: str) -> Optional[DomainView]:
    """Read a domain; None only when libvirt says that there is none."""
    try:
        return host.domains.read_domain(name)
    except NotFoundError:
        return None


# What stays in force when a later step fails: the field of each step that has no way back.
LASTING: Mapping[Type[Any], Callable[[Any], str]] = {
    plan.UpdateDevice: lambda step: str(step.path),
    plan.SetVcpus: lambda _: "cpus.count",
    plan.SetMemory: lambda _: "memory.size",
    plan.Resume: lambda _: "power",
    plan.Wake: lambda _: "power",
    plan.BlockResize: lambda step: f"disks[{step.disk}].size",
    plan.ResizeVolume: lambda step: f"disks[{step.disk}].size",
    plan.DeleteSeed: lambda step: name_seed_field(step.name),
}

# Step type → what carries it out and returns how to take it back.
PERFORM: Mapping[Type[Any], Callable[[StepContext, Any], Optional[Undo]]] = {
    plan.CreateVolume: _create_volume,
    **IMAGE_STEPS,
    CopyDisks: _copy_disks,
    plan.DeletePartial: _delete_partial,
    plan.ResizeVolume: _resize_volume,
    plan.BlockResize: _block_resize,
    plan.Define: _define,
    plan.AttachDevice: _attach,
    plan.UpdateDevice: _update,
    plan.DetachDevice: _detach,
    plan.SetVcpus: _set_vcpus,
    plan.SetMemory: _set_memory,
    plan.SetAutostart: _set_autostart,
    plan.SetMetadata: _set_metadata,
    plan.Start: _start,
    plan.Shutdown: _shut_down,
    plan.Resume: _resume,
    plan.Wake: _wake,
    plan.DeleteVolume: _delete_volume,
    plan.CreateSeed: _create_seed,
    plan.DeleteSeed: _delete_seed,
    **GUEST_STEPS,
    plan.Undefine: _undefine,
}
