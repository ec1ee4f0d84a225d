"""What a schema cannot say about one document: each check yields findings, none stops another.

What a path in `xml` means is decided by the domain's own parser, which is asked here.
"""

from __future__ import annotations

from typing import (
    Any,
    Callable,
    Dict,
    Hashable,
    Iterable,
    Iterator,
    List,
    Mapping,
    Sequence,
    Tuple,
)

from reconciler.core.cloud_init import SEED_DRIVE
from reconciler.core.documents import DocumentPath, Finding
from reconciler.core.guests import is_windows
from reconciler.core.machine import Cpus, Disk, Disruption, Interface, Machine, Overlay
from reconciler.core.manifest import MachineManifest
from reconciler.core.names import DRIVER_CD, HELPER, HELPER_CARD, MARK_NAMESPACE
from reconciler.core.secret_refs import find_refs
from reconciler.core.units import format_size
from reconciler.core.xmltree import (
    MOST_NESTED,
    Element,
    attributes_of,
    children_of,
    make,
    measure_depth,
    parse,
)
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain.xml_places import explain_parent, find_place
from reconciler.kinds.machine.first_boot_checks import check_first_boot, check_range

_OWNED = ("name", "uuid")
# Parts without which there is no machine to speak of.
_WHOLE = frozenset({"/domain", "/domain/devices", "/domain/metadata", "/domain/os"})


def check_overlays(
    overlays: Sequence[Overlay], data: Sequence[Mapping[str, Any]]
) -> Iterator[Finding]:
    """Yield what is wrong with each entry."""
    for index, (overlay, entry) in enumerate(zip(overlays, data)):
        path: DocumentPath = ("spec", "xml", index)
        if entry.get("absent") is False:
            yield Finding((*path, "absent"), "only true is valid; remove the entry instead")
        yield from _check_xpath((*path, "xpath"), overlay)
        if overlay.present:
            yield from _check_fragment((*path, "fragment"), overlay, names="secrets" in entry)


def _check_xpath(path: DocumentPath, overlay: Overlay) -> Iterator[Finding]:
    xpath = overlay.xpath
    try:
        place = find_place(make("domain"), xpath)
    except TerminalError as error:
        yield Finding(path, str(error).replace(f"xml[{xpath}]: ", "", 1))
        return
    if not (xpath == "/domain" or xpath.startswith("/domain/")):
        yield Finding(path, f"{xpath} does not begin with /domain/")
    elif overlay.present and place.attribute is not None:
        yield Finding(path, "must name an element, not an attribute; set it in the fragment")
    elif any(_is_within(xpath, f"/domain/{part}") for part in _OWNED):
        yield Finding(path, _owned(xpath))
    elif not overlay.present and xpath in _WHOLE:
        yield Finding(path, f"{xpath} cannot be absent")


def _is_within(xpath: str, ancestor: str) -> bool:
    return xpath == ancestor or xpath.startswith((f"{ancestor}/", f"{ancestor}["))


def _owned(what: str) -> str:
    return f"{what} is managed by virt-reconciler and cannot be set here"


def _check_fragment(path: DocumentPath, overlay: Overlay, *, names: bool) -> Iterator[Finding]:
    """Yield what is wrong with a fragment; `names` says that its entry names secrets."""
    try:
        root = parse(overlay.fragment.strip(), is_ours=True)
    except TerminalError as error:
        yield Finding(path, _explain(overlay.fragment, error))
        return
    if measure_depth(overlay.fragment) > MOST_NESTED:
        yield Finding(path, f"XML nested more than {MOST_NESTED} deep is refused")
    if overlay.xpath == "/domain" and root.tag in (*_OWNED, "domain"):
        yield Finding(path, _owned(f"<{root.tag}>"))
    advice = explain_parent(overlay.xpath, str(root.tag))
    if advice:
        yield Finding((*path[:-1], "xpath"), advice)
    for element in _list_notes(overlay.xpath, root):
        if not str(element.tag).startswith("{"):
            name = f"my:{element.tag}"
            yield Finding(
                path,
                f"libvirt drops an element without a namespace in <metadata>; write <{name} "
                "xmlns:my='urn:my'>",
            )
    if any(_is_ours(element) for element in root.iter("*")):
        yield Finding(path, _owned("its mark in <metadata>"))
    for place in _list_open_secrets(root) if names else ():
        yield Finding(
            path,
            f"everyone on the host can read a secret in {place} (virsh --readonly dumpxml); in a "
            "fragment only passwd of <graphics> is hidden; give others to the guest by cloudInit "
            "or ignition",
        )


