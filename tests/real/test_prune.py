"""The end of a machine on a real host: what goes is what was made for it, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Set

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.libvirt.host import LibvirtHost
from reconciler.control.prune import plan_deletions
from reconciler.core.manifest import Desired, MachineManifest, Place, TemplateManifest
from reconciler.core.plan import Action, ActionKind, DeleteVolume, Outcome
from reconciler.core.xmltree import parse
from reconciler.errors import NotFoundError, RefusedError, TransientError
from reconciler.kinds.machine.deletion import plan_deletion
from reconciler.kinds.machine.document import build_machine
from reconciler.kinds.machine.execute import PERFORM, StepContext
from tests.execution import execute_action
from tests.lab.host import LabHost
from tests.lab.keys import vm
from tests.real.booting import Bench
from tests.real.faults import Fault, FaultyHost, Killed, fail, kill
from tests.real.worlds import Product, Silent

PLACE = Place("vm.yaml", 1, 1)
BASE = TemplateManifest("base", PLACE, pool="default", volume="base.qcow2", linked_clones=True)
DESIRED = Desired.of(BASE)
ROOT: Dict[str, Any] = {"name": "root", "bus": "virtio", "size": "16MiB"}
DATA: Dict[str, Any] = {"name": "data", "bus": "virtio", "size": "16MiB"}
OWN = {"vm-root.qcow2", "vm-data.qcow2"}


def wanted(
    *disks: Dict[str, Any], name: str = "vm", deletion: str = "deleteDisks", **spec: Any
) -> MachineManifest:
    """Return the manifest of a small machine, as it would have been read."""
    lifecycle = {"deletion": deletion, **spec.pop("lifecycle", {})}
    whole = {
        "cpus": 1, "memory": "128MiB", "interfaces": [], "disks": list(disks),
        "lifecycle": lifecycle, **spec,
    }  # fmt: skip
    return build_machine({"metadata": {"name": name}, "spec": whole}, PLACE)


def create(product: Product, *manifests: MachineManifest) -> None:
    """Apply without a failure."""
    for outcome in Product(product.host, (BASE,)).apply(*manifests):
        assert outcome.error is None, outcome.error


def delete(host: Any, action: Optional[Action] = None) -> Outcome:
    """Plan the end of `vm`, if that was not done before, and carry it out."""
    planned = action or plan_deletion(host, DESIRED, "vm")
    assert planned.action is ActionKind.DELETE, planned.reason
    return execute_action(host, DESIRED, planned, Silent(), SystemClock())


def lines(action: Action) -> Dict[str, str]:
    """Return what the plan says of each thing: effect and reason."""
    return {change.path: f"{change.effect.value}: {change.reason}" for change in action.changes}


def is_there(product: Product, name: str = "vm") -> bool:
    """Whether libvirt still has the domain."""
    try:
        product.host.domains.read_domain(name)
    except NotFoundError:
        return False
    return True


@pytest.fixture
def base(product: Product, lab: LabHost) -> Iterator[Set[str]]:
    """Return the volumes of a host with a template's image and an image put there by hand."""
    for name in ("base.qcow2", "by-hand.qcow2"):
        lab.virsh("vol-create-as", "default", name, "16M", "--format", "qcow2")
    yield {"base.qcow2", "by-hand.qcow2"}
    product.clear()


def test_exactly_the_volumes_made_for_it_go_with_it(
    product: Product, base: Set[str], lab: LabHost, media: str
) -> None:
    clone = {**DATA, "source": {"template": "base", "clone": "linked"}}
    by_hand = {"name": "hand", "bus": "virtio", "source": {"volume": "by-hand.qcow2"}}
    outside = {
        "name": "out", "bus": "virtio", "format": "raw", "source": {"path": f"{media}/one.img"}
    }  # fmt: skip
    create(product, wanted(ROOT, clone, by_hand, outside), wanted(ROOT, name="other"))
    lab.virsh("vol-create-as", "default", "vm-extra.qcow2", "16M", "--format", "qcow2")
    action = plan_deletion(product.host, DESIRED, "vm")
    said = lines(action)
    assert "its volume is deleted: " in said["disks[root]"]
    assert "its volume is deleted: " in said["disks[data]"]
    assert said["disks[hand]"].startswith("withheld: its image stays: the manifest named")
    assert said["disks[out]"].startswith("withheld: its image stays: the manifest named")
    assert delete(product.host, action).error is None
    assert not is_there(product)
    assert is_there(product, "other")
    assert product.volumes() == base | {"other-root.qcow2", "vm-extra.qcow2"}
    assert Path(media, "one.img").exists()


