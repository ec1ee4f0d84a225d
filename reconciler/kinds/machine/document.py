"""Values out of a document that the schema has passed. Builds, never judges."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Tuple

from reconciler.core.cloud_init import DEFAULT_REMOVE_AFTER, CloudInit, SeedUser
from reconciler.core.field_table import TABLES, named
from reconciler.core.fields import PLAIN
from reconciler.core.ignition import Ignition
from reconciler.core.machine import (
    Cdrom,
    CloneMode,
    Cpus,
    Disk,
    Disruption,
    Interface,
    Machine,
    MachineOrigin,
    Memory,
    Overlay,
)
from reconciler.core.manifest import (
    BUS_CHANGE_TIMEOUT,
    BusChange,
    Lifecycle,
    Locate,
    MachineManifest,
    Place,
    Window,
    digest_generation,
    write_canonical,
)
from reconciler.core.secret_refs import Secret, build_secret, write_secret
from reconciler.core.secrets import hide_data
from reconciler.core.units import parse_duration
from reconciler.core.xmltree import QUOTED, escape

if TYPE_CHECKING:
    from reconciler.core.answer_file import WindowsIdentity
    from reconciler.core.imports import ImportSource

Data = Mapping[str, Any]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NO_MEDIUM = "none"
PLAIN_LIFECYCLE = Lifecycle()
# Per table: the fields of which the manifest's value is the model's, and those to convert.
_PLAIN = {
    prefix: tuple((field.key, field.name) for field in named(prefix) if field.notation is PLAIN)
    for prefix in TABLES
}
_CONVERTED = {
    prefix: tuple(
        (field.key, field.name, field.notation.build)
        for field in named(prefix)
        if field.notation is not None and field.notation is not PLAIN
    )
    for prefix in TABLES
}


def build_machine(data: Data, place: Place, locate: Optional[Locate] = None) -> MachineManifest:
    """Return the manifest of a VirtualMachine document."""
    spec, labels = data["spec"], data["metadata"].get("labels", {})
    # The mark is readable by everyone, and a digest of a short password is as good as the password.
    text = write_canonical(hide_data(spec))
    return MachineManifest(
        machine=_machine(data["metadata"]["name"], spec),
        generation=digest_generation(text, labels),
        spec=text,
        place=place,
        locate=locate,
        lifecycle=build_lifecycle(spec.get("lifecycle", {})),
        labels=labels,
        host=spec.get("placement", {}).get("host"),
        required_daemons=tuple(spec.get("requiredDaemons", ())),
        cloud_init=_cloud_init(spec.get("cloudInit")),
        ignition=_ignition(spec.get("ignition")),
        windows=_windows(data["metadata"]["name"], spec["windows"]) if "windows" in spec else None,
    )


def _ignition(data: Optional[Data]) -> Optional[Ignition]:
    if data is None:
        return None
    after = data.get("removeAfter", f"{DEFAULT_REMOVE_AFTER}s")
    return Ignition(data["config"], parse_duration(after))


def _windows(name: str, data: Data) -> WindowsIdentity:
    """Return the identity; a name that Windows would not take is refused by a check."""
    from reconciler.core.answer_file import (  # noqa: PLC0415 - start-up time
        DEFAULT_REMOVE_AFTER,
        DomainJoin,
        WindowsIdentity,
    )
    from reconciler.core.time_zones import find_windows_zone  # noqa: PLC0415

    zone, join = data.get("timeZone"), data.get("join", {})
    after = data.get("removeAfter")
    return WindowsIdentity(
        computer_name=data.get("computerName", name),
        time_zone=zone and (find_windows_zone(zone) or zone),
        locale=data.get("locale"),
        language=data.get("language"),
        password=_read_given(data, "administratorPassword"),
        product_key=_read_given(data, "productKey"),
        workgroup=join.get("workgroup"),
        join=DomainJoin(
            domain=join["domain"],
            username=join["username"],
            password=build_secret(join["password"]),
            unit=join.get("unit"),
        )
        if "domain" in join
        else None,
        commands=tuple(data.get("firstLogonCommands", ())),
        logs_on=data.get("autoLogon", False),
        architecture=data.get("architecture", "amd64"),
        remove_after=DEFAULT_REMOVE_AFTER if after is None else parse_duration(after),
    )


def _read_given(data: Data, name: str) -> Optional[Secret]:
    return build_secret(data[name]) if name in data else None


def _cloud_init(data: Optional[Data]) -> Optional[CloudInit]:
    if data is None:
        return None
    return CloudInit(
        hostname=data.get("hostname"),
        users=tuple(_seed_user(user) for user in data.get("users", ())),
        ssh_keys=tuple(data.get("sshKeys", ())),
        user_data=data.get("userData"),
        vendor_data=data.get("vendorData"),
        meta_data=data.get("metaData", {}),
        network=data.get("networkConfig"),
        reruns=data.get("onChange") == "rerun",
        remove_after=parse_duration(data.get("removeAfter", f"{DEFAULT_REMOVE_AFTER}s")),
    )


def _seed_user(data: Data) -> SeedUser:
    return SeedUser(
        name=data["name"],
        ssh_keys=tuple(data.get("sshKeys", ())),
        groups=tuple(data.get("groups", ())),
        sudo=data.get("sudo", False),
        shell=data.get("shell"),
        password_hash=data.get("passwordHash"),
    )


def _machine(name: str, spec: Data) -> Machine:
    get = spec.get
    return Machine(
        name=name,
        cpus=_cpus(get("cpus")),
        memory=_memory(get("memory")),
        disks=_each(build_disk, get("disks")),
        cdroms=_each(build_cdrom, get("cdroms")),
        interfaces=_each(build_interface, get("interfaces")),
        overlays=tuple(_overlay(entry) for entry in get("xml", ())),
        credentials=_credentials(get("credentials")),
        **_read_fields("", spec),
    )


def _read_fields(prefix: str, data: Data) -> Dict[str, Any]:
    """Return the values of the fields that the table says all of."""
    values = {name: data[key] for key, name in _PLAIN[prefix] if key in data}
    for key, name, build in _CONVERTED[prefix]:
        if key in data:
            values[name] = build(data[key])
    return values


def _each(build: Any, items: Optional[Any]) -> Any:
    return None if items is None else tuple(map(build, items))


def _credentials(data: Optional[Data]) -> Optional[str]:
    return None if data is None else json.dumps(data, sort_keys=True)


def _cpus(data: Any) -> Optional[Cpus]:
    if data is None:
        return None
    given = data if isinstance(data, dict) else {"count": data}
    return Cpus(**_read_fields("cpus.", given))


def _memory(data: Any) -> Optional[Memory]:
    if data is None:
        return None
    given = {"size": data} if isinstance(data, str) else data
    return Memory(**_read_fields("memory.", given))


def build_disk(data: Data) -> Disk:
    """Return the disk of an entry of `disks`."""
    source = data.get("source", {})
    clone = source.get("clone")
    return Disk(
        name=data["name"],
        source=source.get("path"),
        pool=source.get("pool", data.get("pool")),
        volume=source.get("volume"),
        template=source.get("template"),
        clone=CloneMode(clone) if isinstance(clone, str) else None,
        origin=MachineOrigin(**clone) if isinstance(clone, dict) else None,
        imported=_build_import(source["import"]) if "import" in source else None,
        **_read_fields("disks[].", data),
    )


def _build_import(data: Data) -> ImportSource:
    from reconciler.core.imports import build_import  # noqa: PLC0415 - start-up time

    return build_import(data)


def build_cdrom(data: Data) -> Cdrom:
    """Return the drive of an entry of `cdroms`."""
    media = data.get("media")
    given = media if isinstance(media, dict) else {"path": "" if media == NO_MEDIUM else media}
    return Cdrom(
        name=data["name"],
        media=given.get("path"),
        pool=given.get("pool"),
        volume=given.get("volume"),
        **_read_fields("cdroms[].", data),
    )


def build_interface(data: Data) -> Interface:
    """Return the interface of an entry of `interfaces`."""
    return Interface(
        name=data["name"],
        addresses=tuple(data.get("addresses", ())),
        gateways=tuple(data.get("gateways", ())),
        nameservers=tuple(data.get("nameservers", ())),
        **_read_fields("interfaces[].", data),
    )


def _overlay(data: Data) -> Overlay:
    fragment = data.get("fragment", "")
    for name, secret in data.get("secrets", {}).items():
        fragment = fragment.replace(f"${{{name}}}", _quote(write_secret(build_secret(secret))))
    return Overlay(data["xpath"], fragment, "absent" not in data)


def _quote(text: str) -> str:
    """Return a text as it is within the quotes of an attribute."""
    return escape(text, QUOTED)


def build_lifecycle(data: Data) -> Lifecycle:
    """Return what may be done to a machine unasked."""
    plain = PLAIN_LIFECYCLE
    if not data:
        return plain
    return Lifecycle(
        disruption=Disruption(data.get("disruption", plain.disruption.value)),
        deletion=data.get("deletion", plain.deletion),
        windows=tuple(_window(window) for window in data.get("windows", ())),
        shutdown_timeout=parse_duration(data.get("shutdownTimeout", f"{plain.shutdown_timeout}s")),
        force_off=data.get("forceOff", plain.force_off),
        start_after=tuple(data.get("startAfter", ())),
        bus_change=_bus_change(data.get("busChange", {})),
    )


def _bus_change(data: Any) -> BusChange:
    given: Data = {"mode": data} if isinstance(data, str) else data
    return BusChange(
        given.get("mode"),
        parse_duration(given.get("timeout", f"{BUS_CHANGE_TIMEOUT}s")),
        given.get("install", False),
    )


def _window(data: Data) -> Window:
    hours, minutes = data["start"].split(":")
    days: Tuple[int, ...] = tuple(sorted(_DAYS.index(day) for day in data["days"]))
    return Window(days, int(hours) * 60 + int(minutes), parse_duration(data["duration"]) // 60)
