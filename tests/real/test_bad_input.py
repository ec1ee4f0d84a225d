"""Bad input on a real host: one clear line, the exit status of the contract, nothing touched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Tuple, Union

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.manifests.reader import load_manifests
from reconciler.core.plan import PlanOptions
from reconciler.kinds.machine.observe import observe
from tests.execution import execute
from tests.lab.host import LabHost
from tests.real.commands import Command
from tests.real.worlds import Product, Silent

FAILED, INVALID = 1, 65
UUID = "6f1c8a8e-0000-4000-8000-00000000000a"
MAC = "52:54:00:aa:00:0a"


def vm(name: str, *fields: str) -> str:
    """Return a manifest of a small machine with these fields besides."""
    spec = "".join(
        f"  {field}\n" for field in ("cpus: 1", "memory: 128MiB", "interfaces: []", *fields)
    )
    head = "apiVersion: virt-reconciler/v1\nkind: VirtualMachine\n"
    return f"{head}metadata: {{name: {name}}}\nspec:\n{spec}"


def without(text: str, line: str) -> str:
    """Return the text without that line."""
    return text.replace(f"  {line}\n", "")


# It is there before, and has what others may not take.
TAKEN = without(
    vm(
        "taken",
        f"uuid: {UUID}",
        "disks: [{name: root, size: 64MiB}]",
        f"interfaces: [{{name: lan, network: default, mac: '{MAC}'}}]",
    ),
    "interfaces: []",
)
BOMB = "".join(
    f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" if n else "l0: &l0 [x]\n" for n in range(12)
)


@dataclass(frozen=True)
class Bad:
    """A manifest, the exit status, and what its one line says."""

    text: Union[str, bytes]
    status: int
    words: Tuple[str, ...]


CASES: Dict[str, Bad] = {
    "unknown field": Bad(vm("bad", "cpu: 2"), INVALID, ("bad.yaml:8:3: spec.cpu: unknown field",)),
    "wrong type": Bad(vm("bad", "autostart: 'yes'"), INVALID, ("bad.yaml:8:", "spec.autostart")),
    "unquoted number": Bad(
        vm("bad", "disks: [{name: a, size: 10}]"), INVALID, ("bad.yaml:8:", "disks[0].size")
    ),
    "duplicate name": Bad(
        f"{vm('bad')}---\n{vm('bad')}", INVALID, ("bad.yaml:11:18: metadata.name: ", "used at bad.yaml:3:18")
    ),
    "two machines on one disk": Bad(
        vm("bad", "disks: [{name: a, source: {path: /x.img}, format: raw}]")
        + "---\n"
        + vm("worse", "disks: [{name: b, source: {path: /x.img}, format: raw}]"),
        INVALID,
        ("bad.yaml:17:36: spec.disks[0].source.path: ", "/x.img", "bad.yaml:8:36"),
    ),
    "a disk of another machine": Bad(
        vm("bad", "disks: [{name: a, source: {volume: taken-root.qcow2}}]"),
        FAILED,
        ("bad", "disks[a].source", "is already used by domain taken"),
    ),
    "pool": Bad(
        vm("bad", "disks: [{name: a, size: 1GiB, pool: fast}]"),
        FAILED,
        ("bad", "disks[a].pool", "'fast'", "there are: default"),
    ),
    "network": Bad(
        without(vm("bad", "interfaces: [{name: a, network: dmz}]"), "interfaces: []"),
        FAILED,
        ("bad", "interfaces[a].network: no network 'dmz' on this host; there are: default"),
    ),
    "template": Bad(
        vm("bad", "disks: [{name: a, source: {template: gold}}]"),
        INVALID,
        ("bad.yaml:8:", "gold"),
    ),
    "machine type": Bad(
        vm("bad", "machine: pc-q35-99.0"), FAILED, ("bad", "pc-q35-99.0", "available: ")
    ),
    "smaller than the volume": Bad(
        TAKEN.replace("64MiB", "32MiB"), 0, ("disks[root].size: 64MiB → 32MiB", "never shrunk")
    ),
    "mac": Bad(
        without(vm("bad", f"interfaces: [{{name: a, network: default, mac: '{MAC}'}}]"), "interfaces: []"),
        FAILED,
        ("bad", f"interfaces[a].mac: {MAC} is already used by domain taken"),
    ),
    "uuid": Bad(vm("bad", f"uuid: {UUID}"), FAILED, ("bad", "uuid", "used by domain taken")),
    "a name that is a path": Bad(vm("../bad"), INVALID, ("bad.yaml:3:", "metadata.name")),
    "a name that holds XML": Bad(vm("'<bad/>'"), INVALID, ("bad.yaml:3:", "metadata.name")),
    "10 MB": Bad(vm("bad") + "# more\n" * 1_500_000, INVALID, ("bad.yaml", "1 MiB")),
    "a bomb": Bad(BOMB, INVALID, ("bad.yaml:", "alias")),
    "not YAML": Bad("a: [1, 2\nb: }", INVALID, ("bad.yaml:2:",)),
    "a tab": Bad("a:\n\tb: 1\n", INVALID, ("bad.yaml:2:1:", "tab")),
    "not UTF-8": Bad(b"a: \xff\xfe\n", INVALID, ("bad.yaml:1:", "UTF-8")),
}  # fmt: skip


@pytest.fixture
def command(product: Product, lab: LabHost, tmp_path: Path) -> Command:
    """Return the command on a host where the machine `taken` is."""
    command = Command(lab.uri(), tmp_path)
    command.write("taken.yaml", TAKEN)
    command("apply", "--yes", "taken.yaml")
    return command


def everything(product: Product) -> object:
    """Return what is on the host."""
    names = product.host.domains.list_domains()
    return {name: product.xml(name) for name in names}, product.volumes()


def put(command: Command, text: Union[str, bytes]) -> None:
    """Write the bad manifest."""
    raw = text if isinstance(text, bytes) else text.encode()
    (command.folder / "bad.yaml").write_bytes(raw)


@pytest.mark.parametrize("case", CASES)
def test_one_clear_line_and_nothing_touched(command: Command, product: Product, case: str) -> None:
    bad = CASES[case]
    put(command, bad.text)
    before = everything(product)
    done = command("apply", "--yes", "bad.yaml", status=bad.status)
    lines = [
        line
        for line in {*done.stdout.splitlines(), *done.stderr.splitlines()}
        if all(word in line for word in bad.words)
    ]
    assert len(lines) == 1, f"{bad.words} in:\n{done.stdout}\n{done.stderr}"
    assert everything(product) == before


@pytest.mark.parametrize("case", ["unknown field", "network", "not YAML", "uuid"])
def test_one_bad_machine_keeps_no_other_from_being_made(
    command: Command, product: Product, case: str
) -> None:
    bad = CASES[case]
    put(command, bad.text)
    command.write("good.yaml", vm("good"))
    done = command("apply", "--yes", "bad.yaml", "good.yaml", status=bad.status)
    assert "Applied: 1 created, " in done.stdout
    assert set(product.host.domains.list_domains()) == {"good", "taken"}


def test_an_empty_folder_is_an_error_and_never_means_that_nothing_is_wanted(
    command: Command, product: Product
) -> None:
    (command.folder / "empty").mkdir()
    before = everything(product)
    for verb in (("validate",), ("plan",), ("apply", "--yes")):
        done = command(*verb, "empty", status=INVALID)
        assert "empty" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert everything(product) == before


def test_a_libvirt_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    command = Command("qemu+unix:///system?socket=/nowhere/sock", tmp_path)
    command.write("good.yaml", vm("good"))
    for verb in (("plan", "good.yaml"), ("apply", "--yes", "good.yaml"), ("status",)):
        done = command(*verb, status=FAILED)
        [line] = done.stderr.splitlines()
        assert "cannot reach libvirt at qemu+unix:///system?socket=/nowhere/sock" in line
        assert "running, and may this user use it?" in line


def test_a_machine_that_vanishes_between_plan_and_apply_is_not_made_anew(
    command: Command, product: Product, lab: LabHost
) -> None:
    path = command.write("taken.yaml", TAKEN.replace("cpus: 1", "cpus: 2"))
    desired = load_manifests([str(path)]).desired
    plan = observe(product.host, desired).plan(PlanOptions())
    lab.virsh("undefine", "taken")
    [outcome] = execute(product.host, desired, plan, Silent(), SystemClock())
    assert outcome.error == "the domain is gone since the plan was made; plan again"
    assert product.host.domains.list_domains() == {}
    assert product.volumes() == {"taken-root.qcow2"}
