"""The service's unit: what systemd says of it, and what must and must not be in it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Dict, List

import pytest

FOLDER = Path(__file__).parents[3] / "packaging" / "systemd"
MAIN = FOLDER / "virt-reconciler.service"
UNITS = sorted(FOLDER.glob("*.service"))
EXPOSURE = 20  # tenths

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not here"
)


def read(path: Path) -> Dict[str, List[str]]:
    """Return setting → its values."""
    found: Dict[str, List[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze, which needs no systemd that runs."""
    return subprocess.run(["systemd-analyze", *words], check=False, capture_output=True, text=True)


@needs_systemd
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("/usr/bin/virt-reconciler", "/bin/true")
    (tmp_path / path.name).write_text(text, encoding="utf-8")
    done = analyze("verify", "--man=no", str(tmp_path / path.name))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_the_daemon_is_confined() -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(MAIN))
    assert done.returncode == 0, done.stdout


def test_the_service_is_supervised() -> None:
    unit = read(MAIN)
    assert unit["Type"] == ["notify"]  # notify-reload is younger than Rocky 9's systemd
    assert unit["NotifyAccess"] == ["main"]
    assert unit["ExecStart"] == ["/usr/bin/virt-reconciler run"]
    check = "/usr/bin/virt-reconciler config check"
    assert unit["ExecReload"] == [check, "/bin/kill -HUP $MAINPID"]
    assert unit["WatchdogSec"] == ["60"]
    assert unit["Restart"] == ["on-failure"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert unit["TimeoutStopSec"] == ["90"]


def test_neither_manifests_nor_a_bug_take_the_hosts_memory() -> None:
    unit = read(MAIN)
    assert unit["MemoryMax"] == ["1G"]
    assert unit["TasksMax"] == ["256"]


def test_it_is_ordered_after_both_kinds_of_daemons_and_pulls_in_neither() -> None:
    unit = read(MAIN)
    after = " ".join(unit["After"]).split()
    assert {"virtqemud.socket", "libvirtd.socket", "libvirt-guests.service"} <= set(after)
    pulling = {"Wants", "Requires", "Requisite", "BindsTo", "PartOf", "Upholds", "Conflicts"}
    assert sorted(pulling & set(unit)) == []


def test_what_the_daemon_looks_up_in_proc_is_not_hidden() -> None:
    # A guest whose process cannot be seen would be taken for one that has ended.
    assert not {"ProtectProc", "ProcSubset", "PrivateUsers"} & set(read(MAIN))


def test_a_credential_that_may_be_missing_is_not_in_the_unit() -> None:
    assert "LoadCredential" not in read(MAIN)
    example = read(FOLDER / "deploy-key.conf")
    assert example == {"LoadCredential": ["deploy_key:/etc/virt-reconciler/deploy_key"]}


def test_what_images_need_that_are_fetched_is_an_example() -> None:
    assert read(MAIN)["CapabilityBoundingSet"] == [""]
    capability = ["CAP_DAC_OVERRIDE"]
    assert read(FOLDER / "images.conf") == {
        "AmbientCapabilities": capability,
        "CapabilityBoundingSet": capability,
        "ReadWritePaths": ["/var/lib/libvirt/images"],
    }


def test_what_clones_need_that_are_prepared_is_an_example() -> None:
    unit, example = read(MAIN), read(FOLDER / "prepare.conf")
    assert unit["MemoryDenyWriteExecute"] == unit["ProtectKernelModules"] == ["yes"]
    assert example["MemoryDenyWriteExecute"] == example["ProtectKernelModules"] == ["no"]
    assert example["User"] == ["root"]
    assert example["CapabilityBoundingSet"] == ["CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER CAP_SETGID"]
    assert "~@privileged @resources" in unit["SystemCallFilter"]  # with @chown among them
    assert example["SystemCallFilter"] == ["@chown capset setgid"]
    assert example["DeviceAllow"] == ["/dev/kvm rw"]


def test_folders_have_the_modes_that_the_package_gives_them() -> None:
    unit = read(MAIN)
    folders = (FOLDER.parent / "tmpfiles.conf").read_text(encoding="utf-8")
    for name, path in (("State", "/var/lib"), ("Configuration", "/etc")):
        assert unit[f"{name}Directory"] == ["virt-reconciler"]
        assert f"d {path}/virt-reconciler {unit[f'{name}DirectoryMode'][0]} " in folders
