"""What a guest is given for its first boot, and the files of the seed that tell cloud-init. Pure.

cloud-init's NoCloud data source reads four files from a volume called `cidata`. The short forms of
the manifest become cloud-config that is merged as cloud-init merges: mappings key by key, and
where both sides have a value, that of `userData` counts, a list as a whole. JSON is written, which
every reader of YAML reads.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import field
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple, Union

from reconciler.core.frozen import frozen, regex
from reconciler.core.machine import Interface
from reconciler.core.names import derive_mac
from reconciler.core.secret_refs import REFERENCE, SecretRef, build_secret_ref, is_reference

SEED_DRIVE = "cloud-init-seed"  # the name of its drive, which no manifest can use
DEFAULT_REMOVE_AFTER = 30 * 60  # seconds
HEADER = "#cloud-config"
# How user data begins that cloud-init reads (its documentation, "User data formats").
FORMATS = (
    HEADER,
    "#cloud-config-archive",
    "#cloud-boothook",
    "#include",
    "#include-once",
    "#part-handler",
    "#!",
    "## template: jinja",
    "Content-Type: ",
    "MIME-Version: ",
)
_HOSTNAME = regex(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*")
_DIGITS = 12
_UNASKED = "NOPASSWD:"  # for a password
_SUDO = f"ALL=(ALL) {_UNASKED}ALL"
# Without it the next boot without the seed is that of a new instance, with new SSH host keys.
_KEEPS_INSTANCE = {"manual_cache_clean": True}
_DEFAULT_ROUTES = {4: "0.0.0.0/0", 6: "::/0"}

_CONTENTS = ("contents", "source")  # where Ignition has the address of what a file holds

CloudConfig = Mapping[str, Any]
SeedFiles = Tuple[Tuple[str, str], ...]


@frozen
class SeedUser:
    """A user of the guest in short form; the rest is as cloud-init does it.

    `password_hash` is a reference as the manifest has it: `{"secretRef": …}`.
    """

    name: str
    ssh_keys: Tuple[str, ...] = ()
    groups: Tuple[str, ...] = ()
    sudo: bool = False
    shell: Optional[str] = None
    password_hash: Optional[CloudConfig] = None


@frozen
class CloudInit:
    """`cloudInit` of a manifest. `user_data` and `vendor_data` are cloud-config or text.

    `reruns` says that a changed seed makes a new instance of the guest; else it is kept as it is.
    `remove_after` is seconds after the first start.
    """

    hostname: Optional[str] = None
    users: Tuple[SeedUser, ...] = ()
    ssh_keys: Tuple[str, ...] = ()
    user_data: Union[None, str, CloudConfig] = None
    vendor_data: Union[None, str, CloudConfig] = None
    meta_data: CloudConfig = field(default_factory=dict)
    network: Optional[CloudConfig] = None
    reruns: bool = False
    remove_after: int = DEFAULT_REMOVE_AFTER


@frozen
class Seed:
    """A rendered seed. `files` are name and text of each; `digest` is that of all they say."""

    instance: str
    digest: str
    files: SeedFiles = field(repr=False)


def render_seed(
    cloud_init: CloudInit, name: str, interfaces: Tuple[Interface, ...], count: int
) -> Seed:
    """Return the seed of a machine. The same manifest gives the same one.

    `count` tells the instances of one machine apart: cloud-init remembers each that it ever was.
    """
    user, vendor = _render_data(cloud_init)
    network = _render_network(cloud_init, name, interfaces)
    hostname = cloud_init.hostname or (name if _HOSTNAME.fullmatch(name) else None)
    meta = {**({"local-hostname": hostname} if hostname else {}), **cloud_init.meta_data}
    said = json.dumps([meta, user, vendor, network], sort_keys=True)
    digest = hashlib.sha256(said.encode()).hexdigest()[:_DIGITS]
    instance = f"{name}-{digest}-{count}"
    files = [("user-data", user), ("meta-data", _write({"instance-id": instance, **meta}))]
    files.append(("vendor-data", vendor))
    if network is not None:
        files.append(("network-config", _write(network)))
    return Seed(instance, digest, tuple(files))


Read = Callable[[SecretRef], str]


def fill_files(files: SeedFiles, read: Read) -> SeedFiles:
    """Return the files of a seed with the secrets that they refer to.

    What a person wrote as text refers to none.
    """
    return tuple((name, _find_filler(name)(text, read)) for name, text in files)


def _find_filler(name: str) -> Callable[[str, Read], str]:
    """Return what fills a file: JSON, or an answer file's XML."""
    if not name.endswith(".xml"):
        return _fill_text
    from reconciler.core.secrets import fill_document  # noqa: PLC0415 - start-up time

    return fill_document


def list_file_refs(files: SeedFiles) -> Tuple[SecretRef, ...]:
    """Return the secrets that the files of a seed refer to, each once."""
    found: Dict[SecretRef, None] = {}

    def note(ref: SecretRef) -> str:
        found[ref] = None
        return ""

    fill_files(files, note)
    return tuple(found)


