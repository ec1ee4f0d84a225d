"""What a schema cannot refuse, in one manifest and between several."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

import pytest

from tests.unit.manifests.documents import complaints, load, machine, template

DISK = {"name": "root", "size": "1GiB"}
LAN = {"name": "lan", "network": "default"}


def disk(**fields: Any) -> Mapping[str, Any]:
    return {"disks": [{"name": "root", **fields}]}


def nic(**fields: Any) -> Mapping[str, Any]:
    return {"interfaces": [{**LAN, **fields}]}


def installs(os: str, **change: Any) -> Mapping[str, Any]:
    return {"os": os, "lifecycle": {"busChange": {"install": True, **change}}}


def xml(**entry: Any) -> Mapping[str, Any]:
    return {"xml": [entry]}


ALONE = [
    pytest.param({"disks": [DISK, DISK]}, "spec.disks[1].name", "already used by disks[0]", id="two disks of a name"),
    pytest.param({"disks": [DISK], **nic(name="root")}, "spec.interfaces[0].name", "already used by disks[0]", id="disk and interface of a name"),
    pytest.param({"disks": [{**DISK, "boot": 1}], **nic(boot=1)}, "spec.interfaces[0].boot", "boot order 1 is already used", id="two to boot first"),
    pytest.param({"cdroms": [{"name": "a", "bus": "usb", "media": "none"}]}, "spec.cdroms[0].bus", "a drive on usb cannot be empty; give media", id="empty on usb"),
    pytest.param({"disks": [{"name": "a", "target": "sda"}], "cdroms": [{"name": "b", "target": "sda"}]}, "spec.cdroms[0].target", "target 'sda' is already used", id="two on a target"),
    pytest.param(disk(bus="virtio"), "spec.disks[0]", "give a size", id="a disk from nowhere"),
    pytest.param(disk(pool="a", source={"path": "/x"}), "spec.disks[0].pool", "no effect with source.path", id="pool and path"),
    pytest.param(disk(size="1GiB", io="native", cache="writeback"), "spec.disks[0].io", "native needs cache", id="native io through the cache"),
    pytest.param(disk(source={"path": "/x", "clone": "full"}), "spec.disks[0].source", "clone has no effect without template", id="a path that is cloned"),
    pytest.param(disk(source={"template": "t", "volume": "v"}), "spec.disks[0].source", "exactly one of", id="two sources"),
    pytest.param(disk(source={}), "spec.disks[0].source", "exactly one of", id="no source"),
    pytest.param(nic(bridge="br0"), "spec.interfaces[0]", "exactly one of network, bridge", id="network and bridge"),
    pytest.param(nic(mac="01:00:5e:00:00:01"), "spec.interfaces[0].mac", "multicast", id="a multicast MAC"),
    pytest.param(nic(mac="00:00:00:00:00:00"), "spec.interfaces[0].mac", "not an address", id="a MAC of zeros"),
    pytest.param({"cpus": {"count": 4, "maximum": 2}}, "spec.cpus.count", "more than the maximum, 2", id="more processors than possible"),
    pytest.param({"cpus": {"count": 4, "sockets": 1, "cores": 3, "threads": 1}}, "spec.cpus", "(1 x 3 x 1) do not make the count, 4", id="a topology of another count"),
    pytest.param({"cpus": {"maximum": 8, "cores": 3}}, "spec.cpus", "do not make the maximum, 8", id="cores that do not divide"),
    pytest.param({"cpus": {"mode": "host-model", "model": "EPYC"}}, "spec.cpus.model", "only mode custom", id="a model of another mode"),
    pytest.param({"cpus": {"mode": "custom"}}, "spec.cpus.mode", "custom needs a model", id="no model"),
    pytest.param({"memory": {"size": "4GiB", "maximum": "2GiB"}}, "spec.memory.size", "more than the maximum, 2GiB", id="more memory than possible"),
    pytest.param({"lifecycle": {"disruption": "window"}}, "spec.lifecycle.disruption", "requires `windows`", id="a window that never is"),
    pytest.param({"lifecycle": {"shutdownTimeout": "7h"}}, "spec.lifecycle.shutdownTimeout", "not within 5s to 6h", id="a day to shut down"),
    pytest.param({"lifecycle": {"windows": [{"days": ["mon"], "start": "01:00", "duration": "30s"}]}}, "spec.lifecycle.windows[0].duration", "not within 1m to 24h", id="a window of seconds"),
    pytest.param(installs("rocky9", mode="staged"), "spec.lifecycle.busChange.install", "is for Windows, and os is rocky9; remove it. In a Linux: modprobe virtio_blk", id="drivers of Windows for a Linux"),
    pytest.param(installs("win2k16", mode="direct"), "spec.lifecycle.busChange.install", "requires mode: staged; with direct nothing is installed", id="drivers for a change at once"),
    pytest.param(installs("winxp"), "spec.lifecycle.busChange.install", "is not possible with os winxp: it has no pnputil, which came with Vista; remove it", id="drivers without the program"),
    pytest.param(installs("win2k"), "spec.lifecycle.busChange.install", "is not possible with os win2k: virtio-win has no drivers for it; remove it", id="drivers that were never made"),
    pytest.param(xml(xpath="/domain/devices", fragment="<a>"), "spec.xml[0].fragment", "not well-formed", id="XML that does not end"),
    pytest.param(xml(xpath="/domain/devices", fragment="<a/><b/>"), "spec.xml[0].fragment", "holds 2 elements", id="two elements"),
    pytest.param(xml(xpath="/domain/devices", fragment="words"), "spec.xml[0].fragment", "holds 0 elements", id="no element"),
    pytest.param(xml(xpath="/domain/devices", fragment="<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"), "spec.xml[0].fragment", "refused", id="entities"),
    pytest.param(xml(xpath="//disk", absent=True), "spec.xml[0].xpath", "plain step", id="a search"),
    pytest.param(xml(xpath="/domain/devices/disk[foo:bar/@x='1']", absent=True), "spec.xml[0].xpath", "prefix 'foo'", id="a prefix in a condition"),
    pytest.param(xml(xpath="/domain/devices/disk[../@x='1']", absent=True), "spec.xml[0].xpath", "only [@attribute='value']", id="upwards in a condition"),
    pytest.param(xml(xpath="/domain/devices/²", fragment="<a/>"), "spec.xml[0].xpath", "plain step", id="not a name of XML"),
    pytest.param(xml(xpath="/domain/devices/@a:b", absent=True), "spec.xml[0].xpath", "is not an attribute's name", id="not a plain attribute"),
    pytest.param(xml(xpath="/domain" + "/a" * 250_000, absent=True), "spec.xml[0].xpath", "more than 1000 characters", id="a path of 500 KB"),
    pytest.param(xml(xpath="/domain/" + "[/" * 250_000, absent=True), "spec.xml[0].xpath", "more than 1000 characters", id="brackets of 500 KB"),
    pytest.param(xml(xpath="/domain" + "/a" * 100, absent=True), "spec.xml[0].xpath", "more than 32 steps", id="a hundred steps"),
    pytest.param(xml(xpath="/domain", fragment="<a>" * 230 + "</a>" * 230), "spec.xml[0].fragment", "nested more than 200 deep", id="nested XML"),
    pytest.param(xml(xpath="/domain", fragment="<a>" * 9000 + "</a>" * 9000), "spec.xml[0].fragment", "nested more than 200 deep", id="nested as no parser takes it"),
    pytest.param({"memory": "0MiB"}, "spec.memory", "'0MiB' is not valid; write 1 to 12 digits that do not begin with 0", id="a size of nothing"),
    pytest.param({"memory": "99999999999999TiB"}, "spec.memory", "is not valid; write 1 to 12 digits", id="a size that no host has"),
    pytest.param({"memory": "9" * 4301 + "GiB"}, "spec.memory", "size", id="a size of 4301 digits"),
    pytest.param(disk(size="9" * 4301 + "G"), "spec.disks[0].size", "size", id="a size of 4301 digits, almost right"),
    pytest.param({"lifecycle": {"shutdownTimeout": "9" * 4301 + "s"}}, "spec.lifecycle.shutdownTimeout", "30s", id="a time of 4301 digits"),
    pytest.param(xml(xpath="/network/x", absent=True), "spec.xml[0].xpath", "does not begin with /domain/", id="not of a domain"),
    pytest.param(xml(xpath="/domain/devices/disk[1]", absent=True), "spec.xml[0].xpath", "only [@attribute='value']", id="a position"),
    pytest.param(xml(xpath="/domain/description", fragment="<description>web</description>"), "spec.xml[0].xpath", "must name the parent of <description>: write /domain", id="the element itself"),
    pytest.param(xml(xpath="/domain/devices/disk[target/@dev='vda']", fragment="<disk><driver io='native'/></disk>"), "spec.xml[0].xpath", "must name the parent of <disk>: write /domain/devices", id="the element itself, by a condition"),
    pytest.param(xml(xpath="/domain/devices/@x", fragment="<a/>"), "spec.xml[0].xpath", "not an attribute", id="into an attribute"),
    pytest.param(xml(xpath="/domain/name", absent=True), "spec.xml[0].xpath", "managed by virt-reconciler", id="the name"),
    pytest.param(xml(xpath="/domain/metadata", fragment="<rack>a1</rack>"), "spec.xml[0].fragment", "libvirt drops an element without a namespace in <metadata>; write <my:rack", id="a note that libvirt drops"),
    pytest.param(xml(xpath="/domain", fragment="<metadata><rack/></metadata>"), "spec.xml[0].fragment", "libvirt drops an element without a namespace", id="a note that libvirt drops, in its place"),
    pytest.param(xml(xpath="/domain", fragment="<uuid>x</uuid>"), "spec.xml[0].fragment", "managed by virt-reconciler", id="the UUID"),
    pytest.param(xml(xpath="/domain", fragment="<metadata><m xmlns='urn:virt-reconciler:domain:1'/></metadata>"), "spec.xml[0].fragment", "managed by virt-reconciler", id="our mark"),
    pytest.param(xml(xpath="/domain/devices", absent=True), "spec.xml[0].xpath", "cannot be absent", id="all devices"),
    pytest.param(xml(xpath="/domain/x", absent=False), "spec.xml[0].absent", "only true", id="absent: false"),
    pytest.param(disk(shareable=True, format="qcow2", source={"path": "/x"}), "spec.disks[0].shareable", "only a raw image", id="a shared qcow2"),
    pytest.param(disk(source={"template": "nope"}), "spec.disks[0].source.template", "no Template 'nope' among the given manifests; there are: none", id="an unknown template"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "path", "message"), ALONE)
def test_refused_in_one_machine(spec: Any, path: str, message: str, tmp_path: Path) -> None:
    found = complaints(tmp_path, machine(**spec))
    assert [one for one, _ in found] == [path]
    assert message in found[0][1]


WINDOWS: Any = {"image": "/t", "os": "win2k16"}
CLONE: Any = disk(source={"template": "base"})
SHARED: Any = disk(source={"path": "/dev/sdb"})
UUID = "6b1ba3f4-5d4a-4f0e-9f5d-0c3a7e1f9a10"

STATIC: Any = {**nic(addresses=["192.0.2.10/24"]), "cloudInit": {}}

TOGETHER = [
    pytest.param([machine("a"), machine("a", cpus=1)], "VirtualMachine name a is already used", id="one name"),
    pytest.param([machine("a", **SHARED), machine("b", **SHARED)], "image /dev/sdb is already used", id="one disk"),
    pytest.param([machine("a", disks=[{"name": "x", "source": {"path": "/x"}}, {"name": "y", "source": {"path": "/x"}}])], "image /x is already used", id="one disk twice in a machine"),
    pytest.param([machine("a", **disk(source={"path": "/i/x"})), machine("b", **disk(source={"path": "/i//y/../x"}))], "image /i/x is already used", id="one disk by two spellings"),
    pytest.param([machine("a", **disk(shareable=True, source={"path": "/x"})), machine("b", **disk(source={"path": "/x"}))], "image /x is already used", id="one disk that only one shares"),
    pytest.param([machine("a", **disk(source={"volume": "v"})), machine("b", **disk(pool="default", source={"volume": "v"}))], "volume 'v' of pool 'default'", id="one volume, the pool named once"),
    pytest.param([machine("a", disks=[{**DISK, "name": "b-c"}]), machine("a-b", disks=[{**DISK, "name": "c"}])], "volume 'a-b-c.qcow2'", id="two blank disks of one volume name"),
    pytest.param([machine("a", **disk(size="1GiB")), machine("b", **disk(source={"volume": "a-root.qcow2"}))], "volume 'a-root.qcow2'", id="a volume that is another's to be made"),
    pytest.param([machine("a", uuid=UUID), machine("b", uuid=UUID.upper())], f"uuid {UUID}", id="one UUID"),
    pytest.param([machine("a", **nic(mac="52:54:00:00:00:0a")), machine("b", **nic(mac="52:54:00:00:00:0A"))], "mac 52:54:00:00:00:0a", id="one MAC"),
    pytest.param([machine("a", **STATIC), machine("b", **STATIC)], "address 192.0.2.10 is already used", id="one static address"),
    pytest.param([template("t", image="/dev/sdb"), machine("a", **SHARED)], "image /dev/sdb is already used", id="a template as a disk"),
    pytest.param([template("t", volume="v"), machine("a", **disk(source={"volume": "v"}))], "volume 'v'", id="a template's volume as a disk"),
]  # fmt: skip


@pytest.mark.parametrize(("texts", "message"), TOGETHER)
def test_refused_between_manifests(texts: Sequence[str], message: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, *texts)
    (problem,) = loaded.problems
    assert message in problem.message
    assert f" at {problem.file}:" in problem.message
    assert (loaded.desired.machines, loaded.desired.templates) == ((), ())


ALLOWED = [
    pytest.param([machine("a", placement={"host": "x"}, **SHARED), machine("b", placement={"host": "y"}, **SHARED)], id="one path on two hosts"),
    pytest.param([machine("a", **STATIC), machine("b", **{**STATIC, **nic(network="other", addresses=["192.0.2.10/24"])})], id="one address in two networks"),
    pytest.param([machine("a", placement={"host": "x"}, **STATIC), machine("b", placement={"host": "y"}, **STATIC)], id="one address on two hosts"),
    pytest.param([machine("a", **disk(readonly=True, source={"path": "/x"})), machine("b", **disk(readonly=True, source={"path": "/x"}))], id="one disk that all only read"),
    pytest.param([machine("a", **disk(shareable=True, source={"path": "/x"})), machine("b", **disk(shareable=True, format="raw", source={"path": "/x"}))], id="one raw disk that all share"),
    pytest.param([template("t", image="/x"), machine("b", **disk(readonly=True, source={"path": "/x"}))], id="a template's image to read"),
    pytest.param([template("a", image="/x"), template("b", image="/x", linkedClones=True)], id="two templates of one image"),
    pytest.param([template("a"), machine("a")], id="a template and a machine of one name"),
    pytest.param([machine("a", **disk(pool="p", source={"volume": "v"})), machine("b", **disk(pool="q", source={"volume": "v"}))], id="volumes of one name in two pools"),
    pytest.param([template(**WINDOWS, generalized="sysprep, 2026-03-01"), machine(os="win2k16", **CLONE)], id="a generalized Windows"),
    pytest.param([template(), machine(os="rocky9", **CLONE)], id="a Linux template as it is"),
]  # fmt: skip


@pytest.mark.parametrize("texts", ALLOWED)
def test_allowed_between_manifests(texts: Sequence[str], tmp_path: Path) -> None:
    loaded = load(tmp_path, *texts)
    assert loaded.problems == ()
    assert len(loaded.desired.machines) + len(loaded.desired.templates) == len(texts)


def test_a_windows_template_must_be_generalized(tmp_path: Path) -> None:
    found = complaints(tmp_path, template(**WINDOWS), machine(**CLONE), machine("other"))
    assert [path for path, _ in found] == ["spec.generalized", "spec.disks[0].source.template"]
    assert "run sysprep in it and record it" in found[0][1]
    assert found[1][1] == "Template 'base' is itself invalid"


def test_a_windows_machine_needs_a_generalized_template_that_does_not_say_its_os(
    tmp_path: Path,
) -> None:
    ((path, message),) = complaints(tmp_path, template(), machine(os="win2k16", **CLONE))
    assert path == "spec.disks[0].source.template"
    assert "win2k16 is Windows, and Template 'base' is not generalized" in message


def test_one_bad_machine_does_not_keep_the_others(tmp_path: Path) -> None:
    loaded = load(tmp_path, machine("good"), machine("bad", cpus=0), machine("better"))
    assert [one.name for one in loaded.desired.machines] == ["better", "good"]
    assert len(loaded.problems) == 1


def test_a_third_of_a_name_is_told_once(tmp_path: Path) -> None:
    found = complaints(tmp_path, *(machine("a", cpus=number) for number in (1, 2, 3)))
    assert [message.split(" at ")[0] for _, message in found] == [
        "VirtualMachine name a is already used"
    ] * 2


def test_the_name_of_an_invalid_machine_counts(tmp_path: Path) -> None:
    paths = [path for path, _ in complaints(tmp_path, machine("a", cpus=0), machine("a"))]
    assert paths == ["spec.cpus", "metadata.name"]


def test_meaning_is_checked_where_the_schema_has_no_say(tmp_path: Path) -> None:
    spec: Any = {
        "cpus": "x",
        "memory": {"size": "2GiB", "maximum": "1GiB"},
        "disks": [{"name": "a", "size": "4G"}],
    }
    paths = [path for path, _ in complaints(tmp_path, machine(**spec))]
    assert paths == ["spec.cpus", "spec.memory.size", "spec.disks[0].size"]
