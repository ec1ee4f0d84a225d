"""Edit the processors of a domain: count, maximum, topology, and the kind of CPU.

libvirt refuses a definition whose topology does not multiply to the maximum, whose online count
is above it, or whose NUMA cells name processors that are not there. All of that is kept true here.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Mapping, Optional

from reconciler.core.diff import Difference
from reconciler.core.domain import layout
from reconciler.core.xmltree import Element, make
from reconciler.errors import TerminalError

_TOPOLOGY = ("sockets", "cores", "threads")
_FACTORS = ("sockets", "dies", "clusters", "cores", "threads")

# Attributes of <cpu> that a mode understands; others are dropped when the mode changes.
_MODE_ATTRIBUTES: Mapping[str, FrozenSet[str]] = {
    "custom": frozenset({"match", "check"}),
    "host-model": frozenset({"check"}),
    "host-passthrough": frozenset({"check", "migratable"}),
    "maximum": frozenset({"check", "migratable"}),
}


def edit_cpus(root: Element, differences: Mapping[str, Difference]) -> None:
    """Apply the differences of `cpus`, by leaf."""
    wanted = {leaf: one.desired for leaf, one in differences.items()}
    if {"count", "maximum"} & set(wanted):
        _set_counts(root, _number(wanted.get("count")), _number(wanted.get("maximum")))
    _settle_topology(root, {one: _number(wanted[one]) or 1 for one in _TOPOLOGY if one in wanted})
    if "mode" in wanted:
        _set_mode(root, str(wanted["mode"]))
    if "model" in wanted:
        model = layout.ensure(root, "cpu/model")
        model.text = str(wanted["model"])


def _set_counts(root: Element, count: Optional[int], maximum: Optional[int]) -> None:
    before = _maximum(root)
    vcpu = layout.ensure(root, "vcpu")
    online = count or min(int(vcpu.get("current", before)), maximum or before)
    most = max(maximum or before, online)
    if most != before:
        _refuse_numa(root)
    vcpu.text = str(most)
    layout.set_attribute(vcpu, "current", None if online == most else online)
    _settle_list(root, online, most)


def _refuse_numa(root: Element) -> None:
    if root.find("cpu/numa") is not None:
        raise TerminalError(
            "cpus: the domain has NUMA cells (cpu/numa), which say which processor is where; "
            "change the number of processors and the cells together with `virsh edit`"
        )


def _settle_list(root: Element, online: int, most: int) -> None:
    """Rewrite a list of single processors (`<vcpus>`), if there is one, for the new numbers."""
    former = root.find("vcpus")
    if former is None:
        return
    pluggable = {one.get("id"): one.get("hotpluggable") for one in former.iterfind("vcpu")}
    layout.remove_children(former, "vcpu")
    for index in range(most):
        kind = "no" if index == 0 else pluggable.get(str(index)) or "yes"
        enabled = "yes" if index < online else "no"
        attributes = {
            "id": index,
            "enabled": enabled,
            "hotpluggable": kind if index < online else "yes",
        }
        layout.append(former, make("vcpu", attributes))


def _settle_topology(root: Element, wanted: Mapping[str, int]) -> None:
    """Set the wanted factors, and make the product the maximum by those nobody asked for."""
    topology = root.find("cpu/topology")
    if topology is None and not wanted:
        return
    factors = _factors(topology)
    factors.update(wanted)
    if _fit(factors, wanted, _maximum(root)):
        _write_topology(layout.ensure(root, "cpu/topology"), factors)
    elif not wanted and topology is not None:
        layout.remove(topology)
    else:
        raise TerminalError(
            f"cpus: {' x '.join(str(factors[one]) for one in _TOPOLOGY)} (sockets x cores x "
            f"threads) does not make {_maximum(root)}, the most processors the machine can have"
        )


def _fit(factors: Dict[str, int], wanted: Mapping[str, int], most: int) -> bool:
    """Adjust one factor that is free, sockets first, until the product is `most`."""
    for free in ("", *_TOPOLOGY):
        rest = 1
        for name, value in factors.items():
            rest *= 1 if name == free else value
        if not free and rest == most:
            return True
        if free and free not in wanted and most % rest == 0:
            factors[free] = most // rest
            return True
    return False


def _factors(topology: Optional[Element]) -> Dict[str, int]:
    if topology is None:
        return dict.fromkeys(_TOPOLOGY, 1)
    there = {one: int(topology.get(one, "1")) for one in _FACTORS}
    return {one: value for one, value in there.items() if one in _TOPOLOGY or value > 1}


def _write_topology(topology: Element, factors: Mapping[str, int]) -> None:
    for name in _FACTORS:
        if name in factors and topology.get(name, "") != str(factors[name]):
            topology.set(name, str(factors[name]))


def _set_mode(root: Element, mode: str) -> None:
    cpu = layout.ensure(root, "cpu")
    allowed = _MODE_ATTRIBUTES.get(mode, frozenset())
    layout.drop_attributes(cpu, *({"match", "check", "migratable"} - allowed))
    cpu.set("mode", mode)
    if mode != "custom":
        layout.remove_children(cpu, "model", "vendor")


def _maximum(root: Element) -> int:
    return int(root.findtext("vcpu") or 1)


def _number(value: object) -> Optional[int]:
    return value if isinstance(value, int) else None
