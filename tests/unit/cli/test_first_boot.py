"""The seed of cloud-init's from the manifest to its removal, on a host in memory."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import Any, Dict, List, Mapping

import pytest

from reconciler.control.ports import NoLocks
from reconciler.core.manifest import Desired
from reconciler.core.names import Owner, SeedMark, Worker
from reconciler.core.plan import PlanOptions
from reconciler.core.world import GuestState
from reconciler.core.xmltree import parse
from reconciler.errors import TerminalError, TransientError
from reconciler.kinds.api import ActionTask
from reconciler.kinds.machine.deletion import execute_delete, plan_deletion
from reconciler.kinds.machine.domain.mark import read_owner
from reconciler.kinds.machine.observe import observe
from tests.unit.cli.fakes import FakeServices, call, manifest
from tests.unit.fake_clock import FakeClock

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHX0 admin@example.com"
PATH = "/images/vm1-seed.iso"
SECOND = "/images/vm1-seed-2.iso"
MINUTE = 60
ROOT = {"name": "root", "size": "2GiB"}
NOT_BOOTED = "cloudInit: the seed is removed after the first boot"


class TimedLocks(NoLocks):
    """Nobody else is at work, and it is as late as the clock says."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    @property
    def me(self) -> Worker:  # type: ignore[override]
        """Return this run."""
        return Worker("", "", 1, 1, "", self.clock.wall())


class World:
    """One machine with a seed, and what a person asks of it."""

    def __init__(self, **spec: Any) -> None:
        self.clock = FakeClock()
        self.services = FakeServices(clock=self.clock)
        self.host = self.services.host
        self.host.locks = TimedLocks(self.clock)
        self.say(**spec)

    def say(self, **spec: Any) -> None:
        """Write the manifest."""
        base: Mapping[str, Any] = {"power": "running", "cdroms": [], "disks": [ROOT]}
        self.services.files = {"vm1.yaml": manifest("vm1", **{**base, **spec})}

    def apply(self, status: int = 0) -> str:
        """Apply the manifest, and hold that nothing is left to do then."""
        done = call(self.services, "apply", "--yes", "p")
        assert done.status == status, done.out + done.err
        if not status:
            assert self.plan()["summary"]["none"] == 1, self.plan()
        return done.out + done.err

    def plan(self) -> Dict[str, Any]:
        """Return the plan as JSON."""
        done = call(self.services, "plan", "--format", "json", "p")
        found: Dict[str, Any] = json.loads(done.out)
        return found

    @property
    def notes(self) -> List[str]:
        """The notes of the plan."""
        [resource] = self.plan()["resources"]
        notes: List[str] = resource["notes"]
        return notes

    @property
    def changes(self) -> List[Any]:
        """The lines of the plan."""
        [resource] = self.plan()["resources"]
        return [(one["path"], one["effect"]) for one in resource["changes"]]

    @property
    def owner(self) -> Owner:
        """Our mark."""
        owner = read_owner(parse(self.host.views["vm1"].persistent_xml))
        assert owner is not None
        return owner

    @property
    def mark(self) -> SeedMark:
        """What the mark says of the seed."""
        assert self.owner.seed is not None
        return self.owner.seed

    @property
    def is_there(self) -> bool:
        """Whether a seed's volume is there."""
        names = self.host.pools["default"].volumes
        return any("-seed" in name for name in names)

    @property
    def meta_data(self) -> Dict[str, str]:
        """What the guest's seed says of the instance."""
        found: Dict[str, str] = json.loads(self.host.seeds[self.mark.path]["meta-data"])
        return found

    def drives(self, which: str = "persistent_xml") -> List[str]:
        """Return the media of the CD-ROM drives."""
        root: Any = parse(getattr(self.host.views["vm1"], which))
        found = root.xpath("devices/disk[@device='cdrom']")
        return [disk.findtext("source") or "".join(disk.xpath("source/@file")) for disk in found]

    def power_off(self) -> None:
        """Have the guest shut itself down."""
        self.host.change("vm1", state=GuestState.OFF, live_xml=None)


