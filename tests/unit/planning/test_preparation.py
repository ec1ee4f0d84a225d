"""Clones that are prepared before their first start: planned, refused, carried out, interrupted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional

import pytest

from reconciler.core.manifest import Desired, TemplateManifest
from reconciler.core.plan import (
    Action,
    ActionKind,
    CreateVolume,
    Define,
    DeletePartial,
    PlanOptions,
)
from reconciler.core.preparation import (
    Injection,
    PreparationTask,
    PreparationTools,
    PrepareVolume,
)
from reconciler.core.secret_refs import SecretRef, SecretSource
from reconciler.core.windows_images import WindowsImage
from reconciler.errors import MissingError, StoppingError, TerminalError, TransientError
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.template.row import build_template, check_template
from tests.execution import execute
from tests.unit.daemons.test_host_plan import Silent
from tests.unit.fake_clock import FakeClock
from tests.unit.memory_host import MemoryHost
from tests.unit.planning.test_image_addresses import PLACE, machine, pool_of, with_pool

KEY = "ssh-ed25519 AAAA a@b"
SCRIPT = SecretRef(SecretSource.FILE, "/etc/secret")
EVERYTHING = {
    "operations": ["machine-id", "cloud-init"],
    "hostname": "fromName",
    "sshKeys": {"root": [KEY, {"secretRef": {"file": "/etc/secret"}}]},
    "firstBoot": ["echo a", {"secretRef": {"file": "/etc/secret"}}],
}


@dataclass
class Tools:
    """Implements `Preparer`: notes what it is given, and fails as told."""

    tools: Optional[PreparationTools] = None
    tasks: List[PreparationTask] = field(default_factory=list)
    during: Callable[[], None] = lambda: None

    def find_tools(self, folder: str) -> PreparationTools:
        """Say what there is."""
        if self.tools is None:
            raise MissingError(f"virt-sysprep is not installed for {folder}")
        return self.tools

    def prepare(self, task: PreparationTask, tell: Callable[[str], None]) -> None:
        """Note it."""
        tell("Examining the guest")
        self.tasks.append(task)
        self.during()

    def read_windows(self, path: str, image_format: str) -> WindowsImage:
        """Look into no image."""
        del path, image_format
        return WindowsImage(unchecked="nobody looks")


KNOWN = PreparationTools("1.48.2", frozenset({"machine-id", "ssh-hostkeys"}))


def template(prepare: Optional[Dict[str, Any]] = None, **spec: Any) -> TemplateManifest:
    """Return a template that is a volume."""
    data = {"volume": "base.qcow2", "prepare": EVERYTHING if prepare is None else prepare, **spec}
    return build_template({"metadata": {"name": "base"}, "spec": data}, PLACE)


def host_with(tools: Optional[PreparationTools] = KNOWN, type_: str = "dir") -> MemoryHost:
    """Return a host with the template's image."""
    host = with_pool(pool_of("base.qcow2", type_=type_))
    host.preparer = Tools(tools)
    host.secrets.texts[SCRIPT] = "sesame"
    return host


def plan(host: MemoryHost, base: TemplateManifest, *names: str) -> Dict[str, Action]:
    """Plan machines that are cloned from the template."""
    found = observe(host, Desired.of(base, *map(machine, names))).plan(PlanOptions())
    return {action.name: action for action in found.actions}


def apply(host: MemoryHost, base: TemplateManifest) -> Optional[str]:
    """Plan and carry out; return the error."""
    desired = Desired.of(base, machine("a"))
    found = observe(host, desired).plan(PlanOptions())
    [outcome] = execute(host, desired, found, Silent(), FakeClock())
    return outcome.error


def tools_of(host: MemoryHost) -> Tools:
    """Return the stand-in of a host."""
    assert isinstance(host.preparer, Tools)
    return host.preparer


def test_clone_is_prepared_before_a_definition_has_it() -> None:
    action = plan(host_with(), template(), "a")["a"]
    kinds = [type(step) for step in action.steps]
    made = kinds.index(CreateVolume)
    assert kinds[made + 1] is PrepareVolume
    assert Define in kinds[made + 2 :]
    [step] = [step for step in action.steps if isinstance(step, PrepareVolume)]
    assert (step.path, step.hostname) == ("/images/a-root.qcow2", "a")
    [change] = [change for change in action.changes if change.path == "disks[root]"]
    assert "prepared by virt-sysprep" in str(change.desired)


def test_texts_are_read_when_they_are_needed() -> None:
    host = host_with()
    assert apply(host, template()) is None
    [task] = tools_of(host).tasks
    assert task.ssh_keys == {"root": f"{KEY}\nsesame\n"}
    assert task.scripts == ("#!/bin/sh\necho a\n", "#!/bin/sh\nsesame\n")
    assert "sesame" not in repr(task)
    assert "sesame" not in host.views["a"].persistent_xml
    assert {action.action for action in plan(host, template(), "a").values()} == {ActionKind.NONE}


WINDOWS = {
    "os": "win2k16",
    "generalized": "sysprep",
    "inject": {"virtioWin": "/iso/virtio-win.iso"},
}
NEW = PreparationTools("1.50.1", frozenset(), frozenset({"--inject-virtio-win"}))
OLD = PreparationTools("1.48.2", frozenset(), frozenset({"--hostname"}))


