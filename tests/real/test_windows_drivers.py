"""virtio-win ISOs in a pool of real libvirt: found, read, and what the command says of them."""

from __future__ import annotations

from pathlib import Path

from reconciler.adapters.libvirt import driver_media
from reconciler.adapters.libvirt.connections import Connections
from reconciler.core.virtio_win import DriverVersion
from tests.lab.host import LabHost
from tests.real.commands import Command
from tests.real.worlds import Product
from tests.unit.windows.media import write_iso

WINDOWS = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: win01}
spec:
  os: win2k16
  cpus: 1
  memory: 64MiB
  power: stopped
  interfaces: []
  disks:
    - {name: root, bus: virtio, size: 8MiB}
"""


def test_isos_of_a_pool_are_found_and_decide(
    lab: LabHost, product: Product, tmp_path: Path
) -> None:
    product.clear()
    command = Command(lab.uri(), tmp_path)
    command.write("win01.yaml", WINDOWS)
    bad = write_iso(lab.images / "virtio-win-0.1.266.iso", "0.1.266")
    refused = command("plan", "win01.yaml", status=1).stdout
    assert f"default/{bad.name} (virtio-win 0.1.266) does not suit Windows Server 2016" in refused
    assert "take virtio-win 0.1.248: download https://fedorapeople.org/" in refused
    good = write_iso(lab.images / "virtio-win-0.1.248.iso", "0.1.248")
    planned = command("plan", "win01.yaml").stdout
    assert f"viostor/2k16/amd64/viostor.inf on default/{good.name} (virtio-win 0.1.248)" in planned
    assert "Plan: 1 to create" in planned
    command("apply", "--yes", "win01.yaml")
    assert "1 unchanged" in command("plan", "win01.yaml").stdout
    # The same volume through libvirt's stream, as on another host.
    lab.virsh("pool-refresh", "default")
    place = driver_media._MediumPlace("x", "", pool="default", volume=good.name)
    medium = driver_media._read_volume(Connections(lab.uri()), place)
    assert medium is not None
    assert (medium.version, medium.path) == (DriverVersion("0.1", 248), str(good))
    found = medium.find_driver("vioscsi", "2k16")
    assert found is not None
    assert found.build == 248
