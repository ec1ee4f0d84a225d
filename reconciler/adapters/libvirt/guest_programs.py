"""Run programs in a guest through its agent (guest-exec), with a file of their own to measure."""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import contextmanager, suppress
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, Sequence

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.connections import Connections
from reconciler.core.measurements.guest_script import (
    BEAT,
    DISK_FOLDER,
    FILL,
    KEEPER_STATUS,
    NOT_FOUND,
    explain_blocked,
    make_disk_command,
    make_file_command,
    make_listen_command,
    make_server_command,
    wrap_command,
)
from reconciler.core.measurements.tools import ProgramAnswer, explain_missing, hold_back
from reconciler.core.measurements.values import Limits
from reconciler.errors import (
    MissingError,
    ReconcilerError,
    RefusedError,
    TerminalError,
    TransientError,
)

POLL = 0.2  # seconds
SHORT_LIMIT = 120.0  # seconds, for what ends at once: a guest without KVM may be slow
# By the number that statfs(2) returns, in hexadecimal.
MEMORY_FILE_SYSTEMS: Mapping[str, str] = {"1021994": "tmpfs", "858458f6": "ramfs"}
# QEMU's words (qga/main.c, qapi/qmp-dispatch.c) for a command that the guest's settings forbid.
_BLOCKED = re.compile("disabled|not allowed|has not been found")


