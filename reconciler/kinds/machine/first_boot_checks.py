"""What a schema cannot say about what the guest is given: data, identity, credentials.

Pure; each check yields findings, none stops another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Mapping, Optional, Tuple

from reconciler.core.cloud_init import FORMATS, find_references
from reconciler.core.documents import DocumentPath, Finding
from reconciler.core.guests import is_windows
from reconciler.core.ignition import find_fault
from reconciler.core.machine import Interface, Machine
from reconciler.core.manifest import MachineManifest
from reconciler.core.secret_refs import is_reference
from reconciler.core.units import parse_duration

if TYPE_CHECKING:
    from reconciler.core.answer_file import WindowsIdentity

Data = Mapping[str, Any]

NETWORK_VERSION = 2
REMOVE_AFTER_RANGE = (60, 7 * 24 * 3600)


def check_first_boot(manifest: MachineManifest, spec: Data) -> Iterator[Finding]:
    """Yield what is wrong with what the guest is given."""
    yield from _check_credentials(manifest.machine)
    for index, card in enumerate(manifest.machine.interfaces or ()):
        path: DocumentPath = ("spec", "interfaces", index)
        yield from _check_addresses(path, card, has_seed="cloudInit" in spec)
    if "cloudInit" in spec:
        yield from _check_cloud_init(spec["cloudInit"])
    if "windows" in spec and manifest.windows is not None:
        yield from _check_windows(manifest.windows, spec)
    if "ignition" in spec:
        yield from _check_ignition(spec["ignition"], is_second="cloudInit" in spec)


def check_range(
    path: DocumentPath, data: Data, limits: Tuple[int, int], words: str
) -> Iterator[Finding]:
    """Yield a finding if a duration that is given is not within the limits, in seconds."""
    text = data.get(str(path[-1]))
    if text is not None and not limits[0] <= parse_duration(text) <= limits[1]:
        yield Finding(path, f"{text} is not within {words}")


def _check_cloud_init(data: Data) -> Iterator[Finding]:
    path = ("spec", "cloudInit")
    for name in ("userData", "vendorData"):
        yield from _check_user_data((*path, name), data.get(name))
    if "networkConfig" in data and _read_version(data["networkConfig"]) != NETWORK_VERSION:
        yield Finding((*path, "networkConfig"), "set version: 2; other versions are refused")
    if "instance-id" in data.get("metaData", {}):
        message = "instance-id is derived; to have cloud-init run again, set onChange: rerun"
        yield Finding((*path, "metaData", "instance-id"), message, at_key=True)
    users = [user["name"] for user in data.get("users", ())]
    for index, name in enumerate(users):
        if name in users[:index]:
            yield Finding((*path, "users", index, "name"), f"user {name!r} is already given")
    yield from check_range((*path, "removeAfter"), data, REMOVE_AFTER_RANGE, "1m to 168h")


_REFERENCE = "write {secretRef: {file: /PATH}}, or a credential or libvirt in place of file"
_FORMAT = (
    "cloud-init does not read this: begin with the line #cloud-config, or with another format of "
    "cloud-init (#!, #include, #cloud-boothook, MIME multipart), or write a mapping"
)


def _check_user_data(path: DocumentPath, data: Any) -> Iterator[Finding]:
    if isinstance(data, str) and not data.startswith(FORMATS):
        yield Finding(path, _FORMAT)
    for where, reference in find_references(data if isinstance(data, dict) else {}):
        if not is_reference(reference):
            yield Finding((*path, *where), _REFERENCE)


def _check_ignition(data: Data, *, is_second: bool) -> Iterator[Finding]:
    path, config = ("spec", "ignition"), data["config"]
    if is_second:
        yield Finding(path, "cloudInit is given as well; a guest has one of them")
    fault = find_fault(config)
    if fault:
        yield Finding((*path, "config"), fault)
    for where, reference in find_references(config if isinstance(config, dict) else {}):
        if not is_reference(reference):
            yield Finding((*path, "config", *where), _REFERENCE)
    yield from check_range((*path, "removeAfter"), data, REMOVE_AFTER_RANGE, "1m to 168h")


def _check_windows(identity: WindowsIdentity, spec: Data) -> Iterator[Finding]:
    from reconciler.core.answer_file import is_computer_name  # noqa: PLC0415 - start-up time
    from reconciler.core.time_zones import find_near, find_windows_zone  # noqa: PLC0415

    path, data = ("spec", "windows"), spec["windows"]
    if not is_computer_name(identity.computer_name):
        where = (*path, "computerName") if "computerName" in data else path
        yield Finding(where, f"{identity.computer_name!r} {_COMPUTER_NAME}")
    if spec.get("os") is not None and not is_windows(spec["os"]):
        yield Finding(path, f"{spec['os']} is not Windows; use cloudInit or ignition")
    if "ignition" in spec:
        yield Finding(path, "ignition is given as well; a guest has one of them")
    zone = data.get("timeZone")
    if zone is not None and find_windows_zone(zone) is None:
        near = ", ".join(find_near(zone)) or "W. Europe Standard Time, Europe/Berlin"
        yield Finding((*path, "timeZone"), f"{zone!r} is not a known time zone; nearest: {near}")
    if "language" in data and "locale" not in data:
        yield Finding((*path, "language"), "has no effect without locale")
    if data.get("autoLogon") and "administratorPassword" not in data:
        yield Finding((*path, "autoLogon"), "requires administratorPassword")
    yield from check_range((*path, "removeAfter"), data, REMOVE_AFTER_RANGE, "1m to 168h")


_COMPUTER_NAME = (
    "is not a computer name: give computerName, at most 15 letters, digits and dashes, not only "
    "digits, without a dash at either end"
)
# What cloudbase-init has no way to be told, and how the manifest calls it.
_ONLY_ANSWERS = {
    "product_key": "productKey",
    "join": "join",
    "workgroup": "join",
    "locale": "locale",
}


def check_identity(manifest: MachineManifest, *, is_cloudbase: bool) -> Iterator[Finding]:
    """Yield what is wrong with `windows` beside `cloudInit`, by what the template has inside."""
    identity, cloud_init = manifest.windows, manifest.cloud_init
    path: DocumentPath = ("spec", "windows")
    if identity is None:
        return
    if not is_cloudbase:
        if cloud_init is not None:
            words = "cloudInit is given as well, which a Windows reads by cloudbase-init only"
            advice = "if that is in the image, set cloudbase: true in its Template; else remove one"
            yield Finding(path, f"{words}; {advice}")
        return
    for name, field in _ONLY_ANSWERS.items():
        if getattr(identity, name) is not None:
            advice = "remove it, and set it by a script in cloudInit.userData"
            yield Finding((*path, field), f"cloudbase-init does not set it; {advice}")
    is_text = cloud_init is not None and isinstance(cloud_init.user_data, str)
    if is_text and (identity.time_zone or identity.commands):
        words = "timeZone and firstLogonCommands cannot be added to a userData that is text"
        yield Finding(path, f"{words}; write userData as a mapping")


def _read_version(network: Data) -> object:
    inner = network.get("network", network)
    return inner.get("version") if isinstance(inner, dict) else None


def _check_addresses(path: DocumentPath, card: Interface, *, has_seed: bool) -> Iterator[Finding]:
    given = (card.addresses, card.gateways, card.nameservers)
    names = [name for name, values in zip(_STATIC, given) if values]
    if names and not has_seed:
        message = "cloud-init sets it in the guest, and there is no cloudInit: add cloudInit: {}"
        yield Finding((*path, names[0]), message)
    elif names and not card.addresses:
        yield Finding((*path, names[0]), "has no effect without addresses")
    for name, values in zip(_STATIC, given):
        for index, value in enumerate(values):
            if _parse_address(value) is None:
                yield Finding((*path, name, index), f"{value} is not a valid IP address")
    versions = [_parse_address(gateway) for gateway in card.gateways]
    if len(set(versions)) < len(versions):
        yield Finding((*path, "gateways"), "give at most one IPv4 and one IPv6 gateway")


_STATIC = ("addresses", "gateways", "nameservers")


def _parse_address(text: str) -> Optional[int]:
    """Return the IP version of an address; None if it is not valid."""
    import ipaddress  # noqa: PLC0415 - start-up time

    try:
        return ipaddress.ip_interface(text).version
    except ValueError:
        return None


MOST_CREDENTIALS = 32 * 1024  # bytes; QEMU has 64 KiB for all of SMBIOS


def _check_credentials(machine: Machine) -> Iterator[Finding]:
    path = ("spec", "credentials")
    if len(machine.credentials or "") > MOST_CREDENTIALS:
        yield Finding(path, "has more than 32KiB in all; give the guest long texts by cloudInit")
    if machine.credentials is None:
        return
    for index, overlay in enumerate(machine.overlays):
        if "io.systemd.credential" in overlay.fragment:
            message = "sets a systemd credential; credentials has to list all of them"
            yield Finding(("spec", "xml", index, "fragment"), message)
