"""Edit the processors of a domain: count, maximum, topology, and the kind of CPU.

libvirt refuses a definition whose topology does not multiply to the maximum, whose online count
is above it, or whose NUMA cells or scheduling name processors that are not there; a pinning of such
a processor it drops without a word. All of that is kept true here.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Set

from reconciler.core.diff import Difference
from reconciler.core.domain import layout
from reconciler.core.xmltree import Element, make, parse_number
from reconciler.errors import TerminalError

_TOPOLOGY = ("sockets", "cores", "threads")
_FACTORS = ("sockets", "dies", "clusters", "cores", "threads")

# What names single processors by number, below <cputune>.
_LISTS = (
    ("vcpupin", "vcpu"),
    ("vcpusched", "vcpus"),
    ("cachetune", "vcpus"),
    ("memorytune", "vcpus"),
)

# Attributes of <cpu> that a mode understands; others are dropped when the mode changes.
_MODE_ATTRIBUTES: Mapping[str, FrozenSet[str]] = {
    "custom": frozenset({"match", "check"}),
    "host-model": frozenset({"check"}),
    "host-passthrough": frozenset({"check", "migratable"}),
    "maximum": frozenset({"check", "migratable"}),
}


def edit_cpus(root: Element, differences: Mapping[str, Difference]) -> None:
    """Apply the differences of `cpus`, by leaf.

    A factor of the topology that is given counts as given, whether it differs or not.
    """
    wanted = {leaf: one.desired for leaf, one in differences.items()}
    factors = {one: _number(wanted[one]) or 1 for one in _TOPOLOGY if one in wanted}
    maximum = _number(wanted.get("maximum"))
    if maximum is None and "count" in wanted and len(factors) == len(_TOPOLOGY):
        # A whole topology says how many there can be.
        maximum = _multiply({**_factors(root.find("cpu/topology")), **factors}.values())
    _refuse_numa(root, differences, maximum)
    if maximum is not None or "count" in wanted:
        _set_counts(root, _number(wanted.get("count")), maximum)
    _settle_topology(root, factors)
    if "mode" in wanted and wanted["mode"] != differences["mode"].observed:
        _set_mode(root, str(wanted["mode"]))
    if "model" in wanted:
        model = layout.ensure(root, "cpu/model")
        model.text = str(wanted["model"])


def _set_counts(root: Element, count: Optional[int], maximum: Optional[int]) -> None:
    before = _maximum(root)
    vcpu = layout.ensure(root, "vcpu")
    online = count or min(parse_number(vcpu.get("current", str(before))), maximum or before)
    most = max(maximum or before, online)
    if most != before:
        _refuse_numa_growth(root)
        vcpu.text = str(most)
    layout.set_attribute(vcpu, "current", None if online == most else online)
    _settle_list(root, online, most)
    _settle_tuning(root, most)


def _refuse_numa(
    root: Element, differences: Mapping[str, Difference], maximum: Optional[int]
) -> None:
    """Refuse another topology or maximum where NUMA cells say which processor is where."""
    topology = [differences[one] for one in _TOPOLOGY if one in differences]
    is_changed = any(one.observed != one.desired for one in topology)
    if is_changed or maximum not in (None, _maximum(root)):
        _refuse_numa_growth(root)


def _refuse_numa_growth(root: Element) -> None:
    if root.find("cpu/numa") is not None:
        raise TerminalError(
            "cpus: the domain has NUMA cells (cpu/numa), which define which processor is where; "
            f"change both together: {layout.edit_command(root)}"
        )


def _settle_tuning(root: Element, most: int) -> None:
    """Take processors that there are no more out of what pins or schedules them."""
    for tag, name in _LISTS:
        for one in root.findall(f"cputune/{tag}"):
            listed = _parse_list(one.get(name, ""))
            left = [index for index in listed if index < most]
            if len(left) == len(listed):
                continue
            if left:
                one.set(name, _format_list(left))
            else:
                layout.remove(one)


_MOST_PROCESSORS = 2**16  # of a guest or a host


def _parse_list(text: str) -> List[int]:
    """Return the numbers of libvirt's `0-3,^2,7`; nothing for what is not one."""
    found: Set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.lstrip("^").partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            return []
        low, high = parse_number(first), parse_number(last or first)
        if high > _MOST_PROCESSORS:
            return []
        numbers = set(range(low, high + 1))
        found = found - numbers if part.startswith("^") else found | numbers
    return sorted(found)


def _format_list(numbers: Sequence[int]) -> str:
    runs: List[List[int]] = []
    for one in numbers:
        if runs and one == runs[-1][-1] + 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    return ",".join(f"{one[0]}-{one[-1]}" if len(one) > 1 else str(one[0]) for one in runs)


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
        rest = _multiply(value for name, value in factors.items() if name != free)
        if not free and rest == most:
            return True
        if free and free not in wanted and most % rest == 0:
            factors[free] = most // rest
            return True
    return False


def _multiply(factors: Iterable[int]) -> int:
    product = 1
    for one in factors:
        product *= one
    return product


def _factors(topology: Optional[Element]) -> Dict[str, int]:
    if topology is None:
        return dict.fromkeys(_TOPOLOGY, 1)
    there = {one: parse_number(topology.get(one, "1")) for one in _FACTORS}
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
    return parse_number(root.findtext("vcpu") or "1")


def _number(value: object) -> Optional[int]:
    return value if isinstance(value, int) else None
