"""Secrets by reference on real libvirt: in the domain, and in nothing else that anybody can read."""

from __future__ import annotations

import base64
import contextlib
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from string import ascii_letters, digits
from typing import Callable, Dict, Iterator, List, Sequence, Set

import pytest

from reconciler.core.names import MARK_NAMESPACE
from tests.lab.host import LabHost
from tests.lab.namespaces import list_commands
from tests.real.commands import Command
from tests.real.worlds import Product


def make_secrets() -> Dict[str, str]:
    """Return secrets that no other process knows: one puts them on a command line, to be found."""
    chance = random.SystemRandom()
    names = ("vnc", "spice", "passed")
    return {name: "".join(chance.choices(ascii_letters + digits, k=8)) for name in names}


FIRST, SECOND = make_secrets(), make_secrets()
ALL = frozenset({*FIRST.values(), *SECOND.values()})
# As Ignition gets the contents of a file.
SOUGHT = ALL | {base64.b64encode(text.encode()).decode() for text in ALL}
KEPT = "8c1f2c55-7c3a-4c0e-9b52-52b1c4a2a001"  # the UUID of libvirt's secret
DEFINITION = f"<secret private='no'><uuid>{KEPT}</uuid><usage type='tls'><name>spice-ticket</name></usage></secret>"
MACHINE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  os: generic
  power: running
  cpus: 1
  memory: 64MiB
  disks: []
  interfaces: []
  graphics: {graphics}
  graphicsPassword: {{secretRef: {ref}}}
"""
FIRST_BOOTS = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: seeded}}
spec:
  os: generic
  power: stopped
  cpus: 1
  memory: 64MiB
  disks: []
  interfaces: []
  cloudInit:
    onChange: rerun
    users: [{{name: a, passwordHash: {{secretRef: {{file: {secrets}/vnc}}}}}}]
    userData: {{chpasswd: {{users: [{{name: b, password: {{secretRef: {{libvirt: spice-ticket}}}}}}]}}}}
---
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: ignited}}
spec:
  os: generic
  power: running
  cpus: 1
  memory: 64MiB
  disks: []
  interfaces: []
  ignition:
    config:
      ignition: {{version: 3.4.0}}
      passwd: {{users: [{{name: core, passwordHash: {{secretRef: {{credential: passed}}}}}}]}}
      storage:
        files: [{{path: /a, contents: {{source: {{secretRef: {{file: {secrets}/vnc}}}}}}}}]
---
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: named}}
spec:
  os: win2k16
  power: stopped
  cpus: 1
  memory: 64MiB
  disks: []
  interfaces: []
  windows:
    administratorPassword: {{secretRef: {{file: {secrets}/vnc}}}}
    productKey: {{secretRef: {{credential: passed}}}}
    join: {{domain: a.b, username: c, password: {{secretRef: {{libvirt: spice-ticket}}}}}}
"""
CONFIGURATION = """\
apiVersion: virt-reconciler/v1
kind: Configuration
spec:
  source: {{directory: {folder}/vms}}
  connect: "{uri}"
  state: {folder}/state
  resync: 10s
"""
LIMIT = 120.0  # seconds; only a failure takes that long
FORMATS = ("text", "json", "markdown", "html")


