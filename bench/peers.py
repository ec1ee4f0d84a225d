"""Other tools that have nothing to do, beside an empty plan of the same machines."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Callable, Iterator, Mapping, Tuple

from bench import ansible, kcli
from bench.fleet import Fleet
from bench.peer_tools import ANSIBLE, KCLI, Tool, install
from bench.product import plan, unchanged
from bench.timing import Contender, Race, race

ALL = 1000  # machines
KCLI_ROUNDS, ANSIBLE_ROUNDS = 2, 2
AHEAD = 500  # times as fast as Ansible is the goal

Contenders = Callable[[Fleet], Tuple[Contender, ...]]


def measure(fleet: Fleet) -> Iterator[Race]:
    """Measure; a tool that cannot be installed is named with the reason."""
    own = plan(fleet.host.uri(), fleet.grow(ALL))
    yardstick = Contender(f"`virt-reconciler plan`, {ALL:,} machines", own, unchanged(ALL))
    title = "kcli, with machines that are as its plan says"
    yield _race(title, KCLI, kcli.contenders, fleet, yardstick)
    title = "Ansible's `community.libvirt.virt`, define of machines that are so already"
    yield _extrapolate(_race(title, ANSIBLE, ansible.contenders, fleet, yardstick))


def _race(
    title: str, tool: Tool, contenders: Contenders, fleet: Fleet, yardstick: Contender
) -> Race:
    reason = install(tool)
    if reason is not None:
        note = f"{tool.program} could not be installed, so there is no row of it: {reason}"
        return Race(title, (), (), (note,))
    rounds = ROUNDS[tool.program]
    return race(title, (yardstick, *contenders(fleet)), rounds, warm_up=False)


ROUNDS: Mapping[str, int] = {KCLI.program: KCLI_ROUNDS, ANSIBLE.program: ANSIBLE_ROUNDS}


def _extrapolate(found: Race) -> Race:
    """Say what so many machines would take Ansible, from the two largest measured counts."""
    if not found.rounds:
        return found
    few, many = ansible.COUNTS[-2:]
    each = [(one[-1] - one[-2]) / (many - few) for one in found.rounds]
    all_of_them = [one[-1] + each * (ALL - many) for one, each in zip(found.rounds, each)]
    ratio = median(whole / one[0] for whole, one in zip(all_of_them, found.rounds))
    note = (
        f"Extrapolated, not measured: {median(each):.2f} s for each machine beyond {few}, so about "
        f"{median(all_of_them):,.0f} s for {ALL:,}, {ratio:,.0f} times `virt-reconciler plan` "
        f"(goal: {AHEAD} times: {'met' if ratio >= AHEAD else 'missed'})."
    )
    return replace(found, notes=(note,))
