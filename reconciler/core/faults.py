"""Keep a bug of ours to the object that met it; the others are planned and carried out. Pure."""

from __future__ import annotations

import os
import traceback
from typing import Callable, TypeVar

from reconciler.core.questions import HostQuestion
from reconciler.errors import FaultError, ReconcilerError

T = TypeVar("T")


def isolate(call: Callable[..., T], *arguments: object) -> T:
    """Call; whatever is raised is one of our errors. Raises FaultError for what nobody foresaw.

    A question is none: it is passed on to whoever can answer it.
    """
    try:
        return call(*arguments)
    except (ReconcilerError, HostQuestion):
        raise
    except Exception as error:
        raise FaultError(describe_fault(error)) from error


def describe_fault(error: Exception) -> str:
    """Return one line that says where in the program it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    what = " ".join(str(error).split())[:200]
    return f"internal error ({type(error).__name__}{where}: {what}); please report it"
