"""The known state that tests begin from, and the check that they leave nothing behind.

Tests get an environment with only what they need, so no user setting for Git, libvirt or an editor
affects them. Tests on real libvirt do not see the machine's own libvirt, nor a virt-reconciler that is
installed on it: the process sees empty folders in their place.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Dict, Iterable, List, Mapping

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# The environment of every program.
PLAIN = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "TZ": "UTC"}
# libguestfs' appliance hangs on a nested host whose /dev/kvm opens and does not work.
PLAIN.update(LIBGUESTFS_BACKEND="direct", LIBGUESTFS_BACKEND_SETTINGS="force_tcg")
# What is kept of the user's environment: network settings, and options of Python and pytest.
KEPT = re.compile(
    r"PYTHON(PATH|DONTWRITEBYTECODE|DEVMODE|TRACEMALLOC)|PYTEST_.*|PY_COLORS|CI|PIP_.*"
    r"|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|(https?|no|all)_proxy",
    re.IGNORECASE,
)
# Settings, state and sockets of the machine's libvirt and of an installed virt-reconciler.
FOLDERS = (
    *("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt", "/run/libvirt"),
    *("/etc/virt-reconciler", "/var/lib/virt-reconciler", "/run/virt-reconciler"),
)
FILES = ("/etc/gitconfig",)
CLONE_NEWNS = 0x00020000  # linux/sched.h
SHORT = "/tmp"  # a socket's path holds 107 characters
PREFIX = "vr-test-"  # not of the demo or of a host that somebody starts by hand
YOUNG = 60  # seconds; a new folder may not be locked yet
MARK = "VIRT_RECONCILER_TESTS"
_made: List[Path] = []  # the home is the first


def plain_environment(given: Mapping[str, str], home: str) -> Dict[str, str]:
    """Return the environment for tests: their own home, and the kept part of the given one."""
    kept = {name: value for name, value in given.items() if KEPT.fullmatch(name)}
    path = f"{Path(sys.executable).parent}:{SYSTEM_PATH}"
    return {**kept, **PLAIN, "PATH": path, "HOME": home, MARK: home}


def begin() -> None:
    """Switch to the plain environment and an empty home, which `end` removes."""
    _remove_stale()
    # A shell lets what it starts in the background ignore Ctrl-C, and its children too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    environment = plain_environment(os.environ, str(short_folder()))
    os.environ.clear()
    os.environ.update(environment)


def end() -> None:
    """Remove the home."""
    shutil.rmtree(_home(), ignore_errors=True)


def _home() -> Path:
    return _made[0]


def hide_machine() -> None:
    """Mount empty folders over the machine's own, for this process and its children only.

    Their later mounts are private, too, and end with them.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "tests on real libvirt need root, because they mount")
    _run("mount", "--make-rprivate", "/")
    for folder in FOLDERS:
        if os.path.isdir(folder):
            _run("mount", "-t", "tmpfs", "-o", "mode=755", "none", folder)
    for file in FILES:
        if os.path.isfile(file):
            _run("mount", "--bind", os.devnull, file)


def short_folder() -> Path:
    """Return a new folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=SHORT))
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # until this process ends, however it does
    _made.append(folder)
    return folder


def _remove_stale() -> None:
    """Remove folders that killed processes left behind."""
    for folder in Path(SHORT).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another process uses it, or has just removed it
            if time.time() - folder.stat().st_mtime < YOUNG:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)


def remains() -> List[str]:
    """Return what this process has left behind: folders, mounts, loop devices and processes."""
    made = [str(one) for one in _made if one != _home()]
    found = [one for one in made if os.path.exists(one)]
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    found += [f"mount {line}" for line in mounts if _is_below(made, line.split()[1])]
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # it goes at this moment
            file = backing.read_text(encoding="utf-8").strip()
            found += [f"loop device {backing.parts[3]} of {file}"] if _is_below(made, file) else []
    return [*found, *_processes()]


def _is_below(folders: Iterable[str], path: str) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _processes() -> List[str]:
    """Return other processes that have the environment of this one's tests."""
    mark = f"{MARK}={_home()}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ends at this moment
            if entry.name != str(os.getpid()) and mark in (entry / "environ").read_bytes().split(
                b"\0"
            ):
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(f"process {entry.name}: {words}")
    return found


def _run(*words: str) -> None:
    subprocess.run(words, check=True)
