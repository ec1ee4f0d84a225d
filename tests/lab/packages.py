"""The product as its package: built from this checkout, installed in a machine of a test's own.

What is not committed is in it too, so that a test is about the code that one sees. A package is
built once for each state of the checkout. Needs root where it is installed.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Mapping

from tests.lab.container import CHECKOUT, Container

BUILT = CHECKOUT / ".cache" / "packages"
UNIT = "virt-reconciler.service"
GIT = ("git", "-c", "safe.directory=*")  # the checkout may be another user's than root's
# As on Rocky 9, where a service is not switched on by being installed; Debian has no such file.
PRESET = "/usr/lib/systemd/system-preset/99-default-disable.preset"


@cache
def build_rpm(release: int = 1) -> Path:
    """Return the package of this checkout, with that release number."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILT) as objects, open(BUILT / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests side by side build it once
        environment = _apart(objects)
        tree = _write_tree(environment)
        folder = BUILT / f"{tree}-{release}"
        if not folder.exists():
            made = Path(objects, "made")
            number = ("--define", f"baserelease {release}")
            build = str(CHECKOUT / "packaging" / "rpm" / "build")
            _run(environment, build, tree, str(made), *number)
            made.rename(folder)
    (package,) = folder.glob("*.noarch.rpm")
    return package


def _apart(folder: str) -> Mapping[str, str]:
    """Return an environment in which Git writes to a folder and leaves the checkout's own alone."""
    objects = _run(os.environ, *GIT, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    return {
        **os.environ,
        "GIT_INDEX_FILE": f"{folder}/index",
        "GIT_OBJECT_DIRECTORY": folder,
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
    }


def _write_tree(environment: Mapping[str, str]) -> str:
    """Return the name of the checkout's files as a Git tree."""
    _run(environment, *GIT, "add", "--all")
    return _run(environment, *GIT, "write-tree")


def _run(environment: Mapping[str, str], *words: str) -> str:
    done = subprocess.run(
        words, cwd=CHECKOUT, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def install_rpm(machine: Container, release: int = 1) -> None:
    """Install the package, or upgrade to it, as Rocky 9 would: neither enabled nor started."""
    machine.write(PRESET, "disable *\n")
    # What it depends on is there, but in packages of another kind.
    machine.run("rpm", "-U", "--nodeps", str(build_rpm(release)))
