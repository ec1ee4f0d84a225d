"""Snapshots, block jobs, links and bind mounts: a disk stays where its guest's data is.

Real libvirt and QEMU. Each pattern is written by the guest's own emulator or into the image that
the domain names, and read back from the image that the domain names afterwards.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, Mapping

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.core.history import ChangeCause, remember
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.plan import Action, ActionKind, DeleteVolume, Effect, Plan
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.deletion import plan_deletion
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.machine.planning.rollback import find_target, plan_rollback
from reconciler.kinds.machine.status import find_status
from reconciler.kinds.machine.survey import add_snapshots, survey
from tests.execution import execute
from tests.lab.host import LabHost
from tests.real.faults import Fault, FaultyHost
from tests.real.images import (
    Hands,
    holds_pattern,
    make_image,
    manifest,
    run,
    write_pattern,
)
from tests.real.worlds import Product, Silent

NAME = "snap1"


@pytest.fixture
def hands(product: Product, lab: LabHost) -> Iterator[Hands]:
    """Return what somebody does beside the product."""
    yield Hands(lab)
    for name in product.host.domains.list_domains():
        lab.virsh("destroy", name, check=False)
        for word in lab.virsh("snapshot-list", "--name", name).stdout.split():
            lab.virsh("snapshot-delete", "--metadata", name, word)
    lab.virsh("pool-refresh", "default")


@pytest.fixture
def image(lab: LabHost, hands: Hands, product: Product) -> Path:
    """Return the image of a domain that was made by hand and taken over."""
    path = make_image(lab.images / "snap1.qcow2")
    hands("pool-refresh", "default")
    hands.define(NAME, (path, "qcow2"))
    product.apply(named(path), adopt_all=True)
    assert product.plan(named(path)).is_empty
    return path


def named_disks(path: object, **disk: object) -> List[Mapping[str, object]]:
    return [{"name": "vda", "source": {"path": str(path)}, **disk}]


def named(path: object, **disk: object) -> MachineManifest:
    return manifest(NAME, disks=named_disks(path, **disk))


def plan(product: Product, wanted: MachineManifest) -> Action:
    [action] = product.plan(wanted).actions
    return action


def withheld(action: Action) -> Mapping[str, str]:
    """Return the reason of each withheld change, and see that there is no other."""
    assert action.action is ActionKind.WITHHELD, action
    assert all(change.effect is Effect.WITHHELD for change in action.changes)
    return {change.path: change.reason for change in action.changes}


@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
def test_a_disk_on_an_external_snapshot_is_the_disk(
    product: Product, hands: Hands, image: Path, running: bool
) -> None:
    if running:
        hands("start", NAME)
    hands("snapshot-create-as", NAME, "before-update", "--disk-only")
    overlay = hands.source(NAME)
    assert overlay != str(image)
    if running:
        hands.guest_writes(NAME, 0x77)
    else:
        write_pattern(overlay, 0x77)
    action = plan(product, named(image))
    assert action.action is ActionKind.NONE, action
    assert "disks[vda] is on external snapshot 'before-update' since 20" in action.notes[0]
    held = withheld(plan(product, named(image, size="1GiB", bus="scsi")))
    assert "blockcommit snap1 vda --active --pivot" in held["disks[vda].size"]
    assert "blockcommit snap1 vda --active --pivot" in held["disks[vda].bus"]
    product.apply(named(image, size="1GiB", cache="none"))
    assert hands.source(NAME) == overlay
    assert holds_pattern(overlay, 0x77)


def commit(hands: Hands, image: Path) -> None:
    hands("blockcommit", NAME, "vda", "--active", "--pivot", "--wait")


def pull(hands: Hands, image: Path) -> None:
    hands("blockpull", NAME, "vda", "--wait")


def copy(hands: Hands, image: Path) -> None:
    copied = image.with_name("copied.qcow2")
    hands("blockcopy", NAME, "vda", copied, "--pivot", "--wait", "--transient-job")


@pytest.mark.parametrize("job", [commit, pull, copy])
@pytest.mark.parametrize("names", ["base", "overlay"])
def test_a_disk_stays_where_a_block_job_left_it(
    product: Product, hands: Hands, image: Path, job: Callable[[Hands, Path], None], names: str
) -> None:
    hands("start", NAME)
    hands("snapshot-create-as", NAME, "nightly", "--disk-only", "--no-metadata")
    overlay = hands.source(NAME)
    wanted = named(image if names == "base" else overlay)
    product.apply(wanted)
    assert plan(product, wanted).action is ActionKind.NONE
    hands.guest_writes(NAME, 0x55)
    job(hands, image)
    hands.guest_writes(NAME, 0x66)
    present = hands.source(NAME)
    for _ in range(2):
        action = plan(product, wanted)
        if action.action is not ActionKind.NONE:
            reason = withheld(action)["disks[vda].source"]
            name = Path(present).name
            assert f"set disks[vda].source to {{volume: {name}, pool: default}}" in reason
            assert "(snap1.yaml, line 1)" in reason
        product.apply(wanted)
        assert hands.source(NAME) == present
        hands("destroy", NAME)
        assert holds_pattern(present, 0x66)
        hands("start", NAME)
    assert plan(product, named(present)).action in (ActionKind.NONE, ActionKind.UPDATE)
    product.apply(named(present))
    assert product.plan(named(present)).is_empty
    assert hands.source(NAME) == present


@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
@pytest.mark.parametrize("formats", ["raw qcow2", "qcow2 raw"])
def test_another_image_is_used_in_its_own_format_and_it_is_what_grows(
    product: Product, hands: Hands, lab: LabHost, formats: str, running: bool
) -> None:
    former, kind = formats.split()
    left = make_image(lab.images / "left.img", former)
    taken = make_image(lab.images / "taken.img", kind)
    write_pattern(taken, 0x44, kind)
    hands("pool-refresh", "default")
    hands.define(NAME, (left, former))
    product.apply(named(left), adopt_all=True)
    if running:
        hands("start", NAME)
    wanted = named(taken, size="96MiB")
    effects = {one.path: one.effect for one in plan(product, wanted).changes}
    effect = Effect.NEXT_BOOT if running else Effect.OFFLINE
    assert effects["disks[vda].format"] == effects["disks[vda].size"] == effect
    product.apply(wanted)
    assert product.plan(wanted).is_empty
    hands("destroy" if running else "start", NAME)
    if running:
        hands("start", NAME)
    hands.guest_writes(NAME, 0x45)
    assert product.plan(wanted).is_empty
    hands("destroy", NAME)
    assert holds_pattern(taken, 0x45, kind)
    assert (
        json.loads(run("qemu-img", "info", "-f", kind, "--output=json", taken))["virtual-size"]
        == 96 * 2**20
    )
    assert (
        json.loads(run("qemu-img", "info", "-f", former, "--output=json", left))["virtual-size"]
        == 64 * 2**20
    )


def test_nothing_is_changed_of_a_disk_that_is_being_copied(
    product: Product, hands: Hands, image: Path
) -> None:
    hands("start", NAME)
    target = image.with_name("copied.qcow2")
    hands("blockcopy", NAME, "vda", target, "--transient-job", "--bandwidth", "1")
    held = withheld(plan(product, named(image, size="1GiB")))
    assert "block copy" in held["disks[vda].size"]
    assert "apply again when it is done" in held["disks[vda].size"]
    hands("blockjob", NAME, "vda", "--abort")


def test_an_own_volume_stays_on_its_snapshot(product: Product, hands: Hands) -> None:
    wanted = manifest(NAME, cpus=1, power="stopped", disks=[{"name": "root", "size": "64MiB"}])
    product.apply(wanted)
    hands("snapshot-create-as", NAME, "weekly", "--disk-only")
    overlay = hands.source(NAME)
    write_pattern(overlay, 0x31)
    action = plan(product, wanted)
    assert action.action is ActionKind.NONE
    assert "external snapshot 'weekly'" in action.notes[0]
    bigger = manifest(NAME, cpus=1, power="stopped", disks=[{"name": "root", "size": "128MiB"}])
    assert "weekly" in withheld(plan(product, bigger))["disks[root].size"]
    assert holds_pattern(hands.source(NAME), 0x31)


def by_link(path: Path) -> Iterator[str]:
    link = path.parent.with_name("linked")
    link.symlink_to(path.parent)
    yield f"{link}/{path.name}"
    link.unlink()


def by_slashes(path: Path) -> Iterator[str]:
    yield f"{path.parent}//{path.name}"


def by_parent(path: Path) -> Iterator[str]:
    yield f"{path.parent}/../{path.parent.name}/{path.name}"


def by_bind_mount(path: Path) -> Iterator[str]:
    folder = path.parent.with_name("bound")
    folder.mkdir()
    run("mount", "--bind", path.parent, folder)
    yield f"{folder}/{path.name}"
    run("umount", folder)
    folder.rmdir()


def by_loop_device(path: Path) -> Iterator[str]:
    device = run("losetup", "--find", "--show", path).strip()
    yield device
    run("losetup", "--detach", device)


def by_another_name_of_a_device(path: Path) -> Iterator[str]:
    device = run("losetup", "--find", "--show", path).strip()
    number = os.stat(device).st_rdev
    node = path.parent.with_name("node")
    os.mknod(node, 0o600 | 0o060000, number)
    yield str(node)
    node.unlink()
    run("losetup", "--detach", device)


NAMES = (by_link, by_slashes, by_parent, by_bind_mount, by_loop_device, by_another_name_of_a_device)


@pytest.mark.parametrize("other_name", NAMES)
def test_one_image_never_gets_two_writers(
    product: Product, hands: Hands, lab: LabHost, other_name: Callable[[Path], Iterator[str]]
) -> None:
    path = make_image(lab.images / "sym.img", "raw")
    hands("pool-refresh", "default")
    with contextmanager(other_name)(path) as name:
        hands.define("sym1", (path, "raw"))
        disk = {"name": "vda", "format": "raw", "source": {"path": name}}
        second = manifest("sym2", cpus=1, power="stopped", disks=[disk])
        [action] = product.plan(second).actions
        assert action.action is ActionKind.FAILED
        assert f"{name} is already used by domain sym1 (as {path})" in action.reason
        mine = manifest("sym1", disks=[disk])
        product.apply(mine, adopt_all=True)
        assert product.plan(mine).is_empty
        assert hands.sources("sym1") == (str(path),)


def test_a_volume_is_grown_by_the_name_of_a_link(
    product: Product, hands: Hands, lab: LabHost
) -> None:
    path = make_image(lab.images / "sym.qcow2")
    hands("pool-refresh", "default")
    with contextmanager(by_link)(path) as name:
        hands.define("sym1", (name, "qcow2"))
        wanted = manifest("sym1", disks=[{"name": "vda", "size": "1GiB", "source": {"path": name}}])
        [outcome] = product.apply(wanted, adopt_all=True)
        assert outcome.error is None
        assert product.plan(wanted).is_empty
        assert '"virtual-size": 1073741824' in run("qemu-img", "info", "--output=json", path)


@pytest.mark.parametrize("used", [True, False], ids=["used", "by nobody"])
def test_prune_never_deletes_an_image_that_another_lies_over(
    product: Product, hands: Hands, lab: LabHost, tmp_path: Path, used: bool
) -> None:
    disks = [{"name": "root", "size": "64MiB"}]
    wanted = manifest(
        "base1", cpus=1, power="stopped", disks=disks, lifecycle={"deletion": "deleteDisks"}
    )
    product.apply(wanted)
    base = hands.source("base1")
    link = tmp_path / "link.qcow2"
    link.symlink_to(base)
    top = tmp_path / "top.qcow2"
    if used:
        make_image(top, "qcow2", "-b", "link.qcow2", "-F", "qcow2")
        hands.define("other", (top, "qcow2"))
    action = plan_deletion(product.host, product.desired(()), "base1")
    deleted = [step for step in action.steps if isinstance(step, DeleteVolume)]
    assert bool(deleted) is not used
    if used:
        [kept] = [change for change in action.changes if change.path == "disks[root]"]
        assert "other" in kept.reason
        assert str(top) in kept.reason


def test_two_machines_share_a_raw_image(product: Product, hands: Hands, lab: LabHost) -> None:
    path = make_image(lab.images / "quorum.raw", "raw")
    hands("pool-refresh", "default")
    disk = {"name": "quorum", "shareable": True, "source": {"path": str(path)}}
    both = [manifest(one, cpus=1, disks=[disk], power="running") for one in ("share1", "share2")]
    outcomes = product.apply(*both)
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert product.plan(*both).is_empty
    assert hands("list", "--name").split() == ["share1", "share2"]
    alone = manifest("share3", cpus=1, disks=[{**disk, "shareable": False}], power="stopped")
    [action] = product.plan(alone).actions
    assert "already used by domain share1" in action.reason
    assert "set shareable: true on both disks" in action.reason


def test_status_says_which_disk_is_on_a_snapshot(
    product: Product, hands: Hands, image: Path
) -> None:
    hands("snapshot-create-as", NAME, "nightly", "--disk-only")
    reading = add_snapshots(product.host, survey(product.host))[NAME]
    ready = find_status(NAME, reading).condition("Ready")
    assert ready.holds is True
    assert "disks[vda] is on external snapshot 'nightly' since 20" in ready.reason


def test_a_snapshot_that_is_taken_during_an_apply_is_kept(
    product: Product, hands: Hands, image: Path
) -> None:
    disks = [{"name": "vda", "source": {"path": str(image)}}, {"name": "new", "size": "64MiB"}]
    wanted = manifest(NAME, disks=disks)

    def snapshot() -> None:
        hands("snapshot-create-as", NAME, "meanwhile", "--disk-only")

    host = FaultyHost.around(product.host, Fault(1, snapshot, after=True))
    [outcome] = product.apply(wanted, host=host)
    assert "was made or changed by someone else meanwhile" in (outcome.error or "")
    assert hands.source(NAME).endswith("snap1.meanwhile")
    product.apply(wanted)
    assert product.plan(wanted).is_empty
    assert hands.source(NAME).endswith("snap1.meanwhile")
    assert len(hands.sources(NAME)) == 2


def test_a_rollback_does_not_leave_the_snapshot(
    product: Product, hands: Hands, image: Path
) -> None:
    reading = read(product.host.domains.read_domain(NAME))
    former = remember(plan(product, named(image)), reading.view, ChangeCause("me", "apply"), 0.0)
    product.apply(manifest(NAME, memory="192MiB", disks=named_disks(image)))
    hands("snapshot-create-as", NAME, "nightly", "--disk-only")
    write_pattern(hands.source(NAME), 0x29)
    present = read(product.host.domains.read_domain(NAME))
    target = find_target(former, present, {})
    seen = observe(product.host, Desired.of(target.manifest))
    action = seen.make(lambda world: plan_rollback(target, present, world, None))
    todo = Plan(seen.world.host, seen.world.uri, (action,))
    [outcome] = execute(product.host, Desired.of(target.manifest), todo, Silent(), SystemClock())
    assert outcome.error is None
    assert "<memory unit='KiB'>131072</memory>" in product.xml(NAME)
    assert hands.source(NAME).endswith("snap1.nightly")
    assert holds_pattern(hands.source(NAME), 0x29)
