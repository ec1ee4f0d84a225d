"""A real cloud image: from its address to machines that one logs into, and what stays as it was.

One test, because its guests boot for minutes without KVM: each step goes on where the last one ended.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from tests.lab.cloud_image import build_cloud_image
from tests.lab.host import LabHost
from tests.real.cloud_site import BOOT_ID, LIMIT, Site
from tests.real.worlds import Product
from tests.unit.adapters.web_server import Files, serve

TEMPLATE = """\
apiVersion: virt-reconciler/v1
kind: Template
metadata: {{name: {name}}}
spec:
  os: debian12
  linkedClones: true
  image: {{url: "{url}", sha256: {sha256}, pool: {pool}}}
"""
MACHINE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  os: debian12
  power: running
  cpus: 1
  memory: 384MiB
  disks:
    - {{name: root, size: 2GiB, pool: {pool}, source: {{template: {template}, clone: {clone}}}}}
  cdroms: []
  interfaces:
    - {interface}
  guestAgent: true
  cloudInit:
    hostname: {hostname}
    sshKeys: ["{key}"]
    users:
      - {{name: deploy, sshKeys: ["{key}"], groups: [adm], sudo: true}}
    userData:
      runcmd: ["echo {hostname} >>/var/log/runs", "{last}"]
    onChange: {on_change}
"""
DHCP = "{name: lan, network: default}"
STATIC = (
    "{name: lan, network: default, addresses: [192.168.122.50/24], gateways: [192.168.122.1], "
    "nameservers: [192.168.122.1]}"
)
CLONES = {
    "full01": {"clone": "full", "pool": "default", "template": "debian12", "interface": DHCP},
    "linked01": {"clone": "linked", "pool": "default", "template": "debian12", "interface": STATIC},
    "reflink01": {"clone": "reflink", "pool": "xfs", "template": "debian12-xfs", "interface": DHCP},
}
# What may be written anew when cloud-init takes a guest for another machine.
IDENTITY = ("machine_id", "host_key", "instance", "users_made", "runs", "hostname")


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """Return a web server on this machine."""
    monkeypatch.setenv("no_proxy", "*")
    with serve() as web:
        yield web


@pytest.fixture
def site(product: Product, lab: LabHost, web: Files, tmp_path: Path) -> Site:
    """Return a host with nothing on it, and the image on a web server."""
    site = Site(lab, tmp_path, build_cloud_image())
    web.content["/debian-12.qcow2"] = site.image.path.read_bytes()
    for name, pool in (("debian12", "default"), ("debian12-xfs", "xfs")):
        fields = {"url": f"{web.url}/debian-12.qcow2", "sha256": site.image.sha256, "pool": pool}
        site.write(f"{name}.yaml", TEMPLATE.format(name=name, **fields))
    return site


def write(
    site: Site, name: str, hostname: str = "", on_change: str = "keep", last: str = "true"
) -> None:
    """Write the manifest of a machine, with the last command of its first boot."""
    fields = {"hostname": hostname or name, "on_change": on_change, "last": last}
    fields["key"] = site.public_key
    site.write(f"{name}.yaml", MACHINE.format(name=name, **CLONES[name], **fields))


def apply(site: Site) -> str:
    """Apply all manifests, and hold that nothing is left to do then."""
    done = site.command("apply", "--yes", "m").stdout
    assert plan(site)["summary"]["none"] == len(list((site.folder / "m").iterdir())), done
    return done


def plan(site: Site) -> Dict[str, Any]:
    """Return the plan as JSON."""
    found: Dict[str, Any] = json.loads(site.command("plan", "--format", "json", "m").stdout)
    return found


def changes(site: Site) -> Dict[str, List[Any]]:
    """Return path, effect and reason of what changes in each machine, beside its mark."""
    found = {
        resource["name"]: [
            (one["path"], one["effect"], one["reason"])
            for one in resource["changes"]
            if not one["path"].startswith("metadata.")
        ]
        for resource in plan(site)["resources"]
    }
    return {name: lines for name, lines in found.items() if lines}


def test_from_an_address_to_machines_that_one_logs_into(site: Site, web: Files) -> None:
    for name in CLONES:
        write(site, name)
    shown = site.command("apply", "--yes", "--wait=10m", "m", limit=2 * LIMIT).stdout
    assert f"fetched from {web.url}/debian-12.qcow2" in shown
    assert [start for _, start in web.asked if start == 0], "it was fetched"
    see_that_they_were_waited_for(site)
    first = site.in_each(site.look, CLONES)

    see_what_the_manifests_say(first)
    see_three_machines(site, first)
    see_no_seed_any_more(site, first)
    keep_then_rerun(site, "linked01")
    cold_start(site, "full01", "linked01")
    second = site.in_each(site.look, ("full01", "linked01"))
    see_the_same_machine(site, first["full01"], second["full01"])
    see_another_instance(site, first["linked01"], second["linked01"])


