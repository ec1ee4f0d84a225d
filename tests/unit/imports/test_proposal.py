"""The manifest that `import inspect` proposes: what the guest boots from before it has drivers."""

from __future__ import annotations

from typing import Any, Dict, Mapping

import pytest

from reconciler.adapters.manifests.reader import load_files
from reconciler.core.imports import (
    VMX,
    FileStamp,
    ForeignCard,
    ForeignImage,
    ForeignMachine,
    ForeignSource,
)
from reconciler.core.manifest_files import ManifestFile
from reconciler.core.yaml_text import write_documents
from reconciler.kinds.machine.import_proposal import propose_machine

DISK = FileStamp("/srv/import/vm006.vmdk", 1, 1)
VM006 = ForeignMachine(
    name="vm006", cpus=2, memory=2**32, cards=(ForeignCard("vmxnet3", "00:50:56:01:02:03", "lan"),)
)
SOURCE = ForeignSource(
    FileStamp("/srv/import/vm006.vmx", 1, 1),
    (ForeignImage("vm006.vmdk", "vmdk", 2**35, 2**34, "", (DISK,)),),
    VM006,
)


def propose(os: str) -> Mapping[str, Any]:
    """Return the spec for a machine with that system, which `validate` has nothing against."""
    manifest, remarks = propose_machine(VMX, SOURCE, sha256="", os=os)
    text = write_documents([(manifest, remarks)])
    assert not load_files([ManifestFile("vm006.yaml", text.encode())]).problems
    spec: Dict[str, Any] = manifest["spec"]
    return spec


@pytest.mark.parametrize(
    ("os", "bus", "model", "machine"),
    [
        ("win2k16", "sata", "e1000e", None),
        ("win2k8r2", "sata", "e1000", None),
        ("win2k3", "ide", "e1000", "pc"),
        ("rocky9", "sata", None, None),
        ("", "sata", None, None),
    ],
)
def test_a_windows_gets_what_it_has_drivers_for(
    os: str, bus: str, model: object, machine: object
) -> None:
    spec = propose(os)
    [disk], [card] = spec["disks"], spec["interfaces"]
    assert (disk["bus"], card.get("model"), spec.get("machine")) == (bus, model, machine)
    assert card["mac"] == "00:50:56:01:02:03"
