"""A machine of VMware's, from its OVA and from its folder, by the real virt-v2v to virtio.

One test, because virt-v2v starts a machine of its own for each, which takes a minute without KVM.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Dict

import pytest

from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.lab.vmware_guest import SIZE, VmwareGuest, build_vmware_guest
from tests.real.commands import Command

LIMIT = 1200.0  # seconds; on a busy machine
BOOT = 300.0
MACHINE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  os: debian12
  power: running
  cpus: 1
  memory: 256MiB
  interfaces: []
  guestAgent: true
  lifecycle: {{disruption: restart, busChange: staged}}
  disks:
    - {{name: root, bus: {bus}, source: {{import: {source}}}}}
"""


@pytest.fixture(scope="module")
def vmware(tmp_path_factory: pytest.TempPathFactory) -> VmwareGuest:
    """Return the disk of the machine, as VMware exports it."""
    return build_vmware_guest(tmp_path_factory.mktemp("vmware"))


def digest_all(folder: Path) -> Dict[str, str]:
    """Return what each file below a folder is known by."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write(command: Command, name: str, bus: str, source: str) -> None:
    """Write a manifest."""
    command.write(f"m/{name}.yaml", MACHINE.format(name=name, bus=bus, source=source))


def test_an_ova_and_a_vmx_are_converted_booted_and_moved_to_virtio(
    command: Command, lab: LabHost, vmware: VmwareGuest, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    ova, vmx = vmware.write_ova(files / "vm006.ova"), vmware.write_vmx(files / "vmx")
    before = digest_all(files)
    proposal = command("import", "inspect", str(ova)).stdout
    assert "os: debian12" in proposal
    assert "memory: 128MiB" in proposal
    command.write("proposal.yaml", proposal)
    command("validate", "proposal.yaml")
    write(command, "ova01", "virtio", f"{{ova: {ova}}}")
    write(command, "vmx01", "sata", f"{{vmx: {vmx}}}")
    plan = command("plan", "m").stdout
    assert "which puts virtio drivers into it" in plan
    assert "if virt-v2v refuses the machine, nothing is imported" in plan
    assert "if virt-v2v refuses the machine, qemu-img copies its disks as they are" in plan
    told = command("apply", "m", "--yes", "--parallel", "2", limit=LIMIT).stdout
    assert "virt-v2v: Converting" in told
    assert "does not convert it" not in told
    for name, bus in (("ova01", "virtio"), ("vmx01", "sata")):
        guest = Guest(lab.uri(), name)
        guest.wait_ready(BOOT)
        assert guest.disk(SIZE * 2**20)["bus"] == bus
    assert [path.name for path in lab.images.iterdir() if "import" in path.name] == []
    assert digest_all(files) == before
    command("plan", "--detailed-exitcode", "m")
    write(command, "vmx01", "virtio", f"{{vmx: {vmx}}}")
    assert "step 1 of 5" in command("plan", "m").stdout
    command.apply_all("m", lambda: guest.wait_ready(BOOT), LIMIT)
    assert guest.disk(SIZE * 2**20)["bus"] == "virtio"
    assert "bus-change" not in lab.virsh("vol-list", "default").stdout