class Site:
    """Three machines, the places of their secrets, and all that was printed."""

    def __init__(self, lab: LabHost, folder: Path) -> None:
        self.lab, self.folder, self.secrets = lab, folder, folder / "secrets"
        self.command = Command(lab.uri(), folder)
        config = str(folder / "config.yaml")
        self.program = (sys.executable, "-m", "reconciler", "--config", config)
        self.printed: List[str] = []
        self.names: Sequence[str] = tuple(FIRST)
        for name in ("vms", "state", "out"):
            (folder / name).mkdir()
        self.secrets.mkdir(mode=0o700)
        (folder / "secret.xml").write_text(DEFINITION, encoding="utf-8")
        lab.virsh("secret-define", str(folder / "secret.xml"))
        text = CONFIGURATION.format(folder=folder, uri=lab.uri())
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        self.put(FIRST)
        refs = {
            "vnc": f"{{file: {self.secrets}/vnc}}",
            "spice": "{libvirt: spice-ticket}",
            "passed": "{credential: passed}",
        }
        for name, ref in refs.items():
            graphics = "spice" if name == "spice" else "vnc"
            self.command.write(
                f"vms/{name}.yaml", MACHINE.format(name=name, graphics=graphics, ref=ref)
            )

    def put(self, texts: Dict[str, str]) -> None:
        """Write the secrets where the host has them."""
        for name, text in texts.items():
            path = self.secrets / name
            path.write_text(f"{text}\n", encoding="utf-8")
            path.chmod(0o600)
        words = ("--file", str(self.secrets / "spice"), "--plain")
        self.lab.virsh("secret-set-value", KEPT, *words)

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command with the configuration, and keep what it prints."""
        done = subprocess.run(
            [*self.program, *words], cwd=self.folder, env=self.command.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == status, f"{done.returncode}, not {status}\n{done}"
        self.printed.append(done.stdout + done.stderr)
        return self.printed[-1]

    def dump(self, name: str, *options: str) -> str:
        """Return a domain as a user of libvirt who may write sees it."""
        return self.lab.virsh("dumpxml", name, *options).stdout

    def list_public(self) -> Dict[str, str]:
        """Return all that is not the secrets' own place: files, output, what readers see."""
        found = {f"output {number}": text for number, text in enumerate(self.printed)}
        for path in self.folder.rglob("*"):
            if path.is_file() and self.secrets not in path.parents:
                found[str(path)] = path.read_bytes().decode("utf-8", "replace")
        reader = ["virsh", "-q", "-r", "-c", f"{self.lab.uri()}-ro"]
        for name in self.names:
            for options in ([], ["--inactive"]):
                words = [*reader, "dumpxml", name, *options]
                found[f"{name} {options}"] = run(words)
            found[f"mark of {name}"] = run([*reader, "metadata", name, MARK_NAMESPACE])
        return found


def run(words: List[str]) -> str:
    """Run a program of the host."""
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=LIMIT).stdout


@contextlib.contextmanager
def watched_processes() -> Iterator[Set[str]]:
    """Collect the command lines of all processes for as long as it lasts."""
    seen: Set[str] = set()
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            seen.update(list_commands())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


