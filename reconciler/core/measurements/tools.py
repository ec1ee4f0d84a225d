"""The programs that measure beside fio: their packages, commands, and what they report. Pure."""

from __future__ import annotations

import re
from typing import Mapping, Optional, Sequence, Tuple

from reconciler.core.frozen import frozen, replace
from reconciler.core.measurements.values import DiskRun, Flow, Limits
from reconciler.core.units import KIB
from reconciler.errors import TerminalError

# Program → its package on Enterprise Linux, and on Debian.
PACKAGES: Mapping[str, Tuple[str, str]] = {
    "fio": ("fio", "fio"),
    "dd": ("coreutils", "coreutils"),
    "hdparm": ("hdparm", "hdparm"),
    "nice": ("coreutils", "coreutils"),
    "ionice": ("util-linux", "util-linux"),
    "openssl": ("openssl", "openssl"),
    "sysbench": ("sysbench (from EPEL)", "sysbench"),
    "mbw": ("", "mbw"),
    "iperf3": ("iperf3", "iperf3"),
}
IO_CLASSES: Mapping[str, int] = {"best-effort": 2, "idle": 3}
DD_WRITE, DD_READ = "dd_write", "dd_read"
# -T never reads from the device, -t empties the cache first.
CACHE_READ, DEVICE_READ = "cache_read", "device_read"
DD_PROFILES: Mapping[str, str] = {
    DD_WRITE: "dd, sequential writes",
    DD_READ: "dd, sequential reads",
}
HDPARM_PROFILES: Mapping[str, str] = {
    CACHE_READ: "hdparm -T, reads from the page cache",
    DEVICE_READ: "hdparm -t, sequential reads of the device",
}
DD_BLOCK = KIB**2
_COPIED = re.compile(r"^(\d+) bytes\b.* copied, ([\d.e+-]+) s", re.MULTILINE)
_QEMU = re.compile(r"version (\d[\w.]*)")
_RECORDS = re.compile(r"^(\d+)\+0 records out$", re.MULTILINE)
_SHORTEST = 1e-9  # seconds
_TIMED = re.compile(r"(\d+) MB in +([\d.]+) seconds = +[\d.]+ [kM]B/sec")


@frozen
class ProgramAnswer:
    """How a program ended. `cpu_user`, `cpu_system` are seconds, `from_storage` bytes read."""

    status: int
    output: str
    errors: str
    seconds: float
    cpu_user: Optional[float] = None
    cpu_system: Optional[float] = None
    from_storage: Optional[int] = None

    @property
    def words(self) -> str:
        """What it says is wrong, on one line."""
        lines = [line.strip() for line in (self.errors or self.output).splitlines()]
        return "; ".join(line for line in lines if line)[:300] or f"exit status {self.status}"


def explain_missing(program: str) -> str:
    """Say that a program is not installed, and how to get it."""
    rocky, debian = PACKAGES.get(program, (program, program))
    if not rocky:
        return f"{program} is not installed: apt install {debian} (Enterprise Linux has no package)"
    return f"{program} is not installed: dnf install {rocky}, apt install {debian}"


def read_qemu_version(line: str) -> Optional[str]:
    """Return the version that `qemu --version` writes."""
    found = _QEMU.search(line)
    return None if found is None else found[1]


def hold_back(command: Sequence[str], limits: Limits) -> Tuple[str, ...]:
    """Return the command behind nice(1) and ionice(1), as far as it is to be held back."""
    words: Tuple[str, ...] = tuple(command)
    if limits.io_class is not None:
        words = ("ionice", "-c", str(IO_CLASSES[limits.io_class]), *words)
    return ("nice", "-n", str(limits.nice), *words) if limits.nice else words


def make_dd_command(profile: str, path: str, size: int, *, direct: bool) -> Tuple[str, ...]:
    """Return the command that copies a whole file once; it neither truncates nor makes one."""
    count = f"count={size // DD_BLOCK}"
    if profile == DD_READ:
        flags = ("iflag=direct",) if direct else ()
        return ("dd", f"if={path}", "of=/dev/null", "bs=1M", count, *flags)
    flags = ("oflag=direct",) if direct else ()
    return ("dd", "if=/dev/zero", f"of={path}", "bs=1M", count, "conv=notrunc", *flags)


def read_dd(answer: ProgramAnswer, profile: str) -> DiskRun:
    """Understand what dd reported."""
    total, seconds = _read_copied(answer)
    flow = Flow(total, round(total / seconds), total / DD_BLOCK / seconds)
    is_write = profile == DD_WRITE
    run = DiskRun(seconds, read=None if is_write else flow, write=flow if is_write else None)
    return _add_usage(run, answer)


def _read_copied(answer: ProgramAnswer) -> Tuple[int, float]:
    """Return bytes and seconds. Where dd reports no time (busybox), it is what its run took."""
    found = _COPIED.search(answer.errors)
    if answer.status == 0 and found is not None:
        return int(found[1]), max(float(found[2]), _SHORTEST)
    records = _RECORDS.search(answer.errors)
    if answer.status != 0 or records is None:
        raise TerminalError(f"dd failed: {answer.words}")
    return int(records[1]) * DD_BLOCK, max(answer.seconds, _SHORTEST)


def make_hdparm_command(profile: str, device: str, *, direct: bool) -> Tuple[str, ...]:
    """Return the command that times reads; nothing of hdparm that could change a device."""
    option = "-T" if profile == CACHE_READ else "-t"
    return ("hdparm", *(("--direct",) if direct else ()), option, device)


def read_hdparm(answer: ProgramAnswer) -> DiskRun:
    """Understand what hdparm reported; its MB are MiB."""
    found = _TIMED.search(answer.output)
    if answer.status != 0 or found is None:
        raise TerminalError(f"hdparm failed: {answer.words}")
    total, seconds = int(found[1]) * KIB**2, max(float(found[2]), _SHORTEST)
    flow = Flow(total, round(total / seconds), total / (2 * KIB**2) / seconds)
    return _add_usage(DiskRun(seconds, read=flow), answer)


def _add_usage(run: DiskRun, answer: ProgramAnswer) -> DiskRun:
    """Add what the kernel counted for the program."""
    if answer.cpu_user is None or answer.cpu_system is None:
        return run
    return replace(
        run,
        cpu_user=100 * answer.cpu_user / run.seconds,
        cpu_system=100 * answer.cpu_system / run.seconds,
        from_storage=answer.from_storage,
    )
