"""The work for many machines grows as they do: each costs the same, however many there are.

Work is counted in steps of the interpreter, so no clock and no other program has a say.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Dict, Tuple

import pytest

import reconciler
from reconciler.adapters.manifests.reader import load_files
from reconciler.core.manifest import Desired
from reconciler.core.manifest_files import ManifestFile
from reconciler.core.plan import ActionKind, PlanOptions
from reconciler.kinds.machine.observe import observe
from tests.execution import execute
from tests.unit.control.test_trail import Silent
from tests.unit.corpus.worlds import read_world
from tests.unit.fake_clock import FakeClock
from tests.unit.memory_host import MemoryHost

PRODUCT = str(Path(reconciler.__file__).parent)
COUNTS = (10, 20, 40)

TEMPLATE = """\
apiVersion: virt-reconciler/v1
kind: Template
metadata: {name: base}
spec: {volume: base.qcow2, pool: default, os: rocky9}
"""
MACHINE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}, labels: {{tier: app}}}}
spec:
  os: rocky9
  cpus: 2
  memory: 256MiB
  power: stopped
  disks:
    - {{name: root, bus: virtio, size: 1GiB, pool: default}}
  cdroms: []
  interfaces:
    - {{name: lan, network: default}}
  guestAgent: true
"""
CLONE = MACHINE.replace("size: 1GiB", "size: 1GiB, source: {{template: base}}").replace(
    "  power: stopped", "  autostart: false\n  lifecycle: {{startAfter: [first]}}"
)


def count_steps(work: Callable[[], object]) -> Dict[str, int]:
    """Return how many steps the interpreter takes for it in each function of the product."""
    steps: Dict[str, int] = {}

    def step(frame: FrameType, event: str, _argument: object) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(PRODUCT):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        place = f"{code.co_filename[len(PRODUCT) :]}:{code.co_firstlineno} {code.co_name}"
        steps[place] = steps.get(place, 0) + (event == "opcode")
        return step

    former = sys.gettrace()
    sys.settrace(step)
    try:
        work()
    finally:
        sys.settrace(former)
    return steps


def write_names(count: int) -> Tuple[str, ...]:
    """Return names that are equally long."""
    return tuple(f"vm{100 + number}" for number in range(count))


def load(text: str, count: int) -> Desired:
    """Return what the manifests of so many machines say, in a file each."""
    texts: Dict[str, str] = {name: text.format(name=name) for name in write_names(count)}
    texts["first"] = MACHINE.format(name="first")
    files = [ManifestFile(f"{name}.yaml", body.encode()) for name, body in texts.items()]
    loaded = load_files([ManifestFile("base.yaml", TEMPLATE.encode()), *files])
    assert not loaded.problems
    return loaded.desired


def plan(host: MemoryHost, desired: Desired, kind: ActionKind) -> Any:
    """Plan machines that are all to be made, or none of them."""
    made = observe(host, desired).plan(PlanOptions())
    assert {action.action for action in made.actions} == {kind}
    return made


def fill(desired: Desired) -> MemoryHost:
    """Return a host that has these machines."""
    host = MemoryHost(read_world("adopt-off").snapshot)
    todo = plan(host, desired, ActionKind.CREATE)
    assert not [end for end in execute(host, desired, todo, Silent(), FakeClock()) if end.error]
    return host


def load_clones(count: int) -> Callable[[], object]:
    return lambda: load(CLONE, count)


def plan_new(count: int) -> Callable[[], object]:
    desired = load(MACHINE, count).with_kind("Template", ())
    host = MemoryHost(read_world("adopt-off").snapshot)
    return lambda: plan(host, desired, ActionKind.CREATE)


def plan_nothing(count: int) -> Callable[[], object]:
    desired = load(MACHINE, count).with_kind("Template", ())
    host = fill(desired)
    return lambda: plan(host, desired, ActionKind.NONE)


@pytest.mark.parametrize("prepare", [load_clones, plan_new, plan_nothing])
def test_work_grows_as_the_machines_do(prepare: Callable[[int], Callable[[], object]]) -> None:
    prepare(COUNTS[0])()  # what is loaded and compiled once
    few, more, most = (count_steps(prepare(count)) for count in COUNTS)
    # With n doubled each time, this leaves nothing of a + b*n, and 600 times c of c*n*n.
    square = COUNTS[2] ** 2 - 3 * COUNTS[1] ** 2 + 2 * COUNTS[0] ** 2
    for place, steps in most.items():
        curve = (steps - 3 * more.get(place, 0) + 2 * few.get(place, 0)) / square
        assert curve < 0.5, f"{place} takes {curve:.1f} steps for each pair of machines"
