"""Power, and the rows of the effect table that need more than one change to be seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.core.machine import Cpus, Disk, Disruption, Machine, Memory, Power
from reconciler.core.manifest import Lifecycle, Window
from reconciler.core.plan import Effect
from reconciler.core.world import GuestState
from reconciler.kinds.machine import action as verify
from reconciler.kinds.machine import execute
from tests.lab.guest_image import kvm_boots
from tests.real.booting import LIMIT, Bench
from tests.real.scenarios import BASE, CPUS
from tests.real.worlds import GIB, MIB, Product, manifest_of

NOW = datetime.now().astimezone()
OPEN = Window((NOW.weekday(),), NOW.hour * 60 + NOW.minute, 120)
SHUT = Window(((NOW + timedelta(days=2)).weekday(),), 0, 60)
HOPELESS = 3.0  # seconds to wait for what is known never to come
# It has no system: it runs, and answers neither the agent nor the power button.
DEAF = Machine(
    "vm", power=Power.RUNNING, cpus=Cpus(1), memory=Memory(128 * MIB, 256 * MIB),
    disks=(Disk("root", "virtio", GIB),), interfaces=(),
)  # fmt: skip


def state(product: Product, name: str) -> GuestState:
    """Return what the domain does."""
    return product.host.domains.read_domain(name).state


def test_power_is_switched_on_and_off_as_the_manifest_says(bench: Bench) -> None:
    running = bench.manifest(BASE)
    stopped = bench.manifest(replace(BASE, power=Power.STOPPED))
    bench.apply(stopped)
    assert state(bench.product, "guest") is GuestState.OFF

    [change] = bench.change(stopped, running).changes
    assert (change.path, change.effect) == ("power", Effect.OFFLINE)
    bench.boot(running)

    [change] = bench.change(running, stopped).changes
    assert (change.path, change.effect) == ("power", Effect.RESTART)
    bench.apply(stopped)
    assert state(bench.product, "guest") is GuestState.OFF


@pytest.mark.parametrize(
    "lifecycle",
    [Lifecycle(Disruption.RESTART), Lifecycle(Disruption.WINDOW, windows=(OPEN,))],
    ids=["restart", "window"],
)
def test_a_restart_that_is_allowed_is_made_gracefully(bench: Bench, lifecycle: Lifecycle) -> None:
    before = bench.manifest(BASE, lifecycle)
    after = bench.manifest(replace(BASE, cpus=replace(CPUS, maximum=6)), lifecycle)
    guest = bench.boot(before)
    boot_id = guest.boot_id()
    [action] = bench.product.plan(after, now=NOW).actions
    assert [(change.path, change.effect) for change in action.changes] == [
        ("cpus.maximum", Effect.RESTART)
    ]
    [outcome] = bench.product.apply(after, now=NOW)
    assert outcome.error is None
    guest.wait_ready(LIMIT)
    assert guest.boot_id() != boot_id
    assert bench.pending(after) == ()
    cpus = bench.read(after, live=True).cpus
    assert cpus is not None
    assert cpus.maximum == 6


CLOSED = {
    "never": (Lifecycle(Disruption.NEVER), Effect.WITHHELD),
    "window": (Lifecycle(Disruption.WINDOW, windows=(SHUT,)), Effect.NEXT_BOOT),
    "when off": (Lifecycle(), Effect.NEXT_BOOT),
}


@pytest.mark.parametrize("case", CLOSED)
def test_a_restart_that_is_not_allowed_is_not_made(product: Product, case: str) -> None:
    lifecycle, effect = CLOSED[case]
    before = manifest_of(DEAF, lifecycle)
    after = manifest_of(replace(DEAF, cpus=Cpus(1, maximum=2)), lifecycle)
    create(product, before)
    live = product.live_xml("vm")
    [action] = product.plan(after, now=NOW).actions
    assert [(change.path, change.effect) for change in action.changes] == [("cpus.maximum", effect)]
    product.apply(after, now=NOW)
    assert without_metadata(product.live_xml("vm")) == without_metadata(live)
    assert state(product, "vm") is GuestState.RUNNING


def test_a_guest_that_ignores_the_shutdown_is_left_running_and_said(product: Product) -> None:
    lifecycle = Lifecycle(shutdown_timeout=2)
    create(product, manifest_of(DEAF, lifecycle))
    [outcome] = product.apply(manifest_of(replace(DEAF, power=Power.STOPPED), lifecycle))
    assert "did not shut down" in (outcome.error or "")
    assert "forceOff" in (outcome.error or "")
    assert state(product, "vm") is GuestState.RUNNING


def test_a_hard_power_off_needs_the_manifests_word(product: Product) -> None:
    lifecycle = Lifecycle(shutdown_timeout=2, force_off=True)
    stopped = manifest_of(replace(DEAF, power=Power.STOPPED), lifecycle)
    create(product, manifest_of(DEAF, lifecycle))
    create(product, stopped)
    assert state(product, "vm") is GuestState.OFF
    assert product.plan(stopped).is_empty


def test_a_disk_of_a_guest_that_does_not_answer_is_gone_once_it_is_switched_off(
    product: Product,
) -> None:
    lifecycle = Lifecycle(shutdown_timeout=2, force_off=True)
    two = replace(DEAF, disks=(*(DEAF.disks or ()), Disk("data", "virtio", 16 * MIB)))
    stopped = manifest_of(replace(DEAF, power=Power.STOPPED), lifecycle)
    create(product, manifest_of(two, lifecycle))
    create(product, stopped)
    assert state(product, "vm") is GuestState.OFF
    assert product.xml("vm").count("<disk ") == 1
    assert product.plan(stopped).is_empty


def test_a_processor_that_was_plugged_in_can_go_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = bench.manifest(replace(BASE, cpus=replace(CPUS, count=2)))
    three = bench.manifest(replace(BASE, cpus=replace(CPUS, count=3)))
    guest = bench.boot(two)
    boot_id = guest.boot_id()
    bench.apply(three)
    bench.wait(lambda: guest.processors() == 3, "the guest has three processors")
    change = bench.change(three, two).changes[0]
    assert (change.path, change.effect) == ("cpus.count", Effect.LIVE)
    if not kvm_boots():
        monkeypatch.setattr(execute, "DETACH_LIMIT", HOPELESS)
    [outcome] = bench.product.apply(two)
    bench.wait(lambda: guest.online_cpus() == 2, "the guest uses two processors")
    assert guest.boot_id() == boot_id
    if kvm_boots():
        assert outcome.error is None
        assert bench.product.plan(two).is_empty
    else:
        # QEMU 7.2 without KVM takes the processor away, and never sends the DEVICE_DELETED event
        # that libvirt waits for. So libvirt still counts three, and that is what has to be said.
        assert "the guest did not come to 2" in (outcome.error or "")
        assert "everything was put back" in (outcome.error or "")


def test_a_guest_without_a_balloon_driver_is_never_restarted_for_it(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "SETTLE_LIMIT", HOPELESS)
    lifecycle = Lifecycle(Disruption.RESTART, shutdown_timeout=2, force_off=True)
    create(product, manifest_of(DEAF, lifecycle))
    wanted = manifest_of(replace(DEAF, memory=Memory(192 * MIB, 256 * MIB)), lifecycle)
    [outcome] = product.apply(wanted)  # it was promised live, so that it is not is said, once
    assert "the guest has not followed in memory.size" in (outcome.error or "")
    live = product.live_xml("vm")
    [action] = product.plan(wanted).actions
    assert (action.changes, action.steps) == ((), ())
    assert action.pending == ("memory.size",)
    create(product, wanted)
    assert product.live_xml("vm") == live


def test_a_manifest_that_says_the_same_in_other_words_disturbs_nobody(product: Product) -> None:
    create(product, manifest_of(DEAF))
    live = product.live_xml("vm")
    other = manifest_of(DEAF, Lifecycle(shutdown_timeout=60))
    [action] = product.plan(other).actions
    [change] = action.changes
    assert (change.path, change.effect) == ("metadata.generation", Effect.LIVE)
    create(product, other)
    assert product.plan(other).is_empty
    for xml in (product.xml("vm"), product.live_xml("vm")):
        assert other.generation in xml
    assert without_metadata(product.live_xml("vm")) == without_metadata(live)


def create(product: Product, manifest: Any) -> None:
    """Apply, without a failure."""
    for outcome in product.apply(manifest):
        assert outcome.error is None, outcome.error


def without_metadata(xml: str) -> str:
    """Return the definition without our mark, and without what ticks by itself."""
    head, _, rest = xml.partition("<metadata>")
    return head + rest.partition("</metadata>")[2]