def _fill_text(text: str, read: Read) -> str:
    """Fill cloud-config that we wrote, or JSON."""
    header, body = text.split("\n", 1) if text.startswith(HEADER) and "\n" in text else ("", text)
    if REFERENCE not in text or body[:1] not in ("{", "["):
        return text
    try:
        data = json.loads(body)
    except ValueError:  # a person's own text
        return text
    return f"{header}\n"[: len(text) - len(body)] + _write(_fill(data, read))


def _fill(data: Any, read: Read, path: Tuple[str, ...] = ()) -> Any:
    if isinstance(data, dict):
        if set(data) == {REFERENCE} and is_reference(data[REFERENCE]):
            text = read(build_secret_ref(data[REFERENCE]))
            return _write_url(text) if path[-2:] == _CONTENTS else text
        return {key: _fill(value, read, (*path, key)) for key, value in data.items()}
    if isinstance(data, list):
        return [_fill(value, read, path) for value in data]
    return _fill_text(data, read) if isinstance(data, str) else data


def _write_url(text: str) -> str:
    return f"data:;base64,{base64.b64encode(text.encode()).decode()}"


def find_references(data: Any, path: Tuple[Any, ...] = ()) -> Iterator[Tuple[Tuple[Any, ...], Any]]:
    """Yield path and value of each `secretRef` in cloud-config."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        if key == REFERENCE:
            yield (*path, key), value
        elif isinstance(value, (dict, list)):
            yield from find_references(value, (*path, key))


def merge(base: CloudConfig, over: CloudConfig) -> CloudConfig:
    """Merge as cloud-init does: key by key in mappings; else what is in `over` counts."""
    merged: Dict[str, Any] = dict(base)
    for key, value in over.items():
        former = merged.get(key)
        both = isinstance(former, dict) and isinstance(value, dict)
        merged[key] = merge(former, value) if both else value  # type: ignore[arg-type]
    return merged


def _render_data(cloud_init: CloudInit) -> Tuple[str, str]:
    """Return user-data and vendor-data.

    Under user data that is text the short forms are vendor data: cloud-init itself merges them.
    """
    short, user = _to_cloud_config(cloud_init), cloud_init.user_data
    if isinstance(user, str):
        return user, _render_vendor(cloud_init.vendor_data, merge(_KEEPS_INSTANCE, short))
    vendor = _render_vendor(cloud_init.vendor_data, _KEEPS_INSTANCE)
    return _write_config(merge(short, user or {})), vendor


def _render_vendor(given: Union[None, str, CloudConfig], ours: CloudConfig) -> str:
    if not isinstance(given, str):
        return _write_config(merge(given or {}, ours))
    parts = [{"content": given}, {"content": _write_config(ours)}]
    return f"#cloud-config-archive\n{_write(parts)}"


def _to_cloud_config(cloud_init: CloudInit) -> CloudConfig:
    config: Dict[str, Any] = {}
    if cloud_init.ssh_keys:
        config["ssh_authorized_keys"] = list(cloud_init.ssh_keys)
    if cloud_init.users:
        config["users"] = ["default", *map(_to_user, cloud_init.users)]
    return config


def _to_user(user: SeedUser) -> CloudConfig:
    hashed = user.password_hash
    given: Dict[str, Any] = {
        "ssh_authorized_keys": list(user.ssh_keys),
        "groups": list(user.groups),
        "sudo": _SUDO if user.sudo else None,
        "shell": user.shell,
    }
    config = {"name": user.name, **{key: value for key, value in given.items() if value}}
    return {**config, "hashed_passwd": hashed, "lock_passwd": False} if hashed else config


def _render_network(
    cloud_init: CloudInit, name: str, interfaces: Tuple[Interface, ...]
) -> Optional[CloudConfig]:
    """Return the network configuration; None leaves it to the guest, which then asks DHCP."""
    if cloud_init.network is None and not any(card.addresses for card in interfaces):
        return None
    given: CloudConfig = cloud_init.network or {}
    given = given.get("network", given)
    if not any(card.addresses for card in interfaces):
        return given
    cards = {card.name: _to_ethernet(card, name) for card in interfaces}
    return merge({"version": 2, "ethernets": cards}, given)


def _to_ethernet(card: Interface, machine: str) -> CloudConfig:
    mac = card.mac or derive_mac(machine, card.name)
    match = {"match": {"macaddress": mac}}
    if not card.addresses:
        return {**match, "dhcp4": True}
    config: Dict[str, Any] = {**match, "dhcp4": False, "addresses": list(card.addresses)}
    if card.gateways:
        config["routes"] = [_to_route(gateway) for gateway in card.gateways]
    if card.nameservers:
        config["nameservers"] = {"addresses": list(card.nameservers)}
    return config


def _to_route(gateway: str) -> CloudConfig:
    return {"to": _DEFAULT_ROUTES[6 if ":" in gateway else 4], "via": gateway}


def _write_config(config: CloudConfig) -> str:
    return f"{HEADER}\n{_write(config)}"


def _write(data: Union[CloudConfig, List[Any]]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