@pytest.fixture
def site(
    product: Product, lab: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """Return three machines with secrets; systemd passes one of these."""
    site = Site(lab, tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(site.secrets))
    yield site
    for name in site.names:
        lab.virsh("destroy", name, check=False)
    lab.virsh("secret-undefine", KEPT)
    product.clear()


def find_leaks(texts: Dict[str, str]) -> List[str]:
    """Return the places that have a secret in them."""
    return [place for place, text in texts.items() if any(secret in text for secret in SOUGHT)]


def test_secrets_are_in_the_domains_and_in_no_other_place(site: Site) -> None:
    with watched_processes() as seen:
        site.run("validate", "vms")
        for name in FORMATS:
            site.run("plan", "--format", name, "vms")
        site.run("plan", "--out", "out/kept.plan", "vms")
        site.run("-v", "apply", "--yes", "out/kept.plan")
        assert "3 unchanged" in site.run("plan", "vms")
        for verb in (("status",), ("snapshot",), ("export", *FIRST), ("history", "vnc")):
            site.run(*verb)
        (site.folder / "out" / "host.json").write_text(site.run("snapshot"), encoding="utf-8")
        assert "No changes" in site.run("plan", "--against", "out/host.json", "vms")
        for name, text in FIRST.items():
            assert all(text in site.dump(name, *how, "--security-info") for how in HOWS)
        _change(site)
        site.run("history", "vnc", "--format", "json")
        site.run("rollback", "--yes", "vnc")
    assert find_leaks(site.list_public()) == []
    assert [line for line in seen if any(secret in line for secret in ALL)] == []


HOWS = ((), ("--inactive",))


def test_secrets_of_a_first_boot_are_in_its_volume_and_in_no_other_place(site: Site) -> None:
    site.names = ("seeded", "ignited", "named")
    for name in FIRST:
        (site.folder / "vms" / f"{name}.yaml").unlink()
    site.command.write("vms/boots.yaml", FIRST_BOOTS.format(secrets=site.secrets))
    with watched_processes() as seen:
        site.run("validate", "vms")
        for name in FORMATS:
            site.run("plan", "--format", name, "vms")
        site.run("plan", "--out", "out/kept.plan", "vms")
        site.run("-v", "apply", "--yes", "out/kept.plan")
        assert "No changes" in site.run("plan", "vms")
        assert _read_volume(site, "seeded-seed.iso").count(FIRST["vnc"]) == 1
        assert FIRST["spice"] in _read_volume(site, "seeded-seed.iso")
        assert FIRST["passed"] in _read_volume(site, "ignited-ignition.ign")
        answers = _read_volume(site, "named-unattend.iso")
        assert [text for text in FIRST.values() if text not in answers] == []
        for verb in (("status",), ("snapshot",), ("export", *site.names), ("history", "seeded")):
            site.run(*verb)
        (site.folder / "out" / "host.json").write_text(site.run("snapshot"), encoding="utf-8")
        assert "No changes" in site.run("plan", "--against", "out/host.json", "vms")
        site.put(SECOND)
        shown = site.run("plan", "-v", "vms")
        assert "0 to create, 2 to change (0 next-boot, 0 restart)" in shown
        assert "ignition: a secret that it names changed since the guest got it" in shown
        site.run("apply", "--yes", "vms")
        assert "No changes" in site.run("plan", "vms")
        assert SECOND["vnc"] in _read_volume(site, "seeded-seed-2.iso")
        assert SECOND["vnc"] in _read_volume(site, "named-unattend-2.iso")
        assert FIRST["passed"] in _read_volume(site, "ignited-ignition.ign"), "it has started"
        site.run("history", "seeded", "--format", "json")
        site.run("rollback", "--yes", "seeded")
    assert find_leaks(site.list_public()) == []
    assert [line for line in seen if any(secret in line for secret in SOUGHT)] == []


def _read_volume(site: Site, name: str) -> str:
    """Return what a volume holds, which nobody but root and QEMU can read."""
    path = Path(site.lab.virsh("vol-path", name, "--pool", "default").stdout.strip())
    assert path.stat().st_mode & 0o077 == 0
    return path.read_bytes().decode("utf-8", "replace")


def _change(site: Site) -> None:
    """Change one secret after the other: each is one change, and none is left."""
    for name, text in SECOND.items():
        site.put({**FIRST, name: text} if name == "vnc" else {**SECOND, **_later(name)})
        shown = site.run("plan", "vms")
        assert f"{name}" in shown
        assert "0 to create, 1 to change (0 next-boot, 0 restart)" in shown
        assert "graphicsPassword: (hidden) → " in shown
        site.run("apply", "--yes", "vms")
        assert all(text in site.dump(name, *how, "--security-info") for how in HOWS)
        assert "No changes" in site.run("plan", "vms")


def _later(name: str) -> Dict[str, str]:
    """Return the secrets that are not changed yet, when that of `name` is."""
    names = list(FIRST)
    return {other: FIRST[other] for other in names[names.index(name) + 1 :]}


def test_the_mark_of_an_earlier_version_is_cleaned_and_the_guest_runs_on(site: Site) -> None:
    site.run("apply", "--yes", "vms")
    old = (
        '<manifest name="vnc" generation="0123456789ab"><spec>{"xml":[{"fragment":"&lt;graphics '
        f'passwd=\\"{FIRST["vnc"]}\\"/&gt;","xpath":"/domain/devices"}}]}}</spec></manifest>'
    )
    words = ("metadata", "vnc", MARK_NAMESPACE, "--key", "vr", "--set", old)
    site.lab.virsh(*words, "--config")
    site.lab.virsh(*words, "--live")
    assert len(find_leaks(site.list_public())) == 3  # stored, running, and asked for by itself
    number = site.lab.virsh("domid", "vnc").stdout
    shown = site.run("plan", "vms")
    assert "an earlier version stored a password in the domain's metadata" in shown
    assert "0 to create, 1 to change (0 next-boot, 0 restart)" in shown
    site.run("apply", "--yes", "vms")
    assert find_leaks(site.list_public()) == []
    assert "No changes" in site.run("plan", "vms")
    assert site.lab.virsh("domid", "vnc").stdout == number


def test_the_daemon_changes_a_secret_and_logs_none(site: Site) -> None:
    words = [*site.program, "run"]
    log = site.folder / "out" / "log"
    with log.open("w", encoding="utf-8") as file, watched_processes() as seen:
        daemon = subprocess.Popen(
            words, env=site.command.environment, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            _wait(lambda: _has_all(site, FIRST), daemon, log)
            site.put(SECOND)
            _wait(lambda: _has_all(site, SECOND), daemon, log)
            site.run("status")
        finally:
            daemon.terminate()
            daemon.wait(LIMIT)
    assert find_leaks(site.list_public()) == []
    assert [line for line in seen if any(secret in line for secret in ALL)] == []
    assert "graphicsPassword" in log.read_text(encoding="utf-8")


def _has_all(site: Site, texts: Dict[str, str]) -> bool:
    names = site.lab.virsh("list", "--name").stdout.split()
    return all(
        name in names and text in site.dump(name, "--security-info") for name, text in texts.items()
    )


def _wait(condition: Callable[[], bool], daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        said = log.read_text(encoding="utf-8")[-3000:]
        assert daemon.poll() is None, f"the daemon ended:\n{said}"
        assert time.monotonic() < deadline, f"the daemon has not done it:\n{said}"
