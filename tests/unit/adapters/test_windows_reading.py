"""What is read of a Windows in an image, beside stand-ins of libguestfs' programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from reconciler.adapters import child_programs, guestfs
from reconciler.adapters.guestfs import VirtSysprep
from reconciler.adapters.libvirt.connections import Connections
from reconciler.adapters.state.known_images import NAME, KnownImages
from reconciler.cli.services import Services
from reconciler.core.windows_images import (
    BITLOCKER,
    COMPLETE,
    CONTROLLER,
    DAMAGED,
    HIBERNATED,
    NO_WINDOWS,
    SEALED,
    WindowsImage,
)
from reconciler.errors import TransientError

# What the real programs say (1.48.2), as tests/real/test_sealed.py has them say it.
NO_SYSTEM = "echo 'virt-win-reg: No operating system could be detected inside this' >&2; exit 2"
HIVE = "echo 'inspect_os: unhandled exception thrown: Hivex.Error at line 315.' >&2; exit 2"
NO_VALUE = "echo 'hivexget failed: 256 at /usr/bin/virt-win-reg line 371.' >&2; exit 2"
LISTED = "printf 'Name,Type,VFS,Label,MBR,Size,Parent\\n/dev/sda1,partition,,,07,%s,-\\n' 5"
MOUNT = "echo \"mount: /sysroot: unknown filesystem type 'BitLocker'.\" >&2; exit 1"

Put = Callable[..., VirtSysprep]


@pytest.fixture
def told() -> List[str]:
    """Return what is told while it is read."""
    return []


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: List[str]) -> Put:
    """Return what puts shell scripts in the places of the programs, each noting its call."""
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(b"")
    monkeypatch.setattr(child_programs, "KERNELS", (str(kernel),))
    (tmp_path / "image").write_bytes(b"")
    (tmp_path / "state").mkdir()

    def write(**texts: str) -> VirtSysprep:
        scripts: Dict[str, str] = dict.fromkeys(guestfs.READERS, "exit 1")
        scripts.update({name.replace("_", "-"): text for name, text in texts.items()})
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, text in scripts.items():
            program = folder / name
            call = f'echo "{name} $*" >> {tmp_path}/calls'
            program.write_text(f"#!/bin/sh\n{call}\n{text}\n", encoding="utf-8")
            program.chmod(0o755)
        path = f"{folder}:{os.environ['PATH']}"
        return VirtSysprep({"PATH": path}, KnownImages(str(tmp_path / "state")), told.append)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return write


def answer(**by_word: str) -> str:
    """Return a script that answers by a word in its call."""
    cases = "".join(f"*{word}*) {text};; " for word, text in by_word.items())
    return f'case "$*" in {cases} *) exit 1;; esac'


REGISTRY = {"ProductOptions": "echo ServerNT"}


@pytest.mark.parametrize(
    ("scripts", "image"),
    [
        ({"virt_win_reg": f"echo {SEALED}"}, WindowsImage(SEALED)),
        (
            {"virt_win_reg": f"echo {SEALED}", "virt_cat": "echo '[State]'; echo '<unattend x>'"},
            WindowsImage(SEALED, has_answers=True),
        ),
        (
            {"virt_win_reg": NO_VALUE, "virt_cat": f"echo ImageState={SEALED}; exit 1"},
            WindowsImage(SEALED),
        ),
        (
            {"virt_win_reg": answer(ImageState=f"echo {COMPLETE}", **REGISTRY)},
            WindowsImage(COMPLETE),
        ),
        (
            {"virt_win_reg": answer(ImageState=f"echo {COMPLETE}", ProductType="echo LanmanNT")},
            WindowsImage(COMPLETE, why=CONTROLLER),
        ),
        (
            {
                "virt_win_reg": answer(ImageState=f"echo {COMPLETE}", **REGISTRY),
                "virt_cat": answer(hiberfil="printf HIBR; exec cat /dev/zero"),
            },
            WindowsImage(COMPLETE, why=HIBERNATED),
        ),
        ({"virt_win_reg": HIVE, "virt_cat": HIVE}, WindowsImage(fault=DAMAGED)),
        ({"virt_win_reg": NO_SYSTEM}, WindowsImage(fault=NO_WINDOWS)),
        (
            {"virt_win_reg": NO_SYSTEM, "virt_filesystems": LISTED, "virt_cat": MOUNT},
            WindowsImage(fault=BITLOCKER),
        ),
    ],
    ids=[
        "sealed",
        "an answer file",
        "by the file",
        "complete",
        "a domain controller",
        "hibernated",
        "damaged",
        "none",
        "encrypted",
    ],
)
def test_image_is_read(
    put: Put, tmp_path: Path, scripts: Dict[str, str], image: WindowsImage
) -> None:
    assert put(**scripts).read_windows(str(tmp_path / "image"), "qcow2") == image
    calls = (tmp_path / "calls").read_text(encoding="utf-8")
    assert str(tmp_path / "image") in calls
    assert "--merge" not in calls  # the only way in which one of them writes


def test_what_was_read_counts_until_the_image_is_another(
    put: Put, tmp_path: Path, told: List[str]
) -> None:
    image = tmp_path / "image"
    sealed = put(virt_win_reg=f"echo {SEALED}").read_windows(str(image), "raw")
    assert sealed.is_sealed
    assert [str(image) in line for line in told] == [True]
    again = put(virt_win_reg="exit 1")  # another process
    assert again.read_windows(str(image), "raw") == sealed
    assert len(told) == 1
    bare = VirtSysprep({"PATH": "/none"}, KnownImages(str(tmp_path / "state")))
    assert bare.read_windows(str(image), "raw") == sealed  # as the daemon, which may not look
    image.write_bytes(b"another")
    with pytest.raises(TransientError, match="libguestfs-test-tool"):
        again.read_windows(str(image), "raw")
    (tmp_path / "state" / NAME).write_text("{", encoding="utf-8")
    image.write_bytes(b"a third")
    assert put(virt_win_reg=f"echo {SEALED}").read_windows(str(image), "raw").is_sealed


def test_what_cannot_be_kept_is_read_again(put: Put, tmp_path: Path, told: List[str]) -> None:
    (tmp_path / "state").rmdir()
    reader = put(virt_win_reg=f"echo {SEALED}")
    assert reader.read_windows(str(tmp_path / "image"), "raw").is_sealed
    assert reader.read_windows(str(tmp_path / "image"), "raw").is_sealed
    assert len(told) == 1
    assert not (tmp_path / "state").exists()


def test_one_command_reads_an_image_once(
    put: Put, tmp_path: Path, told: List[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(virt_win_reg=f"echo {SEALED}")
    config = tmp_path / "config.yaml"
    spec = f"spec: {{source: {{directory: /m}}, state: {tmp_path / 'none'}}}\n"
    config.write_text(f"apiVersion: virt-reconciler/v1\nkind: Configuration\n{spec}", "utf-8")
    monkeypatch.setattr(Connections, "is_local", True)
    host = Services("apply", os.environ, str(config), told.append).connect("qemu:///system")
    for _ in ("plan", "verify"):
        assert host.preparer.read_windows(str(tmp_path / "image"), "raw").is_sealed
    assert len(told) == 1


def test_where_nobody_can_look_it_is_said(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = str(tmp_path / "image")
    bare = VirtSysprep({"PATH": str(tmp_path)})
    assert "dnf install guestfs-tools" in bare.read_windows(image, "raw").unchecked
    reader = put()
    assert "is not there yet" in reader.read_windows(f"{image}-absent", "raw").unchecked
    with monkeypatch.context() as other:
        other.setattr(os, "access", lambda path, _mode: path != image)
        assert "only be read by root" in reader.read_windows(image, "raw").unchecked
    monkeypatch.setattr(child_programs, "KERNELS", (str(tmp_path / "none*"),))
    assert "a kernel in /boot" in reader.read_windows(image, "raw").unchecked


def test_program_that_does_not_end_is_ended(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guestfs, "READ_LIMIT", 0.2)
    reader = put(virt_win_reg="exec sleep 600")
    with pytest.raises(TransientError, match="could not be read within"):
        reader.read_windows(str(tmp_path / "image"), "raw")
