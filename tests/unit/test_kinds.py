"""The table of kinds, and the order of objects that follows from what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, FrozenSet, Tuple

from hypothesis import given
from hypothesis import strategies as st

from reconciler.control.executor import find_order
from reconciler.core.key import Key
from reconciler.core.kinds import find_all_needs, find_cycle, list_rows
from reconciler.core.machine import Disk, Machine
from reconciler.core.manifest import Desired, HostManifest, MachineManifest, Place, TemplateManifest
from reconciler.core.plan import Action, ActionKind, CreateVolume
from tests.lab.keys import vm
from tests.unit.manifests.documents import load, machine, template

PLACE = Place("vm.yaml", 1, 1)


def test_each_row_is_found_by_the_word_that_manifests_use() -> None:
    rows = {row.name: row.word for row in list_rows()}
    assert rows == {"Host": "host", "Template": "template", "VirtualMachine": "virtual machine"}


def clone(name: str, base: str = "") -> MachineManifest:
    disks = (Disk("root", template=base),) if base else ()
    return MachineManifest(Machine(name, disks=disks), "g1", "{}", PLACE)


DESIRED = Desired.of(
    clone("a", "golden"),
    clone("b"),
    clone("z"),
    TemplateManifest("golden", PLACE, domain="z"),
    HostManifest("kvm01", PLACE, ("kvm01",)),
)


def test_a_machine_needs_its_template_its_host_and_the_machine_that_the_template_is() -> None:
    needs = find_all_needs(DESIRED)
    host, golden = Key("Host", "kvm01"), Key("Template", "golden")
    assert needs[vm("a")] == {host, golden}
    assert needs[golden] == {host, vm("z")}
    assert needs[host] == frozenset()


def test_what_is_needed_is_made_first_and_goes_last() -> None:
    keys = [Key("Host", "kvm01"), vm("a"), vm("b"), vm("z")]
    steps = (CreateVolume("root", "default", "a-root", "qcow2", None, origin="/z"),)
    made = [Action(key.kind, key.name, ActionKind.CREATE, steps=steps) for key in keys]
    order = find_order(made, DESIRED)
    assert order.before(vm("a")) == {Key("Host", "kvm01"), vm("z")}
    assert order.before(vm("z")) == {Key("Host", "kvm01")}
    gone = [Action(key.kind, key.name, ActionKind.DELETE) for key in keys]
    assert vm("a") in find_order(gone, DESIRED).before(vm("z"))


def test_objects_that_need_each_other_are_an_error_with_the_path(tmp_path: Path) -> None:
    disk = {"name": "root", "source": {"template": "base"}}
    loaded = load(
        tmp_path,
        machine("web", cpus=1, memory="1GiB", disks=[disk]),
        machine("sound", cpus=1, memory="1GiB"),
        template("base", domain="web"),
    )
    [problem] = loaded.problems
    assert problem.path == "metadata.name"
    assert problem.message == (
        "would have to be there before itself: base -> web -> base; take one of these out"
    )
    assert vm("sound") in loaded.desired.objects


NAMES = st.sampled_from([vm(name) for name in "abcdef"])


@given(st.lists(st.tuples(NAMES, NAMES), max_size=12))
def test_a_cycle_is_found_exactly_where_there_is_one(pairs: list[Tuple[Key, Key]]) -> None:
    needs: Dict[Key, FrozenSet[Key]] = {key: frozenset() for pair in pairs for key in pair}
    for key, needed in pairs:
        needs[key] |= {needed}
    cycle = find_cycle(needs)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(after in needs[before] for before, after in zip(cycle, cycle[1:]))
        return
    left = dict(needs)
    while left:  # what needs nothing that is left can be taken away until nothing is left
        free = [key for key, some in left.items() if some.isdisjoint(left)]
        assert free
        for key in free:
            del left[key]


def test_a_long_chain_is_no_cycle() -> None:
    chain = [vm(f"m{number}") for number in range(5000)]
    needs = {key: {needed} for key, needed in zip(chain, chain[1:])}
    assert find_cycle(needs) == ()
    assert len(find_cycle({**needs, chain[-1]: {chain[0]}})) == 5001
