"""Where a field was written, for messages of plans that name the line to change."""

from __future__ import annotations

from pathlib import Path

from reconciler.adapters.manifests.reader import load_manifests

TEXT = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: first}
spec: {memory: 1GiB}
---
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: web01}
spec:
  disks:
    - name: root
      size: 20GiB
    - name: data
      source:
        path: /srv/data.qcow2
"""


def test_the_line_of_a_disk_s_source_is_found(tmp_path: Path) -> None:
    file = tmp_path / "vms.yaml"
    file.write_text(TEXT, encoding="utf-8")
    loaded = load_manifests([str(file)])
    [_, web] = loaded.desired.machines
    assert web.find_disk_source("data").line == 15
    assert web.find_disk_source("root").line == 11  # it has none: where the disk is
    assert web.find_disk_source("gone") == web.place
