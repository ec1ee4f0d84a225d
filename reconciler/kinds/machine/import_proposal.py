"""The manifest of a machine of another hypervisor's, as a proposal to be reviewed. Pure."""

from __future__ import annotations

import os as paths
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

from reconciler.core.frozen import regex
from reconciler.core.guests import is_known, is_windows
from reconciler.core.imports import DISK, ForeignCard, ForeignSource
from reconciler.core.units import format_roughly, format_size
from reconciler.core.windows_drivers import find_release

_NOT_IN_NAMES = regex(r"[^A-Za-z0-9_.-]+")
_MAC = regex(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MOST_NAME = 60
_MEMORY = "4GiB"
ROOT, OTHER, CARD = "root", "disk{}", "lan{}"


def propose_machine(
    kind: str, source: ForeignSource, *, sha256: str, os: str, image_format: str = ""
) -> Tuple[Mapping[str, Any], Tuple[str, ...]]:
    """Return the manifest, and what a person has to know of it."""
    machine, release = source.machine, find_release(os) if is_windows(os) else None
    bus = "sata" if release is None else release.boots_from.value.partition(",")[0]
    chipset = None if release is None else release.chipset.value
    model = None if release is None else release.card.value
    spec: Dict[str, Any] = {
        "os": os if os and is_known(os) else "generic",
        "machine": chipset if chipset != "q35" else None,
        "firmware": machine.firmware if machine.firmware != "bios" else None,
        "cpus": _propose_cpus(machine.cpus, machine.cores),
        "memory": format_size(machine.memory) if machine.memory else _MEMORY,
        "tpm": True if machine.tpm else None,
        "disks": [
            {"name": ROOT if number == 1 else OTHER.format(number), "bus": bus, "source": given}
            for number, given in enumerate(_list_sources(kind, source, sha256, image_format), 1)
        ],
        "interfaces": [
            _propose_card(number, card, model) for number, card in enumerate(machine.cards, 1)
        ]
        if kind != DISK
        else None,
    }
    manifest = {
        "apiVersion": "virt-reconciler/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": _propose_name(machine.name, source.stamp.path)},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }
    return manifest, tuple(_find_remarks(kind, source, spec["os"], os))


def _propose_name(name: str, path: str) -> str:
    text = name or paths.path.splitext(paths.path.basename(path))[0]
    return _NOT_IN_NAMES.sub("-", text)[:_MOST_NAME].strip("-.") or "imported"


def _propose_cpus(count: int, cores: int) -> Any:
    """Return the processors; sockets count for licences, so they stay as they are."""
    count = count or 1
    if cores > 1 and count % cores == 0:
        return {"count": count, "sockets": count // cores, "cores": cores}
    return count


def _list_sources(
    kind: str, source: ForeignSource, sha256: str, image_format: str
) -> Iterator[Mapping[str, Any]]:
    several = len(source.images) > 1
    for image in source.images:
        given = {
            kind: source.stamp.path,
            "file": image.name if several else None,
            "format": image_format or None,
            "sha256": sha256 or None,
        }
        yield {"import": {key: value for key, value in given.items() if value is not None}}


def _propose_card(number: int, card: ForeignCard, model: Optional[str]) -> Mapping[str, Any]:
    found: Dict[str, Any] = {"name": CARD.format("" if number == 1 else number)}
    found["network"] = "default"
    if model is not None:
        found["model"] = model
    if _MAC.fullmatch(card.mac) and not int(card.mac[:2], 16) & 1:
        found["mac"] = card.mac
    return found


def _find_remarks(kind: str, source: ForeignSource, os: str, guess: str) -> Iterator[str]:
    machine = source.machine
    yield f"A proposal out of {source.stamp.path}. Check every line; nothing was imported yet."
    if os == "generic":
        named = f" ({machine.system})" if machine.system else ""
        other = f" ({guess})" if guess and not named else ""
        yield f"os: not known{named}{other}; write its short id: osinfo-query os"
    elif machine.system:
        yield f"os: VMware calls it {machine.system}"
    if kind == DISK:
        yield f"cpus, memory, firmware: an image does not say them; {_MEMORY} is a guess"
    elif not machine.memory:
        yield f"memory: not given; {_MEMORY} is a guess"
    for image in source.images:
        yield (
            f"{image.name}: {image.format}, {format_size(image.capacity)}, at most "
            f"{format_roughly(image.data)} are copied"
        )
    for number, card in enumerate(machine.cards, 1):
        model = card.model or "a card of no named model"
        where = f" on {card.network}" if card.network else ""
        yield f"interfaces[{CARD.format('' if number == 1 else number)}]: was {model}{where}"
    if is_windows(os):
        yield (
            "bus and model: what this Windows has drivers for; when it has run there, set virtio "
            "for both, and it is moved step by step (lifecycle.busChange)"
        )
    else:
        yield "bus: where virt-v2v converts a Linux, virtio is better than sata"
    yield from machine.remarks
