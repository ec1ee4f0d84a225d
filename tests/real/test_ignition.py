"""Ignition's file and systemd's credentials on real libvirt: what the guest gets, and that it goes."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest

from reconciler.adapters.libvirt.host import connect
from reconciler.adapters.secrets import LocalSecrets
from reconciler.core.ignition import RESULT, Ignition
from reconciler.core.machine import Machine, Power
from reconciler.core.manifest import MachineManifest
from reconciler.core.plan import ActionKind
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.features import find_ignition
from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.lab.namespaces import list_commands
from tests.real.booting import Bench
from tests.real.faults import Fault, FaultyHost, Killed, kill
from tests.real.scenarios import BASE
from tests.real.test_first_boot import Later, find_mark, plan
from tests.real.worlds import Product, manifest_of

SECRET = 'w9Kx"4,\\é'  # noqa: S105 - what the test looks for
CREDENTIALS = {"firstboot.timezone": "UTC", "login.issue": "a, b = <c>\n\\n", "vmm.x": "1,2=3 &"}
OFF = replace(BASE, power=Power.STOPPED)
FW_CFG = "/sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw"
OEM_STRINGS = 11


def make_config(secret: Optional[Path] = None) -> Dict[str, Any]:
    """Return a configuration, with a secret in two places if there is a file of one."""
    config: Dict[str, Any] = {"ignition": {"version": "3.4.0"}, "passwd": {"users": []}}
    if secret is not None:
        ref = {"secretRef": {"file": str(secret)}}
        config["passwd"]["users"] = [{"name": "core", "passwordHash": ref}]
        config["storage"] = {"files": [{"path": "/etc/a", "contents": {"source": ref}}]}
    return config


def ignite(manifest: MachineManifest, config: Any) -> MachineManifest:
    """Return the manifest with `ignition`."""
    generation = f"{hash(repr(config)):x}"[:12]
    return replace(manifest, ignition=Ignition(config), generation=generation)


def off(version: str = "3.4.0", machine: Machine = OFF) -> MachineManifest:
    """Return the manifest of a machine that no test boots."""
    return ignite(manifest_of(machine), {"ignition": {"version": version}})


def apply(product: Product, manifest: MachineManifest) -> None:
    """Apply, and hold that nothing is left to do then."""
    for outcome in product.apply(manifest):
        assert outcome.error is None
    assert plan(product, manifest).action is ActionKind.NONE


def find_file(xml: str) -> Optional[str]:
    """Return the path that QEMU hands on."""
    return find_ignition(parse(xml))


def find_files(product: Product) -> List[str]:
    """Return the files for Ignition in the pool."""
    return [name for name in product.volumes() if name.endswith(".ign")]


def read_oem_strings(guest: Guest) -> Iterator[str]:
    """Yield the strings of SMBIOS type 11, as the guest's kernel has them."""
    table = base64.b64decode(guest.exec("base64", "/sys/firmware/dmi/tables/DMI"))
    while table:
        kind, length = table[0], table[1]
        strings, _, rest = table[length:].partition(b"\0\0")
        if kind == OEM_STRINGS:
            yield from strings.decode().split("\0")
        table = rest[1:] if rest[:1] == b"\0" and not strings else rest


def read_credentials(guest: Guest) -> Dict[str, str]:
    """Return the credentials as systemd in the guest reads them."""
    found = {}
    for text in read_oem_strings(guest):
        head, _, value = text.partition("=")
        prefix, _, name = head.partition(":")
        is_binary = prefix == "io.systemd.credential.binary"
        assert is_binary or prefix == "io.systemd.credential"
        found[name] = base64.b64decode(value).decode() if is_binary else value
    return found


