"""Pools and volumes between XML and values."""

from __future__ import annotations

import pytest

from reconciler.adapters.libvirt.pools import read_pool_xml, read_volume_xml, write_volume_xml
from reconciler.core.world import VolumeView

OVERLAY = """<volume type='file'><name>a.qcow2</name><key>/p/a.qcow2</key>
<capacity unit='bytes'>2147483648</capacity><allocation unit='bytes'>200704</allocation>
<target><path>/p/a.qcow2</path><format type='qcow2'/></target>
<backingStore><path>/p/base.qcow2</path><format type='qcow2'/></backingStore></volume>"""
LOGICAL = """<volume type='block'><name>lv</name><capacity unit='bytes'>1024</capacity>
<target><path>/dev/vg/lv</path></target></volume>"""
POOL = """<pool type='dir'><name>default</name><available unit='bytes'>77</available>
<target><path>/p</path></target></pool>"""


def test_a_volume_with_all_that_is_known_of_it() -> None:
    assert read_volume_xml("default", OVERLAY) == VolumeView(
        "default",
        "a.qcow2",
        "/p/a.qcow2",
        "qcow2",
        2147483648,
        "/p/base.qcow2",
        allocation=200704,
    )


def test_a_volume_of_no_format_is_raw() -> None:
    assert read_volume_xml("vg", LOGICAL) == VolumeView("vg", "lv", "/dev/vg/lv", "raw", 1024)


def test_a_pool_with_its_volumes_by_name() -> None:
    pool = read_pool_xml(POOL, [OVERLAY])
    assert (pool.name, pool.type, pool.path) == ("default", "dir", "/p")
    assert set(pool.volumes) == {"a.qcow2"}


def test_a_pool_without_a_folder() -> None:
    pool = read_pool_xml("<pool type='rbd'><name>r</name></pool>", [])
    assert pool.path == ""


def test_a_qcow2_is_sparse_and_of_version_3() -> None:
    assert write_volume_xml("dir", "a", "qcow2", 1024) == (
        "<volume><name>a</name><capacity unit='bytes'>1024</capacity>"
        "<allocation unit='bytes'>0</allocation>"
        "<target><format type='qcow2'/><compat>1.1</compat></target></volume>"
    )


def test_a_raw_file_is_sparse() -> None:
    assert write_volume_xml("netfs", "a", "raw", 1024) == (
        "<volume><name>a</name><capacity unit='bytes'>1024</capacity>"
        "<allocation unit='bytes'>0</allocation><target><format type='raw'/></target></volume>"
    )


def test_a_logical_volume_is_never_thin() -> None:
    assert "allocation" not in write_volume_xml("logical", "a", "raw", 1024)


def test_an_overlay_names_the_format_below() -> None:
    below = read_volume_xml("default", OVERLAY)
    text = write_volume_xml("dir", "b", "qcow2", 1024, below)
    assert text.endswith(
        "<backingStore><path>/p/a.qcow2</path><format type='qcow2'/></backingStore></volume>"
    )


@pytest.mark.parametrize("name", ["a&b", "<volume/>", "it's", 'a"b'])
def test_a_name_is_text_and_never_xml(name: str) -> None:
    assert read_volume_xml("p", write_volume_xml("dir", name, "raw", 1)).name == name
