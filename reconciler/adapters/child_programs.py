"""Run a program of the host for long, as a child that ends with this process whatever happens.

The kernel kills the child when this process dies (`setpriv --pdeathsig`). A child that starts
others has a PID namespace of its own besides, so that all of them end with it: `unshare` is killed,
with it the first process of the namespace, and with that the kernel ends the rest.
"""

from __future__ import annotations

import glob
import os
import select
import signal
import subprocess
from contextlib import suppress
from typing import Callable, Iterator, List, Mapping, Sequence, Tuple

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.core.frozen import frozen
from reconciler.errors import MissingError, TransientError

LOOK_EVERY = 0.25  # seconds
PROBE_LIMIT = 30.0  # seconds
KERNELS = ("/boot/vmlinu*", "/lib/modules/*/vmlinuz")  # where supermin looks for one
_OWN_KERNEL = ("LIBGUESTFS_PATH", "SUPERMIN_KERNEL")  # settings that bring one
_TRACES = ("LIBGUESTFS_DEBUG", "LIBGUESTFS_TRACE")  # they would print the texts of secrets
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_ALL_END = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")


@frozen
class ChildProgram:
    """A program with its environment, and `limit` seconds until it is given up.

    `has_children`: it starts others that must end with it; that needs root.
    """

    words: Tuple[str, ...]
    environ: Mapping[str, str]
    limit: float
    files: Tuple[int, ...] = ()
    has_children: bool = False
    too_long: str = ""

    def run(self, tell: Callable[[str], None], lines: List[str]) -> int:
        """Run it and return its exit status, below 0 for a signal.

        `tell` gets each line that is written, and an empty one several times a second; what it
        raises ends the program. `lines` keeps them.
        """
        alone = _ALL_END if self.has_children and os.geteuid() == 0 else ()
        process = subprocess.Popen(
            [*ENDS_WITH_US, *alone, *self.words],
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self.files,
            start_new_session=True,
        )
        try:
            for line in self._follow(process):
                lines += [line] if line else []
                tell(line)
            return process.wait()
        finally:
            end_group(process)

    def _follow(self, process: subprocess.Popen[bytes]) -> Iterator[str]:
        """Yield each line that is written, and an empty one while nothing is."""
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        deadline, rest = SYSTEM_CLOCK.now() + self.limit, b""
        number = process.stdout.fileno()
        while True:
            if select.select([number], [], [], LOOK_EVERY)[0]:
                block = os.read(number, 4096)
                if not block:
                    return
                *whole, rest = (rest + block).replace(b"\r", b"\n").split(b"\n")
                yield from (line.decode(errors="replace").rstrip() for line in whole)
            else:
                yield ""
            if SYSTEM_CLOCK.now() > deadline:
                raise TransientError(
                    f"{self.words[0]} did not end within {self.limit / 60:.0f} minutes; "
                    f"{self.too_long}"
                )


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a program that leads a process group, and all in it, if any is left; wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def ask(words: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return what a program writes. Raises MissingError if it does not work."""
    try:
        return subprocess.run(
            list(words),
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_LIMIT,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingError(f"{' '.join(words)} does not work: {error}") from error


def make_guestfs_environ(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment for a program of libguestfs'."""
    kept = {name: value for name, value in environ.items() if name not in _TRACES}
    return {"LIBGUESTFS_BACKEND": "direct", **kept, "LC_ALL": "C"}


def find_kernel_lack(program: str, environ: Mapping[str, str]) -> str:
    """Say if libguestfs has no kernel for its appliance; empty if it has one."""
    is_there = any(os.access(path, os.R_OK) for form in KERNELS for path in glob.iglob(form))
    if is_there or any(name in environ for name in _OWN_KERNEL):
        return ""
    return (
        f"{program} needs a kernel in /boot that this user can read; on Debian: apt "
        "install linux-image-cloud-amd64, on Ubuntu: chmod 0644 /boot/vmlinuz-*"
    )


def may_isolate(environ: Mapping[str, str]) -> bool:
    """Whether this process may run a program in a PID namespace of its own."""
    try:
        ask([*_ALL_END, "true"], environ)
    except MissingError:
        return False
    return True


def may_write(folder: str) -> bool:
    """Whether this user may write to what libvirt makes in a folder, which is its owner's.

    A capability is not enough: libguestfs asks by access(2), which does not see it.
    """
    try:
        return os.geteuid() in (0, os.stat(folder).st_uid)
    except OSError:
        return False