def test_a_guest_reads_what_the_manifest_gives_it(
    bench: Bench, lab: LabHost, tmp_path: Path
) -> None:
    product = Product(connect(lab.uri(), secrets=lambda: LocalSecrets(None)))
    bench, secret = replace(bench, product=product), tmp_path / "secret"
    secret.write_text(f"{SECRET}\n", encoding="utf-8")
    secret.chmod(0o600)
    credentials = json.dumps(CREDENTIALS, sort_keys=True)
    plain = bench.manifest(replace(BASE, credentials=credentials))
    manifest = ignite(plain, make_config(secret))
    guest = bench.boot(manifest)

    words = f". /bin/plugged; drive fw_cfg; base64 {FW_CFG}"
    given = base64.b64decode(guest.exec("sh", "-c", words)).decode()
    url = f"data:;base64,{base64.b64encode(SECRET.encode()).decode()}"
    config = make_config(secret)
    config["passwd"]["users"][0]["passwordHash"] = SECRET
    config["storage"]["files"][0]["contents"]["source"] = url
    assert json.loads(given) == config
    assert read_credentials(guest) == CREDENTIALS

    mark = find_mark(product)
    assert stat.S_IMODE(os.stat(mark.path).st_mode) & 0o077 == 0
    seen = [product.xml(BASE.name), product.live_xml(BASE.name)]
    seen += list_commands()
    assert not [text for text in seen if SECRET in text or url in text]

    boot_id = guest.boot_id()
    guest.exec("mkdir", "-p", "/etc")
    guest.exec("touch", RESULT)
    [change] = plan(product, manifest).changes
    assert (change.path, change.effect.value) == ("ignition", "live")
    apply(product, manifest)
    assert find_file(product.xml(BASE.name)) is None
    assert find_file(product.live_xml(BASE.name)) == mark.path
    lab.save(BASE.name)
    assert plan(product, manifest_without_power(manifest)).changes == ()
    lab.virsh("start", BASE.name)
    assert guest.boot_id() == boot_id, "the guest was restarted, not restored"

    changed = replace(manifest.machine, credentials='{"login.issue": "a", "vmm.x": "1,2=3 &"}')
    after = replace(manifest, machine=changed, generation="other")
    [change] = plan(product, after).changes[:1]
    assert (change.path, change.desired, change.effect.value) == (
        "credentials",
        "login.issue (changed), vmm.x",
        "next-boot",
    )
    bench.apply(after)
    assert bench.pending(after) == ("credentials",)
    guest = bench.cold_start(after)
    assert find_file(product.live_xml(BASE.name)) is None
    assert find_files(product) == []
    assert not os.path.exists(mark.path)
    assert read_credentials(guest) == {"login.issue": "a", "vmm.x": "1,2=3 &"}
    none = replace(after, machine=replace(changed, credentials="{}"), generation="none")
    bench.apply(none)
    assert "sysinfo" not in product.xml(BASE.name)


def manifest_without_power(manifest: MachineManifest) -> MachineManifest:
    """Return the manifest of which nothing is started."""
    return replace(manifest, machine=replace(manifest.machine, power=None))


def test_a_guest_without_its_file_does_not_start_and_the_next_apply_mends_it(
    product: Product, lab: LabHost
) -> None:
    apply(product, off())
    os.unlink(find_mark(product).path)
    refused = lab.virsh("start", BASE.name, check=False)
    assert refused.returncode, "QEMU starts without it; then nothing has to be mended"
    running = off(machine=BASE)
    apply(product, running)
    assert find_file(product.live_xml(BASE.name)) == find_mark(product).path
    product.host.domains.power_off(BASE.name)
    os.unlink(find_mark(product).path)
    apply(product, running)
    assert find_file(product.live_xml(BASE.name)) is None
    assert find_mark(product).path == ""


def interrupt(product: Product, manifest: MachineManifest, step: int, *, after: bool) -> None:
    """Kill an apply at that call, and apply again."""
    fault = Fault(step, kill, after=after)
    try:
        product.apply(manifest, host=FaultyHost.around(product.host, fault))
    except Killed:
        pass
    else:
        assert fault.calls <= step
    apply(product, manifest)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(8))
def test_a_kill_in_the_creation_is_finished(product: Product, step: int, *, after: bool) -> None:
    interrupt(product, off(), step, after=after)
    assert product.volumes() == {"guest-root.qcow2", "guest-ignition.ign"}
    assert find_file(product.xml(BASE.name)) == find_mark(product).path


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(5))
def test_a_kill_in_an_exchange_is_finished(product: Product, step: int, *, after: bool) -> None:
    apply(product, off())
    interrupt(product, off("3.3.0"), step, after=after)
    assert product.volumes() == {"guest-root.qcow2", "guest-ignition-2.ign"}
    assert find_file(product.xml(BASE.name)) == find_mark(product).path


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(4))
def test_a_kill_in_the_removal_is_finished(
    product: Product, lab: LabHost, step: int, *, after: bool
) -> None:
    unmanaged = off(machine=replace(OFF, power=None))
    apply(product, unmanaged)
    product.host.domains.start(BASE.name)
    apply(product, unmanaged)
    product.host.domains.power_off(BASE.name)
    later = Product(connect(lab.uri(), locks=Later()))
    interrupt(later, unmanaged, step, after=after)
    assert product.volumes() == {"guest-root.qcow2"}
    assert find_file(product.xml(BASE.name)) is None


def test_everyone_on_the_host_reads_credentials(product: Product, lab: LabHost) -> None:
    """So a secret among them is refused; should libvirt hide them one day, this test says so."""
    manifest = manifest_of(replace(OFF, credentials='{"a": "q7Zr2vX1"}'))
    apply(product, manifest)
    words = ["virsh", "-q", "-r", "-c", f"{lab.uri()}-ro", "dumpxml", BASE.name]
    shown = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert "q7Zr2vX1" in shown