@pytest.fixture
def world() -> World:
    """Return a machine that was made with a seed, whose guest is booting."""
    world = World(cloudInit={"hostname": "web01", "sshKeys": [KEY]})
    world.apply()
    return world


def test_a_machine_is_made_with_its_seed(world: World) -> None:
    assert world.host.seeds[PATH]["user-data"].startswith("#cloud-config\n")
    assert world.meta_data == {
        "instance-id": world.mark.instance,
        "local-hostname": "web01",
    }
    assert world.drives() == world.drives("live_xml") == [PATH]
    root: Any = parse(world.host.views["vm1"].persistent_xml)
    [source] = root.xpath("devices/disk/source[@startupPolicy]")
    assert source.get("startupPolicy") == "optional"


@pytest.mark.parametrize(
    ("given", "bus"),
    [
        ({}, "scsi"),
        ({"machine": "pc"}, "scsi"),
        ({"disks": [{**ROOT, "bus": "scsi"}]}, "scsi"),
        ({"disks": [{**ROOT, "bus": "sata"}]}, "sata"),
        ({"disks": [{**ROOT, "bus": "ide"}], "machine": "pc"}, "ide"),
        ({"os": "win2k22"}, "sata"),
    ],
)
def test_the_drive_is_on_a_bus_that_the_image_has_a_driver_of(
    given: Mapping[str, Any], bus: str
) -> None:
    """Debian's genericcloud images have no driver for SATA and IDE, so no seed was found there."""
    world = World(cloudInit={"hostname": "web01"}, **given)
    world.apply()
    root: Any = parse(world.host.views["vm1"].persistent_xml)
    [target] = root.xpath("devices/disk[@device='cdrom']/target")
    assert target.get("bus") == bus
    assert len(root.xpath("devices/controller[@type='scsi']")) == (bus == "scsi")


def test_what_the_seed_says_is_in_no_plan_and_no_mark() -> None:
    world = World(cloudInit={"userData": "#!/bin/sh\necho hunter2\n"})
    shown = call(world.services, "plan", "-v", "p").out
    world.apply()
    assert "hunter2" not in shown
    assert "hunter2" in world.host.seeds[PATH]["user-data"]


def test_the_seed_goes_when_the_agent_says_that_the_first_boot_is_over(world: World) -> None:
    assert world.changes == []
    assert world.notes[0].startswith("cloudInit: the seed is removed when the first boot is over")
    world.host.finished_boots.add(("vm1", world.mark.instance))
    assert world.changes == [("cloudInit", "live")]
    assert "cloud-init has finished" in world.apply()
    assert world.drives() == []
    assert world.drives("live_xml") == [""], "the running guest's drive is empty"
    assert not world.is_there
    assert world.notes == []


def test_another_instance_that_has_finished_is_not_this_one(world: World) -> None:
    world.host.finished_boots.add(("vm1", "of-the-template"))
    assert world.changes == []


def test_the_seed_goes_after_a_time_where_no_agent_says_anything(world: World) -> None:
    world.clock.sleep(29 * MINUTE)
    assert world.changes == []
    world.clock.sleep(MINUTE)
    assert world.changes == [("cloudInit", "live")]
    world.apply()
    assert not world.is_there


def test_the_time_is_the_manifests() -> None:
    world = World(cloudInit={"removeAfter": "2m"})
    world.apply()
    world.clock.sleep(2 * MINUTE)
    world.apply()
    assert not world.is_there


def test_the_seed_goes_while_the_guest_is_off(world: World) -> None:
    world.say(cloudInit={"hostname": "web01", "sshKeys": [KEY]}, power="unmanaged")
    world.apply()
    world.power_off()
    world.clock.sleep(31 * MINUTE)
    assert world.changes == [("cloudInit", "offline")]
    world.apply()
    assert (world.drives(), world.is_there) == ([], False)