def test_undefine_leaves_every_image_and_takes_the_firmware_s_and_the_tpm_s_state(
    product: Product, lab: LabHost
) -> None:
    create(
        product,
        wanted(
            ROOT, deletion="undefine", firmware="uefi", tpm=True, power="running", graphics="none"
        ),
    )
    root = Path(f"/proc/{lab.pid()}/root")  # as the private daemon sees it
    nvram = root / (parse(product.live_xml("vm")).findtext("os/nvram") or "").lstrip("/")
    tpm = root / "var/lib/libvirt/swtpm" / product.host.domains.read_domain("vm").uuid
    assert nvram.is_file()
    assert tpm.is_dir()
    product.host.domains.power_off("vm")
    action = plan_deletion(product.host, DESIRED, "vm")
    assert {"definition", "nvram", "tpm"} == set(lines(action))
    assert any("vm-root.qcow2 stays" in note for note in action.notes)
    assert delete(product.host, action).error is None
    assert not is_there(product)
    assert not nvram.exists()
    assert not tpm.exists()
    assert product.volumes() == {"vm-root.qcow2"}


def test_an_image_that_others_need_stays_and_the_plan_says_why(
    product: Product, base: Set[str], lab: LabHost
) -> None:
    create(product, wanted(ROOT, DATA))
    shared = {
        "name": "borrowed",
        "bus": "virtio",
        "readonly": True,
        "source": {"volume": "vm-root.qcow2"},
    }
    create(product, wanted(shared, name="borrower"))
    overlay = ("--backing-vol", "vm-data.qcow2", "--backing-vol-format", "qcow2")
    lab.virsh("vol-create-as", "default", "top.qcow2", "16M", "--format", "qcow2", *overlay)
    action = plan_deletion(product.host, DESIRED, "vm")
    said = lines(action)
    assert said["disks[root]"] == "withheld: its volume stays: domain borrower names it too"
    assert said["disks[data]"].startswith("withheld: its volume stays: it carries 1 linked clone")
    assert delete(product.host, action).error is None
    assert not is_there(product)
    assert product.volumes() == base | OWN | {"top.qcow2"}


def test_an_image_that_is_borrowed_after_the_plan_was_made_stays(product: Product) -> None:
    create(product, wanted(ROOT, DATA))
    action = plan_deletion(product.host, DESIRED, "vm")
    shared = {
        "name": "borrowed",
        "bus": "virtio",
        "readonly": True,
        "source": {"volume": "vm-root.qcow2"},
    }
    create(product, wanted(shared, name="borrower"))
    outcome = delete(product.host, action)
    assert "changed since the plan was made" in (outcome.error or "")
    assert is_there(product)
    assert product.volumes() == OWN


def test_an_adopted_machine_s_image_is_not_its_own_whatever_its_name(
    product: Product, lab: LabHost
) -> None:
    create(product, wanted(ROOT))
    bare = product.xml("vm")
    product.host.domains.set_metadata("vm", "<manifest name='elsewhere'/>", False)
    assert bare != product.xml("vm")
    for outcome in product.apply(wanted(ROOT), adopt_all=True):
        assert outcome.error is None, outcome.error
    action = plan_deletion(product.host, DESIRED, "vm")
    assert lines(action)["disks[root]"].endswith("not known to have been made for this machine")
    assert delete(product.host, action).error is None
    assert product.volumes() == {"vm-root.qcow2"}


STEPS = 3  # two volumes, the definition


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(STEPS))
def test_what_was_killed_half_way_is_finished_by_the_next_pass(
    product: Product, step: int, after: bool
) -> None:
    create(product, wanted(ROOT, DATA))
    with pytest.raises(Killed):
        delete(FaultyHost.around(product.host, Fault(step, kill, after)))
    if is_there(product):
        assert delete(product.host).error is None
    assert not is_there(product)
    assert product.volumes() == set()


@pytest.mark.parametrize("step", range(STEPS))
def test_what_failed_is_there_still_and_says_what_is_gone(product: Product, step: int) -> None:
    create(product, wanted(ROOT, DATA))
    outcome = delete(FaultyHost.around(product.host, Fault(step, fail)))
    assert "injected: no space left" in (outcome.error or "")
    for number, name in enumerate(["vm-root.qcow2", "vm-data.qcow2"]):
        assert (f"default/{name}" in (outcome.error or "")) is (number < step)
    assert is_there(product)
    assert delete(product.host).error is None
    assert not is_there(product)


def away() -> None:
    """Fail as if libvirt were away."""
    raise TransientError("injected: connection reset")


def test_a_read_that_fails_is_not_taken_for_success(product: Product) -> None:
    create(product, wanted(ROOT))
    action = plan_deletion(product.host, DESIRED, "vm")

    class Deaf:
        """A driver that stops answering once the definition is gone."""

        def __getattr__(self, name: str) -> Any:
            if name == "read_domain" and not is_there(product):
                away()
            return getattr(product.host.domains, name)

    host: Any = FaultyHost(Deaf(), product.host.storage, product.host.networks)
    outcome = delete(host, action)
    assert isinstance(outcome.cause, TransientError)


