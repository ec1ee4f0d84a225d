"""What a Windows is given for its first boot: an answer file, by which Setup gives it a name. Pure.

A generalized Windows looks for `Unattend.xml` in the root of a CD-ROM (Microsoft, "Windows Setup
Automation Overview") and goes by it in the passes `specialize` and `oobeSystem`. Where the image
has cloudbase-init, that is given the same by cloud-init's NoCloud instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import field
from typing import Iterator, List, Mapping, Optional, Tuple, Union

from reconciler.core.cloud_init import CloudConfig, CloudInit, Seed, merge
from reconciler.core.frozen import frozen, regex, replace
from reconciler.core.secret_refs import (
    REFERENCE,
    Secret,
    SecretText,
    write_secret,
)
from reconciler.core.time_zones import find_place
from reconciler.core.xmltree import Element, make_namespaced, write_document

ANSWER_FILE = "Unattend.xml"
DEFAULT_REMOVE_AFTER = 2 * 3600  # seconds; Windows restarts meanwhile
_NAME = regex(r"(?=.*[A-Za-z-])[A-Za-z0-9](?:[A-Za-z0-9-]{0,13}[A-Za-z0-9])?")
_DIGITS = 12
_SPACE = "urn:schemas-microsoft-com:unattend"
_ACTIONS = "http://schemas.microsoft.com/WMIConfig/2002/State"
_SPACES: Mapping[Optional[str], str] = {
    "wcm": _ACTIONS,
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}
# What every component of Windows itself is called by.
_IDENTITY = (
    ("publicKeyToken", "31bf3856ad364e35"),
    ("language", "neutral"),
    ("versionScope", "nonSxS"),
)
ADMINISTRATOR = "Administrator"

Tree = Union[str, "Branch"]
Branch = Tuple[Tuple[str, Tree], ...]
"""Names of elements and what is in each: text, or elements."""


@frozen
class DomainJoin:
    """The domain that a Windows becomes a member of, by that account."""

    domain: str
    username: str
    password: Secret = field(repr=False)
    unit: Optional[str] = None


@frozen
class WindowsIdentity:
    """`windows` of a manifest. `time_zone` is Windows' name of it.

    `remove_after` is seconds after the first start.
    """

    computer_name: str
    time_zone: Optional[str] = None
    locale: Optional[str] = None
    language: Optional[str] = None
    password: Optional[Secret] = None
    product_key: Optional[Secret] = None
    workgroup: Optional[str] = None
    join: Optional[DomainJoin] = None
    commands: Tuple[str, ...] = ()
    logs_on: bool = False
    architecture: str = "amd64"
    remove_after: int = DEFAULT_REMOVE_AFTER

    @property
    def reruns(self) -> bool:
        """Whether a change has the guest run it again: nothing but a new machine does."""
        return False


def is_computer_name(name: str) -> bool:
    """Whether Windows takes it: NetBIOS' length, and what a host name may have."""
    return _NAME.fullmatch(name) is not None


def render_answers(identity: WindowsIdentity, name: str, count: int) -> Seed:
    """Return the answer file for a machine, with tokens in the place of secrets."""
    text = _write(identity)
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    return Seed(f"{name}-{digest}-{count}", digest, ((ANSWER_FILE, text),))


def with_cloudbase(identity: WindowsIdentity, cloud_init: Optional[CloudInit]) -> CloudInit:
    """Return what cloudbase-init is given: the identity, and what `cloudInit` says besides.

    NoCloud has the name and the password as meta data. What the person says counts more.
    """
    given = cloud_init or CloudInit(remove_after=identity.remove_after)
    meta: CloudConfig = {}
    if identity.password is not None:
        meta = {"admin-username": ADMINISTRATOR, "admin-password": _refer(identity.password)}
    config: CloudConfig = {
        **({"set_timezone": find_place(identity.time_zone)} if identity.time_zone else {}),
        **({"runcmd": list(identity.commands)} if identity.commands else {}),
    }
    user = given.user_data
    return replace(
        given,
        hostname=given.hostname or identity.computer_name,
        meta_data={**meta, **given.meta_data},
        user_data=user if isinstance(user, str) else merge(config, user or {}),
    )


