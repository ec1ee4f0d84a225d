"""Templates of Windows: what is read in their images decides whether they are cloned."""

from __future__ import annotations

from typing import Any, Dict, Optional

import pytest

from reconciler.core.frozen import replace
from reconciler.core.manifest import Desired, TemplateManifest
from reconciler.core.plan import Action, ActionKind, PlanOptions
from reconciler.core.windows_images import (
    BITLOCKER,
    COMPLETE,
    CONTROLLER,
    DAMAGED,
    HIBERNATED,
    NO_WINDOWS,
    SEALED,
    WindowsImage,
    read_state,
)
from reconciler.errors import TransientError
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.template.row import build_template
from tests.execution import execute
from tests.unit.daemons.test_host_plan import Silent
from tests.unit.fake_clock import FakeClock
from tests.unit.memory_host import MemoryHost, MemoryPreparer
from tests.unit.planning.test_image_addresses import (
    IMAGE,
    PLACE,
    SHA,
    URL,
    machine,
    pool_of,
    with_pool,
)

PATH = "/images/base.qcow2"
DECLARED = "sysprep /generalize /oobe, 2026-03-01"


def template(**spec: Any) -> TemplateManifest:
    """Return a template of a Windows."""
    data = {"volume": "base.qcow2", "os": "win2k16", "generalized": DECLARED, **spec}
    return build_template({"metadata": {"name": "base"}, "spec": data}, PLACE)


def windows_of(host: MemoryHost) -> Dict[str, WindowsImage]:
    """Return what is read in the images of a host."""
    assert isinstance(host.preparer, MemoryPreparer)
    return host.preparer.windows


def plan(image: WindowsImage, base: TemplateManifest) -> Action:
    """Plan a machine that is cloned from the template, with that in its image."""
    host = with_pool(pool_of("base.qcow2"))
    windows_of(host)[PATH] = image
    [action] = observe(host, Desired.of(base, machine("a"))).plan(PlanOptions()).actions
    return action


def describe_disk(action: Action) -> str:
    """Return what the plan says of the clone."""
    [change] = [change for change in action.changes if change.path == "disks[root]"]
    return str(change.desired)


def test_sealed_image_is_cloned() -> None:
    action = plan(WindowsImage(SEALED), template())
    assert action.action is ActionKind.CREATE
    assert "template base (generalized, as read in its image)" in describe_disk(action)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (WindowsImage(COMPLETE), "IMAGE_STATE_COMPLETE"),
        (WindowsImage("IMAGE_STATE_GENERALIZE_RESEAL_TO_AUDIT"), "audit mode"),
        (WindowsImage("IMAGE_STATE_SPECIALIZE_RESEAL_TO_OOBE"), "is not generalized (IMAGE_STATE"),
        (WindowsImage(COMPLETE, why=HIBERNATED), "shutdown /s /f /t 0"),
        (WindowsImage(COMPLETE, why=CONTROLLER), "KB830958"),
        (WindowsImage("IMAGE_STATE_UNDEPLOYABLE"), "take a former image"),
        (WindowsImage(fault=BITLOCKER), "manage-bde -off C:"),
        (WindowsImage(fault=DAMAGED), "registry is damaged"),
        (WindowsImage(fault=NO_WINDOWS), f"virt-inspector -a {PATH}"),
    ],
)
def test_any_other_image_is_refused_before_anything_is_cloned(
    image: WindowsImage, words: str
) -> None:
    action = plan(image, template())
    assert action.action is ActionKind.FAILED
    assert action.steps == ()
    assert words in action.reason
    assert "disks[root].source.template: template 'base': " in action.reason
    assert PATH in action.reason


def test_what_is_to_be_run_is_said() -> None:
    complete = WindowsImage(COMPLETE)
    ending = r"run in it: C:\Windows\System32\Sysprep\sysprep.exe /generalize /oobe /shutdown"
    assert plan(complete, template()).reason.endswith(ending)
    old = plan(complete, template(os="win2k8r2")).reason
    assert "slmgr.vbs /dlv" in old
    assert "3 times" in old


def test_where_nobody_can_look_the_declaration_counts() -> None:
    action = plan(WindowsImage(unchecked="virt-cat is not installed"), template())
    assert action.action is ActionKind.CREATE
    said = describe_disk(action)
    assert f"generalized: {DECLARED}; not checked: virt-cat is not installed" in said


def test_answer_file_in_the_image_is_named() -> None:
    action = plan(WindowsImage(SEALED, has_answers=True), template())
    assert r"C:\Windows\Panther\unattend.xml lies in it" in describe_disk(action)


def test_data_disk_of_a_windows_need_not_hold_one() -> None:
    data = template(os=None)
    assert plan(WindowsImage(fault=NO_WINDOWS), data).action is ActionKind.CREATE


def test_only_a_plan_that_clones_from_a_windows_looks() -> None:
    host = with_pool(pool_of("base.qcow2"))

    def fail(path: str, image_format: str) -> WindowsImage:
        raise TransientError(f"{path} ({image_format}): looked into")

    def plan_all(base: TemplateManifest) -> Action:
        [action] = observe(host, Desired.of(base, machine("a"))).plan(PlanOptions()).actions
        return action

    made = observe(host, Desired.of(template(), machine("a")))
    [outcome] = execute(host, made.desired, made.plan(PlanOptions()), Silent(), FakeClock())
    assert outcome.error is None
    host.preparer.read_windows = fail  # type: ignore[method-assign]
    assert plan_all(template()).action is ActionKind.NONE
    host = with_pool(pool_of("base.qcow2"))
    host.preparer.read_windows = fail  # type: ignore[method-assign]
    assert plan_all(template(os="debian12", generalized=None)).action is ActionKind.CREATE
    action = plan_all(template())
    assert (action.action, action.transient) == (ActionKind.FAILED, True)
    assert f"{PATH} (qcow2): looked into" in action.reason


@pytest.mark.parametrize(
    ("image", "error"), [(WindowsImage(SEALED), None), (WindowsImage(COMPLETE), "sysprep.exe")]
)
def test_image_that_is_fetched_first_is_read_before_it_is_cloned(
    image: WindowsImage, error: Optional[str]
) -> None:
    host = with_pool(pool_of())
    path = f"/images/{IMAGE}"
    windows_of(host)[path] = WindowsImage(unchecked=f"{path} is not there yet")
    address = {"url": URL, "sha256": SHA}
    spec = {"image": address, "os": "win2k16", "generalized": DECLARED}
    base = build_template({"metadata": {"name": "base"}, "spec": spec}, PLACE)
    desired = Desired.of(base, machine("a"))
    found = observe(host, desired).plan(PlanOptions())
    [action] = [action for action in found.actions if action.name == "a"]
    assert "is not there yet" in describe_disk(action)
    windows_of(host)[path] = image
    host.pools["default"] = pool_of(IMAGE)
    [outcome] = execute(host, desired, replace(found, actions=(action,)), Silent(), FakeClock())
    if error is None:
        assert outcome.error is None
        assert "create_volume default/a-root.qcow2" in host.writes
    else:
        assert error in str(outcome.error)
        assert [write for write in host.writes if write.startswith("create_volume")] == []


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (f"{SEALED}\n", SEALED),
        (f"[State]\r\nImageState={COMPLETE}\r\n", COMPLETE),
        (f"[State]\nimageState = {COMPLETE}\nImageState = {SEALED}\n", SEALED),
        ("[State]\n", ""),
        ("", ""),
    ],
)
def test_state_is_read(text: str, state: str) -> None:
    assert read_state(text) == state
