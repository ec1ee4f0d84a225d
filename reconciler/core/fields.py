"""What a row of the table of fields is made of; the rows are in `field_table`. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Any, Callable, NamedTuple, Optional, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.machine import Power
from reconciler.core.plan import Value
from reconciler.core.secret_refs import build_secret
from reconciler.core.units import format_size, parse_size


class Form(Enum):
    """How a value is written in XML; `kinds.machine.domain.xml_values` converts it."""

    TEXT = "text"
    INTEGER = "integer"
    PRESENCE = "an element that is there or not"
    ALIAS = "user alias"
    SOURCE = "source of a disk"
    MEDIA = "source of a CD-ROM drive"
    NETWORK = "network of an interface"
    BRIDGE = "bridge of an interface"
    BYTES = "number with a unit"
    ONLINE = "processors that are online"
    UNPLUGGABLE = "processors that can be unplugged"
    BALLOON = "balloon"
    FIRMWARE = "firmware"
    GUEST_AGENT = "channel of the guest agent"
    SECRET = "password"  # noqa: S105 - a word
    CREDENTIALS = "systemd credentials"


class Notation(NamedTuple):
    """How the manifest writes a value: to the model, and back."""

    build: Callable[[Any], Any] = lambda value: value
    show: Callable[[Any], Any] = lambda value: value


PLAIN = Notation()
WHOLE = Notation(int)  # JSON Schema takes 1.0 for an integer, too
SIZE = Notation(parse_size, format_size)
LOWER = Notation(str.lower)
POWER = Notation(lambda word: None if word == "unmanaged" else Power(word))
SECRET = Notation(build_secret)
# Built in `kinds.machine.document`: several fields of the manifest make the value.
BY_HAND = Notation()


class NewGuest(NamedTuple):
    """What the defaults of a new machine depend on."""

    is_windows: bool
    needs_tpm: bool
    chipset: str
    accelerator: str


Choices = Callable[[NewGuest], Tuple[Value, ...]]
"""Returns what to choose from: the first that the host offers, else the last."""


@frozen
class Offer:
    """What the host must offer for a value.

    `caps` is the field of `MachineCaps`, `path` the XPath in libvirt's domain capabilities (empty
    where the adapter reads more than one place). Every host offers `always`; where that is False,
    the offer is a yes or no.
    """

    caps: str
    path: str = ""
    always: Value = None


@frozen
class Feature:
    """A device that a domain has once or not at all.

    `parts` are the paths below <devices> of what belongs to it; `xml` is that of a new
    one, with `{}` for the value.
    """

    parts: Tuple[str, ...]
    xml: str

    @property
    def tags(self) -> Tuple[str, ...]:
        """The elements below <devices> of its parts."""
        return tuple(part.split("/")[0] for part in self.parts)


@frozen
class Field:
    """One field: `name` in the model, and in camel case in the manifest.

    `path` is a small XPath below the device's element (or the domain's): `target/@bus`,
    `vcpu/text()`; a path that ends in an element means its presence, or is left to the form. Where
    it is empty, `elsewhere` says why. `absent` is what the lack of the place means. Without
    `notation` the manifest has no such field. `note` tells the manual's reader more about the
    default. What `moves` a disk says which image it has and how it is reached, so it has to wait
    while other images depend on that.
    """

    name: str
    path: str = ""
    form: Form = Form.TEXT
    notation: Optional[Notation] = PLAIN
    absent: Value = None
    default: Optional[Choices] = None
    offer: Optional[Offer] = None
    feature: Optional[Feature] = None
    elsewhere: str = ""
    note: str = ""
    moves: bool = False

    @property
    def key(self) -> str:
        """The manifest's name of the field."""
        first, *others = self.name.split("_")
        return "".join([first, *(word.capitalize() for word in others)])

    @property
    def tag(self) -> str:
        """The element of the path."""
        return self.path.rsplit("/", 1)[0] if self.leaf else self.path

    @property
    def leaf(self) -> str:
        """The path's last part, if it is an attribute or text."""
        last = self.path.rsplit("/", 1)[-1]
        return last if last.startswith("@") or last == "text()" else ""
