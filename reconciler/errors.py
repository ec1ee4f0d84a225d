"""The errors that the product raises on purpose, and nothing else.

Each error's text is one line for a tired reader: which object, what is wrong, where, what to do.
Whether a failure may pass by itself is the type of the exception, never a flag:
`TerminalError` is not retried until its input changes, `TransientError` may be.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple


class ReconcilerError(Exception):
    """Base of all our errors; `str(error)` is the line shown to a person."""


class TerminalError(ReconcilerError):
    """Trying again with the same input cannot help."""


class TransientError(ReconcilerError):
    """The same call may work later (daemon away, lock held, time-out)."""


class MissingError(TransientError):
    """Something outside the manifest and the domain is missing now: a bridge, an ISO, memory."""


class AwaitedError(MissingError):
    """What must come first is not there yet: what was done until then is sound and stays."""


class FullError(MissingError):
    """A storage pool has no room for what is to be written into it."""


class BusyError(TransientError):
    """Another run of virt-reconciler works on the object now (exit status 4)."""


class FaultError(TransientError):
    """A bug of ours, met while one object was read or planned; the others are not concerned."""


class OutputError(TransientError):
    """What a command writes cannot be kept: the disk of its log is full."""


class StoppingError(TransientError):
    """The daemon is told to stop while it waits; the next start goes on."""


class NotFoundError(TerminalError):
    """libvirt said that there is no such object. No other error means that."""


class RefusedError(TerminalError):
    """A safety rail holds: a stale plan, a volume that is not ours (exit status 4)."""


class UsageError(TerminalError):
    """The command line is not valid (exit status 64)."""


class Problem(NamedTuple):
    """One thing that is wrong in a manifest; sorts by place.

    `line` and `column` count from 1; 0 means that the place is the file as a whole.
    `path` is the field, like `spec.disks[1].bus`; empty for the document itself.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        """Render as `file:line:column: path: message`, leaving out what is not known."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        field = f"{self.path}: " if self.path else ""
        return f"{place}: {field}{self.message}"


class InvalidManifestError(TerminalError):
    """One or more manifests are invalid (exit status 65); carries every problem at once."""

    def __init__(self, problems: Tuple[Problem, ...]) -> None:
        """Keep the problems sorted by place."""
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))
