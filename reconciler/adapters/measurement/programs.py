"""The only place that runs the programs that measure. Each dies with this process.

A program is found by PATH and run without a shell, niced as it is asked, and killed when this
process is stopped in whatever way.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from typing import IO, Mapping, Sequence, Tuple

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.core.measurements.tools import ProgramAnswer, explain_missing, hold_back
from reconciler.core.measurements.values import Limits
from reconciler.errors import MissingError, TransientError

POLL = 0.02  # seconds
VERSION_LIMIT = 10.0  # seconds
_SECTOR = 512  # what ru_inblock counts in
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_LIBC = ctypes.CDLL(None, use_errno=True)
_NO_LIMITS = Limits()
_VERSION_OPTIONS = {"hdparm": "-V", "openssl": "version"}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def has_program(name: str) -> bool:
    """Whether the program is installed."""
    return shutil.which(name, path=_PATH) is not None


class LocalPrograms:
    """Programs of this host. Implements `series.ProgramRunner`."""

    def __init__(self, inherited: Tuple[int, ...] = ()) -> None:
        """Keep the descriptors that each program inherits."""
        self._inherited = inherited

    def run(self, command: Sequence[str], limit: float, limits: Limits) -> ProgramAnswer:
        """Run a program to its end and return how it ended.

        Raises MissingError if it is not installed, TransientError if it takes longer than `limit`
        seconds.
        """
        words = hold_back(command, limits)
        for name in (words[0], command[0]):
            if not has_program(name):
                raise MissingError(explain_missing(name))
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = _start(words, self._inherited, output, errors)
            try:
                return _wait(process, command[0], limit, (output, errors))
            finally:
                _end(process)

    def read_version(self, program: str) -> str:
        """Return the first line of what a program says of its version; empty if nothing."""
        option = _VERSION_OPTIONS.get(program, "--version")
        try:
            answer = self.run((program, option), VERSION_LIMIT, _NO_LIMITS)
        except TransientError:
            return ""
        lines = (answer.output or answer.errors).strip().splitlines()
        return lines[0].strip() if lines and answer.status == 0 else ""


def _start(
    words: Sequence[str], inherited: Tuple[int, ...], output: IO[bytes], errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def die_with_parent() -> None:
        _LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # it died before it could be followed
            os._exit(1)

    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            pass_fds=inherited,
            env=_environment(),
            cwd="/",
            preexec_fn=die_with_parent,  # noqa: PLW1509 - no other thread runs
        )
    except OSError as error:
        raise TransientError(f"{words[0]} cannot be run: {error.strerror}") from error


def _environment() -> Mapping[str, str]:
    return {"PATH": _PATH, "LC_ALL": "C"}


def _wait(
    process: subprocess.Popen[bytes], name: str, limit: float, files: Tuple[IO[bytes], IO[bytes]]
) -> ProgramAnswer:
    begun = SYSTEM_CLOCK.now()
    while True:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        seconds = SYSTEM_CLOCK.now() - begun
        if pid:
            break
        if seconds > limit:
            raise TransientError(f"{name} did not end within {limit:.0f} s and was killed")
        SYSTEM_CLOCK.sleep(POLL)
    process.returncode = os.waitstatus_to_exitcode(status)
    return ProgramAnswer(
        status=process.returncode,
        output=_read(files[0]),
        errors=_read(files[1]),
        seconds=seconds,
        cpu_user=used.ru_utime,
        cpu_system=used.ru_stime,
        from_storage=used.ru_inblock * _SECTOR,
    )


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "backslashreplace")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        process.kill()
        process.wait()
