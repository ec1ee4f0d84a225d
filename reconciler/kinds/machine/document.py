"""Values out of a document that the schema has passed. Builds, never judges."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Mapping, Optional, Tuple

from reconciler.core.libvirt_daemons import Mode
from reconciler.core.machine import (
    Cdrom,
    CloneMode,
    Cpus,
    Disk,
    Disruption,
    Interface,
    Machine,
    Memory,
    Overlay,
    Power,
)
from reconciler.core.manifest import (
    HostManifest,
    Lifecycle,
    MachineManifest,
    Place,
    TemplateManifest,
    Window,
)
from reconciler.core.units import parse_duration, parse_size

Data = Mapping[str, Any]

NO_MEDIUM = "none"


def build_disk(data: Data) -> Disk:
    """Return the disk of an entry of `disks`."""
    get, source = data.get, data.get("source", {})
    clone = source.get("clone")
    return Disk(
        name=data["name"],
        bus=get("bus"),
        size=build_size(get("size")),
        format=get("format"),
        source=source.get("path"),
        cache=get("cache"),
        io=get("io"),
        discard=get("discard"),
        serial=get("serial"),
        boot=build_number(get("boot")),
        readonly=get("readonly"),
        shareable=get("shareable"),
        target=get("target"),
        pool=source.get("pool", get("pool")),
        volume=source.get("volume"),
        template=source.get("template"),
        clone=None if clone is None else CloneMode(clone),
    )


def build_cdrom(data: Data) -> Cdrom:
    """Return the drive of an entry of `cdroms`."""
    get, media = data.get, data.get("media")
    given = media if isinstance(media, dict) else {"path": _medium(media)}
    return Cdrom(
        name=data["name"],
        bus=get("bus"),
        media=given.get("path"),
        boot=build_number(get("boot")),
        target=get("target"),
        pool=given.get("pool"),
        volume=given.get("volume"),
    )


def build_interface(data: Data) -> Interface:
    """Return the interface of an entry of `interfaces`."""
    get, mac = data.get, data.get("mac")
    return Interface(
        name=data["name"],
        network=get("network"),
        bridge=get("bridge"),
        model=get("model"),
        mac=None if mac is None else mac.lower(),
        link=get("link"),
        boot=build_number(get("boot")),
    )


def _medium(media: Optional[str]) -> Optional[str]:
    return "" if media == NO_MEDIUM else media


def build_number(value: Any) -> Optional[int]:
    """Return a plain int: JSON Schema takes 1.0 for an integer, too."""
    return None if value is None else int(value)


def build_size(text: Optional[str]) -> Optional[int]:
    """Return the bytes, if there is a size."""
    return None if text is None else parse_size(text)


GENERATION_DIGITS = 12
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CPU_NUMBERS = ("count", "maximum", "sockets", "cores", "threads")
_POWER: Mapping[Optional[str], Optional[Power]] = {
    "running": Power.RUNNING,
    "stopped": Power.STOPPED,
    "unmanaged": None,
    None: None,
}
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def build_machine(data: Data, place: Place) -> MachineManifest:
    """Return the manifest of a VirtualMachine document."""
    spec, labels = data["spec"], data["metadata"].get("labels", {})
    text = _canonical(spec)
    return MachineManifest(
        machine=_machine(data["metadata"]["name"], spec),
        generation=_generation(text, labels),
        spec=text,
        place=place,
        lifecycle=build_lifecycle(spec.get("lifecycle", {})),
        labels=labels,
        host=spec.get("placement", {}).get("host"),
        required_daemons=tuple(spec.get("requiredDaemons", ())),
    )


def build_template(data: Data, place: Place) -> TemplateManifest:
    """Return the manifest of a Template document."""
    spec, labels = data["spec"], data["metadata"].get("labels", {})
    return TemplateManifest(
        name=data["metadata"]["name"],
        place=place,
        domain=spec.get("domain"),
        disk=spec.get("disk"),
        pool=spec.get("pool"),
        volume=spec.get("volume"),
        image=spec.get("image"),
        os=spec.get("os"),
        generalized=_generalized(spec.get("generalized")),
        linked_clones=spec.get("linkedClones", False),
        generation=_generation(_canonical(spec), labels),
        labels=labels,
    )


def build_host(data: Data, place: Place) -> HostManifest:
    """Return the manifest of a Host document."""
    name, spec = data["metadata"]["name"], data["spec"]
    labels = data["metadata"].get("labels", {})
    daemons = spec.get("daemons", {})
    return HostManifest(
        name=name,
        place=place,
        selector=tuple(spec.get("selector", (name,))),
        mode=Mode(daemons["mode"]) if daemons else None,
        required=tuple(daemons.get("required", ())),
        forbidden=tuple(daemons.get("forbidden", ())),
        ensure=daemons.get("action") == "ensure",
        uri=spec.get("uri"),
        generation=_generation(_canonical(spec), labels),
        labels=labels,
    )


def _generation(spec: str, labels: Data) -> str:
    """Return a digest of the canonical `{labels, spec}`, of which the text of spec is known."""
    text = f'{{"labels":{_canonical(labels)},"spec":{spec}}}'
    return hashlib.sha256(text.encode()).hexdigest()[:GENERATION_DIGITS]


def _machine(name: str, spec: Data) -> Machine:
    get = spec.get
    return Machine(
        name=name,
        uuid=_lower(get("uuid")),
        os=get("os"),
        power=_POWER[get("power")],
        autostart=get("autostart"),
        machine=get("machine"),
        firmware=get("firmware"),
        cpus=_cpus(get("cpus")),
        memory=_memory(get("memory")),
        disks=_each(build_disk, get("disks")),
        cdroms=_each(build_cdrom, get("cdroms")),
        interfaces=_each(build_interface, get("interfaces")),
        guest_agent=get("guestAgent"),
        console=get("console"),
        graphics=get("graphics"),
        video=get("video"),
        rng=get("rng"),
        tpm=get("tpm"),
        overlays=tuple(_overlay(one) for one in get("xml", ())),
    )


def _each(build: Any, items: Optional[Any]) -> Any:
    return None if items is None else tuple(map(build, items))


def _lower(text: Optional[str]) -> Optional[str]:
    return None if text is None else text.lower()


def _cpus(data: Any) -> Optional[Cpus]:
    if data is None:
        return None
    if not isinstance(data, dict):
        return Cpus(count=int(data))
    numbers = {key: build_number(data.get(key)) for key in _CPU_NUMBERS}
    return Cpus(mode=data.get("mode"), model=data.get("model"), **numbers)


def _memory(data: Any) -> Optional[Memory]:
    if data is None:
        return None
    given = {"size": data} if isinstance(data, str) else data
    return Memory(build_size(given.get("size")), build_size(given.get("maximum")))


def _overlay(data: Data) -> Overlay:
    return Overlay(data["xpath"], data.get("fragment", ""), "absent" not in data)


def build_lifecycle(data: Data) -> Lifecycle:
    """Return what may be done to a machine unasked."""
    plain = Lifecycle()
    return Lifecycle(
        disruption=Disruption(data.get("disruption", plain.disruption.value)),
        deletion=data.get("deletion", plain.deletion),
        windows=tuple(_window(window) for window in data.get("windows", ())),
        shutdown_timeout=parse_duration(data.get("shutdownTimeout", f"{plain.shutdown_timeout}s")),
        force_off=data.get("forceOff", plain.force_off),
    )


def _window(data: Data) -> Window:
    hours, minutes = data["start"].split(":")
    days: Tuple[int, ...] = tuple(sorted(_DAYS.index(one) for one in data["days"]))
    return Window(days, int(hours) * 60 + int(minutes), parse_duration(data["duration"]) // 60)


def _generalized(data: Any) -> Optional[str]:
    if not isinstance(data, dict):
        return data if data is None else str(data)
    return f"{data['how']}, {data['when']}" if "when" in data else str(data["how"])