def test_the_time_begins_with_the_first_start() -> None:
    world = World(cloudInit={}, power="stopped")
    world.apply()
    world.clock.sleep(90 * MINUTE)
    assert (world.changes, world.notes) == ([], [NOT_BOOTED])
    world.say(cloudInit={})
    world.apply()
    assert world.is_there
    world.clock.sleep(31 * MINUTE)
    world.apply()
    assert not world.is_there


def test_a_start_by_another_hand_is_noticed() -> None:
    world = World(cloudInit={}, power="unmanaged")
    world.apply()
    world.host.domains.start("vm1")
    assert world.changes == [("cloudInit.seed", "live")]
    world.apply()
    world.clock.sleep(31 * MINUTE)
    world.apply()
    assert not world.is_there


def test_a_start_by_another_hand_is_noticed_beside_a_change_of_the_manifest() -> None:
    world = World(power="stopped", cloudInit={"hostname": "one"})
    world.apply()
    world.host.domains.start("vm1")
    world.say(power="unmanaged", cloudInit={"hostname": "one", "removeAfter": "5m"})
    world.apply()
    assert world.mark.since == round(world.clock.wall())


def test_a_paused_guest_keeps_its_seed(world: World) -> None:
    world.say(cloudInit={"hostname": "web01", "sshKeys": [KEY]}, power="unmanaged")
    world.apply()
    world.host.change("vm1", state=GuestState.PAUSED)
    world.clock.sleep(31 * MINUTE)
    assert world.changes == []


def test_a_manifest_without_cloud_init_leaves_no_seed_behind(world: World) -> None:
    world.say()
    world.apply()
    assert world.is_there
    world.clock.sleep(31 * MINUTE)
    world.apply()
    assert (world.drives(), world.is_there) == ([], False)


def test_a_changed_seed_is_kept_from_the_guest_and_said() -> None:
    world = World(cloudInit={})
    world.apply()
    world.clock.sleep(31 * MINUTE)
    world.apply()
    former = world.mark
    world.say(cloudInit={"hostname": "other"})
    assert world.changes == [("metadata.generation", "live")]
    world.apply()
    [note] = world.notes
    assert "changed since the guest got its seed" in note
    assert "set cloudInit.onChange: rerun" in note
    assert world.mark == former


def test_a_rerun_gives_the_guest_a_new_seed_as_a_new_instance() -> None:
    world = World(cloudInit={})
    world.apply()
    world.clock.sleep(31 * MINUTE)
    world.apply()
    former = world.mark
    world.say(cloudInit={"hostname": "other", "onChange": "rerun"})
    assert world.changes == [("cloudInit", "next-boot")]
    text = world.apply()
    assert "new SSH host keys" in text
    assert "sudo cloud-init clean" in text
    assert world.mark.instance != former.instance
    assert world.meta_data["instance-id"] == world.mark.instance
    assert (world.drives(), world.drives("live_xml")) == ([SECOND], [""])
    world.clock.sleep(90 * MINUTE)
    assert world.changes == [], "the guest has not been restarted yet"
    world.power_off()
    world.apply()
    world.clock.sleep(31 * MINUTE)
    world.apply()
    assert (world.drives(), world.is_there) == ([], False)


def test_going_back_to_a_former_seed_is_a_new_instance_too() -> None:
    world = World(cloudInit={"onChange": "rerun"}, power="stopped")
    world.apply()
    first = world.mark.instance
    for hostname in ("other", None):
        given = {"hostname": hostname} if hostname else {}
        world.say(cloudInit={**given, "onChange": "rerun"}, power="stopped")
        world.apply()
    assert world.mark.instance != first
    assert world.mark.instance.rpartition("-")[0] == first.rpartition("-")[0]


def test_a_seed_that_no_guest_has_seen_is_made_anew() -> None:
    world = World(cloudInit={}, power="stopped")
    world.apply()
    world.say(cloudInit={"hostname": "other"}, power="stopped")
    assert world.changes == [("cloudInit", "offline")]
    world.apply()
    assert world.host.find_volume(PATH) is None
    assert world.meta_data["local-hostname"] == "other"


