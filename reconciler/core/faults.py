"""Keep a bug of ours to the object that met it; the others are planned and carried out. Pure.

`isolate` is the only place that catches whatever is raised (a test holds the package to that), so
everything that may fail in a way that nobody foresaw goes through it: reading, planning and
exporting one object, one document of a manifest, one pass of the daemon, one verb of the command.
"""

from __future__ import annotations

import os
import traceback
from typing import Callable, TypeVar

from reconciler.core.questions import HostQuestion
from reconciler.errors import FaultError, ReconcilerError

T = TypeVar("T")


def isolate(call: Callable[..., T], *arguments: object) -> T:
    """Call; whatever is raised is one of our errors. Raises FaultError for what nobody foresaw.

    It catches every exception, because a fault that nobody foresaw has no type to name: at one
    object it must not end the pass of all others, nor the daemon. Nothing is hidden by it: the
    fault is reported as a bug, with the exception as its cause.

    A question is no fault: it is passed on to whoever can answer it.
    """
    try:
        return call(*arguments)
    except (ReconcilerError, HostQuestion):
        raise
    except Exception as error:
        raise FaultError(describe_fault(error)) from error


def contain(call: Callable[..., T], *arguments: object) -> T:
    """Do the same at the boundary of a worker or command: a question left open is a fault there."""
    try:
        return isolate(call, *arguments)
    except HostQuestion as question:
        raise FaultError(describe_fault(question)) from question


def trace_fault(fault: FaultError) -> str:
    """Return the lines that say how the program came to the fault."""
    cause = fault.__cause__ or fault
    return "".join(traceback.format_exception(type(cause), cause, cause.__traceback__)).rstrip()


def describe_fault(error: Exception) -> str:
    """Return one line that says where in the program it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    what = " ".join(str(error).split())[:200]
    return f"internal error ({type(error).__name__}{where}: {what}); please report it"
