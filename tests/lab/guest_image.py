"""Build the tests' guest: a kernel and an initramfs that boot to a guest agent in seconds.

Of the distribution's kernel (unpacked, never installed), busybox and QEMU's guest agent. The result
is kept in the project's cache, below a digest of everything it is made of.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Iterator, List, Tuple

from tests.lab.guest_kernel import (
    FILE_SYSTEMS,
    FOLDERS,
    list_modules,
    modules_of,
    unpacked,
)
from tests.lab.initramfs import Initramfs

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
CACHE = PROJECT / ".cache"
RECIPE = ("guest_image.py", "guest_kernel.py", "initramfs.py", "guest-init", "guest-plugged")
KVM_LIMIT = 15.0  # seconds; with KVM it is about two
READY = b"guest is ready"
# What a boot without KVM is spared: the tests of ciphers, the check of page tables, the zeroing of
# memory, a service for each PCI port (QEMU plugs by ACPI).
COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 edd=off mitigations=off nokaslr no_timer_check rodata=off "
    "init_on_alloc=0 cryptomgr.notests apparmor=0 audit=0 pcie_ports=compat"
)
# The agent runs `shutdown -h -P +0` or with -r; the power button runs it with nothing.
SHUTDOWN = '#!/bin/sh\ncase "$*" in *-r*) exec reboot -f ;; *) exec poweroff -f ;; esac\n'


@dataclass(frozen=True)
class GuestImage:
    """What libvirt boots directly: `kernel` from a BIOS machine, `bzimage` from UEFI as well."""

    kernel: Path
    initrd: Path
    bzimage: Path


@cache
def build_guest(cache: Path = CACHE, tools: Tuple[str, ...] = ()) -> GuestImage:
    """Return kernel and initramfs, built once; several processes may ask at the same time.

    `tools` are programs of this machine that the guest has as well, with what mounts a disk.
    """
    parts, folder = cache / "kernel", cache / "guest"
    with locked(folder):
        subprocess.run([PROJECT / "scripts" / "guest-kernel", parts], check=True)
        [bzimage] = parts.glob("boot/vmlinuz-*")
        name = "-".join(("initrd", _digest(parts), *tools))
        image = GuestImage(parts / "vmlinux", folder / name, bzimage)
        if not image.kernel.exists():
            write_whole(image.kernel, unpacked(bzimage.read_bytes()))
        if not image.initrd.exists():
            write_whole(image.initrd, _fill(parts, tools).pack())
        return image


def lack_driver(image: GuestImage, module: str) -> Path:
    """Return an initramfs in which a driver is missing until the system runs."""
    variant = image.initrd.with_name(f"{image.initrd.name}-lacks-{module}")
    with locked(variant.parent):
        if not variant.exists():
            more = Initramfs()
            more.add("lacking", f"{module}\n")
            whole = image.initrd.read_bytes()
            write_whole(variant, whole + bytes(-len(whole) % 512) + more.pack())
    return variant


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time work in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.rename(path)


def _digest(parts: Path) -> str:
    files = [HERE / name for name in RECIPE] + sorted((parts / "programs").iterdir())
    release = [one.name for folder in FOLDERS for one in parts.glob(f"{folder}/*")]
    digest = hashlib.sha256(repr(release).encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _fill(parts: Path, tools: Tuple[str, ...]) -> Initramfs:
    root = Initramfs()
    for folder in ("proc", "sys", "dev", "run", "tmp", "var/log"):
        root.folder(folder)
    root.link("var/run", "/run")
    root.add("init", HERE / "guest-init")
    root.add("bin/plugged", HERE / "guest-plugged")
    for path in ("sbin/shutdown", "etc/acpi/PWRF/00000080"):
        root.add(path, SHUTDOWN)
    _add_programs(root, parts / "programs")
    _add_modules(root, parts)
    for tool in tools:
        _add_program(root, f"bin/{tool}", Path(shutil.which(tool) or f"/{tool}"))
    if tools:
        _add_file_system(root, parts)
    return root


def _add_program(root: Initramfs, path: str, program: Path) -> None:
    root.add(path, program)
    for library in _libraries(program):
        root.add(library, Path(library))


def _add_file_system(root: Initramfs, kernel: Path) -> None:
    """Add what the kernel calls when a file system is mounted that it does not know yet."""
    names = list_modules(kernel, FILE_SYSTEMS)
    for name, content in names.items():
        root.add(f"modules/{name}", content)
    loads = "".join(f"load {name}\n" for name in names)
    root.add("sbin/modprobe", f"#!/bin/sh\n. /bin/plugged\n{loads}")


def _add_programs(root: Initramfs, programs: Path) -> None:
    busybox, agent = programs / "busybox", programs / "qemu-ga"
    root.add("bin/busybox", busybox)
    for name in _run(str(busybox), "--list").split():
        if name != "busybox":
            root.link(f"bin/{name}", "busybox")
    _add_program(root, "bin/qemu-ga", agent)


def _libraries(program: Path) -> List[str]:
    return re.findall(r"(/\S+\.so\S*) \(", _run("ldd", str(program)))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _add_modules(root: Initramfs, kernel: Path) -> None:
    modules = modules_of(kernel)
    for name, content in modules.files.items():
        root.add(f"modules/{name}", content)
    root.add("drivers", modules.script)


@cache
def kvm_boots() -> bool:
    """Whether this machine's KVM really runs a guest; tried once in each boot of the machine.

    A nested KVM may open its device, be on offer in libvirt's capabilities, and hang at the first
    instructions of a kernel. Then everything runs on QEMU's own processor, only slower.
    """
    image = build_guest()
    machine = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    answer = image.initrd.with_name(f"kvm-{machine}")
    with locked(answer.parent):
        if not answer.exists():
            write_whole(answer, b"yes" if _boot_with_kvm(image) else b"no")
    return answer.read_bytes() == b"yes"


def _boot_with_kvm(image: GuestImage) -> bool:
    with suppress(FileNotFoundError), Path("/dev/kvm").open("rb"):
        qemu = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "256", "-nographic"]
        boot = ["-kernel", str(image.kernel), "-initrd", str(image.initrd)]
        with subprocess.Popen(
            [*qemu, *boot, "-append", COMMAND_LINE, "-no-reboot"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            timer = threading.Timer(KVM_LIMIT, process.kill)
            timer.start()
            try:
                return any(READY in line for line in process.stdout or ())
            finally:
                timer.cancel()
                process.kill()
    return False
