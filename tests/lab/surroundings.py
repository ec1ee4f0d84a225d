"""What tests find around them: the same on every machine, and nothing of it stays behind.

The environment is made of what a test needs and no more, so no setting of the user's for Git, libvirt
or an editor gets in. Where real parts run, the machine's own libvirt, its service of ours and the
settings of all its users are out of sight: the process sees empty folders there.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Dict, Iterable, List, Mapping

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# What every program may rely on, as a service of systemd has it.
PLAIN = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "TZ": "UTC"}
# What a user may set for a run of tests: the network, and how Python and pytest work.
KEPT = re.compile(
    r"PYTHON(PATH|DONTWRITEBYTECODE|DEVMODE|TRACEMALLOC)|PYTEST_.*|PY_COLORS|CI|PIP_.*"
    r"|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|(https?|no|all)_proxy",
    re.IGNORECASE,
)
# The machine's libvirt and its service of ours: settings, state, and where they listen.
FOLDERS = (
    *("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt", "/run/libvirt"),
    *("/etc/virt-reconciler", "/var/lib/virt-reconciler", "/run/virt-reconciler"),
)
FILES = ("/etc/gitconfig",)
CLONE_NEWNS = 0x00020000  # linux/sched.h
SHORT = "/tmp"  # a socket's path holds 107 characters
PREFIX = "vr-"
YOUNG = 60  # seconds; a folder may be made and not locked yet
MARK = "VIRT_RECONCILER_TESTS"
_made: List[Path] = []  # the home of tests first


def plain_environment(given: Mapping[str, str], home: str) -> Dict[str, str]:
    """Return the environment of tests: a home of their own, and what is kept of the given one."""
    kept = {name: value for name, value in given.items() if KEPT.fullmatch(name)}
    path = f"{Path(sys.executable).parent}:{SYSTEM_PATH}"
    return {**kept, **PLAIN, "PATH": path, "HOME": home, MARK: home}


def begin() -> None:
    """Take the plain environment, and an empty home that `end` removes."""
    _remove_stale()
    environment = plain_environment(os.environ, str(short_folder()))
    os.environ.clear()
    os.environ.update(environment)


def end() -> None:
    """Remove the home."""
    shutil.rmtree(_home(), ignore_errors=True)


def _home() -> Path:
    return _made[0]


def hide_machine() -> None:
    """Give this process a view of the file system in which the machine's own things are empty.

    What is mounted from now on is seen by this process and its children alone, and goes with them.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "tests on real parts need root: they mount")
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
    """Remove the folders of processes that were killed and could not do it."""
    for folder in Path(SHORT).glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is another's, or just going
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
    return any(path == one or path.startswith(f"{one}/") for one in folders)


def _processes() -> List[str]:
    """Return the other processes that have our environment."""
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
