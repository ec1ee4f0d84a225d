"""Change an image without starting it, by libguestfs' `virt-sysprep`. The only place that runs it.

It starts a small virtual machine of its own, the appliance, which has the image as a disk. It runs
as a child in a process group of its own. Whatever ends this process, also kill -9, ends the child
(the kernel's parent-death signal), and libguestfs then ends the appliance. No secret is in a
command line, an environment or a file: texts are in memory, and reach it as open files.
"""

from __future__ import annotations

import glob
import os
import select
import shutil
import signal
import subprocess
from contextlib import ExitStack, suppress
from typing import Callable, Dict, Iterator, List, Mapping, Tuple

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.adapters.text_files import sync_path
from reconciler.core.frozen import regex
from reconciler.core.preparation import CLOUD_INIT, PreparationTask, PreparationTools
from reconciler.errors import MissingError, TerminalError, TransientError

PROGRAM = "virt-sysprep"
LIMIT = 1800.0  # seconds; without KVM on a busy host the appliance alone takes minutes
PROBE_LIMIT = 30.0
LOOK_EVERY = 0.25  # seconds
KERNELS = ("/boot/vmlinu*", "/lib/modules/*/vmlinuz")  # where supermin looks for one
_OWN_KERNEL = ("LIBGUESTFS_PATH", "SUPERMIN_KERNEL")  # settings that bring one
_TRACES = ("LIBGUESTFS_DEBUG", "LIBGUESTFS_TRACE")  # they would print the texts of secrets
_LINE = regex(r"\[\s*[\d.]+\] (?P<what>.*?)(?: \.\.\.)?")
_ERROR = regex(r"virt-sysprep: error: (?P<words>.*)")
_LAST_LINES = 5
_NO_SYSTEM = ("no operating systems were found", "no operating system was found")
CUSTOMIZE = "customize"  # the operation of virt-sysprep's that its other options belong to


class VirtSysprep:
    """Implements `preparation.Preparer`, with the settings of that environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Start nothing yet."""
        kept = {name: value for name, value in environ.items() if name not in _TRACES}
        self._environ: Dict[str, str] = {"LIBGUESTFS_BACKEND": "direct", **kept, "LC_ALL": "C"}

    def find_tools(self, folder: str) -> PreparationTools:
        """Return the version of virt-sysprep and its operations."""
        if shutil.which(PROGRAM, path=self._environ.get("PATH")) is None:
            raise MissingError(
                f"the program {PROGRAM} is needed to prepare clones and not installed: dnf install "
                "guestfs-tools, apt install guestfs-tools"
            )
        if not _has_kernel() and not any(name in self._environ for name in _OWN_KERNEL):
            raise MissingError(
                f"{PROGRAM} needs a kernel in /boot that this user can read; on Debian: apt "
                "install linux-image-cloud-amd64, on Ubuntu: chmod 0644 /boot/vmlinuz-*"
            )
        if not _may_write(folder):
            raise MissingError(
                f"clones in {folder} can only be prepared by root, whom their files belong to; run "
                "virt-reconciler apply as root"
            )
        version = self._ask("--version").rpartition(" ")[2].strip()
        lines = self._ask("--list-operations").splitlines()
        return PreparationTools(version, frozenset(line.split()[0] for line in lines if line))

    def _ask(self, option: str) -> str:
        try:
            return subprocess.run(
                [PROGRAM, option],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PROBE_LIMIT,
                check=True,
            ).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise MissingError(f"{PROGRAM} {option} does not work: {error}") from error

    def prepare(self, task: PreparationTask, tell: Callable[[str], None]) -> None:
        """Prepare an image, and return when it is on disk."""
        with ExitStack() as files:
            arguments, numbers = _write_arguments(task, files)
            self._run([*arguments, *_find_operations(task)], numbers, tell)
        sync_path(task.path)

    def _run(
        self, arguments: List[str], numbers: Tuple[int, ...], tell: Callable[[str], None]
    ) -> None:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", PROGRAM, *arguments],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=numbers,
            start_new_session=True,
        )
        try:
            lines: List[str] = []
            doing = ""
            for line in _follow(process):
                lines += [line] if line else []
                found = _LINE.fullmatch(line)
                doing = found["what"] if found else doing
                tell(doing)
            if process.wait():
                raise _explain(lines, process.returncode)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _has_kernel() -> bool:
    return any(os.access(path, os.R_OK) for form in KERNELS for path in glob.iglob(form))


def _may_write(folder: str) -> bool:
    """Whether this user may write to what libvirt makes in a folder, which is its owner's.

    A capability is not enough: libguestfs asks by access(2), which does not see it.
    """
    try:
        return os.geteuid() in (0, os.stat(folder).st_uid)
    except OSError:
        return False


def _find_operations(task: PreparationTask) -> List[str]:
    """Return the options for the operations; without one virt-sysprep takes its own defaults."""
    if task.operations is None:
        return []
    names = [name for name in task.operations if name not in (CLOUD_INIT, CUSTOMIZE)]
    return ["--operations", ",".join([*names, CUSTOMIZE])]


def _write_arguments(task: PreparationTask, files: ExitStack) -> Tuple[List[str], Tuple[int, ...]]:
    """Return the other options, and the open files that they name."""
    numbers: List[int] = []

    def put(text: str) -> str:
        number = os.memfd_create("virt-reconciler", os.MFD_CLOEXEC)
        files.callback(os.close, number)
        with open(number, "wb", closefd=False) as file:
            file.write(text.encode())
        numbers.append(number)
        return f"/proc/self/fd/{number}"

    arguments = ["--no-network", "--format", task.format, "--add", task.path]
    if task.operations is None or CLOUD_INIT in task.operations:
        arguments += ["--delete", "/var/lib/cloud/*"]
    if task.hostname is not None:
        arguments += ["--hostname", task.hostname]
    for user, keys in task.ssh_keys.items():
        arguments += ["--ssh-inject", f"{user}:file:{put(keys)}"]
    for script in task.scripts:
        arguments += ["--firstboot", put(script)]
    return [*arguments, "--selinux-relabel"], tuple(numbers)


def _follow(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield each line that is written, and an empty one while nothing is."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    deadline, rest = SYSTEM_CLOCK.now() + LIMIT, b""
    number = process.stdout.fileno()
    while True:
        if select.select([number], [], [], LOOK_EVERY)[0]:
            block = os.read(number, 4096)
            if not block:
                return
            *whole, rest = (rest + block).split(b"\n")
            yield from (line.decode(errors="replace").rstrip() for line in whole)
        else:
            yield ""
        if SYSTEM_CLOCK.now() > deadline:
            raise TransientError(
                f"{PROGRAM} did not end within {LIMIT / 60:.0f} minutes; see how long its "
                "appliance takes on this host: libguestfs-test-tool"
            )


def _explain(lines: List[str], status: int) -> Exception:
    """Return our error for the last lines of a run that failed; a negative status is a signal."""
    if status < 0:
        return TransientError(f"{PROGRAM} was ended by signal {-status}; apply again")
    errors = [found["words"] for line in lines for found in [_ERROR.fullmatch(line)] if found]
    words = " ".join(errors or lines[-_LAST_LINES:])
    if any(known in words for known in _NO_SYSTEM):
        return TerminalError(
            f"{PROGRAM} finds no operating system in the image; remove spec.prepare of the "
            "template, or mend the template: virt-inspector -a IMAGE"
        )
    return TransientError(
        f"{PROGRAM}: {words or 'it ended without a word'}; if its appliance does not start: "
        "libguestfs-test-tool"
    )