def _refer(secret: Secret) -> Union[str, CloudConfig]:
    if isinstance(secret, SecretText):
        return secret.text
    return {REFERENCE: {secret.source.value: secret.name}}


def _write(identity: WindowsIdentity) -> str:
    root = make_namespaced(f"{{{_SPACE}}}unattend", {None: _SPACE})
    for passes, components in (
        ("specialize", _specialize(identity)),
        ("oobeSystem", _welcome(identity)),
    ):
        settings = _add(root, "settings")
        settings.set("pass", passes)
        for name, content in components:
            settings.append(_make_component(name, content, identity.architecture))
    return write_document(root)


def _make_component(name: str, content: Branch, architecture: str) -> Element:
    component = make_namespaced(f"{{{_SPACE}}}component", _SPACES)
    component.set("name", name)
    component.set("processorArchitecture", architecture)
    for attribute, value in _IDENTITY:
        component.set(attribute, value)
    _fill(component, content)
    return component


def _add(parent: Element, name: str) -> Element:
    child = make_namespaced(f"{{{_SPACE}}}{name}", {})
    parent.append(child)
    return child


def _fill(parent: Element, content: Tree) -> None:
    if isinstance(content, str):
        parent.text = content
        return
    for name, inner in content:
        child = _add(parent, name)
        if name == "SynchronousCommand":
            child.set(f"{{{_ACTIONS}}}action", "add")
        _fill(child, inner)


def _specialize(identity: WindowsIdentity) -> Iterator[Tuple[str, Branch]]:
    """Yield the components of the pass in which the name, the SID and the membership are made."""
    shell: List[Tuple[str, Tree]] = [("ComputerName", identity.computer_name)]
    if identity.product_key is not None:
        shell.append(("ProductKey", write_secret(identity.product_key)))
    if identity.time_zone is not None:
        shell.append(("TimeZone", identity.time_zone))
    yield "Microsoft-Windows-Shell-Setup", tuple(shell)
    if identity.join is not None:
        yield "Microsoft-Windows-UnattendedJoin", _join(identity.join)
    elif identity.workgroup is not None:
        content = (("JoinWorkgroup", identity.workgroup),)
        yield "Microsoft-Windows-UnattendedJoin", (("Identification", content),)


def _join(join: DomainJoin) -> Branch:
    credentials = (
        ("Domain", join.domain),
        ("Password", write_secret(join.password)),
        ("Username", join.username),
    )
    inner: Branch = (("Credentials", credentials), ("JoinDomain", join.domain))
    if join.unit is not None:
        inner = (*inner, ("MachineObjectOU", join.unit))
    return (("Identification", inner),)


def _welcome(identity: WindowsIdentity) -> Iterator[Tuple[str, Branch]]:
    """Yield the components of the pass that would ask a person (OOBE, "Windows Welcome")."""
    if identity.locale is not None:
        yield (
            "Microsoft-Windows-International-Core",
            (
                ("InputLocale", identity.locale),
                ("SystemLocale", identity.locale),
                ("UILanguage", identity.language or identity.locale),
                ("UserLocale", identity.locale),
            ),
        )
    shell: List[Tuple[str, Tree]] = []
    password: Branch = ()
    if identity.password is not None:
        password = (("Value", write_secret(identity.password)), ("PlainText", "true"))
    if identity.logs_on:
        once = (("Enabled", "true"), ("LogonCount", "1"), ("Username", ADMINISTRATOR))
        shell.append(("AutoLogon", (("Password", password), *once)))
    if identity.commands:
        commands = tuple(
            ("SynchronousCommand", (("CommandLine", command), ("Order", str(number))))
            for number, command in enumerate(identity.commands, 1)
        )
        shell.append(("FirstLogonCommands", commands))
    shell.append(
        (
            "OOBE",
            (
                ("HideEULAPage", "true"),
                ("HideLocalAccountScreen", "true"),
                ("HideOEMRegistrationScreen", "true"),
                ("HideOnlineAccountScreens", "true"),
                ("HideWirelessSetupInOOBE", "true"),
                ("ProtectYourPC", "3"),
            ),
        )
    )
    if password:
        shell.append(("UserAccounts", (("AdministratorPassword", password),)))
    yield "Microsoft-Windows-Shell-Setup", tuple(shell)
