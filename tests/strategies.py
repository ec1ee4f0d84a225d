"""Hypothesis strategies for manifests as plain data, as YAML would give them.

`machine_documents()` yields VirtualMachine documents that are valid, in schema and in meaning, each
by itself: names, MACs and UUIDs of two of them may clash, and disks have no template.
"""

from __future__ import annotations

from typing import Any, Dict, List

from hypothesis import strategies as st

Document = Dict[str, Any]
Strategy = st.SearchStrategy[Any]

DAEMONS = ("virtqemud", "virtnetworkd", "virtstoraged", "virtnodedevd", "libvirtd")
_LETTERS = "abcxyzABC019"

names: Strategy = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,20}", fullmatch=True)
device_names: Strategy = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,12}", fullmatch=True)
sizes: Strategy = st.builds(
    "{}{}".format, st.integers(1, 9999), st.sampled_from(("KiB", "MiB", "GiB", "TiB"))
)
host_paths: Strategy = st.from_regex(r"/[a-zA-Z0-9_./-]{1,30}", fullmatch=True)
macs: Strategy = st.lists(st.integers(0, 255), min_size=5, max_size=5).map(
    lambda rest: ":".join(f"{byte:02x}" for byte in (0x52, *rest))
)


def maybe(required: Dict[str, Strategy], optional: Dict[str, Strategy]) -> Strategy:
    """Return mappings with all of the required keys and any of the optional ones."""
    return st.fixed_dictionaries(required, optional=optional)


def _cpus() -> Strategy:
    topology = st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(1, 2)).map(
        lambda one: {
            "maximum": one[0] * one[1] * one[2],
            "sockets": one[0],
            "cores": one[1],
            "threads": one[2],
        }
    )
    numbers = st.lists(st.integers(1, 64), min_size=2, max_size=2).map(
        lambda one: {"count": min(one), "maximum": max(one)}
    )
    mode = maybe({}, {"mode": st.sampled_from(("host-passthrough", "host-model", "maximum"))})
    return st.integers(1, 64) | st.builds(
        lambda one, other: {**one, **other}, topology | numbers, mode
    )


def _memory() -> Strategy:
    both = st.lists(st.integers(1, 4096), min_size=2, max_size=2).map(
        lambda one: {"size": f"{min(one)}MiB", "maximum": f"{max(one)}MiB"}
    )
    return sizes | both


def _sources() -> Strategy:
    volume = maybe({"volume": names}, {"pool": names})
    return volume | st.fixed_dictionaries({"path": host_paths})


def _disks() -> Strategy:
    common: Dict[str, Strategy] = {
        "bus": st.sampled_from(("virtio", "scsi", "sata", "usb")),
        "format": st.sampled_from(("qcow2", "raw")),
        "cache": st.sampled_from(("none", "writeback", "writethrough", "unsafe")),
        "io": st.sampled_from(("threads", "io_uring")),
        "discard": st.sampled_from(("unmap", "ignore")),
        "serial": st.text(_LETTERS, min_size=1, max_size=20),
        "readonly": st.booleans(),
    }
    blank = maybe({"name": device_names, "size": sizes}, {**common, "pool": names})
    found = maybe({"name": device_names, "source": _sources()}, common)
    return st.lists(blank | found, max_size=3)


def _cdroms() -> Strategy:
    media = st.just("none") | host_paths | _sources()
    drive = maybe(
        {"name": device_names},
        {"bus": st.sampled_from(("sata", "scsi", "usb")), "media": media},
    )
    return st.lists(drive.map(_never_empty_on_usb), max_size=2)


def _never_empty_on_usb(drive: Document) -> Document:
    """Put a drive that may be empty elsewhere: QEMU starts none on USB."""
    is_empty = drive.get("media", "none") == "none"
    return {**drive, "bus": "sata"} if is_empty and drive.get("bus") == "usb" else drive


def _interfaces() -> Strategy:
    common: Dict[str, Strategy] = {
        "model": st.sampled_from(("virtio", "e1000e", "rtl8139")),
        "mac": macs,
        "link": st.sampled_from(("up", "down")),
    }
    on_network = maybe({"name": device_names, "network": names}, common)
    on_bridge = maybe(
        {"name": device_names, "bridge": st.from_regex(r"br[0-9]{1,3}", fullmatch=True)}, common
    )
    return st.lists(on_network | on_bridge, max_size=3)


