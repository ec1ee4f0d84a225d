"""Edit the memory and the processors of a domain: counts, maximum, topology, kind of CPU."""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from reconciler.core.xmltree import Element, make, parse_number
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain import layout
from reconciler.kinds.machine.domain.xml_places import read_bytes
from reconciler.kinds.machine.match import Difference

KIB = 1024

_OWNERS: Tuple[Tuple[str, str], ...] = (
    ("cpu/numa", "NUMA cells (cpu/numa)"),
    ("devices/memory", "memory modules (devices/memory)"),
    ("maxMemory", "room for memory modules (maxMemory)"),
)


def edit_memory(root: Element, differences: Mapping[str, Difference]) -> None:
    """Apply the differences of `memory`, by leaf. Raises the maximum with the size, if need be."""
    wanted = {leaf: int(difference.desired or 0) for leaf, difference in differences.items()}
    before = _bytes(root, "memory")
    most = max(wanted.get("maximum", before), wanted.get("size", 0))
    size = wanted.get("size", min(_bytes(root, "currentMemory") or before, most))
    if most != before:
        _refuse_owned(root)
        _write(root, "memory", most)
    if root.find("currentMemory") is not None or size != most:
        _write(root, "currentMemory", size)


def _refuse_owned(root: Element) -> None:
    for path, what in _OWNERS:
        if root.find(path) is not None:
            raise TerminalError(
                f"memory: the domain has {what}, which decide how much it can have; change both "
                f"together: {layout.edit_command(root)}"
            )


def _bytes(root: Element, tag: str) -> int:
    return read_bytes(root.find(tag)) or 0


def _write(root: Element, tag: str, size: int) -> None:
    element = layout.ensure(root, tag)
    if _bytes(root, tag) == size:
        return
    element.set("unit", "KiB")
    element.text = str(-(-size // KIB))


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
    wanted = {leaf: difference.desired for leaf, difference in differences.items()}
    factors = {name: _number(wanted[name]) or 1 for name in _TOPOLOGY if name in wanted}
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
    topology = [differences[name] for name in _TOPOLOGY if name in differences]
    is_changed = any(difference.observed != difference.desired for difference in topology)
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
        for element in root.findall(f"cputune/{tag}"):
            listed = _parse_list(element.get(name, ""))
            left = [index for index in listed if index < most]
            if len(left) == len(listed):
                continue
            if left:
                element.set(name, _format_list(left))
            else:
                layout.remove(element)


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
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _settle_list(root: Element, online: int, most: int) -> None:
    """Rewrite a list of single processors (`<vcpus>`), if there is one, for the new numbers."""
    former = root.find("vcpus")
    if former is None:
        return
    pluggable = {
        element.get("id"): element.get("hotpluggable") for element in former.iterfind("vcpu")
    }
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
            f"cpus: {' x '.join(str(factors[name]) for name in _TOPOLOGY)} (sockets x cores x "
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
    for factor in factors:
        product *= factor
    return product


def _factors(topology: Optional[Element]) -> Dict[str, int]:
    if topology is None:
        return dict.fromkeys(_TOPOLOGY, 1)
    there = {factor: parse_number(topology.get(factor, "1")) for factor in _FACTORS}
    return {name: value for name, value in there.items() if name in _TOPOLOGY or value > 1}


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