def _list_open_secrets(root: Element) -> Iterator[str]:
    """Yield where a secret is named that libvirt shows to everyone (virDomainDefFormatInternal)."""
    for element in root.iter("*"):
        for name, text in attributes_of(element):
            if find_refs(text) and (element.tag, name) != ("graphics", "passwd"):
                yield f"{name} of <{element.tag}>"
        if find_refs(element.text or ""):
            yield f"<{element.tag}>"


def _list_notes(xpath: str, root: Element) -> Sequence[Element]:
    """Return what the fragment puts directly into <metadata>."""
    if xpath == "/domain" and root.tag == "metadata":
        return children_of(root)
    return (root,) if xpath == "/domain/metadata" else ()


def _is_ours(element: Element) -> bool:
    return str(element.tag).startswith(f"{{{MARK_NAMESPACE}}}")


def _explain(fragment: str, error: TerminalError) -> str:
    """Say "several elements" rather than the parser's words for it."""
    try:
        count = len(children_of(parse(f"<all>{fragment}</all>")))
    except TerminalError:
        return str(error)
    return f"holds {count} elements, not one; write an entry for each" if count != 1 else str(error)


Data = Mapping[str, Any]

LISTS = ("disks", "cdroms", "interfaces")
SHUTDOWN_RANGE = (5, 6 * 3600)
BUS_CHANGE_RANGE = (60, 6 * 3600)
WINDOW_RANGE = (60, 24 * 3600)


def check_machine(manifest: MachineManifest, data: Data) -> List[Finding]:
    """Return what is wrong with a VirtualMachine; `data` is what the schema passed."""
    findings = [finding for check in _MACHINE_CHECKS for finding in check(manifest.machine)]
    findings.extend(_check_lifecycle(manifest, data["spec"].get("lifecycle", {})))
    findings.extend(check_first_boot(manifest, data["spec"]))
    if is_windows(manifest.machine.os):
        from reconciler.kinds.machine.planning.windows_guests import check_windows  # noqa: PLC0415

        findings.extend(check_windows(manifest.machine))
    if manifest.machine.overlays:
        # Needs the XML parser, which nothing else here does; few manifests have any.

        findings.extend(check_overlays(manifest.machine.overlays, data["spec"]["xml"]))
    return findings


def items_of(machine: Machine, listing: str) -> Iterator[Tuple[DocumentPath, Any]]:
    """Yield path and value of each device of a list."""
    for index, item in enumerate(getattr(machine, listing) or ()):
        yield ("spec", listing, index), item


def _repeated(values: Iterable[Tuple[DocumentPath, Hashable]], what: str) -> Iterator[Finding]:
    first: Dict[Hashable, DocumentPath] = {}
    for path, value in values:
        if value in first:
            where = ".".join(str(part) for part in first[value][1:2])
            index = first[value][2]
            yield Finding(path, f"{what} {value!r} is already used by {where}[{index}]")
        first.setdefault(value, path)


def _check_names(machine: Machine) -> Iterator[Finding]:
    """Names become aliases, which a domain may have only once, whatever the device."""
    named = [
        ((*path, "name"), item.name)
        for listing in LISTS
        for path, item in items_of(machine, listing)
    ]
    yield from _repeated(named, "name")
    for path, name in named:
        if name == SEED_DRIVE:
            yield Finding(path, f"{SEED_DRIVE} is the name of cloud-init's seed; use another name")
        if name in (HELPER, DRIVER_CD, HELPER_CARD):
            yield Finding(path, f"{name} is the name of a device of bus changes; use another name")


