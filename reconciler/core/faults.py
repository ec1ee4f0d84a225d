"""Keep a bug of ours to the object that met it; a question to the host is none. Pure.

A `World` holds what was read so far. Where a plan depends on a fact that was not read, the fact is
asked for by raising a `HostQuestion`: whoever has the host answers it and plans again. So what a
plan reads is decided by the very computation that makes the plan, and nowhere else.

`isolate` is the only place that catches whatever is raised (a test holds the package to that), so
everything that may fail in a way that nobody foresaw goes through it: reading, planning and
exporting one object, one document of a manifest, one pass of the daemon, one verb of the command.
"""

from __future__ import annotations

import os
from enum import Enum
from typing import Callable, FrozenSet, Iterable, NamedTuple, Optional, TypeVar

from reconciler.errors import FaultError, ReconcilerError


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
    FIRST_BOOT = "whether the first boot is over (domain, instance-id)"
    DRIVER = "what a guest shows of a bus's driver (domain)"
    FILE = "what lies at a path (path)"
    LENGTH = "how large the file at an address is (url)"
    TOOLS = "what prepares clones in a folder (path)"
    WINDOWS = "whether the Windows in an image is generalized (path, format)"
    IMPORT = "what is in a file to import (kind:format:path)"
    IMPORT_TOOLS = "what imports into a folder (path)"
    CHECKSUM = "the checksum that the list of a template's image has (template)"
    DRIVER_MEDIA = "virtio-win ISOs and drivers (path, POOL/VOLUME, or empty: the usual places)"
    SECRET = "a secret that a manifest names (source, name)"  # noqa: S105 - words


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
        super().__init__()
        self.facts = frozenset(facts)

    def __str__(self) -> str:
        """Name the facts; seldom needed, where a thousand machines ask."""
        return ", ".join(sorted(f"{fact.section.name} {fact.name}" for fact in self.facts))


def ask(known: Known, *facts: Fact) -> None:
    """Raise HostQuestion if any of the facts was not read yet."""
    if known is not None and not known.issuperset(facts):
        raise HostQuestion(fact for fact in facts if fact not in known)


T = TypeVar("T")


def isolate(call: Callable[..., T], *arguments: object) -> T:
    """Call; whatever is raised is one of our errors. Raises FaultError for what nobody foresaw.

    It catches every exception, because a fault that nobody foresaw has no type to name: at one
    object it must not end the pass of all others, nor the daemon. Nothing is hidden by it: the
    fault is reported as a bug, with the exception as its cause.

    A question is no fault: it is passed on to whoever can answer it.
    """
    try:
        return call(*arguments)
    except (ReconcilerError, HostQuestion):
        raise
    except Exception as error:
        raise FaultError(describe_fault(error)) from error


def contain(call: Callable[..., T], *arguments: object) -> T:
    """Do the same at the boundary of a worker or command: a question left open is a fault there."""
    try:
        return isolate(call, *arguments)
    except HostQuestion as question:
        raise FaultError(describe_fault(question)) from question


def trace_fault(fault: FaultError) -> str:
    """Return the lines that say how the program came to the fault."""
    import traceback  # noqa: PLC0415 - start-up time

    cause = fault.__cause__ or fault
    return "".join(traceback.format_exception(type(cause), cause, cause.__traceback__)).rstrip()


def describe_fault(error: Exception) -> str:
    """Return one line that says where in the program it happened."""
    import traceback  # noqa: PLC0415 - start-up time

    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    what = " ".join(str(error).split())[:200]
    return f"internal error ({type(error).__name__}{where}: {what}); please report it"
