"""Machines that the private host can really make, as manifests: generated, never the same twice."""

from __future__ import annotations

from typing import Any, Dict, List

from hypothesis import strategies as st

from tests.strategies import Document, Strategy, device_names, maybe

BUSES = {"q35": ("virtio", "scsi", "sata", "usb"), "pc": ("virtio", "scsi", "sata", "ide", "usb")}
NETWORKS = ("default", "other")
OVERLAYS = (
    {"xpath": "/domain/devices/memballoon", "fragment": "<stats period='5'/>"},
    {"xpath": "/domain/devices", "fragment": "<watchdog model='i6300esb' action='none'/>"},
    {"xpath": "/domain", "fragment": "<on_crash>restart</on_crash>"},
    {"xpath": "/domain/features", "fragment": "<pae/>"},
)


@st.composite
def _devices(draw: st.DrawFn, one: Strategy, most: int) -> List[Document]:
    """Return devices with names of their own."""
    names = draw(st.lists(device_names, max_size=most, unique=True))
    return [{"name": name, **draw(one)} for name in names]


def _sizes(least: int, most: int, unit: str) -> Strategy:
    return st.integers(least, most).map(lambda size: f"{size}{unit}")


def _disk(chipset: str) -> Strategy:
    optional: Dict[str, Strategy] = {
        "bus": st.sampled_from(BUSES[chipset]),
        "format": st.sampled_from(("qcow2", "raw")),
        "cache": st.sampled_from(("none", "writeback", "writethrough")),
        "io": st.sampled_from(("threads", "native")),
        "discard": st.sampled_from(("unmap", "ignore")),
        "serial": st.text("ABC019", min_size=1, max_size=12),
    }
    # QEMU takes Linux's native I/O with a cache mode that goes around the host's page cache only.
    return maybe({"size": _sizes(1, 64, "MiB")}, optional).map(
        lambda disk: {**disk, "cache": "none"} if disk.get("io") == "native" else disk
    )


def _cdrom(chipset: str) -> Strategy:
    buses = [bus for bus in BUSES[chipset] if bus not in ("virtio", "usb")]
    return maybe({}, {"bus": st.sampled_from(buses), "media": st.just("none")})


INTERFACE = maybe(
    {"network": st.sampled_from(NETWORKS)},
    {
        "model": st.sampled_from(("virtio", "e1000", "rtl8139")),
        "link": st.sampled_from(("up", "down")),
    },
)
CPUS = st.integers(1, 4) | st.sampled_from((
    {"count": 1, "maximum": 4},
    {"count": 2, "maximum": 4, "sockets": 2, "cores": 2, "threads": 1},
    {"count": 2, "mode": "maximum"},
    {"count": 1, "mode": "custom", "model": "qemu64"},
))  # fmt: skip
MEMORY = _sizes(64, 256, "MiB") | st.just({"size": "128MiB", "maximum": "256MiB"})


@st.composite
def specs(draw: st.DrawFn, chipset: str, power: str) -> Document:
    """Return the spec of a machine of that chipset."""
    optional: Dict[str, Any] = {
        "os": st.sampled_from(("rocky9", "debian12", "win2k22")),
        "autostart": st.booleans(),
        "disks": _devices(_disk(chipset), 3),
        "cdroms": _devices(_cdrom(chipset), 2),
        "interfaces": _devices(INTERFACE, 2),
        "guestAgent": st.booleans(),
        "console": st.booleans(),
        "graphics": st.sampled_from(("vnc", "none")),
        "rng": st.booleans(),
        "tpm": st.booleans(),
        "xml": st.lists(st.sampled_from(OVERLAYS), max_size=2, unique_by=lambda one: one["xpath"]),
    }
    spec: Document = draw(maybe({"cpus": CPUS, "memory": MEMORY}, optional))
    spec = _tell_apart({**spec, "machine": chipset, "power": power})
    if draw(st.booleans()):
        _number([*spec.get("disks", ()), *spec.get("interfaces", ())])
    return spec


def _tell_apart(spec: Document) -> Document:
    """Give each device a name that no other device of the machine has."""
    for kind in ("disks", "cdroms", "interfaces"):
        for one in spec.get(kind, ()):
            one["name"] = f"{kind[0]}-{one['name']}"
    return spec


def _number(devices: List[Document]) -> None:
    for number, device in enumerate(devices, 1):
        device["boot"] = number
