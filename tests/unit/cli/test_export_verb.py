"""`export`: minimal manifests, remarks on what they leave out, valid together, and safe YAML."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple, Union

import pytest

from reconciler.core.images import Images, ImageView, SnapshotView
from reconciler.core.names import Owner
from reconciler.core.world import DomainView, GuestState, Reading, Unknown, World
from reconciler.core.yaml_text import write_documents
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.domain.mark import set_owner
from reconciler.kinds.machine.export import export_machine
from tests.unit.full_disk import full_disk
from tests.unit.memory_host import MemoryHost, empty_host

from .domains import AROUND, LIVE, ODD, STORED
from .fakes import FakeServices, call

yaml = pytest.importorskip("yaml")
Golden = Callable[[Path, str], None]
GOLDEN = Path(__file__).parent / "golden"
TESTS = Path(__file__).parents[2]
GIB = 1024**3


def reading(name: str, xml: str, live: str | None = None, **more: Any) -> Reading:
    state = GuestState.RUNNING if live else GuestState.OFF
    return read(DomainView(name, "u", state, xml, live, **more))


PLAIN = reading("web01", STORED)
RUNNING = reading(
    "web01", set_owner(STORED, Owner("web01", "g", "{}", "rocky9")), LIVE, autostart=True
)
STRANGE = reading("odd one", ODD)
SIZES = {
    "/var/lib/libvirt/images/web01.qcow2": 20 * GIB,
    "/srv/images/a disk.raw": 10 * GIB + 512,  # no whole number of KiB: cannot be written
    "sda": 30 * GIB,
}


def foreign(path: str) -> Reading:
    """Return a domain of another tool, that other tests look at too."""
    return reading("it", (TESTS / path).read_text(encoding="utf-8"))


FOREIGN = "unit/domain/golden/foreign"
MADE_BY = "real/foreign/made_by"
SEALED = STORED.replace(
    "  <devices>",
    "  <launchSecurity type='sev'><policy>0x0003</policy></launchSecurity>\n  <devices>",
)


def host_with(*domains: Union[Reading, Unknown], around: World = AROUND) -> FakeServices:
    """Return a host with these domains; one that is Unknown is called `dark`."""
    images = dict(around.images.views)
    snapshot = replace(
        empty_host(),
        domains={
            domain.view.name if isinstance(domain, Reading) else "dark": (
                domain.view if isinstance(domain, Reading) else domain
            )
            for domain in domains
        },
        sizes={domain.view.name: SIZES for domain in domains if isinstance(domain, Reading)},
        networks=around.networks,
        pools=around.pools,
        machines=around.machines,
        images=images,
        snapshots=around.images.snapshots,
    )
    return FakeServices(host=MemoryHost(snapshot))


@pytest.mark.parametrize(
    ("name", "one"),
    [
        ("plain", PLAIN),
        ("running-and-owned", RUNNING),
        ("odd", STRANGE),
        ("sealed", reading("web01", SEALED)),
        ("linux", foreign(f"{FOREIGN}/linux-q35.xml")),
        ("linux-pc", foreign(f"{FOREIGN}/linux-pc.xml")),
        ("windows", foreign(f"{FOREIGN}/windows-q35.xml")),
        ("exotic", foreign(f"{FOREIGN}/exotic.xml")),
        ("cockpit", foreign(f"{MADE_BY}/cockpit.xml")),
        ("openstack", foreign(f"{MADE_BY}/openstack.xml")),
        ("ovirt", foreign(f"{MADE_BY}/ovirt.xml")),
        ("vagrant", foreign(f"{MADE_BY}/vagrant.xml")),
    ],
)
def test_export_reads_as_its_golden_file(name: str, one: Reading, golden: Golden) -> None:
    services = host_with(one)
    golden(GOLDEN / f"export-{name}.yaml", call(services, "export", "--all").out)


def test_yaml_says_what_was_exported() -> None:
    manifest = export_machine(STRANGE, SIZES, AROUND)
    assert yaml.safe_load(write_documents([(manifest, ("a remark",))])) == manifest


def test_all_is_one_stream_of_documents_by_name() -> None:
    services = host_with(*(reading(one, STORED.replace("web01", one)) for one in "ba"))
    text = call(services, "export", "--all").out
    assert [one["metadata"]["name"] for one in yaml.safe_load_all(text)] == ["a", "b"]
    assert call(services, "export", "--all").out == text


OTHER_CARDS = {
    "macvtap on eno1": "<interface type='direct'>{}<source dev='eno1' mode='bridge'/></interface>",
    "SR-IOV function on 0000:3e:10.1": (
        "<interface type='hostdev' managed='yes'>{}<source><address type='pci' domain='0x0000' "
        "bus='0x3e' slot='0x10' function='0x1'/></source></interface>"
    ),
    "user networking": "<interface type='user'>{}<model type='virtio'/></interface>",
    "vhost-user on /run/ovs.sock": (
        "<interface type='vhostuser'>{}<source type='unix' path='/run/ovs.sock' mode='client'/>"
        "</interface>"
    ),
    "vDPA device on /dev/vhost-vdpa-0": (
        "<interface type='vdpa'>{}<source dev='/dev/vhost-vdpa-0'/></interface>"
    ),
    "tap device on tap0": "<interface type='ethernet'>{}<target dev='tap0'/></interface>",
    "type mcast on 230.0.0.1": (
        "<interface type='mcast'>{}<source address='230.0.0.1' port='5558'/></interface>"
    ),
}


@pytest.mark.parametrize("what", OTHER_CARDS)
def test_interface_of_another_kind_is_named_by_its_mac_and_left_alone(what: str) -> None:
    card = OTHER_CARDS[what].format("<mac address='52:54:00:00:00:09'/>")
    xml = STORED.replace("    <serial type='pty'/>", f"{card}<serial type='pty'/>")
    [spec], text = export(reading("web01", xml))
    assert [one["name"] for one in spec["interfaces"]] == ["default", "nic1"]
    assert spec["interfaces"][1] == {"name": "nic1", "mac": "52:54:00:00:00:09"}
    assert f"# interface 52:54:00:00:00:09: {what}; named only, and kept as it is\n" in text


def test_power_is_written_where_it_is_asked_for() -> None:
    off = reading("web02", STORED.replace("web01<", "web02<").replace("aa:bb:cc", "aa:bb:cd"))
    services = host_with(RUNNING, off)
    assert "power" not in call(services, "export", "--all").out
    specs = [
        one["spec"] for one in yaml.safe_load_all(call(services, "export", "--all", "--power").out)
    ]
    assert [spec["power"] for spec in specs] == ["running", "stopped"]


def test_image_in_a_pool_is_named_by_its_volume() -> None:
    xml = STORED.replace("/var/lib/libvirt/images/web01.qcow2", "/fast//data.qcow2")
    [spec], _ = export(reading("web01", xml))
    assert spec["disks"][0]["source"] == {"volume": "data.qcow2", "pool": "fast"}


def test_image_that_was_made_for_the_machine_needs_no_source() -> None:
    xml = STORED.replace("/var/lib/libvirt/images/web01.qcow2", "/fast/data.qcow2")
    sizes = {"/fast/data.qcow2": 20 * GIB}
    ours = reading("web01", set_owner(xml, Owner("web01", "g", made=("/fast/data.qcow2",))))
    [disk] = export_machine(ours, sizes, AROUND)["spec"]["disks"]
    assert (disk["pool"], disk["size"], "source" in disk) == ("fast", "20GiB", False)
    copy = reading("web01", set_owner(xml, Owner("other", "g", made=("/fast/data.qcow2",))))
    [disk] = export_machine(copy, sizes, AROUND)["spec"]["disks"]
    assert disk["source"] == {"volume": "data.qcow2", "pool": "fast"}


def test_what_lies_below_an_image_is_told_and_only_a_snapshot_s_is_named() -> None:
    top = "/var/lib/libvirt/images/web01.qcow2"
    views = {top: ImageView(top, backing="/images/template.qcow2")}
    around = replace(AROUND, images=Images(views))
    services = host_with(PLAIN, around=around)
    text = call(services, "export", "web01").out
    assert f"# disk root: {top} lies over /images/template.qcow2, and is not changed\n" in text
    assert yaml.safe_load(text)["spec"]["disks"][0]["source"] == {"path": top}

    snapshot = SnapshotView("nightly", overlays={"sda": top})
    images = Images(views, snapshots={"web01": (snapshot, SnapshotView("s1"), SnapshotView("s2"))})
    services = host_with(PLAIN, around=replace(AROUND, images=images))
    text = call(services, "export", "web01").out
    assert f"# disk root: on external snapshot 'nightly' ({top}); the manifest names" in text
    assert "# internal snapshots are not changed: s1, s2\n" in text
    [disk] = yaml.safe_load(text)["spec"]["disks"]
    assert (disk["source"], "format" in disk) == ({"path": "/images/template.qcow2"}, False)


LONG = "rootdisk-of-a-claim-with-a-rather-long-name-0123456789"


def test_device_whose_alias_no_manifest_can_hold_gets_a_short_name() -> None:
    xml = STORED.replace("ua-root", f"ua-{LONG}").replace(
        "<source network='default'/>", f"<source network='default'/><alias name='ua-{LONG}-nic'/>"
    )
    [spec], _ = export(reading("web01", xml))
    assert (spec["disks"][0]["name"], spec["disks"][0]["target"]) == ("sda", "sda")
    assert spec["interfaces"][0]["name"] == "default"


BOOTS = {
    "<boot dev='network'/><boot dev='hd'/>": "network, hd",
    "<boot dev='cdrom'/>": "cdrom",
    "<boot dev='hd'/>": None,
    "": None,
}


@pytest.mark.parametrize("boots", BOOTS)
def test_boot_order_of_the_whole_domain_is_told_where_it_is_more_than_the_disk(boots: str) -> None:
    text = export(reading("web01", STORED.replace("</type>", f"</type>{boots}")))[1]
    remark = f"# not in the manifest, and not changed: the boot order of os/boot: {BOOTS[boots]}\n"
    assert (remark in text) is (BOOTS[boots] is not None)
    assert "os/boot" in text or BOOTS[boots] is None


def test_files_are_written_one_for_each_domain_and_never_over_another(tmp_path: Path) -> None:
    services = host_with(*(reading(one, STORED.replace("web01<", f"{one}<")) for one in "ab"))
    folder = tmp_path / "new" / "vms"
    result = call(services, "export", "--all", "--output-dir", str(folder))
    assert result.status == 0, result.err
    assert result.out.splitlines() == [str(folder / "a.yaml"), str(folder / "b.yaml")]
    assert yaml.safe_load((folder / "b.yaml").read_text())["metadata"] == {"name": "b"}
    (folder / "a.yaml").unlink()
    (folder / "b.yaml").write_text("mine")
    result = call(services, "export", "--all", "--output-dir", str(folder))
    assert result.status == 64
    assert f"nothing was written: {folder / 'b.yaml'} exists already; use --force" in result.err
    assert [one.name for one in folder.iterdir()] == ["b.yaml"]
    assert call(services, "export", "--all", "--output-dir", str(folder), "--force").status == 0
    assert (folder / "b.yaml").read_text() != "mine"


def test_a_second_export_into_the_same_folder_changes_nothing_unless_it_is_forced(
    tmp_path: Path,
) -> None:
    services = host_with(PLAIN)
    words = ("export", "--all", "--output-dir", str(tmp_path))
    assert call(services, *words).status == 0
    file = tmp_path / "web01.yaml"
    first = file.read_text()
    again = call(services, *words)
    assert (again.status, again.out) == (64, "")
    assert f"nothing was written: {file} exists already; use --force to replace it" in again.err
    assert call(services, *words, "--force").status == 0
    assert file.read_text() == first
    assert [one.name for one in tmp_path.iterdir()] == ["web01.yaml"]


def test_an_export_to_a_full_disk_leaves_no_part_of_it(tmp_path: Path) -> None:
    cards = "".join(
        f"<interface type='network'><mac address='52:54:00:00:00:{number}'/>"
        "<source network='default'/><model type='virtio'/></interface>"
        for number in range(10, 40)
    )
    other = STORED.replace("web01<", "b<").replace("aa:bb:cc", "aa:bb:dd").replace("web01", "b")
    large = other.replace("9a10</uuid>", "9a11</uuid>").replace(
        "<interface ", f"{cards}<interface "
    )
    domains = (reading("a", STORED.replace("web01<", "a<")), reading("b", large))
    services = host_with(*domains)
    sizes = [len(export(domain)[1]) for domain in domains]
    assert sizes[0] < 2048 < sizes[1]
    words = ("export", "--all", "--output-dir", str(tmp_path))
    with full_disk(2048):
        result = call(services, *words)
    assert (result.status, result.out) == (1, "")
    path = tmp_path / "b.yaml"
    assert f"nothing was written: {path}: cannot be written: File too large" in result.err
    assert list(tmp_path.iterdir()) == []
    assert call(services, *words).status == 0


def test_force_alone_is_wrong_usage() -> None:
    result = call(host_with(PLAIN), "export", "web01", "--force")
    assert (result.status, "--force requires --output-dir" in result.err) == (64, True)


def test_machine_without_interfaces_says_so() -> None:
    xml = STORED[: STORED.index("    <interface")] + STORED[STORED.index("    <serial") :]
    assert export_machine(reading("web01", xml), {}, AROUND)["spec"]["interfaces"] == []


def test_unreadable_and_absent_domains_are_errors_and_the_others_are_written() -> None:
    services = host_with(PLAIN, Unknown("timed out"))
    result = call(services, "export", "web01", "dark", "gone")
    assert result.status == 1
    assert yaml.safe_load(result.out)["metadata"] == {"name": "web01"}
    assert result.err.splitlines() == [
        "virt-reconciler: error: gone: no such domain on this host",
        "virt-reconciler: error: dark: cannot be read: timed out",
    ]


def export(*domains: Reading) -> Tuple[List[Dict[str, Any]], str]:
    """Return the specs of all, and the text with its remarks."""
    services = host_with(*domains)
    text = call(services, "export", "--all").out
    return [one["spec"] for one in yaml.safe_load_all(text)], text


def test_host_that_cannot_say_what_it_offers_has_everything_written_down() -> None:
    spec = export_machine(PLAIN, SIZES, World("kvm01", "qemu:///system"))["spec"]
    assert (spec["firmware"], spec["video"], spec["rng"]) == ("bios", "virtio", True)
    assert "firmware" not in export_machine(PLAIN, SIZES, AROUND)["spec"]


OSINFO = "http://libosinfo.org/xmlns/libvirt/domain/1.0"
SYSTEMS = {
    "http://microsoft.com/win/11": "win11",
    "http://microsoft.com/win/2k12r2": "win2k12r2",
    "http://fedoraproject.org/fedora/37": "fedora37",
    "http://ubuntu.com/ubuntu/22.04": "ubuntu22.04",
    "http://libosinfo.org/linux/2022": None,
    "http://fedoraproject.org/fedora/unknown": None,
}


@pytest.mark.parametrize("full", SYSTEMS)
def test_system_is_the_one_that_other_tools_wrote_down(full: str) -> None:
    mark = f"<metadata><l:libosinfo xmlns:l='{OSINFO}'><l:os id='{full}'/></l:libosinfo></metadata>"
    one = reading("web01", STORED.replace("  <memory", f"{mark}<memory", 1))
    assert export_machine(one, SIZES, AROUND)["spec"].get("os") == SYSTEMS[full]
    remark = f"# os is left out: {full} has no short id that is certain; set it if you know it"
    assert (remark in export(one)[1]) is (SYSTEMS[full] is None)


CPU = "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>{}</model>{}</cpu>"
CPUS = {
    ("qemu64", ""): 2,
    ("Nehalem", ""): {"count": 2, "mode": "custom", "model": "Nehalem"},
    ("qemu64", "<feature policy='disable' name='svm'/>"): {
        "count": 2, "mode": "custom", "model": "qemu64",
    },
}  # fmt: skip


@pytest.mark.parametrize("cpu", CPUS)
def test_cpu_that_libvirt_filled_in_is_nobodys_wish(cpu: Tuple[str, str]) -> None:
    one = reading("web01", STORED.replace("  <devices>", f"{CPU.format(*cpu)}<devices>"))
    assert export_machine(one, SIZES, AROUND)["spec"]["cpus"] == CPUS[cpu]


# What validation refuses is left out, and told: what is changed, how, what is gone, and why.
REFUSED = {
    "serial number": (
        "<alias name='ua-root'/>", "<alias name='ua-root'/><serial>a/b</serial>", ("disks", "serial"),
        "disks[root].serial: left out, and not changed: 'a/b' is not valid; write at most 36",
    ),
    "format": (
        "type='qcow2'", "type='vmdk'", ("disks", "format"),
        "disks[root].format: left out, and not changed: ",
    ),
    "model": (
        "<model type='virtio'/>\n    </interface>", "<model type='ne2k_isa'/>\n    </interface>",
        ("interfaces", "model"), "interfaces[default].model: left out, and not changed: ",
    ),
    "boot order": (
        "<alias name='ua-root'/>", "<boot order='100'/><alias name='ua-root'/>", ("disks", "boot"),
        "disks[root].boot: left out, and not changed: ",
    ),
    "name of a bridge": (
        "<source network='default'/>", "<source bridge='a-very-long-bridge'/>", ("interfaces",),
        "interfaces: left out, and not changed: ",
    ),
    "video": ("<model type='virtio'/>\n    </video>", "<model type='ramfb'/></video>", ("video",),
        "video: left out, and not changed: "),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_validation_refuses_is_left_out_and_told(what: str) -> None:
    old, new, gone, remark = REFUSED[what]
    assert old in STORED
    [spec], text = export(reading("web01", STORED.replace(old, new)))
    assert remark in text
    kind, *fields = gone
    assert (
        [field for field in fields if field in spec[kind][0]] == [] if fields else kind not in spec
    )


def test_two_domains_with_one_image_and_one_address_are_valid_together() -> None:
    both = [reading(name, STORED.replace("web01<", f"{name}<")) for name in ("a", "b")]
    [one, other], text = export(*both)
    assert one["disks"][0]["source"]["path"].endswith("web01.qcow2")
    assert "source" not in other["disks"][0]
    assert other["disks"][0]["target"] == "sda"
    assert "interfaces" not in other
    assert "web01.qcow2 is already used at domain a\n" in text


def test_device_without_alias_does_not_take_the_name_of_one_that_has_it() -> None:
    [spec], _ = export(reading("web01", ODD.replace("<link ", "<alias name='ua-vda'/><link ")))
    assert spec["disks"][0]["name"] == "drive-vda"
    assert spec["disks"][0]["target"] == "vda"
    assert spec["interfaces"][0]["name"] == "vda"


def test_volume_that_is_not_there_is_kept_as_it_is() -> None:
    [spec], text = export(reading("odd", ODD.replace("pool='fast'", "pool='gone'")))
    assert "source" not in spec["disks"][1]
    assert "# disk vdb: its source gone/data.qcow2 is not changed" in text


@pytest.mark.parametrize("name", [".hidden", "it's", "a&b", "x" * 64])
def test_name_that_no_manifest_can_hold_is_an_error_and_the_others_are_written(name: str) -> None:
    xml = STORED.replace(">web01<", f">{name.replace('&', '&amp;')}<")
    services = host_with(reading(name, xml), STRANGE)
    result = call(services, "export", "--all")
    assert result.status == 1
    assert [one["metadata"]["name"] for one in yaml.safe_load_all(result.out)] == ["odd one"]
    assert f"{name}: a manifest cannot express this: metadata.name: " in result.err
    assert "write a name of at most 63 characters" in result.err


@pytest.mark.parametrize("name", ["no", "1e3", "12", "ein Ümlaut", "a: b", "~"])
def test_name_that_yaml_would_misread_is_quoted(name: str) -> None:
    one = reading(name, STORED.replace(">web01<", f">{name}<"))
    text = call(host_with(one), "export", name).out
    assert yaml.safe_load(text)["metadata"] == {"name": name}


def test_remarks_name_what_is_kept_and_never_what_it_holds() -> None:
    extra = "<vnc passwd='hunter2'/><encryption format='luks'><secret uuid='hunter2'/></encryption>"
    xml = STORED.replace("<target dev='sda'", f"{extra}<target dev='sda'")
    text = export(reading("web01", xml))[1]
    assert "# disk root: not changed: vnc, encryption\n" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "value",
    [
        "plain", "no", "On", "y", "null", "~", "1:30", "0x1f", "1e3", "1_000", "12", "4GiB", "",
        " lead", "trail ", "a: b", "a #b", "- a", "{a}", "[a]", "*a", "&a", "!a", "%a", "@a", "`a`",
        'quote"d', "back\\slash", "line\nbreak", "tab\t", "\x00\x1b", "\u2028", "\ufeff", "ünïcödé",
        "\U0001f600", "\u202e", "=", "<<", "...", "---", "2001-01-01", ".5", "+1", "0o7", "NaN",
        "pc-q35-7.2", "/var/lib/a b.qcow2", "52:54:00:12:34:56", "\x85", "\ud7ff", "none",
    ],
)  # fmt: skip
def test_any_string_comes_back_from_yaml_as_it_was(value: str) -> None:
    text = write_documents([({"key": value, "list": [value], "m": [{"k": value}]}, ())])
    assert yaml.safe_load(text) == {"key": value, "list": [value], "m": [{"k": value}]}


def test_remark_cannot_break_out_of_its_comment() -> None:
    text = write_documents([({"a": 1}, ("evil\nkey: value",))])
    assert yaml.safe_load(text) == {"a": 1}
