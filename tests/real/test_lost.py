"""A machine whose definition libvirt has lost comes back: its own disks, UUID, MAC and NVRAM."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Tuple

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.state.history import FolderHistory
from reconciler.core.history import keep_last
from reconciler.core.machine import Disk, Interface, Power
from reconciler.core.plan import Plan, PlanOptions
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.mark import read_owner
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.elsewhere import Background
from reconciler.kinds.machine.observe import observe
from tests.execution import execute
from tests.lab.host import LabHost
from tests.real import commands
from tests.real.commands import Command
from tests.real.faults import Fault, FaultyHost, Killed, fail, kill
from tests.real.looping import Looping, manifest, stored
from tests.real.worlds import MIB, Product, Silent, manifest_of

LAN = "autostart: true\n  interfaces:\n    - {name: lan, network: default}"
WEB = commands.WEB.replace("interfaces: []", LAN)


@pytest.fixture
def command(
    product: Product, lab: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Return the command of somebody with a state of their own, and a machine that was applied."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    command = Command(lab.uri(), tmp_path)
    command.write("web01.yaml", WEB)
    command("apply", "--yes", "web01.yaml")
    for name in ("root", "data"):
        write(lab, f"web01-{name}.qcow2")
    return command


def write(lab: LabHost, image: str) -> None:
    """Write what a guest would."""
    io(lab, image, "write -P 7 0 1M")


def check(lab: LabHost, image: str) -> None:
    """Read what the guest has written."""
    assert "Pattern verification failed" not in io(lab, image, "read -P 7 0 1M")


def io(lab: LabHost, image: str, command: str) -> str:
    words = ["qemu-io", "-f", "qcow2", "-c", command, str(lab.images / image)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def identity(product: Product) -> Tuple[str, ...]:
    """Return UUID, MACs and images."""
    view = product.host.domains.read_domain("web01")
    machine = read_machine(parse(view.persistent_xml))
    macs = [interface.mac or "" for interface in machine.interfaces or ()]
    return (view.uuid, *macs, *(disk.source or "" for disk in machine.disks or ()))


def test_an_undefined_machine_comes_back_as_it_was(
    command: Command, product: Product, lab: LabHost
) -> None:
    before = identity(product)
    lab.virsh("undefine", "web01")
    seen = command("plan", "web01.yaml").stdout
    assert "1 to create" in seen
    assert "defined again with its own disks, UUID and addresses, from the record of" in seen
    command("apply", "--yes", "web01.yaml")
    assert identity(product) == before
    assert product.host.domains.read_domain("web01").autostart
    assert "1 unchanged" in command("plan", "web01.yaml").stdout
    for name in ("root", "data"):
        check(lab, f"web01-{name}.qcow2")


def test_it_comes_back_with_what_its_manifest_says_by_now(
    command: Command, product: Product, lab: LabHost
) -> None:
    before = identity(product)
    lab.virsh("undefine", "web01")
    grown = WEB.replace("root, size: 8MiB", "root, size: 16MiB").replace("64MiB", "96MiB")
    command.write("web01.yaml", f"{grown}    - {{name: logs, size: 8MiB}}\n")
    command("apply", "--yes", "web01.yaml")
    assert "1 unchanged" in command("plan", "web01.yaml").stdout
    assert identity(product)[:4] == before
    assert product.volumes() == {f"web01-{name}.qcow2" for name in ("root", "data", "logs")}
    check(lab, "web01-root.qcow2")


def test_without_a_record_the_message_gives_the_line(
    command: Command, product: Product, lab: LabHost, tmp_path: Path
) -> None:
    lab.virsh("undefine", "web01")
    shutil.rmtree(tmp_path / "state")
    seen = command("plan", "web01.yaml", status=1).stdout
    text = WEB
    for disk, line in re.findall(r"disks\[(\w+)\]: volume .*?of this disk: (.*?) \(and no", seen):
        text = text.replace(f"{{name: {disk}, size: 8MiB}}", f"{{name: {disk}, {line}}}")
    assert text.count("source: {volume: web01-") == 2, seen
    command.write("web01.yaml", text)
    command("apply", "--yes", "web01.yaml")
    assert "1 unchanged" in command("plan", "web01.yaml").stdout
    assert product.volumes() == {"web01-root.qcow2", "web01-data.qcow2"}
    for name in ("root", "data"):
        check(lab, f"web01-{name}.qcow2")


def test_it_is_never_started_on_an_image_below_a_newer_one(
    command: Command, product: Product, lab: LabHost
) -> None:
    lab.virsh(
        "snapshot-create-as", "web01", "nightly", "--disk-only", "--no-metadata",
        "--diskspec", f"vda,file={lab.images}/web01-root.nightly",
        "--diskspec", "vdb,snapshot=no",
    )  # fmt: skip
    io(lab, "web01-root.nightly", "write -P 9 0 1M")
    lab.virsh("undefine", "web01")
    lab.virsh("pool-refresh", "default")
    seen = command("plan", "web01.yaml", status=1).stdout
    assert "is not the newest image of web01" in seen
    assert "source: {volume: web01-root.nightly}" in seen
    command.write(
        "web01.yaml",
        WEB.replace("root, size: 8MiB", "root, source: {volume: web01-root.nightly}"),
    )
    command("apply", "--yes", "web01.yaml")
    assert f"{lab.images}/web01-root.nightly" in identity(product)
    assert "1 unchanged" in command("plan", "web01.yaml").stdout
    assert "Pattern" not in io(lab, "web01-root.nightly", "read -P 9 0 1M")


def test_a_machine_whose_disks_were_deleted_too_is_made_anew(
    command: Command, product: Product, lab: LabHost
) -> None:
    before = identity(product)
    lab.virsh("undefine", "web01", "--remove-all-storage")
    shown = command("plan", "web01.yaml").stdout
    gone = f"{lab.images}/web01-root.qcow2, {lab.images}/web01-data.qcow2"
    assert f"note: it was here before, and all its images are gone: {gone};" in shown
    command("apply", "--yes", "web01.yaml")
    assert identity(product)[0] != before[0]
    assert product.volumes() == {"web01-root.qcow2", "web01-data.qcow2"}


def test_where_one_of_its_images_is_gone_nothing_is_made(
    command: Command, product: Product, lab: LabHost
) -> None:
    lab.virsh("undefine", "web01")
    lab.virsh("vol-delete", "web01-data.qcow2", "default")
    assert "web01-data.qcow2 is missing" in command("plan", "web01.yaml", status=1).stdout
    assert product.volumes() == {"web01-root.qcow2"}
    command.write("web01.yaml", WEB.replace("    - {name: data, size: 8MiB}\n", ""))
    command("apply", "--yes", "web01.yaml")
    assert "1 unchanged" in command("plan", "web01.yaml").stdout
    check(lab, "web01-root.qcow2")


def test_where_its_pool_is_away_nothing_is_made(
    command: Command, product: Product, lab: LabHost
) -> None:
    lab.virsh("undefine", "web01")
    lab.virsh("pool-destroy", "default")
    try:
        seen = command("plan", "web01.yaml", status=1).stdout
        assert "is in no active storage pool; start its pool" in seen
    finally:
        lab.virsh("pool-start", "default")
    command("apply", "--yes", "web01.yaml")
    check(lab, "web01-root.qcow2")


def test_its_nvram_is_kept(command: Command, product: Product, lab: LabHost) -> None:
    command.write("web01.yaml", f"{WEB}  firmware: uefi\n")
    lab.virsh("undefine", "web01", "--remove-all-storage")
    command("apply", "--yes", "web01.yaml")
    before = identity(product)
    nvram = lab.folder / "lib" / "qemu" / "nvram" / "web01_VARS.fd"
    nvram.parent.mkdir(parents=True, exist_ok=True)
    nvram.write_bytes(b"what the firmware keeps")
    lab.virsh("undefine", "web01", "--keep-nvram")
    command("apply", "--yes", "web01.yaml")
    assert identity(product) == before
    assert nvram.read_bytes() == b"what the firmware keeps"
    nvram.unlink()


def test_a_running_guest_is_stored_again_and_runs_on(
    command: Command, product: Product, lab: LabHost
) -> None:
    command.write("web01.yaml", WEB.replace("stopped", "running"))
    command("apply", "--yes", "web01.yaml")
    before, domain = identity(product), lab.virsh("domid", "web01").stdout
    lab.virsh("undefine", "web01")
    seen = command("plan", "web01.yaml").stdout
    assert "it was undefined while it ran" in seen
    command("apply", "--yes", "web01.yaml")
    view = product.host.domains.read_domain("web01")
    assert view.persistent
    assert view.autostart
    assert (identity(product), lab.virsh("domid", "web01").stdout) == (before, domain)
    assert "1 unchanged" in command("plan", "web01.yaml").stdout


LOST = manifest_of(
    manifest(
        "web01", power=Power.STOPPED, disks=(Disk("root", "virtio", 8 * MIB),),
        interfaces=(Interface("lan", "default", model="virtio"),), tpm=None, autostart=True,
    ).machine
)  # fmt: skip


def plan_lost(product: Product, history: FolderHistory) -> Tuple[object, Plan]:
    desired = product.desired([LOST])
    seen = observe(product.host, desired, background=Background(history.find_last))
    return desired, seen.plan(PlanOptions())


def lose(product: Product, history: FolderHistory, lab: LabHost) -> None:
    """Apply, keep the record, and undefine."""
    for outcome in product.apply(LOST):
        assert outcome.error is None, outcome.error
    view = product.host.domains.read_domain("web01")
    last = keep_last(view, read_owner(parse(view.persistent_xml)), 1.0)
    assert last is not None
    history.keep(last)
    write(lab, "web01-root.qcow2")
    lab.virsh("undefine", "web01")


@pytest.mark.parametrize("act", [fail, kill], ids=["fails", "killed"])
@pytest.mark.parametrize("step", range(2))
def test_what_stops_on_the_way_back_loses_nothing(
    product: Product, lab: LabHost, tmp_path: Path, step: int, act: object
) -> None:
    history = FolderHistory(str(tmp_path / "history"))
    lose(product, history, lab)
    desired, plan = plan_lost(product, history)
    host = FaultyHost.around(product.host, Fault(step, act, after=True))  # type: ignore[arg-type]
    with suppress(Killed):
        execute(host, desired, plan, Silent(), SystemClock())  # type: ignore[arg-type]
    check(lab, "web01-root.qcow2")
    desired, plan = plan_lost(product, history)
    for outcome in execute(product.host, desired, plan, Silent(), SystemClock()):  # type: ignore[arg-type]
        assert outcome.error is None, outcome.error
    assert product.plan(LOST).is_empty
    check(lab, "web01-root.qcow2")


@pytest.mark.parametrize("power", [Power.STOPPED, Power.RUNNING])
def test_the_daemon_brings_it_back_by_itself(looping: Looping, power: Power) -> None:
    wanted = manifest(disks=(Disk("root", "virtio", 8 * MIB),), power=power)
    looping.publish(wanted)
    looping.wait_ready("vm", wanted.generation)
    looping.wait_quiet()
    before = looping.virsh("domuuid", "vm").stdout
    looping.virsh("undefine", "vm")
    looping.wait(lambda: stored(looping) == ["vm"], "it is back")
    looping.wait_quiet()
    assert looping.virsh("domuuid", "vm").stdout == before
    assert looping.virsh("vol-list", "default").stdout.split()[::2] == ["vm-root.qcow2"]


def test_one_that_is_undefined_while_it_is_started_is_told_at_once(
    product: Product, lab: LabHost
) -> None:
    wanted = manifest_of(manifest("web01", power=Power.RUNNING).machine)
    for outcome in product.apply(wanted):
        assert outcome.error is None, outcome.error
    lab.virsh("destroy", "web01")

    def undefine() -> None:
        lab.virsh("undefine", "web01")

    fault = Fault(0, undefine, after=True)
    [outcome] = product.apply(wanted, host=FaultyHost.around(product.host, fault))
    assert outcome.error == "the domain was undefined during the change; apply again"
    lab.virsh("destroy", "web01")
