"""What is taken out of a clone of a template before its first start, and put into it.

The value of the manifest, and the port of what does it. Pure.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Callable, FrozenSet, Mapping, Optional, Protocol, Tuple, Union

from reconciler.core.frozen import frozen
from reconciler.core.secret_refs import REFERENCE, SecretRef, build_secret_ref
from reconciler.core.windows_images import WindowsImage
from reconciler.errors import MissingError, TerminalError

Text = Union[str, SecretRef]
"""A text of the manifest, or where the host has it."""
CLOUD_INIT = "cloud-init"  # an operation of ours: virt-sysprep has none for its cache
DEFAULT = "default"


@frozen
class UserKeys:
    """Public SSH keys of one user of the guest."""

    user: str
    keys: Tuple[Text, ...]


@frozen
class Injection:
    """What is put into a Windows before its first start: ISO images or folders of virtio-win's."""

    virtio_win: str = ""
    guest_agent: str = ""


@frozen
class Preparation:
    """`spec.prepare` of a template, and its `spec.inject`.

    `operations` are virt-sysprep's, and `cloud-init`; None means its own defaults and `cloud-init`.
    `first_boot` are shell commands, each a script of its own. Without `seals` nothing of this is
    done, and there is an `injection` only.
    """

    operations: Optional[Tuple[str, ...]] = None
    sets_hostname: bool = False
    ssh_keys: Tuple[UserKeys, ...] = ()
    first_boot: Tuple[Text, ...] = ()
    injection: Optional[Injection] = None
    seals: bool = True

    @property
    def refs(self) -> Tuple[SecretRef, ...]:
        """The secrets that it names."""
        texts = (*(key for user in self.ssh_keys for key in user.keys), *self.first_boot)
        return tuple(text for text in texts if isinstance(text, SecretRef))

    def describe(self) -> str:
        """Return like `prepared by virt-sysprep`."""
        words = ["prepared by virt-sysprep"] if self.seals else []
        if self.injection is not None:
            names = {"virtio-win": self.injection.virtio_win, "agent": self.injection.guest_agent}
            what = " and ".join(name for name, method in names.items() if method)
            words.append(f"{what} put in by virt-customize")
        return ", ".join(words)


def build_injection(data: Optional[Mapping[str, Any]]) -> Optional[Injection]:
    """Return the value of an `inject` that the schema has passed."""
    if not data:
        return None
    return Injection(data.get("virtioWin", ""), data.get("qemuGuestAgent", ""))


def build_preparation(
    prepare: Optional[Mapping[str, Any]], inject: Optional[Mapping[str, Any]] = None
) -> Optional[Preparation]:
    """Return the value of a `prepare` and an `inject` that the schema has passed."""
    injection = build_injection(inject)
    if prepare is None:
        return None if injection is None else Preparation(injection=injection, seals=False)
    operations = prepare.get("operations", DEFAULT)
    return Preparation(
        operations=None if operations == DEFAULT else tuple(operations),
        sets_hostname="hostname" in prepare,
        ssh_keys=tuple(
            UserKeys(user, tuple(map(_build_text, keys)))
            for user, keys in prepare.get("sshKeys", {}).items()
        ),
        first_boot=tuple(map(_build_text, prepare.get("firstBoot", ()))),
        injection=injection,
    )


def list_preparation(preparation: Optional[Preparation]) -> Mapping[str, Optional[str]]:
    """Return what a manifest says of it, by field; nothing of one that has none."""
    if preparation is None:
        return {}
    injection = preparation.injection or Injection()
    injected = {
        "inject.virtioWin": injection.virtio_win or None,
        "inject.qemuGuestAgent": injection.guest_agent or None,
    }
    if not preparation.seals:
        return injected
    keys = {
        f"prepare.sshKeys.{user.user}": ", ".join(map(str, user.keys))
        for user in preparation.ssh_keys
    }
    return {
        "prepare.operations": ", ".join(preparation.operations or (DEFAULT,)),
        "prepare.hostname": "fromName" if preparation.sets_hostname else None,
        **keys,
        "prepare.firstBoot": "; ".join(map(str, preparation.first_boot)) or None,
        **injected,
    }


def _build_text(data: Any) -> Text:
    return data if isinstance(data, str) else build_secret_ref(data[REFERENCE])


@frozen
class PreparationTools:
    """What prepares clones on a host: the version of virt-sysprep, and the operations it knows.

    `options` are those of virt-customize, in which it says what it can inject. Both are None where
    nobody could ask.
    """

    version: str = ""
    operations: Optional[FrozenSet[str]] = None
    options: Optional[FrozenSet[str]] = None


