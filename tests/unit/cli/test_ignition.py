"""What Ignition is given, from the manifest to its removal, on a host in memory."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import pytest

from reconciler.core.manifest import Desired
from reconciler.core.secret_refs import SecretRef, SecretSource
from reconciler.core.world import GuestState
from reconciler.core.xmltree import parse
from reconciler.kinds.api import ActionTask
from reconciler.kinds.machine.deletion import execute_delete, plan_deletion
from tests.unit.cli.fakes import call
from tests.unit.cli.test_first_boot import MINUTE, Killed, World
from tests.unit.manifests.documents import complaints, machine

FILE = "/images/vm1-ignition.ign"
SECOND = "/images/vm1-ignition-2.ign"
HEAD: Mapping[str, Any] = {"ignition": {"version": "3.4.0"}}
SECRET = {"secretRef": {"file": "/etc/virt-reconciler/secrets/web"}}
REF = SecretRef(SecretSource.FILE, "/etc/virt-reconciler/secrets/web")


class CoreOS(World):
    """One machine with Ignition, and what a person asks of it."""

    def ignite(self, config: Any = HEAD, **spec: Any) -> None:
        """Write the manifest with this configuration."""
        self.say(ignition={"config": config}, **spec)

    @property
    def given(self) -> Dict[str, Any]:
        """What the file holds."""
        found: Dict[str, Any] = json.loads(self.host.seeds[self.mark.path]["config.ign"])
        return found

    @property
    def files(self) -> List[str]:
        """The files for Ignition in the pool."""
        return [name for name in self.host.pools["default"].volumes if name.endswith(".ign")]

    def entry(self, which: str = "persistent_xml") -> Optional[str]:
        """Return the path that QEMU hands on."""
        root: Any = parse(getattr(self.host.views["vm1"], which))
        [*found] = root.xpath("sysinfo[@type='fwcfg']/entry[@name='opt/com.coreos/config']/@file")
        return found[0] if found else None


def make(config: Any = HEAD, **spec: Any) -> CoreOS:
    """Return a machine that was made with Ignition."""
    world = CoreOS(ignition={"config": config}, **spec)
    world.apply()
    return world


@pytest.fixture
def world() -> CoreOS:
    """Return a machine whose guest is in its first boot."""
    return make()


def test_a_machine_is_made_with_its_file(world: CoreOS) -> None:
    assert world.given == HEAD
    assert world.entry() == world.entry("live_xml") == FILE
    assert world.drives() == []
    assert world.notes[0].startswith("ignition: the seed is removed when the first boot is over")
    assert "ignition: the seed is removed" in call(world.services, "status", "--format", "json").out


def test_text_is_handed_on_as_it_is() -> None:
    text = '{"ignition":\n {"version": "3.3.0"}}'
    world = make(text)
    assert world.host.seeds[FILE]["config.ign"] == text


def test_the_stub_of_a_creation_does_not_name_the_file() -> None:
    world = CoreOS(ignition={"config": HEAD}, power="stopped")
    world.host.failures["create_seed"] = Killed()
    with suppress(Killed):
        call(world.services, "apply", "--yes", "p")
    assert world.entry() is None
    world.host.failures.clear()
    world.apply()
    assert (world.entry(), world.files) == (FILE, ["vm1-ignition.ign"])


def test_the_file_goes_in_two_steps_as_a_saved_guest_needs_it(world: CoreOS) -> None:
    world.clock.sleep(31 * MINUTE)
    assert world.changes == [("ignition", "live")]
    world.apply()
    assert (world.entry(), world.entry("live_xml")) == (None, FILE)
    assert world.files == ["vm1-ignition.ign"]
    assert world.notes == ["ignition: the seed is removed when the guest is off"]
    world.say(ignition={"config": HEAD}, power="unmanaged")
    world.apply()
    world.power_off()
    assert world.changes == [("ignition", "offline")]
    world.apply()
    assert (world.files, world.mark.path, world.notes) == ([], "", [])


def test_a_saved_guest_keeps_its_file(world: CoreOS) -> None:
    world.clock.sleep(31 * MINUTE)
    world.apply()
    world.say(ignition={"config": HEAD}, power="unmanaged")
    world.power_off()
    world.host.change("vm1", saved=True)
    world.apply()
    assert world.files == ["vm1-ignition.ign"]


def test_the_agent_says_that_ignition_has_finished(world: CoreOS) -> None:
    world.host.finished_boots.add(("vm1", "/etc/.ignition-result.json"))
    assert world.changes == [("ignition", "live")]
    assert "Ignition has finished" in world.apply()


def test_a_file_that_somebody_deleted_keeps_no_guest_from_starting() -> None:
    world = make(power="stopped")
    world.host.storage.delete_volume("default", "vm1-ignition.ign", FILE)
    world.ignite()
    world.apply()
    assert (world.entry(), world.entry("live_xml")) == (SECOND, SECOND)
    assert world.given == HEAD


def test_a_file_that_is_deleted_after_the_first_start_is_not_asked_for(world: CoreOS) -> None:
    world.power_off()
    world.host.storage.delete_volume("default", "vm1-ignition.ign", FILE)
    world.apply()
    assert (world.entry(), world.entry("live_xml"), world.mark.path) == (None, None, "")


def test_a_change_before_the_first_start_is_given_to_the_guest() -> None:
    world = make(power="stopped")
    changed = {**HEAD, "storage": {}}
    world.ignite(changed, power="stopped")
    assert world.changes == [("ignition", "offline")]
    world.apply()
    assert (world.entry(), world.given, world.files) == (SECOND, changed, ["vm1-ignition-2.ign"])


def test_a_change_after_the_first_boot_is_a_note(world: CoreOS) -> None:
    world.clock.sleep(31 * MINUTE)
    world.apply()
    world.ignite({**HEAD, "storage": {}})
    world.apply()
    assert "Ignition runs at the first boot only" in world.notes[-1]
    assert world.mark.count == 1


def test_a_machine_that_was_there_before_is_given_nothing() -> None:
    world = CoreOS()
    world.apply()
    world.ignite()
    world.apply()
    assert world.files == []
    assert "this machine was made without it" in world.notes[0]


def test_a_machine_that_no_one_has_started_takes_the_one_for_the_other() -> None:
    world = make(power="stopped")
    world.say(cloudInit={}, power="stopped")
    world.apply()
    assert (world.entry(), world.files, len(world.drives())) == (None, [], 1)
    world.ignite(power="stopped")
    world.apply()
    assert (world.files, world.drives()) == (["vm1-ignition-3.ign"], [])
    assert not [name for name in world.host.pools["default"].volumes if name.endswith(".iso")]


def test_a_manifest_without_ignition_leaves_no_file_behind(world: CoreOS) -> None:
    world.clock.sleep(31 * MINUTE)
    world.say(power="unmanaged")
    world.apply()
    world.power_off()
    world.apply()
    assert (world.entry(), world.files) == (None, [])


@pytest.mark.parametrize("deletion", ["undefine", "deleteDisks"])
def test_a_deleted_machine_leaves_no_file(deletion: str) -> None:
    world = make(power="stopped", lifecycle={"deletion": deletion})
    action = plan_deletion(world.host, Desired(), "vm1")
    assert ("ignition", f"deleted: {FILE}") in [
        (change.path, change.reason) for change in action.changes
    ]
    never = lambda *_said: None  # noqa: E731
    execute_delete(ActionTask(world.host, Desired(), action, world.clock, never, never))
    assert world.files == []


def test_a_rollback_leaves_the_file() -> None:
    world = make(power="stopped")
    world.ignite(power="stopped", cpus=2)
    world.apply()
    world.ignite({**HEAD, "storage": {}}, power="stopped", cpus=2)
    world.apply()
    done = call(world.services, "rollback", "vm1", "2", "--yes")
    assert done.status == 0, done.out + done.err
    assert (world.entry(), world.mark.path) == (SECOND, SECOND)


def test_entries_of_other_tools_stay(world: CoreOS) -> None:
    world.say(ignition={"config": HEAD}, power="unmanaged")
    world.apply()
    world.power_off()
    xml = world.host.views["vm1"].persistent_xml
    theirs = "<entry name='opt/x'>y</entry>"
    marked = xml.replace("<sysinfo type='fwcfg'>", f"<sysinfo type='fwcfg'>{theirs}")
    assert marked != xml
    world.host.change("vm1", persistent_xml=marked)
    world.clock.sleep(31 * MINUTE)
    world.apply()
    assert theirs in world.host.views["vm1"].persistent_xml
    assert world.entry() is None


CALLS = ["create_seed", "define", "delete_volume", "set_metadata"]


@pytest.mark.parametrize("call_", CALLS)
def test_an_interrupted_exchange_is_finished(call_: str) -> None:
    world = make(power="stopped")
    world.ignite({**HEAD, "storage": {}}, power="stopped")
    world.host.failures[call_] = Killed()
    with suppress(Killed):
        call(world.services, "apply", "--yes", "p")
    assert world.host.find_volume(str(world.entry())) is not None
    world.host.failures.clear()
    world.apply()
    assert (world.entry(), world.files) == (SECOND, ["vm1-ignition-2.ign"])


@pytest.mark.parametrize("call_", ["define", "delete_volume", "set_metadata"])
def test_an_interrupted_removal_is_finished(world: CoreOS, call_: str) -> None:
    world.say(ignition={"config": HEAD}, power="unmanaged")
    world.apply()
    world.host.change("vm1", state=GuestState.OFF, live_xml=None)
    world.clock.sleep(31 * MINUTE)
    world.host.failures[call_] = Killed()
    with suppress(Killed):
        call(world.services, "apply", "--yes", "p")
    world.host.failures.clear()
    world.apply()
    assert (world.entry(), world.files, world.owner.creating) == (None, [], ())


def test_secrets_are_in_the_file_alone() -> None:
    config = {
        **HEAD,
        "passwd": {"users": [{"name": "core", "passwordHash": SECRET}]},
        "storage": {"files": [{"path": "/etc/token", "contents": {"source": SECRET}}]},
    }
    world = CoreOS(ignition={"config": config})
    world.host.secrets.texts[REF] = "geheim7x"
    shown = [call(world.services, "plan", "-v", "--format", word, "p") for word in ("text", "json")]
    shown += [call(world.services, "-v", "apply", "--yes", "p")]
    shown += [call(world.services, *verb) for verb in (["status"], ["history", "vm1", "1"])]
    assert "geheim7x" not in "".join(done.out + done.err for done in shown)
    view = world.host.views["vm1"]
    assert "geheim7x" not in f"{view.persistent_xml}{view.live_xml}"
    assert world.given["passwd"]["users"][0]["passwordHash"] == "geheim7x"
    encoded = base64.b64encode(b"geheim7x").decode()
    source = world.given["storage"]["files"][0]["contents"]["source"]
    assert source == f"data:;base64,{encoded}"


def test_a_secret_that_changes_by_itself_is_noticed() -> None:
    users = [{"name": "a", "passwordHash": SECRET}]
    world = World(cloudInit={"users": users})
    world.host.secrets.texts[REF] = "geheim7x"
    world.apply()
    assert "geheim7x" in world.host.seeds[world.mark.path]["user-data"]
    world.clock.sleep(31 * MINUTE)
    world.apply()
    assert world.notes == []
    world.host.secrets.texts[REF] = "anders9y"
    [note] = world.notes
    assert note.startswith("cloudInit: a secret that it names changed since the guest got its seed")
    world.say(cloudInit={"users": users, "onChange": "rerun"})
    assert world.changes[0] == ("cloudInit", "next-boot")
    world.apply()
    assert "anders9y" in world.host.seeds[world.mark.path]["user-data"]
    assert "anders9y" not in world.host.views["vm1"].persistent_xml


def test_secrets_of_several_places_are_noticed_whatever_their_order() -> None:
    kept = {"secretRef": {"libvirt": "web"}}
    users = [{"name": "a", "passwordHash": SECRET}, {"name": "b", "passwordHash": kept}]
    world = World(cloudInit={"users": users}, power="stopped")
    world.host.secrets.texts.update({REF: "geheim7x", SecretRef(SecretSource.LIBVIRT, "web"): "c"})
    world.apply()
    world.host.secrets.texts[REF] = "anders9y"
    assert world.changes == [("cloudInit", "offline")]
    world.apply()
    assert "anders9y" in world.host.seeds[world.mark.path]["user-data"]


def test_a_secret_that_cannot_be_read_is_no_difference() -> None:
    world = World(cloudInit={"users": [{"name": "a", "passwordHash": SECRET}]})
    world.host.secrets.texts[REF] = "geheim7x"
    world.apply()
    del world.host.secrets.texts[REF]
    assert world.changes == []
    assert any(note.startswith("secret not compared: ") for note in world.notes)


def test_a_new_machine_says_which_secret_it_waits_for() -> None:
    world = World(cloudInit={"users": [{"name": "a", "passwordHash": SECRET}]})
    assert any("until its secret can be read" in note for note in world.notes)


WRONG = [
    pytest.param({"config": {}}, "config", "set ignition.version, like 3.4.0", id="no version"),
    pytest.param(
        {"config": {"ignition": {"version": "2.3.0"}}},
        "config",
        "not Ignition of version 3",
        id="2",
    ),
    pytest.param(
        {"config": {"variant": "fcos", "version": "1.5.0"}},
        "config",
        "butane --strict",
        id="butane",
    ),
    pytest.param({"config": "variant: fcos\n"}, "config", "butane --strict", id="butane text"),
    pytest.param({"config": "{"}, "config", "is not valid JSON", id="json"),
    pytest.param({"config": "[]"}, "config", "must be a mapping", id="list"),
    pytest.param(
        {"config": HEAD, "onChange": "rerun"}, "onChange", "at the first boot only", id="rerun"
    ),
    pytest.param({"config": HEAD, "removeAfter": "5s"}, "removeAfter", "not within", id="soon"),
    pytest.param(
        {"config": {**HEAD, "passwd": {"users": [{"passwordHash": {"secretRef": "x"}}]}}},
        "config.passwd.users[0].passwordHash.secretRef",
        "write {secretRef: {file: /PATH}}",
        id="reference",
    ),
]


@pytest.mark.parametrize(("given", "path", "message"), WRONG)
def test_what_ignition_would_not_take_is_refused(
    tmp_path: Path, given: Mapping[str, Any], path: str, message: str
) -> None:
    [found] = complaints(tmp_path, machine("web", cpus=1, ignition=given))
    assert found[0] == f"spec.ignition.{path}"
    assert message in found[1]


def test_a_machine_has_cloud_init_or_ignition(tmp_path: Path) -> None:
    text = machine("web", cpus=1, ignition={"config": HEAD}, cloudInit={})
    [found] = complaints(tmp_path, text)
    assert found == ("spec.ignition", "cloudInit is given as well; a guest has one of them")
