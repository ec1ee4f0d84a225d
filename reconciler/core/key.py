"""What an object is known by everywhere: its kind and its name. Pure.

A name alone is no identity: a machine and the host that it runs on may have the same one.
"""

from __future__ import annotations

from typing import Collection, List, NamedTuple, Sequence

from reconciler.errors import UsageError

# What versions before this one remembered by a name alone was of this kind. A name that nobody
# knows yet is taken to be of this kind as well.
FORMER_KIND = "VirtualMachine"
SEPARATOR = "/"


class Key(NamedTuple):
    """The kind and the name of an object; keys are sorted by kind, then by name."""

    kind: str
    name: str

    def __str__(self) -> str:
        """Render as `VirtualMachine/web01`."""
        return f"{self.kind}{SEPARATOR}{self.name}"


def parse_key(text: str, known: Collection[Key], kinds: Sequence[str]) -> Key:
    """Return the key that a person means by `web01`, or by `host/web01`.

    A name alone is enough while only one known object has it; the kind may be written in any case.
    What nobody knows gets the kind that it names, else the usual one. Raises UsageError if several
    objects have the name.
    """
    prefix, separator, rest = text.partition(SEPARATOR)
    kind = next((kind for kind in kinds if kind.lower() == prefix.lower()), "")
    matches: List[Key] = sorted(key for key in known if key.name == text)
    if separator and kind and rest and not matches:
        return Key(kind, rest)
    if len(matches) > 1:
        choices = " or ".join(map(spell_key, matches))
        raise UsageError(f"{text}: several objects have this name; write {choices}")
    return matches[0] if matches else Key(FORMER_KIND, text)


def show_key(key: Key) -> str:
    """Return the key as people see and write it: the name alone, or `host/kvm01`."""
    return key.name if key.kind == FORMER_KIND else spell_key(key)


def spell_key(key: Key) -> str:
    """Return the key as it is written where several objects have the name."""
    return f"{key.kind.lower()}{SEPARATOR}{key.name}"
