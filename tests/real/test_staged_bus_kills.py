"""A staged bus change of a guest that runs: the worker is killed between any two effects.

One guest for all points of a step. It is put back by hand to where the step begins, so a point
costs a boot at most.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Tuple

import pytest

from reconciler.core.names import HELPER, HELPER_SIZE
from reconciler.core.plan import ActionKind, CreateVolume, Step
from reconciler.kinds.machine.domain.bus_change import list_unplugs
from tests.lab.guest import Guest
from tests.real import test_staged_bus_change as staged
from tests.real.booting import LIMIT, Bench
from tests.real.faults import Fault, FaultyHost, Killed, kill
from tests.real.worlds import MIB, Product

NAME = staged.NAME
DISK = f"{NAME}-root.qcow2"
FORMER, MOVED = staged.manifest_on("sata"), staged.manifest_on("virtio")
# After which effect it dies, of the mark, shutdown, switch, start, note of the start. The other
# points come in the test of workers that die after two effects.
SWITCH = (0, 2)
# And in step 5, before or after: unplug the helper disk, store the definition without it, delete its volume, mark.
FINISH = ((0, True), (1, True), (2, True), (3, False))
pytestmark = pytest.mark.dated


@dataclass(frozen=True)
class Story:
    """One guest in a staged bus change, and what workers do to it."""

    product: Product
    guest: Guest

    def die(self, at: int, *, after: bool = True, **options: Any) -> int:
        """Have a worker die before or after its effect of that number; return how many it made."""
        fault = Fault(at, kill, after=after)
        with contextlib.suppress(Killed):
            self.product.apply(MOVED, host=FaultyHost.around(self.product.host, fault), **options)
        return fault.calls

    def step(self) -> str:
        """Return the step that the next plan names; empty if it has nothing to do."""
        action = staged.plan(self.product, MOVED)
        return staged.lines(action)[-1][2] if action.changes else ""

    def steps(self) -> Tuple[Step, ...]:
        """Return the steps that are left to do."""
        return staged.plan(self.product, MOVED).steps

    def wait_for(self, step: str) -> None:
        """Let worker after worker come until that step is next."""

        def is_there() -> bool:
            if self.step() == step:
                return True
            self.product.apply(MOVED)
            return False

        staged.wait(is_there, f"{step or 'nothing'} is next")

    def write(self, text: str) -> None:
        """Have the guest write to its disk, through to the image."""
        self.guest.exec("sh", "-c", f"echo {text} | dd of=/dev/{self._disk()} conv=fsync")

    def read(self) -> str:
        """Return what the guest reads from its disk."""
        return self.guest.exec("head", "-n1", f"/dev/{self._disk()}").strip()

    def _disk(self) -> str:
        return self.guest.disk(64 * MIB)["name"]

    def start_again(self, definition: str) -> None:
        """Put the guest back by hand: to this definition, with the helper disk as it was."""
        self.product.host.domains.power_off(NAME)
        self.product.host.domains.define(definition)
        self.product.host.domains.start(NAME)
        self.guest.wait_ready(LIMIT)

    def plug_again(self, definition: str, device: str) -> None:
        """Give the running guest its helper disk back, as before step 5."""
        helper = CreateVolume(HELPER, "default", staged.HELPER, "qcow2", HELPER_SIZE)
        self.product.host.storage.create_volume(helper, lambda *_: None)
        self.product.host.domains.define(definition)
        self.product.host.domains.attach(NAME, device)

    def is_moved(self) -> bool:
        """Whether the guest runs on its new bus."""
        view = self.product.host.domains.read_domain(NAME)
        return view.live_xml is not None and "sata" not in staged.buses(view.live_xml)

    def is_done(self) -> bool:
        """Whether the guest runs on its new bus, and nothing else is left of the change."""
        product = self.product
        live, stored = product.live_xml(NAME), product.xml(NAME)
        return (
            staged.find_mark(product) is None
            and staged.buses(live) == staged.buses(stored) == ("virtio",)
            and product.volumes() == {DISK}
            and staged.plan(product, MOVED).action is ActionKind.NONE
        )


@pytest.fixture
def story(bench: Bench, product: Product) -> Story:
    """Return a guest that has shown its driver, and has its helper disk."""
    story = Story(product, bench.boot(FORMER))
    staged.apply(product, MOVED)
    story.wait_for("step 3 of 5")
    return story


def test_a_worker_that_dies_between_two_effects_is_followed_by_one_that_completes(
    story: Story,
) -> None:
    product, guest = story.product, story.guest
    before = product.xml(NAME)
    for number, at in enumerate(SWITCH):
        if number:
            story.start_again(before)
            story.wait_for("step 3 of 5")
        story.write(f"written-{number}")
        boot_id = guest.boot_id()
        assert story.die(at) == at + 1
        if at == 0:
            assert guest.boot_id() == boot_id, "nothing but a mark was written"
        staged.apply(product, MOVED)
        assert staged.buses(product.live_xml(NAME)) == ("virtio", "virtio")
        guest.wait_ready(LIMIT)
        assert (guest.disk(64 * MIB)["bus"], story.read()) == ("virtio", f"written-{number}")
    story.wait_for("step 5 of 5")

    boot_id, before = guest.boot_id(), product.xml(NAME)
    [device] = list_unplugs(product.live_xml(NAME))
    for number, (at, after) in enumerate(FINISH):
        if number:
            story.plug_again(before, device)
            story.wait_for("step 5 of 5")
        assert story.die(at, after=after) == at + 1
        assert not story.is_done()
        staged.apply(product, MOVED)
        assert story.is_done(), (at, after)
    assert guest.boot_id() == boot_id
    assert story.read() == f"written-{len(SWITCH) - 1}"


def test_workers_that_die_after_two_effects_lead_there_and_back_all_the_same(
    story: Story,
) -> None:
    product, guest = story.product, story.guest
    story.write("kept")
    staged.wait(lambda: story.die(1) < 2 and story.is_moved(), "the guest runs on its new bus")
    guest.wait_ready(LIMIT)
    story.die(1, aborts=frozenset({NAME}))
    staged.wait(lambda: not story.die(1) and not story.steps(), "nothing is left to do")
    assert staged.buses(product.live_xml(NAME)) == staged.buses(product.xml(NAME)) == ("sata",)
    assert product.volumes() == {DISK}
    assert "ended by a person" in staged.plan(product, MOVED).stalled
    guest.wait_ready(LIMIT)
    assert (guest.disk(64 * MIB)["bus"], story.read()) == ("sata", "kept")