def windows_template(**inject: str) -> TemplateManifest:
    """Return a template of a Windows, into whose clones drivers are put."""
    spec = {"volume": "base.qcow2", **WINDOWS, **({"inject": inject} if inject else {})}
    return build_template({"metadata": {"name": "base"}, "spec": spec}, PLACE)


def test_drivers_are_put_into_the_clone_of_a_windows() -> None:
    host = host_with(NEW)
    action = plan(host, windows_template(), "a")["a"]
    [change] = [change for change in action.changes if change.path == "disks[root]"]
    assert "virtio-win put in by virt-customize" in str(change.desired)
    assert "virt-sysprep" not in str(change.desired)
    assert apply(host, windows_template()) is None
    [task] = tools_of(host).tasks
    assert not task.seals
    assert task.injection == Injection("/iso/virtio-win.iso")
    assert task.path == "/images/a-root.qcow2"


@pytest.mark.parametrize(
    ("tools", "inject", "reason"),
    [
        (OLD, {}, "virt-customize 1.48.2 on this host has no --inject-virtio-win"),
        (NEW, {"qemuGuestAgent": "/iso"}, "has no --inject-qemu-ga"),
        (None, {}, "spec.inject: virt-sysprep is not installed"),
    ],
)
def test_what_cannot_be_put_in_is_refused_before_anything_is_cloned(
    tools: Optional[PreparationTools], inject: Dict[str, str], reason: str
) -> None:
    host = host_with(tools)
    action = plan(host, windows_template(**inject), "a")["a"]
    assert action.action is ActionKind.FAILED
    assert action.steps == ()
    assert reason in action.reason
    if tools is OLD:
        assert "lifecycle.busChange: staged" in action.reason


def test_only_a_windows_gets_drivers_put_in() -> None:
    spec = {"volume": "base.qcow2", "os": "rocky9", "inject": WINDOWS["inject"]}
    manifest = build_template({"metadata": {"name": "base"}, "spec": spec}, PLACE)
    [finding] = check_template(manifest)
    assert finding.path == ("spec", "inject")
    assert "only a Windows gets drivers put in, and os is rocky9" in finding.message
    assert check_template(windows_template()) == []


def test_machine_that_exists_is_never_prepared() -> None:
    host = host_with()
    assert apply(host, template()) is None
    tools_of(host).tools = None
    other = template({"firstBoot": ["echo other"]})
    assert {action.action for action in plan(host, other, "a").values()} == {ActionKind.NONE}


@pytest.mark.parametrize(
    ("tools", "type_", "words"),
    [
        (None, "dir", "template 'base': spec.prepare: virt-sysprep is not installed for /images"),
        (PreparationTools("1.0", frozenset({"utmp"})), "dir", "does not know machine-id"),
        (KNOWN, "logical", "needs a pool of files"),
    ],
)
def test_what_cannot_be_prepared_is_not_cloned(
    tools: Optional[PreparationTools], type_: str, words: str
) -> None:
    action = plan(host_with(tools, type_), template(), "a")["a"]
    assert (action.action, action.steps) == (ActionKind.FAILED, ())
    assert words in action.reason
    assert action.transient is (tools is None)


def test_missing_secret_is_said_and_nothing_is_made() -> None:
    host = host_with()
    del host.secrets.texts[SCRIPT]
    assert any(
        "nothing is created until" in note for note in plan(host, template(), "a")["a"].notes
    )
    assert apply(host, template()) is not None
    assert not host.writes


@pytest.mark.parametrize("error", [TransientError("the appliance"), TerminalError("no system")])
def test_failure_is_taken_back(error: Exception) -> None:
    host = host_with()

    def fail() -> None:
        raise error

    tools_of(host).during = fail
    assert str(error) in str(apply(host, template()))
    assert set(host.pools["default"].volumes) == {"base.qcow2"}
    assert "a" not in host.views


def test_half_prepared_clone_is_made_anew() -> None:
    host = host_with()

    def stop() -> None:
        assert "a-root.qcow2" in host.views["a"].persistent_xml  # named as being made
        assert "<disk" not in host.views["a"].persistent_xml
        raise StoppingError("the daemon ends")

    tools_of(host).during = stop
    assert apply(host, template()) is not None
    assert "a-root.qcow2" in host.pools["default"].volumes
    steps = plan(host, template(), "a")["a"].steps
    kinds = [type(step) for step in steps]
    again = kinds.index(DeletePartial)
    assert kinds[again : again + 3] == [DeletePartial, CreateVolume, PrepareVolume]
    tools_of(host).during = lambda: None
    assert apply(host, template()) is None
    assert {action.action for action in plan(host, template(), "a").values()} == {ActionKind.NONE}


def test_windows_is_not_prepared() -> None:
    base = template({}, os="win2k16", generalized="sysprep")
    [finding] = check_template(base)
    assert "virt-sysprep does not prepare" in finding.message


def test_comparison_of_manifests_shows_it() -> None:
    from reconciler.kinds.template.row import ROW  # noqa: PLC0415 - the row loads what it needs

    shown = ROW.list_fields(template())
    assert shown["prepare.operations"] == "machine-id, cloud-init"
    assert shown["prepare.hostname"] == "fromName"
    assert shown["prepare.sshKeys.root"] == f"{KEY}, file /etc/secret"
    assert ROW.list_fields(template({}))["prepare.operations"] == "default"
