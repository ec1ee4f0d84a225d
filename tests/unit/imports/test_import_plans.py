"""Imports as they are planned: which way, on which bus, how much, and what is refused."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

import pytest

from reconciler.core.frozen import replace
from reconciler.core.imports import (
    ConvertMachine,
    FileStamp,
    ForeignImage,
    ForeignSource,
    ImportDisk,
    ImportedDisk,
    ImportTools,
    NoImporter,
    Tell,
    VerifyImport,
)
from reconciler.core.manifest import Desired, MachineManifest, Place
from reconciler.core.plan import Action, ActionKind, CreateVolume, Define, PlanOptions, SetMetadata
from reconciler.core.preparation import Injection, PreparationTools, PrepareVolume
from reconciler.errors import FullError, MissingError, TerminalError
from reconciler.kinds.machine.document import build_machine
from reconciler.kinds.machine.observe import observe
from tests.execution import execute
from tests.unit.daemons.test_host_plan import Silent
from tests.unit.fake_clock import FakeClock
from tests.unit.memory_host import MemoryHost
from tests.unit.planning.test_image_addresses import pool_of, with_pool
from tests.unit.planning.test_preparation import Tools

GIB = 2**30
STAMP = FileStamp("/srv/vm006.ova", 100, 1)
V2V = ImportTools("7.2.0", "2.2.0", ("ova", "vmx"))
OLD = ImportTools("7.2.0", lack="virt-v2v is not installed")
OVA = {"ova": "/srv/vm006.ova"}


def image(name: str, capacity: int = 8 * GIB, data: int = GIB) -> ForeignImage:
    """Return a disk."""
    stamps = (STAMP,)
    return ForeignImage(
        name=name, format="vmdk", capacity=capacity, data=data, place="json:{}", stamps=stamps
    )


class Files(NoImporter):
    """Implements `Importer`: has one file, and notes what is done."""

    def __init__(
        self, *images: ForeignImage, tools: ImportTools = V2V, checks: bool = False
    ) -> None:
        super().__init__("none")
        self.source = ForeignSource(STAMP, images, checks=checks)
        self.tools, self.done = tools, list[Tuple[str, str]]()
        self.failure: Optional[BaseException] = None
        self.asked = 0

    def find_tools(self, folder: str) -> ImportTools:
        """Say what there is."""
        del folder
        return self.tools

    def inspect(self, name: str) -> ForeignSource:
        """Say what is in the file."""
        self.asked += 1
        if not self.source.images:
            raise MissingError(f"{name}: there is no such file on this host")
        return self.source

    def verify(self, step: VerifyImport, tell: Tell) -> None:
        """Note it."""
        tell("verifying", 1, 2)
        self.done.append(("verify", step.sha256))

    def copy(self, target: ImportedDisk, tell: Tell) -> None:
        """Note it."""
        tell("importing", 1, 2)
        self.done.append(("copy", target.disk))
        if self.failure is not None:
            raise self.failure

    def convert(self, step: ConvertMachine, tell: Tell) -> None:
        """Note it."""
        del tell
        self.done.extend(("convert", target.disk) for _, target in step.targets)


def host_with(files: Files, free: int = 100 * GIB) -> MemoryHost:
    """Return a host with an empty pool."""
    host = with_pool(pool_of())
    host.pools["default"] = replace(host.pools["default"], available=free)
    host.importer = files
    host.preparer = Tools(PreparationTools("1.50", frozenset(), frozenset({"--inject-virtio-win"})))
    return host


def machine(*disks: Dict[str, Any], **spec: Any) -> MachineManifest:
    """Return the manifest of a Windows."""
    data = {"os": "win2k16", "cpus": 1, "memory": "1GiB", "disks": list(disks), **spec}
    document = {"metadata": {"name": "web01"}, "spec": data}
    return build_machine(document, Place("vm.yaml", 1, 1))


def disk(source: Dict[str, Any], **fields: Any) -> Dict[str, Any]:
    """Return a disk that is imported."""
    return {"name": "root", "source": {"import": source}, **fields}


def plan(host: MemoryHost, manifest: MachineManifest) -> Action:
    """Plan the machine."""
    [action] = observe(host, Desired.of(manifest)).plan(PlanOptions()).actions
    return action


def apply(host: MemoryHost, manifest: MachineManifest) -> Optional[str]:
    """Plan and carry out; return the error."""
    desired = Desired.of(manifest)
    found = observe(host, desired).plan(PlanOptions())
    [outcome] = execute(host, desired, found, Silent(), FakeClock())
    return outcome.error


def kinds_of(action: Action) -> List[str]:
    """Return the names of the steps."""
    return [type(step).__name__ for step in action.steps]


def about(action: Action) -> str:
    """Return what the plan says of the disk, and its notes."""
    [change] = [change for change in action.changes if change.path == "disks[root]"]
    return "\n".join((str(change.desired), *action.notes))


def bus_of(action: Action) -> str:
    """Return the bus in the definition."""
    [*_, xml] = [step.xml for step in action.steps if isinstance(step, Define)]
    return (
        xml.partition('bus="')[2].partition('"')[0] or xml.partition("bus='")[2].partition("'")[0]
    )


def test_an_image_is_copied_before_a_definition_has_it() -> None:
    files = Files(image("vm006.vmdk"))
    action = plan(host_with(files), machine(disk({"disk": "/srv/vm006.vmdk"})))
    kinds = kinds_of(action)
    assert kinds[:3] == ["Define", "CreateVolume", "ImportDisk"]
    assert "Define" in kinds[3:]
    text = about(action)
    assert "import of /srv/vm006.vmdk (vmdk, 8GiB, at most 1.0GiB copied)" in text
    assert "as default/web01-root.qcow2, by qemu-img as it is" in text
    assert "must be off in VMware until this is done" in text
    assert "Windows finds new hardware" in text
    assert bus_of(action) == "sata"
    [volume] = [step for step in action.steps if isinstance(step, CreateVolume)]
    assert volume.capacity == 8 * GIB


def test_it_is_never_compared_again() -> None:
    files = Files(image("vm006.vmdk"))
    host, manifest = host_with(files), machine(disk({"disk": "/srv/vm006.vmdk"}))
    assert apply(host, manifest) is None
    assert files.done == [("copy", "root")]
    files.source, files.asked = replace(files.source, images=()), 0
    assert plan(host, manifest).action is ActionKind.NONE
    other = machine(disk({"disk": "/other.vmdk", "sha256": "0" * 64}))
    assert f"{kinds_of(plan(host, other)).count('ImportDisk')} ImportDisk" == "0 ImportDisk"
    assert files.asked == 0


def test_an_archive_goes_by_virt_v2v_and_says_what_windows_does() -> None:
    action = plan(host_with(Files(image("a.vmdk"), checks=True)), machine(disk(OVA)))
    assert kinds_of(action)[1:4] == ["VerifyImport", "CreateVolume", "ConvertMachine"]
    [step] = [step for step in action.steps if isinstance(step, ConvertMachine)]
    assert step.falls_back
    assert (step.folder, step.stem) == ("/images", ".virt-reconciler-import-web01@")
    text = about(action)
    assert "by virt-v2v 2.2.0, which puts virtio drivers into it" in text
    assert "if virt-v2v refuses the machine, qemu-img copies its disks as they are" in text
    assert "Windows restarts by itself 4 times or more" in text
    assert bus_of(action) == "sata"


def test_a_linux_gets_virtio_and_no_copy_that_would_not_boot() -> None:
    action = plan(host_with(Files(image("a.vmdk"))), machine(disk(OVA), os="rocky9"))
    [step] = [step for step in action.steps if isinstance(step, ConvertMachine)]
    assert (step.falls_back, step.virtio_disks) == (False, ("root",))
    assert "nothing is imported" in about(action)
    assert bus_of(action) == "virtio"


@pytest.mark.parametrize(
    ("tools", "source", "why"),
    [
        (OLD, OVA, "copied by qemu-img as it is: virt-v2v is not installed"),
        (replace(V2V, reads=("vmx",)), OVA, "virt-v2v 2.2.0 does not read ova"),
        (V2V, {**OVA, "via": "qemu-img"}, "import.via: qemu-img"),
    ],
)
def test_what_virt_v2v_does_not_take_is_copied(
    tools: ImportTools, source: Dict[str, str], why: str
) -> None:
    action = plan(host_with(Files(image("a.vmdk"), tools=tools)), machine(disk(source)))
    assert "ImportDisk" in kinds_of(action)
    assert why in about(action)


def test_several_disks_are_converted_at_once_and_verified_once() -> None:
    files = Files(image("a.vmdk"), image("b.vmdk"), image("c.vmdk"), checks=True)
    manifest = machine(
        disk({**OVA, "file": "a.vmdk"}), {**disk({**OVA, "file": "c.vmdk"}), "name": "data"}
    )
    host = host_with(files)
    action = plan(host, manifest)
    kinds = kinds_of(action)
    assert (kinds.count("VerifyImport"), kinds.count("ConvertMachine")) == (1, 1)
    assert kinds.index("ConvertMachine") > max(
        number for number, kind in enumerate(kinds) if kind == "CreateVolume"
    )
    [step] = [step for step in action.steps if isinstance(step, ConvertMachine)]
    assert [number for number, _ in step.targets] == [0, 2]
    assert "not imported: b.vmdk" in about(action)
    assert apply(host, manifest) is None
    assert files.done == [("verify", ""), ("convert", "root"), ("convert", "data")]


def test_several_disks_that_are_copied_are_each_marked_when_they_are_whole() -> None:
    files = Files(image("a.vmdk"), image("b.vmdk"), tools=OLD)
    manifest = machine(
        disk({**OVA, "file": "a.vmdk"}), {**disk({**OVA, "file": "b.vmdk"}), "name": "data"}
    )
    kinds = kinds_of(plan(host_with(files), manifest))
    assert kinds[1:6] == ["CreateVolume", "ImportDisk", "SetMetadata", "CreateVolume", "ImportDisk"]
    assert SetMetadata.__name__ in kinds


@pytest.mark.parametrize(
    ("fields", "source", "reason"),
    [
        ({"size": "1GiB"}, OVA, "1GiB is smaller than a.vmdk (8GiB); a disk is never shrunk"),
        ({}, {**OVA, "file": "z.vmdk"}, "no disk 'z.vmdk' in it; there are: a.vmdk"),
        ({"bus": "virtio"}, {"disk": "/srv/a.vmdk"}, "copies has no driver for virtio"),
    ],
)
def test_what_cannot_be_is_refused(
    fields: Dict[str, str], source: Dict[str, str], reason: str
) -> None:
    action = plan(host_with(Files(image("a.vmdk"))), machine(disk(source, **fields)))
    assert action.action is ActionKind.FAILED
    assert reason in action.reason


def test_one_of_several_disks_must_be_named() -> None:
    action = plan(host_with(Files(image("a.vmdk"), image("b.vmdk"))), machine(disk(OVA)))
    assert "import.file: name one of its 2 disks: a.vmdk, b.vmdk" in action.reason


def test_virt_v2v_that_is_asked_for_must_be_there() -> None:
    action = plan(
        host_with(Files(image("a.vmdk"), tools=OLD)), machine(disk({**OVA, "via": "virt-v2v"}))
    )
    assert "virt-v2v is not installed; install it, or set via: qemu-img" in action.reason
    assert action.transient


def test_a_file_that_is_not_there_may_come() -> None:
    action = plan(host_with(Files()), machine(disk(OVA)))
    assert "there is no such file on this host" in action.reason
    assert action.transient


def test_a_daemon_that_may_not_run_virt_v2v_imports_nothing_in_another_way_unasked() -> None:
    tools = replace(V2V, confined="virt-v2v runs in a PID namespace")
    host = host_with(Files(image("a.vmdk"), tools=tools))
    for via in ("auto", "virt-v2v"):
        action = plan(host, machine(disk({**OVA, "via": via})))
        assert action.reason.endswith(
            ".via: virt-v2v runs in a PID namespace; run virt-reconciler apply as root, or set "
            "via: qemu-img"
        )
    action = plan(host, machine(disk({**OVA, "via": "qemu-img"})))
    assert action.action is ActionKind.CREATE


@pytest.mark.parametrize(("tools", "needed"), [(OLD, "1GiB"), (V2V, "2GiB")])
def test_a_pool_without_room_is_said_to_be_so(tools: ImportTools, needed: str) -> None:
    action = plan(host_with(Files(image("a.vmdk"), tools=tools), free=GIB // 2), machine(disk(OVA)))
    assert action.action is ActionKind.FAILED
    assert f"the new volumes take {needed} at once, and 512MiB are free" in action.reason


def test_a_disk_of_a_machine_that_is_there_is_copied() -> None:
    files = Files(image("a.vmdk"))
    host = host_with(files)
    assert apply(host, machine()) is None
    action = plan(host, machine(disk(OVA)))
    assert "ImportDisk" in kinds_of(action)
    assert "ConvertMachine" not in kinds_of(action)


def test_what_fails_leaves_nothing() -> None:
    files = Files(image("a.vmdk"), tools=OLD)
    files.failure = FullError("storage pool default is full")
    host = host_with(files)
    error = apply(host, machine(disk(OVA)))
    assert "storage pool default is full" in str(error)
    assert host.find_volume("/images/web01-root.qcow2") is None
    assert "web01" not in host.views
    files.failure = None
    assert apply(host, machine(disk(OVA))) is None


def test_what_is_interrupted_is_copied_again() -> None:
    files = Files(image("a.vmdk"), tools=OLD)
    files.failure = SystemExit()
    host = host_with(files)
    with pytest.raises(SystemExit):
        apply(host, machine(disk(OVA)))
    files.failure = None
    action = plan(host, machine(disk(OVA)))
    assert "DeletePartial" in kinds_of(action)
    assert any("an earlier run was stopped" in note for note in action.notes)
    assert apply(host, machine(disk(OVA))) is None
    assert files.done == [("copy", "root"), ("copy", "root")]


def test_drivers_are_put_into_a_copy() -> None:
    source = {"disk": "/srv/a.vmdk", "inject": {"virtioWin": "/iso/virtio-win.iso"}}
    action = plan(host_with(Files(image("a.vmdk"))), machine(disk(source)))
    [step] = [step for step in action.steps if isinstance(step, PrepareVolume)]
    assert step.preparation.injection == Injection("/iso/virtio-win.iso")
    assert "drivers put in by virt-customize" in about(action)
    host = host_with(Files(image("a.vmdk")))
    host.preparer = Tools(PreparationTools("1.48.2", frozenset(), frozenset()))
    action = plan(host, machine(disk(source)))
    said = "import.inject: virt-customize 1.48.2 on this host has no --inject-virtio-win"
    assert said in action.reason
    assert action.steps == ()


def test_virt_v2v_gets_the_drivers_itself() -> None:
    source = {**OVA, "inject": {"virtioWin": "/iso/virtio-win.iso"}}
    action = plan(host_with(Files(image("a.vmdk"))), machine(disk(source, bus="virtio")))
    [step] = [step for step in action.steps if isinstance(step, ConvertMachine)]
    assert (step.virtio_win, step.virtio_disks) == ("/iso/virtio-win.iso", ("root",))
    assert "PrepareVolume" not in kinds_of(action)


def test_another_file_since_the_plan_is_another_plan() -> None:
    files = Files(image("a.vmdk"), tools=OLD)
    first = plan(host_with(files), machine(disk(OVA)))
    files.source = replace(files.source, images=(replace(image("a.vmdk"), data=2 * GIB),))
    second = plan(host_with(files), machine(disk(OVA)))
    assert [step for step in first.steps if isinstance(step, ImportDisk)] != [
        step for step in second.steps if isinstance(step, ImportDisk)
    ]


def test_a_damaged_file_may_be_copied_again() -> None:
    class Damaged(Files):
        def inspect(self, name: str) -> ForeignSource:
            raise TerminalError(f"{name.split(':')[2]}: is cut off; copy it again")

    action = plan(host_with(Damaged()), machine(disk(OVA)))
    assert "source.import.ova: /srv/vm006.ova: is cut off" in action.reason
    assert action.transient