INJECT_VIRTIO_WIN, INJECT_GUEST_AGENT = "--inject-virtio-win", "--inject-qemu-ga"
STAGED = (
    "remove `inject`: the drivers are then installed in the guest, and the bus is changed by "
    "lifecycle.busChange: staged"
)


def list_injections(injection: Injection) -> Tuple[Tuple[str, str], ...]:
    """Return the options of virt-customize with their values."""
    pairs = (
        (INJECT_VIRTIO_WIN, injection.virtio_win),
        (INJECT_GUEST_AGENT, injection.guest_agent),
    )
    return tuple((option, method) for option, method in pairs if method)


def refuse_injection(injection: Injection, tools: PreparationTools, where: str) -> None:
    """Raise MissingError if the host's virt-customize cannot inject what is said there."""
    for option, _ in list_injections(injection):
        if tools.options is not None and option not in tools.options:
            raise MissingError(
                f"{where}: virt-customize {tools.version} on this host has no {option} "
                f"(guestfs-tools 1.50 or newer has it); install a newer one, or {STAGED}"
            )


def refuse_unknown(preparation: Preparation, tools: PreparationTools) -> None:
    """Raise TerminalError for operations that the host's virt-sysprep does not know."""
    if tools.operations is None:
        return
    unknown = sorted({*(preparation.operations or ())} - tools.operations - {CLOUD_INIT})
    if unknown:
        raise TerminalError(
            f"spec.prepare.operations: virt-sysprep {tools.version} on this host does not know "
            f"{', '.join(unknown)}; see: virt-sysprep --list-operations"
        )


@frozen
class PreparationTask:
    """One image to be prepared, with the texts of its secrets.

    `ssh_keys` maps a user to lines of keys.
    """

    path: str
    format: str
    operations: Optional[Tuple[str, ...]] = None
    hostname: Optional[str] = None
    ssh_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    scripts: Tuple[str, ...] = field(default=(), repr=False)
    seals: bool = True
    injection: Optional[Injection] = None


@frozen
class PrepareVolume:
    """Take the identity of a template out of a clone that no domain has yet, at `path`."""

    disk: str
    pool: str
    name: str
    path: str
    format: str
    preparation: Preparation
    hostname: Optional[str] = None

    def make_task(self, read: Callable[[SecretRef], str]) -> PreparationTask:
        """Return what is to be done, with the texts of the secrets that it names."""
        wanted = self.preparation

        def find_text(text: Text) -> str:
            return text if isinstance(text, str) else read(text)

        return PreparationTask(
            path=self.path,
            format=self.format,
            operations=wanted.operations,
            hostname=self.hostname,
            ssh_keys={
                user.user: "".join(f"{find_text(key)}\n" for key in user.keys)
                for user in wanted.ssh_keys
            },
            scripts=tuple(f"#!/bin/sh\n{find_text(command)}\n" for command in wanted.first_boot),
            seals=wanted.seals,
            injection=wanted.injection,
        )


class Preparer(Protocol):
    """What changes images that no guest has, and reads what is in others."""

    def find_tools(self, folder: str) -> PreparationTools:
        """Return what would prepare images in that folder. Raises MissingError if nothing can."""

    def prepare(self, task: PreparationTask, tell: Callable[[str], None]) -> None:
        """Prepare an image, and return when it is on disk.

        `tell` gets what is being done, several times a second; what it raises ends the work, and
        all that works on the image. Raises TransientError, TerminalError for an image that holds no
        system.
        """

    def read_windows(self, path: str, image_format: str) -> WindowsImage:
        """Return what is read of the Windows in an image, which nothing writes to.

        Raises TransientError where it cannot be read this time.
        """


class NoPreparer:
    """Implements `Preparer` where nothing can be prepared, for that reason."""

    def __init__(self, reason: str) -> None:
        """Keep why."""
        self._reason = reason

    def find_tools(self, folder: str) -> PreparationTools:
        """Refuse."""
        del folder
        raise MissingError(self._reason)

    def prepare(self, task: PreparationTask, tell: Callable[[str], None]) -> None:
        """Refuse."""
        del task, tell
        raise MissingError(self._reason)

    def read_windows(self, path: str, image_format: str) -> WindowsImage:
        """Look into no image."""
        del path, image_format
        return WindowsImage(unchecked=self._reason)
