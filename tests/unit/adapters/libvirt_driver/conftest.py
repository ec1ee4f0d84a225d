"""A host of libvirt's in-memory test driver: real calls and real errors, no hypervisor."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.adapters.libvirt.connections import Connections
from reconciler.adapters.libvirt.host import LibvirtHost, connect

# One running domain, two that are off, a pool of files, one of logical volumes, two networks.
NODE = """
<node>
  <domain type='test'>
    <name>on</name><uuid>11111111-1111-1111-1111-111111111111</uuid>
    <memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os>
  </domain>
  <domain type='test' xmlns:t='http://libvirt.org/schemas/domain/test/1.0'>
    <name>off</name><uuid>22222222-2222-2222-2222-222222222222</uuid>
    <memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os>
    <t:runstate>5</t:runstate>
  </domain>
  <network><name>lan</name><bridge name='virbr9'/></network>
  <pool type='dir'><name>files</name><target><path>/no/such/folder</path></target></pool>
  <pool type='logical'>
    <name>volumes</name><source><name>vg</name></source><target><path>/dev/vg</path></target>
  </pool>
</node>
"""


@pytest.fixture
def connections(tmp_path: Path) -> Connections:
    """Return connections to a host of its own, so that no test sees another's domains."""
    node = tmp_path / "node.xml"
    node.write_text(NODE, encoding="utf-8")
    return Connections(f"test://{node}")


@pytest.fixture
def host(connections: Connections) -> LibvirtHost:
    """Return the product's view of that host."""
    return connect(connections.uri)
