"""What a plan may ask of a host besides its domains, and how it asks. Pure.

A `World` holds what was read so far. Where a plan depends on a fact that was not read, the fact is
asked for by raising a `HostQuestion`: whoever has the host answers it and plans again. So what a
plan reads is decided by the very computation that makes the plan, and nowhere else.
"""

from __future__ import annotations

from enum import Enum
from typing import FrozenSet, Iterable, NamedTuple, Optional


class Section(Enum):
    """The kinds of facts. In brackets what `name` and `part` of a fact of that kind are."""

    SIZE = "virtual size of a disk (domain, path or target)"
    JOB = "what libvirt does to an active guest now (domain)"
    OFF_REASON = "why a guest is off (domain)"
    SNAPSHOTS = "snapshots (domain)"
    CLAIMS = "who has which UUID, MAC address and mark"
    IMAGE = "one image and what lies below it (path)"
    IMAGES = "every image of the host, and who uses it"
    POOL = "a storage pool (name)"
    POOLS = "every active storage pool"
    FREE = "space that an image may still grow by (path)"
    REFLINK = "whether a pool can share blocks of an image (pool, path)"
    MACHINE_TYPE = "what the host offers for a machine type (name)"
    NETWORKS = "the networks"
    DEVICES = "the network devices"
    MEMORY = "the memory of the host"
    FILE = "what lies at a path (path)"


class Fact(NamedTuple):
    """One thing that can be read of a host."""

    section: Section
    name: str = ""
    part: str = ""


Known = Optional[FrozenSet[Fact]]
"""The facts that were read; None where all there is to know is known."""


class HostQuestion(Exception):  # noqa: N818 - it is no error
    """Raised by a plan for facts that it depends on and that were not read yet."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.facts = frozenset(facts)
        super().__init__(
            ", ".join(sorted(f"{fact.section.name} {fact.name}" for fact in self.facts))
        )


def ask(known: Known, *facts: Fact) -> None:
    """Raise HostQuestion if any of the facts was not read yet."""
    if known is not None and not known.issuperset(facts):
        raise HostQuestion(fact for fact in facts if fact not in known)