def _check_boot(machine: Machine) -> Iterator[Finding]:
    ordered = [
        ((*path, "boot"), item.boot)
        for listing in LISTS
        for path, item in items_of(machine, listing)
        if item.boot is not None
    ]
    yield from _repeated(ordered, "boot order")


def _check_targets(machine: Machine) -> Iterator[Finding]:
    targets = [
        ((*path, "target"), item.target)
        for listing in ("disks", "cdroms")
        for path, item in items_of(machine, listing)
        if item.target is not None
    ]
    yield from _repeated(targets, "target")


def _check_disks(machine: Machine) -> Iterator[Finding]:
    for path, disk in items_of(machine, "disks"):
        yield from _check_disk(path, disk)


def _check_disk(path: DocumentPath, disk: Disk) -> Iterator[Finding]:
    origins = (
        *(disk.size, disk.source, disk.volume, disk.template, disk.origin, disk.imported),
        disk.target,
    )
    if all(origin is None for origin in origins):
        yield Finding(
            path,
            "give a size (for a blank disk) or a source; or, for a disk that an existing machine "
            "has, its target",
        )
    if disk.source is not None and disk.pool is not None:
        yield Finding((*path, "pool"), "has no effect with source.path")
    if disk.shareable and disk.format not in (None, "raw"):
        yield Finding(
            (*path, "shareable"),
            f"only a raw image can be written to by several guests, not {disk.format}",
        )
    if disk.shareable and (disk.template is not None or _is_blank(disk)) and disk.format != "raw":
        yield Finding((*path, "shareable"), "a new volume that is shared needs format: raw")
    if disk.imported is not None:
        yield from _check_import((*path, "source", "import"), disk)
    if disk.io == "native" and disk.cache not in (None, "none", "directsync"):
        yield Finding((*path, "io"), f"native needs cache none or directsync, not {disk.cache}")


def _check_import(path: DocumentPath, disk: Disk) -> Iterator[Finding]:
    source = disk.imported
    if source is not None and source.kind == "disk" and source.via == "virt-v2v":
        yield Finding((*path, "via"), "virt-v2v converts an OVA or VMX; an image alone is copied")
    if source is not None and source.kind == "disk" and source.file:
        yield Finding((*path, "file"), "only an OVA or VMX has several disks")
    if disk.shareable:
        yield Finding(path, "a disk that is shared cannot be imported")


def _check_system(machine: Machine) -> Iterator[Finding]:
    """Only a Windows gets drivers put in."""
    for path, disk in items_of(machine, "disks"):
        injects = disk.imported is not None and disk.imported.injection is not None
        if injects and not is_windows(machine.os):
            what = f"os is {machine.os}" if machine.os else "the machine has no `os`"
            where = (*path, "source", "import", "inject")
            yield Finding(where, f"only a Windows gets drivers put in, and {what}")


def _is_blank(disk: Disk) -> bool:
    others = (disk.source, disk.volume, disk.imported)
    return all(other is None for other in others) and disk.size is not None


def _check_cdroms(machine: Machine) -> Iterator[Finding]:
    """Refuse what QEMU would not start: it has no empty usb-storage ("drive property not set")."""
    for path, cdrom in items_of(machine, "cdroms"):
        is_managed = cdrom.media is not None or cdrom.target is None
        if cdrom.bus == "usb" and is_managed and not (cdrom.media or cdrom.volume):
            yield Finding(
                (*path, "bus"), "a drive on usb cannot be empty; give media, or use sata or scsi"
            )


def _check_interfaces(machine: Machine) -> Iterator[Finding]:
    for path, interface in items_of(machine, "interfaces"):
        yield from _check_mac((*path, "mac"), interface)


def _check_mac(path: DocumentPath, interface: Interface) -> Iterator[Finding]:
    if interface.mac is None:
        return
    first = int(interface.mac[:2], 16)
    if first & 1:
        yield Finding(path, f"{interface.mac} is a multicast address: the first byte must be even")
    elif set(interface.mac) <= {"0", ":"}:
        yield Finding(
            path, "all zeros is not an address; leave mac out, and a stable one is derived"
        )