def _lifecycles() -> Strategy:
    days = st.lists(st.sampled_from(("mon", "wed", "sat", "sun")), min_size=1, unique=True)
    window = st.fixed_dictionaries(
        {
            "days": days,
            "start": st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59)),
            "duration": st.builds("{}h".format, st.integers(1, 24)),
        }
    )
    return maybe(
        {"windows": st.lists(window, min_size=1, max_size=2)},
        {
            "disruption": st.sampled_from(("never", "whenOff", "restart", "window")),
            "deletion": st.sampled_from(("orphan", "undefine", "deleteDisks")),
            "shutdownTimeout": st.builds("{}s".format, st.integers(5, 600)),
            "forceOff": st.booleans(),
        },
    )


def _specs() -> Strategy:
    return maybe(
        {},
        {
            "placement": maybe({}, {"host": st.sampled_from(("kvm01", "kvm02.example.org"))}),
            "uuid": st.uuids().map(str),
            "os": st.sampled_from(("rocky9", "debian12", "win2k16", "ubuntu22.04")),
            "power": st.sampled_from(("running", "stopped", "unmanaged")),
            "autostart": st.booleans(),
            "machine": st.sampled_from(("q35", "pc", "pc-q35-7.2")),
            "firmware": st.sampled_from(("bios", "uefi", "uefi-secure")),
            "cpus": _cpus(),
            "memory": _memory(),
            "requiredDaemons": st.lists(st.sampled_from(DAEMONS), unique=True),
            "disks": _disks(),
            "cdroms": _cdroms(),
            "interfaces": _interfaces(),
            "guestAgent": st.booleans(),
            "console": st.booleans(),
            "graphics": st.sampled_from(("vnc", "none")),
            "video": st.sampled_from(("virtio", "vga", "none")),
            "rng": st.booleans(),
            "tpm": st.booleans(),
            "lifecycle": _lifecycles(),
        },
    )


def _metadata() -> Strategy:
    words = st.dictionaries(st.text(_LETTERS, min_size=1, max_size=8), st.text(max_size=12))
    return maybe({"name": names}, {"labels": words, "annotations": words})


def _tell_apart(document: Document) -> Document:
    """Give devices names, images, MACs and boot orders that only they have."""
    spec = document["spec"]
    everything: List[Document] = [
        one for listing in ("disks", "cdroms", "interfaces") for one in spec.get(listing, ())
    ]
    for number, device in enumerate(everything):
        device["name"] = f"{device['name'][:12]}-{number}"
        device["boot"] = number + 1
        source = device.get("source", {})
        for key in ("volume", "path"):
            if key in source:
                source[key] = f"{source[key]}-{number}"
        if "mac" in device:
            device["mac"] = f"{device['mac'][:-2]}{number:02x}"
    return document


def machine_documents() -> st.SearchStrategy[Document]:
    """Return VirtualMachine documents that are valid, each by itself."""
    parts = {
        "apiVersion": st.just("virt-reconciler/v1"),
        "kind": st.just("VirtualMachine"),
        "metadata": _metadata(),
        "spec": _specs(),
    }
    return st.fixed_dictionaries(parts).map(_tell_apart)


def template_documents() -> st.SearchStrategy[Document]:
    """Return Template documents that are valid, each by itself."""
    common: Dict[str, Strategy] = {
        "os": st.sampled_from(("rocky9", "win2k16")),
        "linkedClones": st.booleans(),
    }
    how = st.just("sysprep, 2026-03-01") | maybe(
        {"how": st.just("sysprep")}, {"when": st.just("2026-03-01")}
    )
    required = {"generalized": how}
    specs = (
        maybe({**required, "domain": names}, {**common, "disk": st.just("vda")})
        | maybe({**required, "volume": names}, {**common, "pool": names})
        | maybe({**required, "image": host_paths}, common)
    )
    parts = {
        "apiVersion": st.just("virt-reconciler/v1"),
        "kind": st.just("Template"),
        "metadata": _metadata(),
        "spec": specs,
    }
    return st.fixed_dictionaries(parts)


def host_documents() -> st.SearchStrategy[Document]:
    """Return Host documents that are valid, each by itself."""
    some = st.lists(st.sampled_from(DAEMONS), unique=True)
    daemons = maybe(
        {"mode": st.sampled_from(("modular", "monolithic"))},
        {
            "required": some,
            "forbidden": some,
            "action": st.sampled_from(("check", "ensure")),
        },
    )
    selector = st.lists(st.sampled_from(("kvm01", "kvm02.example.org")), min_size=1, unique=True)
    parts = {
        "apiVersion": st.just("virt-reconciler/v1"),
        "kind": st.just("Host"),
        "metadata": _metadata(),
        "spec": maybe({"daemons": daemons}, {"selector": selector}),
    }
    return st.fixed_dictionaries(parts)
