"""Run one verb and turn whatever happens into one line and an exit status.

The only place where exceptions become exit statuses. Verbs are imported when they are called.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Callable, Mapping, Optional, Sequence, TextIO

from reconciler.cli.arguments import parse
from reconciler.cli.console import Exit
from reconciler.core.faults import contain, trace_fault
from reconciler.errors import (
    BusyError,
    FaultError,
    InvalidManifestError,
    OutputError,
    ReconcilerError,
    RefusedError,
    UsageError,
)

if TYPE_CHECKING:
    import argparse

    from reconciler.cli.console import Console
    from reconciler.cli.services import Services

    MakeServices = Callable[[argparse.Namespace, Console], Services]

# What `validate` and plans without a host do without (setup.cfg), and where it comes from.
HOST_PACKAGES: Mapping[Optional[str], str] = {
    "libvirt": "dnf install python3-libvirt, apt install python3-libvirt",
    "watchdog": "it comes with the RPM",
    "systemd": "dnf install python3-systemd, apt install python3-systemd",
}


# Verb → its module in cli/verbs and its function, imported only when it is called.
VERBS: Mapping[str, str] = {
    "adopt": "adoption.adopt",
    "apply": "apply.apply",
    "bench": "bench.bench",
    "config": "daemon.check_config",
    "console": "access.open_console",
    "export": "adoption.export",
    "history": "history.show_history",
    "host": "host.check_host",
    "import": "imports.inspect_file",
    "plan": "plan.plan",
    "prune": "orders.prune",
    "resume": "orders.resume",
    "retry": "orders.retry",
    "rollback": "history.roll_back",
    "run": "daemon.run_daemon",
    "schema": "manifests.print_schema",
    "snapshot": "host.record_snapshot",
    "ssh": "access.open_ssh",
    "status": "status.show_status",
    "suspend": "orders.suspend",
    "template": "host.pull_template",
    "validate": "manifests.validate",
}


def run(argv: Optional[Sequence[str]], console: Console, make_services: MakeServices) -> int:
    """Run the command line `argv` (None: the process's own) through the services made for it."""
    try:
        status = _attempt(argv, console, make_services)
        console.write("")
    except BrokenPipeError:
        _leave_output(console.out)
        return Exit.BROKEN_PIPE
    except OutputError as error:
        _leave_output(console.out)
        with suppress(BrokenPipeError, OutputError):
            console.error(str(error))
        _leave_output(console.err)
        return Exit.FAILED
    return status


def _attempt(argv: Optional[Sequence[str]], console: Console, make_services: MakeServices) -> int:
    verbose = False
    try:
        options = contain(parse, sys.argv[1:] if argv is None else argv)
        verbose = options.verbose
        call_verb = contain(_import_verb, str(options.verb))
        services = contain(make_services, options, console)
        return contain(call_verb, options, console, services)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except FaultError as error:
        if isinstance(error.__cause__, BrokenPipeError):  # nobody reads any more
            raise error.__cause__ from None
        return _report_fault(error, console)
    except OutputError:
        raise
    except ReconcilerError as error:
        return _report(error, console, verbose=verbose)


def _report_fault(fault: FaultError, console: Console) -> int:
    """Report a bug; or that a package is missing without which there is no meeting a host."""
    cause = fault.__cause__
    if isinstance(cause, ModuleNotFoundError) and cause.name in HOST_PACKAGES:
        console.error(
            f"Python's module {cause.name!r} is needed for this and not installed: "
            f"{HOST_PACKAGES[cause.name]}, or pip install 'virt-reconciler[host]'"
        )
        return Exit.FAILED
    console.error("this is a bug in virt-reconciler; please report it with these lines:")
    console.complain(_without_secrets(trace_fault(fault)))
    return Exit.FAILED


def _import_verb(name: str) -> Callable[..., int]:
    """Return the function of a verb, whose module is imported here."""
    module, function = VERBS[name].split(".")
    call_verb: Callable[..., int] = getattr(
        importlib.import_module(f"reconciler.cli.verbs.{module}"), function
    )
    return call_verb


def _report(error: ReconcilerError, console: Console, *, verbose: bool) -> int:
    if isinstance(error, InvalidManifestError):
        from reconciler.core.render.words import escape  # noqa: PLC0415 - start-up time

        for problem in error.problems:
            console.complain(escape(str(problem)))
        return Exit.INVALID
    console.error(str(error))
    if verbose and error.__cause__ is not None:
        cause = f"  because: {type(error.__cause__).__name__}: {error.__cause__}"
        console.complain(_without_secrets(cause))
    if isinstance(error, UsageError):
        return Exit.USAGE
    return Exit.REFUSED if isinstance(error, (BusyError, RefusedError)) else Exit.FAILED


def _without_secrets(lines: str) -> str:
    from reconciler.core.secrets import hide_text  # noqa: PLC0415 - start-up time

    return hide_text(lines)


def _leave_output(stream: TextIO) -> None:
    """Keep the interpreter from complaining at its end of what it still cannot flush."""
    try:
        stream.flush()
    except OSError:
        if stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