class GuestPrograms:
    """Programs of one running guest. Implements `series.ProgramRunner`."""

    def __init__(self, connections: Connections, name: str) -> None:
        """Ask nothing yet."""
        self._connections, self.name = connections, name
        self._beat: Callable[[], None] = _do_nothing

    def _call(self, command: str, **arguments: object) -> Mapping[str, Any]:
        doing = f"guest {self.name}: asking its agent"
        try:
            with binding.calling(doing, binding.NO_DOMAIN):
                domain = self._connections.get().lookupByName(self.name)
                answer = binding.ask_agent(domain, command, **arguments)
        except binding.AgentRefusedError as error:
            if _BLOCKED.search(str(error)):
                raise RefusedError(explain_blocked(self.name)) from error
            raise TransientError(f"{doing}: {command}: {error}") from error
        except (binding.AgentSilentError, binding.AgentBusyError) as error:
            raise TransientError(f"{doing}: {error}; the guest frees the file by itself") from error
        return answer if isinstance(answer, dict) else {}

    def run(self, command: Sequence[str], limit: float, limits: Limits) -> ProgramAnswer:
        """Run a program in the guest to its end."""
        begun = SYSTEM_CLOCK.now()
        pid = self._start(wrap_command(hold_back(command, limits)))
        try:
            status = self._wait(pid, limit, command[0])
        except BaseException:
            self._kill(pid)
            raise
        if status.get("exitcode") == NOT_FOUND:
            raise self._explain_missing(command[0])
        return ProgramAnswer(
            status=int(status.get("exitcode", -1)),
            output=_decode(status.get("out-data", "")),
            errors=_decode(status.get("err-data", "")),
            seconds=SYSTEM_CLOCK.now() - begun,
        )

    def _start(self, words: Sequence[str]) -> int:
        """Start a program in the guest; return its process there."""
        options = {"path": words[0], "arg": list(words[1:]), "capture-output": True}
        return int(self._call("guest-exec", **options)["pid"])

    def _wait(self, pid: int, limit: float, program: str) -> Mapping[str, Any]:
        begun = beaten = SYSTEM_CLOCK.now()
        while True:
            status = self._call("guest-exec-status", pid=pid)
            if status.get("exited"):
                return status
            now = SYSTEM_CLOCK.now()
            if now - begun > limit:
                raise TransientError(
                    f"guest {self.name}: {program} did not end within {limit:.0f} s and was killed"
                )
            if now - beaten > BEAT / 3:
                beaten = now
                self._beat()
            SYSTEM_CLOCK.sleep(POLL)

    def _kill(self, *pids: int) -> None:
        with suppress(ReconcilerError):  # the guest is off, or its agent is lost
            self._start(wrap_command(("sh", "-c", 'kill -9 "$@"', "sh", *map(str, pids))))

    def read_version(self, program: str) -> str:
        """Return what a program says of its version; empty if it says nothing."""
        try:
            answer = self.run((program, "--version"), SHORT_LIMIT, Limits())
        except ReconcilerError:
            return ""
        lines = (answer.output or answer.errors).strip().splitlines()
        return lines[0].strip() if lines and answer.status == 0 else ""

    def read_line(self, command: Sequence[str]) -> str:
        """Return the first line that a program writes; empty if it fails."""
        answer = self.run(command, SHORT_LIMIT, Limits())
        lines = answer.output.strip().splitlines()
        return lines[0].strip() if lines and answer.status == 0 else ""

    def read_memory(self) -> Optional[int]:
        """Return the bytes of memory of the guest; None if they are not known."""
        words = self.read_line(("grep", "MemTotal", "/proc/meminfo")).split()
        return int(words[1]) * 1024 if len(words) > 1 and words[1].isdecimal() else None

    def find_memory_file_system(self, folder: str) -> Optional[str]:
        """Return the type of a folder's file system if it is in memory; its agent knows of none."""
        number = self.read_line(("stat", "-f", "-c", "%t", folder))
        return MEMORY_FILE_SYSTEMS.get(number)

    def has_direct(self, path: str) -> bool:
        """Whether the file can be read past the page cache of the guest."""
        words = ("dd", f"if={path}", "of=/dev/null", "bs=4096", "count=1", "iflag=direct")
        return self.run(words, SHORT_LIMIT, Limits()).status == 0

    def require(self, programs: Iterable[str]) -> None:
        """Raise MissingError if one of the programs is not installed in the guest."""
        for program in programs:
            if not self.read_line(("sh", "-c", 'command -v "$1" || :', "sh", program)):
                raise self._explain_missing(program)

    def _explain_missing(self, program: str) -> MissingError:
        instead = "; or measure with dd: --profile dd_write --profile dd_read"
        return MissingError(
            f"guest {self.name}: {explain_missing(program)}, in the guest"
            f"{instead if program == 'fio' else ''}"
        )

    def format_disk(self, size: int) -> str:
        """Make a file system on the blank disk of that size, and return where it is mounted.

        Only for a machine that is thrown away.
        """
        answer = self.run(make_disk_command(size), FILL, Limits())
        if answer.status != 0:
            raise TerminalError(f"guest {self.name}: {answer.words}")
        return DISK_FOLDER

    @contextmanager
    def make_file(self, folder: str, size: int) -> Iterator[str]:
        """Make a file in a folder of the guest and return its path; it is freed at the end.

        It has no name. A shell in the guest keeps it open, and ends by itself when it is no longer
        told that this run goes on, or when the agent ends.
        """
        answer = self.run(make_file_command(folder, size), FILL + size / 2**20, Limits())
        words = answer.output.split()
        if answer.status != 0 or not words:
            raise self._explain_file(answer)
        keeper = int(words[-1])
        self._beat = lambda: self._call_quietly("-USR1", keeper)
        try:
            yield f"/proc/{keeper}/fd/9"
        finally:
            self._beat = _do_nothing
            self._kill(keeper)

    @contextmanager
    def serve(self, port: int, limit: int) -> Iterator[None]:
        """Serve one client of iperf3 at that port, at most so many seconds.

        It ends by itself after that time, should this run be killed or the agent be lost.
        """
        server = self._start(wrap_command(make_server_command(port, limit)))
        try:
            if self.run(make_listen_command(port, server), SHORT_LIMIT, Limits()).status != 0:
                status = self._call("guest-exec-status", pid=server)
                words = " ".join(_decode(status.get("err-data", "")).split())
                raise TransientError(f"guest {self.name}: iperf3 does not serve: {words}")
            yield
        finally:
            with suppress(ReconcilerError):  # the guest is off, or its agent is lost
                self.run(("kill", "-TERM", str(server)), SHORT_LIMIT, Limits())

    def _call_quietly(self, signal: str, pid: int) -> None:
        with suppress(ReconcilerError):
            self._start(wrap_command(("sh", "-c", f"kill {signal} {pid}")))

    def _explain_file(self, answer: ProgramAnswer) -> ReconcilerError:
        words = f"guest {self.name}: {answer.words}"
        return RefusedError(words) if answer.status == KEEPER_STATUS else TransientError(words)


def _do_nothing() -> None:
    """Tell nobody."""


def _decode(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "backslashreplace")
    except (ValueError, binascii.Error):
        return ""


def reach_guest(uri: Optional[str], name: str) -> GuestPrograms:
    """Return the programs of a guest at that URI; nothing is asked yet."""
    return GuestPrograms(Connections(uri), name)
