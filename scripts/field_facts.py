"""The table of docs/manifest.md: each field's default by the guest's system, and its effect."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Iterator, List, Mapping, Tuple

from reconciler.core.field_table import TABLES, in_order
from reconciler.core.fields import Field, NewGuest
from reconciler.core.machine import Cdrom, Cpus, Disk, Interface, Machine, Memory
from reconciler.core.plan import Effect, Value
from reconciler.kinds.machine.match import DifferenceKind as Kind
from reconciler.kinds.machine.planning import guards
from reconciler.kinds.machine.planning.effects import TABLE

INTRODUCTION = """\
### Defaults and effects

What a new machine gets for a field that its manifest leaves out, by the system that `os` names, and
what a change of the field does to a running guest. Of several values, the first one that the host
offers is used. A default is used once, at creation; it is not managed afterwards. A disk or network
card that is added later to a machine is a virtio one, on every system, unless its manifest says
`bus` or `model`.

[What a change does](effects.md) explains the words for effects, and which of several it is. While
the machine is off, no change disturbs a guest (`offline`).

| field | default for Linux and other systems | default for Windows | effect of a change |
|---|---|---|---|
"""

LINUX = NewGuest(is_windows=False, needs_tpm=False, chipset="q35", accelerator="kvm")
FAMILIES = (LINUX, LINUX._replace(is_windows=True))
# What else a default depends on.
VARIATIONS: Mapping[str, Mapping[str, Any]] = {
    "with `machine: pc`": {"chipset": "pc"},
    "without KVM": {"accelerator": "qemu"},
}
KINDS: Mapping[str, type] = {
    "": Machine,
    "cpus.": Cpus,
    "memory.": Memory,
    "disks[].": Disk,
    "cdroms[].": Cdrom,
    "interfaces[].": Interface,
}
EFFECTS = (Effect.LIVE, Effect.NEXT_BOOT, Effect.RESTART, Effect.WITHHELD)


def render_facts() -> str:
    """Return the section."""
    return INTRODUCTION + "".join(f"| {' | '.join(cells)} |\n" for cells in _find_rows(""))


def _find_rows(prefix: str) -> Iterator[Tuple[str, ...]]:
    """Yield the cells of each field that a manifest may have, those of a mapping after it."""
    for field in in_order(KINDS[prefix], TABLES[prefix]):
        if field.notation is None or field.key == "name":
            continue
        defaults = [show_default(field, family) for family in FAMILIES]
        yield f"`{prefix}{field.key}`", *defaults, show_effect(prefix, field)
        for below in (f"{field.name}.", f"{field.name}[]."):
            if below in TABLES:
                yield from _find_rows(below)


def show_default(field: Field, family: NewGuest) -> str:
    """Return what a new machine of that family gets."""
    choices = _show_choices(field, family)
    parts = [choices or ("" if field.absent is None else _show(field.absent))]
    for words, change in VARIATIONS.items():
        other = _show_choices(field, family._replace(**change))
        if other != choices:
            parts.append(f"{words}: {other}")
    parts.append(field.note)
    return "; ".join(filter(None, parts)) or "not set"


def _show_choices(field: Field, family: NewGuest) -> str:
    choices = field.default(family) if field.default else ()
    return ", ".join(dict.fromkeys(_show(choice) for choice in choices if choice is not None))


def _show(value: Value) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text or 'none'}`"


def show_effect(prefix: str, field: Field) -> str:
    """Return the words that a plan may give a change of the field."""
    path = f"{prefix}{field.name}"
    if f"{path}." in TABLES:
        return "see its fields"
    if f"{path}[]." in TABLES:
        added, removed = (_show_effects(f"{path}[]", kind) for kind in (Kind.ADD, Kind.REMOVE))
        return f"added: {added}; removed: {removed}"
    compared = {one.name for one in fields(KINDS[prefix]) if one.metadata.get("compared", True)}
    if field.name not in compared:
        return "not compared"
    return _show_effects(path, Kind.CHANGE)


def _show_effects(path: str, kind: Kind) -> str:
    found: List[Effect] = []
    for row in TABLE:
        if row.names(path) and row.kind in (None, kind):
            found.append(row.running)
            if row.when is guards.always:
                break
    words = [f"`{effect.value}`" for effect in EFFECTS if effect in found]
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