def _check_cpus(machine: Machine) -> Iterator[Finding]:
    cpus = machine.cpus
    if cpus is None:
        return
    path: DocumentPath = ("spec", "cpus")
    if cpus.count and cpus.maximum and cpus.count > cpus.maximum:
        yield Finding((*path, "count"), f"{cpus.count} is more than the maximum, {cpus.maximum}")
    if cpus.model is not None and cpus.mode not in (None, "custom"):
        yield Finding((*path, "model"), f"only mode custom has a model, not {cpus.mode}")
    if cpus.mode == "custom" and cpus.model is None:
        yield Finding((*path, "mode"), "custom needs a model")
    yield from _check_topology(path, cpus)


def _check_topology(path: DocumentPath, cpus: Cpus) -> Iterator[Finding]:
    total = cpus.maximum or cpus.count
    given = [number for number in (cpus.sockets, cpus.cores, cpus.threads) if number is not None]
    if not given or total is None:
        return
    product = 1
    for number in given:
        product *= number
    fits = (
        product == total
        if len(given) == len(("sockets", "cores", "threads"))
        else total % product == 0
    )
    if not fits:
        sum_ = " x ".join(str(number) for number in given)
        what = "maximum" if cpus.maximum else "count"
        yield Finding(path, f"sockets, cores and threads ({sum_}) do not make the {what}, {total}")


def _check_memory(machine: Machine) -> Iterator[Finding]:
    memory = machine.memory
    if memory is None or memory.size is None or memory.maximum is None:
        return
    if memory.size > memory.maximum:
        most = format_size(memory.maximum)
        yield Finding(
            ("spec", "memory", "size"),
            f"{format_size(memory.size)} is more than the maximum, {most}",
        )


def _check_lifecycle(manifest: MachineManifest, data: Data) -> Iterator[Finding]:
    path: DocumentPath = ("spec", "lifecycle")
    if manifest.lifecycle.disruption is Disruption.WINDOW and not manifest.lifecycle.windows:
        yield Finding((*path, "disruption"), "disruption: window requires `windows`")
    yield from check_range((*path, "shutdownTimeout"), data, SHUTDOWN_RANGE, "5s to 6h")
    change = data.get("busChange")
    if isinstance(change, dict):
        yield from check_range(
            (*path, "busChange", "timeout"), change, BUS_CHANGE_RANGE, "1m to 6h"
        )
    if manifest.lifecycle.bus_change.install:
        yield from _check_installation(manifest)
    for index, window in enumerate(data.get("windows", ())):
        where = (*path, "windows", index, "duration")
        yield from check_range(where, window, WINDOW_RANGE, "1m to 24h")


def _check_installation(manifest: MachineManifest) -> Iterator[Finding]:
    """Yield why no agent can install the drivers of a staged bus change."""
    from reconciler.core.windows_drivers import find_release  # noqa: PLC0415 - of a Windows alone

    os, why = manifest.machine.os, ""
    release = find_release(os)
    if not manifest.lifecycle.bus_change.is_staged(os):
        why = "requires mode: staged; with direct nothing is installed"
    elif not is_windows(os):
        why = f"is for Windows, and os is {os or 'not set'}; remove it. {_BY_HAND}"
    elif release is None or not release.pnputil.value:
        known = release.pnputil.text if release else "virtio-win has no drivers for it"
        why = f"is not possible with os {os}: {known}; remove it"
    if why:
        yield Finding(("spec", "lifecycle", "busChange", "install"), f"install {why}")


_BY_HAND = (
    "In a Linux: modprobe virtio_blk (for bus scsi: virtio_scsi), and put it into the initramfs"
)


_MACHINE_CHECKS: Tuple[Callable[[Machine], Iterator[Finding]], ...] = (
    _check_names,
    _check_boot,
    _check_targets,
    _check_disks,
    _check_system,
    _check_cdroms,
    _check_interfaces,
    _check_cpus,
    _check_memory,
)