def see_that_they_were_waited_for(site: Site) -> None:
    """See that cloud-init has finished in all guests, as the plan notices by the agent."""
    assert sorted(changes(site)) == sorted(CLONES)
    for [(path, effect, reason)] in changes(site).values():
        assert (path, effect) == ("cloudInit", "live")
        assert reason == "cloud-init has finished; the seed is removed"


def see_what_the_manifests_say(seen: Dict[str, Dict[str, str]]) -> None:
    """Host name, users, addresses and the size of the disk, as they are inside."""
    for name, guest in seen.items():
        result = json.loads(guest["result"])["v1"]
        assert result["errors"] == []
        assert "NoCloud" in result["datasource"]
        assert guest["hostname"] == name
        assert {"deploy", "adm"} <= set(guest["deploy"].split())
        assert guest["runs"] == name
        assert guest["instance"].startswith(f"{name}-")
        assert int(guest["root_size"]) > 1900, "the file system has grown with the disk"
        assert guest["drives"].startswith("sr0 rom ")
    assert seen["linked01"]["addresses"] == "192.168.122.50/24"


def see_three_machines(site: Site, seen: Dict[str, Dict[str, str]]) -> None:
    """See that they share no machine-id, host key or lease, and that each user can log in."""
    for what in ("machine_id", "host_key", "addresses", "boot_id", "instance"):
        assert len({guest[what] for guest in seen.values()}) == len(seen), what
    leases = site.lab.virsh("net-dhcp-leases", "default").stdout
    assert "full01" in leases
    assert "reflink01" in leases
    assert "192.168.122.50/" not in leases
    assert site.ssh("linked01", "sudo -n id -un", user="deploy").strip() == "root"


def see_no_seed_any_more(site: Site, first: Dict[str, Dict[str, str]]) -> None:
    """See that the next apply removes what was for the first boot, and disturbs no guest."""
    apply(site)
    assert "seed" not in site.lab.virsh("vol-list", "default").stdout
    assert "seed" not in site.lab.virsh("vol-list", "xfs").stdout
    boots = site.in_each(lambda name: site.ssh(name, f"cat {BOOT_ID}").strip(), CLONES)
    for name, boot in boots.items():
        assert "device='cdrom'" not in site.lab.virsh("dumpxml", "--inactive", name).stdout
        assert "seed.iso" not in site.lab.virsh("dumpxml", name).stdout
        assert boot == first[name]["boot_id"]


def keep_then_rerun(site: Site, name: str) -> None:
    """See a changed seed kept from the guest, and with `rerun` planned for the next boot.

    Its last command fails.
    """
    write(site, name, hostname="renamed")
    [resource] = [one for one in plan(site)["resources"] if one["name"] == name]
    assert changes(site) == {}
    assert "the guest is not told (onChange: keep)" in resource["notes"][0]

    write(site, name, hostname="renamed", on_change="rerun", last="false")
    [[(path, effect, reason)]] = changes(site).values()
    assert (path, effect) == ("cloudInit", "next-boot")
    command = reason.partition("first run in the guest: ")[2]
    apply(site)
    site.ssh(name, command)


def see_the_same_machine(site: Site, before: Dict[str, str], after: Dict[str, str]) -> None:
    """See that nothing ran again in the guest that was shut down and started."""
    assert "device='cdrom'" not in site.lab.virsh("dumpxml", before["hostname"]).stdout
    assert after["boot_id"] != before["boot_id"]
    assert after["drives"] == ""
    assert {what: after[what] for what in IDENTITY} == {what: before[what] for what in IDENTITY}


def see_another_instance(site: Site, before: Dict[str, str], after: Dict[str, str]) -> None:
    """See that everything ran again, and what cloud-init itself says of the command that failed."""
    name = before["hostname"]
    assert after["hostname"] == "renamed"
    assert after["runs"].split() == [name, "renamed"]
    assert after["instance"] != before["instance"]
    assert after["host_key"] != before["host_key"]
    assert after["machine_id"] == before["machine_id"]
    [error] = json.loads(after["result"])["v1"]["errors"]
    assert "scripts-user" in error
    told = site.command("apply", "--yes", "--wait=30m", "m", status=1).stderr
    assert f"{name}: its guest is not ready after " in told
    assert f": cloud-init failed: {error}" in told
    assert changes(site) == {}
    assert "seed" not in site.lab.virsh("vol-list", "default").stdout


def cold_start(site: Site, *names: str) -> None:
    """Shut guests down properly, as a person does, and have them started again."""
    for name in names:
        site.lab.virsh("shutdown", name)
    for name in names:
        site.wait(partial(site.is_off, name), f"{name} is off")
    apply(site)
    (site.folder / "known-linked01").unlink()  # new SSH host keys, as the plan said
    for name in names:
        site.wait_finished(name)