def test_a_seed_that_changes_during_the_first_boot_waits(world: World) -> None:
    world.say(cloudInit={"hostname": "other", "onChange": "rerun"})
    world.apply()
    assert world.meta_data["local-hostname"] == "web01"
    assert "made when the first boot is over" in world.notes[1]
    world.clock.sleep(31 * MINUTE)
    assert world.changes == [("cloudInit", "next-boot")]
    world.apply()
    assert world.meta_data["local-hostname"] == "other"
    assert (world.drives(), world.drives("live_xml")) == ([SECOND], [""])


def test_a_machine_that_was_there_before_is_given_no_seed() -> None:
    world = World()
    world.apply()
    world.say(cloudInit={"hostname": "web01"})
    world.apply()
    assert not world.is_there
    assert "this machine was made without it" in world.notes[0]
    world.say(cloudInit={"hostname": "web01", "onChange": "rerun"})
    world.apply()
    assert world.is_there


def test_other_changes_come_together_with_the_removal(world: World) -> None:
    world.clock.sleep(31 * MINUTE)
    world.say(cloudInit={"hostname": "web01", "sshKeys": [KEY]}, autostart=True, cpus=2)
    assert ("cloudInit", "live") in world.changes
    world.apply()
    assert (world.drives(), world.is_there) == ([], False)
    assert world.mark.path == ""


def test_a_withheld_change_does_not_keep_the_seed(world: World) -> None:
    world.clock.sleep(31 * MINUTE)
    world.say(
        cloudInit={"hostname": "web01", "sshKeys": [KEY]},
        cpus=2,
        lifecycle={"disruption": "never"},
    )
    done = call(world.services, "apply", "--yes", "p")
    assert done.status == 0, done.err
    assert (world.drives(), world.is_there, world.mark.path) == ([], False, "")


@pytest.mark.parametrize("deletion", ["undefine", "deleteDisks"])
def test_a_deleted_machine_leaves_no_seed(deletion: str) -> None:
    world = World(cloudInit={}, power="stopped", lifecycle={"deletion": deletion})
    world.apply()
    action = plan_deletion(world.host, Desired(), "vm1")
    assert f"deleted: {PATH}" in [change.reason for change in action.changes]
    never = lambda *_said: None  # noqa: E731
    execute_delete(ActionTask(world.host, Desired(), action, world.clock, never, never))
    assert not world.is_there


def test_a_guest_whose_seed_was_deleted_by_hand_keeps_no_drive() -> None:
    world = World(cloudInit={}, power="unmanaged")
    world.apply()
    world.host.storage.delete_volume("default", "vm1-seed.iso", PATH)
    world.host.domains.start("vm1")
    live = str(world.host.views["vm1"].live_xml)
    world.host.change(
        "vm1", live_xml=live.replace(f"file='{PATH}'", "").replace(f'file="{PATH}"', "")
    )
    world.apply()
    world.clock.sleep(31 * MINUTE)
    world.apply()
    assert world.drives() == []


def test_export_does_not_show_the_seed(world: World) -> None:
    assert "cdrom" not in call(world.services, "export", "vm1").out


def test_status_says_that_the_seed_is_there(world: World) -> None:
    shown = call(world.services, "status", "--format", "json")
    assert "cloudInit: the seed is removed" in shown.out
    world.clock.sleep(31 * MINUTE)
    world.apply()
    assert "cloudInit" not in call(world.services, "status", "--format", "json").out


def test_a_volume_of_that_name_is_not_overwritten() -> None:
    world = World(power="stopped")
    world.apply()
    other = World(cloudInit={}, power="stopped", disks=[])
    volumes = {"vm1-seed.iso": world.host.pools["default"].volumes["vm1-root.qcow2"]}
    other.host.pools["default"] = type(other.host.pools["default"])(
        "default", "dir", "/images", volumes, available=2**40
    )
    assert "volume 'vm1-seed.iso' exists already" in other.apply(1)
    assert other.host.seeds == {}