def test_snapshots_and_templates_are_not_lost_unseen(product: Product, lab: LabHost) -> None:
    create(product, wanted(ROOT))
    lab.virsh("snapshot-create-as", "vm", "before-upgrade")
    action = plan_deletion(product.host, DESIRED, "vm")
    assert action.action is ActionKind.FAILED
    assert "it has snapshot before-upgrade" in action.reason
    assert "virsh snapshot-delete vm" in action.reason
    lab.virsh("snapshot-delete", "vm", "before-upgrade")
    golden = Desired.of(TemplateManifest("golden", PLACE, domain="vm"))
    assert "Template golden uses it" in plan_deletion(product.host, golden, "vm").reason
    assert plan_deletion(product.host, DESIRED, "vm").action is ActionKind.DELETE


def test_a_pool_that_is_not_active_hides_what_there_is(
    product: Product, lab: LabHost, lab_host: LibvirtHost
) -> None:
    create(product, wanted({**ROOT, "pool": "xfs"}))
    lab.virsh("pool-destroy", "xfs")
    try:
        action = plan_deletion(product.host, DESIRED, "vm")
        assert action.action is ActionKind.FAILED
        assert "storage pool 'xfs': it is inactive: virsh pool-start xfs" in action.reason
    finally:
        lab.virsh("pool-start", "xfs")
    assert delete(product.host).error is None
    assert product.volumes("xfs") == set()


# A guest without a system to boot does not hear the power button.
@pytest.mark.parametrize("force", [False, True], ids=["asked", "forced"])
def test_a_guest_that_does_not_shut_down_is_cut_off_only_where_its_manifest_said_so(
    product: Product, force: bool
) -> None:
    lifecycle = {"shutdownTimeout": "1s", "forceOff": force}
    create(product, wanted(ROOT, power="running", lifecycle=lifecycle))
    action = plan_deletion(product.host, DESIRED, "vm")
    assert "has 1 s" in lines(action)["power"]
    outcome = delete(product.host, action)
    if force:
        assert outcome.error is None
        assert not is_there(product)
        assert product.volumes() == set()
    else:
        assert "did not shut down within 1 s and goes on running" in (outcome.error or "")
        assert product.live_xml("vm")
        assert product.volumes() == {"vm-root.qcow2"}


def test_an_image_that_is_borrowed_while_the_guest_shuts_down_stays(product: Product) -> None:
    lifecycle = {"shutdownTimeout": "1s", "forceOff": True}
    create(product, wanted(ROOT, power="running", lifecycle=lifecycle))
    shared = {"name": "b", "bus": "virtio", "readonly": True, "source": {"volume": "vm-root.qcow2"}}

    class Meanwhile(SystemClock):
        """Time in which somebody else is at work."""

        def sleep(self, seconds: float) -> None:
            """Wait, and let the image be borrowed."""
            if not is_there(product, "borrower"):
                create(product, wanted(shared, name="borrower"))
            super().sleep(seconds)

    action = plan_deletion(product.host, DESIRED, "vm")
    outcome = execute_action(product.host, DESIRED, action, Silent(), Meanwhile())
    assert "changed since the plan was made" in (outcome.error or "")
    assert is_there(product)
    assert product.volumes() == {"vm-root.qcow2"}


def test_no_volume_goes_from_under_a_guest_that_somebody_started(product: Product) -> None:
    create(product, wanted(ROOT, power="running"))
    path = product.host.storage.read_pool("default").volumes["vm-root.qcow2"].path
    work = StepContext(product.host, SystemClock(), "vm", None, Silent().progress)
    with pytest.raises(RefusedError, match="started meanwhile, so its disks stay"):
        PERFORM[DeleteVolume](work, DeleteVolume("root", "default", "vm-root.qcow2", path))
    assert product.volumes() == {"vm-root.qcow2"}


def test_a_running_guest_shuts_down_first(bench: Bench) -> None:
    manifest = wanted(ROOT, power="running", guestAgent=True)
    overlaid = bench.manifest(manifest.machine)
    bench.boot(type(manifest)(overlaid.machine, manifest.generation, manifest.spec, PLACE))
    assert delete(bench.product.host).error is None
    assert not is_there(bench.product)
    assert bench.product.volumes() == set()


def test_what_is_not_there_or_not_owned_is_not_planned(product: Product) -> None:
    with pytest.raises(NotFoundError):
        plan_deletion(product.host, DESIRED, "vm")
    create(product, wanted(ROOT))
    uuid = product.host.domains.read_domain("vm").uuid
    assert plan_deletion(product.host, DESIRED, "vm", uuid).action is ActionKind.DELETE
    with pytest.raises(NotFoundError, match="another domain has this name now"):
        plan_deletion(product.host, DESIRED, "vm", "another")
    assert [
        action.name for action in plan_deletions(product.host, [vm("gone"), vm("vm")]).actions
    ] == ["vm"]
    product.host.domains.set_metadata("vm", "<manifest name='elsewhere'/>", False)
    assert "it is not managed" in plan_deletion(product.host, DESIRED, "vm").reason