@pytest.mark.parametrize("call_", ["create_volume", "create_seed", "define", "start"])
def test_an_interrupted_creation_is_finished(call_: str) -> None:
    world = World(cloudInit={"hostname": "web01"})
    world.host.failures[call_] = TerminalError("killed") if call_ == "start" else Killed()
    with suppress(Killed):
        call(world.services, "apply", "--yes", "p")
    world.host.failures.clear()
    world.apply()
    assert (world.drives(), world.is_there) == ([PATH], True)
    assert world.owner.creating == ()
    assert world.mark.since


class Killed(BaseException):
    """Whatever ends a process without a word."""


def test_the_daemon_looks_again_at_a_guest_with_a_seed(world: World) -> None:
    def is_unsettled() -> bool:
        desired = world.services.load_manifests(()).desired
        [action] = observe(world.host, desired).plan(PlanOptions()).actions
        return action.is_unsettled

    assert is_unsettled()
    world.clock.sleep(31 * MINUTE)
    world.apply()
    assert not is_unsettled()


@pytest.mark.parametrize("call_", ["create_seed", "define", "set_metadata"])
def test_an_interrupted_exchange_of_the_seed_is_finished(call_: str) -> None:
    world = World(cloudInit={}, power="stopped")
    world.apply()
    world.say(cloudInit={"hostname": "other"}, power="stopped")
    world.host.failures[call_] = Killed()
    with suppress(Killed):
        call(world.services, "apply", "--yes", "p")
    assert world.drives() == [PATH]
    assert world.host.find_volume(PATH) is not None
    world.host.failures.clear()
    world.apply()
    assert (world.drives(), world.meta_data["local-hostname"]) == ([SECOND], "other")
    assert [name for name in world.host.pools["default"].volumes if "seed" in name] == [
        "vm1-seed-2.iso"
    ]


def test_a_rollback_leaves_the_seed() -> None:
    world = World(cloudInit={}, power="stopped")
    world.apply()
    world.say(cloudInit={}, power="stopped", cpus=2)
    world.apply()
    world.say(cloudInit={"hostname": "other"}, power="stopped", cpus=2)
    world.apply()
    done = call(world.services, "rollback", "vm1", "2", "--yes")
    assert done.status == 0, done.out + done.err
    assert world.drives() == [SECOND]
    assert world.mark.path == SECOND


@pytest.mark.parametrize("call_", ["update", "define", "delete_volume", "set_metadata"])
def test_an_interrupted_removal_is_finished(world: World, call_: str) -> None:
    world.clock.sleep(31 * MINUTE)
    world.host.failures[call_] = Killed()
    with suppress(Killed):
        call(world.services, "apply", "--yes", "p")
    world.host.failures.clear()
    world.apply()
    assert (world.drives(), world.drives("live_xml"), world.is_there) == ([], [""], False)
    assert (world.owner.creating, world.mark.path) == ((), "")


def test_guests_are_asked_at_once_and_a_plan_says_whose_agent_did_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    spec = {"power": "running", "cdroms": [], "disks": [ROOT], "cloudInit": {"sshKeys": [KEY]}}
    world.services.files = {f"{name}.yaml": manifest(name, **spec) for name in ("vm1", "vm2")}
    for _ in range(2):  # the second one notes that the guests were seen with their seeds
        assert call(world.services, "apply", "--yes", "p").status == 0
    both = threading.Barrier(2, timeout=30)

    def is_boot_finished(name: str, _instance: str) -> bool:
        both.wait()
        if name == "vm2":
            raise TransientError("the guest agent did not answer within 2 s")
        return False

    monkeypatch.setattr(world.host.guests, "is_boot_finished", is_boot_finished)
    first, second = (resource["notes"] for resource in world.plan()["resources"])
    assert "not known" not in first[0]
    assert second[0].endswith(
        "; whether it is over is not known: the guest agent did not answer within 2 s"
    )
