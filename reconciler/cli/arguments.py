"""The command line's grammar. On the start-up path: standard library only, no work."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from typing import AbstractSet, Any, Callable, Mapping, NoReturn, Sequence

from reconciler import __version__
from reconciler.cli.console import PLAN_FORMATS
from reconciler.cli.daemon_arguments import DAEMON_VERBS
from reconciler.errors import UsageError

PROGRAM = "virt-reconciler"
PARALLEL = 4  # objects that `apply` works on at a time, unless told otherwise
MOST_PARALLEL = 64
WAIT, WAIT_TIME = "--wait", "30m"  # argparse would take the word after it for the time
COLUMNS = 80  # of what is no terminal
CONFIG_FILE = "/etc/virt-reconciler/config.yaml"
# argparse looks for translations of its words, of which Python has none: 1 ms for each command.
argparse._ = str  # type: ignore[attr-defined]
DESCRIPTION = "Manage a KVM host's virtual machines from YAML manifests."
EPILOG = """\
exit status: 0 done, or nothing to do; 1 failed; 4 refused by a safety rail;
64 wrong usage; 65 invalid manifest. With `plan --detailed-exitcode`: 0 no change,
2 changes, 3 changes of which one disturbs a running guest."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of exiting with its own status 2."""

    def __init__(self, **options: Any) -> None:
        """Take no abbreviated options: a script must not break when one more is added."""
        super().__init__(allow_abbrev=False, formatter_class=_make_formatter, **options)

    def error(self, message: str) -> NoReturn:
        """Report wrong usage, and what may have been meant."""
        from reconciler.cli.names import suggest_usage  # noqa: PLC0415 - start-up time

        raise UsageError(f"{message}{suggest_usage(message)} (see `{self.prog} --help`)")


def _make_formatter(prog: str) -> argparse.HelpFormatter:
    """Return what writes help. argparse makes one for each argument, only to check its metavar."""
    make = argparse.HelpFormatter if " " in prog else argparse.RawDescriptionHelpFormatter
    return make(prog, width=_find_columns() - 2)


def _find_columns() -> int:
    """Return the terminal's width as `shutil` does, which also loads what unpacks archives."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        number = -1 if sys.__stdout__ is None else sys.__stdout__.fileno()
        return os.get_terminal_size(number).columns or COLUMNS
    except (ValueError, OSError):  # closed, or no terminal
        return COLUMNS


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return what the command line says. Raises UsageError, and SystemExit after `--help`.

    A parser of all verbs takes five times as long to build as one of those that are named.
    """
    words = [f"{WAIT}={WAIT_TIME}" if word == WAIT else word for word in words]
    named = _VERBS.keys() & set(words)
    if named and not {"-h", "--help"} & set(words):
        try:
            return build_parser(named).parse_args(words)
        except UsageError:
            pass  # the whole parser says it with all the choices
    return build_parser().parse_args(words)


def build_parser(only: AbstractSet[str] = frozenset()) -> argparse.ArgumentParser:
    """Return the parser of the whole command line, or one that knows these verbs only."""
    parser = Parser(prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    _add_common(parser, text=None, verbose=False)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, add in _VERBS.items():
        if name in only or not only:
            add(verbs)
    return parser


def _add_common(parser: argparse.ArgumentParser, *, text: Any, verbose: Any) -> None:
    parser.add_argument(
        "-c",
        "--connect",
        metavar="URI",
        default=text,
        help="libvirt URI (default: $LIBVIRT_DEFAULT_URI, the configuration's, libvirt's)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=text,
        help=f"the daemon's configuration (default: {CONFIG_FILE})",
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=verbose,
        help="list unchanged objects too, and show the cause of an error",
    )


def _verb(verbs: Any, name: str, words: str, more: str = "") -> argparse.ArgumentParser:
    text = f"{words[0].upper()}{words[1:]}. {more}".strip()
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=words, description=text)
    # Taken after the verb as well; SUPPRESS, so that its absence there keeps what stood before.
    _add_common(parser, text=argparse.SUPPRESS, verbose=argparse.SUPPRESS)
    return parser


def _add_paths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="manifest file or folder")


def _add_adopt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--adopt",
        dest="adopt_all",
        action="store_true",
        help="adopt every existing domain that the manifests name",
    )
    parser.add_argument(
        "--adopt-only",
        metavar="NAME",
        action="append",
        default=[],
        help="adopt this existing domain (can be given several times)",
    )


def _add_here(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--here",
        metavar="NAME",
        action="append",
        default=[],
        help="create this machine here: no other host has it any more (can be given several times)",
    )


def _add_format(parser: argparse.ArgumentParser, *names: str) -> None:
    choices = names or ("text", "json")
    parser.add_argument("--format", choices=choices, default="text", help="default: text")


def _validate(verbs: Any) -> None:
    words = ("check manifests, without libvirt", "Reports every error at once.")
    _add_paths(_verb(verbs, "validate", *words))


def _plan(verbs: Any) -> None:
    parser = _verb(verbs, "plan", "show what apply would do, and change nothing")
    _add_paths(parser)
    _add_format(parser, *PLAN_FORMATS)
    _add_adopt(parser)
    _add_here(parser)
    parser.add_argument(
        "--against",
        metavar="STATE",
        help="plan against a file that `snapshot` wrote; needs no libvirt",
    )
    parser.add_argument(
        "--base",
        metavar="REV",
        help="show what the manifests change against this Git revision; without --connect and "
        "--against, no host is read",
    )
    parser.add_argument(
        "--head",
        metavar="REV",
        help="with --base: compare this revision with it (default: the files as they are)",
    )
    parser.add_argument("--out", metavar="FILE", help="write the plan to a file, for `apply FILE`")
    parser.add_argument(
        "--detailed-exitcode",
        action="store_true",
        help="exit with 2 if there are changes, 3 if one disturbs a running guest",
    )


def _snapshot(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "snapshot",
        "record the host's state, for `plan --against`",
        "JSON without secrets: everything that a plan for this host can depend on.",
    )
    parser.add_argument("--out", metavar="FILE", help="write to a file (default: standard output)")


def _apply(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "apply",
        "change the host so that it matches the manifests",
        "With a file that `plan --out` wrote, does exactly that plan, or nothing if something "
        "that it depends on has changed. Works on several objects at a time: a host's daemons "
        "before its machines, a template's domain before its clones.",
    )
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", help="manifest file or folder; or one plan file"
    )
    _add_adopt(parser)
    _add_here(parser)
    parser.add_argument(
        "--abort-bus-change",
        metavar="NAME",
        action="append",
        default=[],
        help="end the staged bus change of this machine, and bring its former bus back (can be "
        "given several times)",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--parallel",
        metavar="N",
        type=_count_objects,
        default=PARALLEL,
        help=f"work on N objects at a time (default: {PARALLEL}; 1: one after the other)",
    )
    parser.add_argument(
        WAIT,
        metavar="TIME",
        help="wait so long until the guests answer that were created, changed or started, like "
        f"--wait=10m; {WAIT} alone: {WAIT_TIME}. Also how long a start waits for "
        "lifecycle.startAfter, else 10m",
    )


def _count_objects(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_PARALLEL):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of objects from 1 to {MOST_PARALLEL}"
        )
    return int(text)


def _history(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "history",
        "list the changes of a virtual machine, when and by whom",
        "With N, that change in full: its plan, and the definition before it.",
    )
    parser.add_argument("name", metavar="NAME", help="object, like web01 or host/kvm01")
    parser.add_argument("number", metavar="N", nargs="?", type=int, help="one change")
    parser.add_argument(
        "--definition",
        action="store_true",
        help="print the last known definition as XML, or that before change N, for `virsh define`; "
        "also of a machine that is gone",
    )
    _add_format(parser)


def _rollback(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "rollback",
        "take back a change of a virtual machine, and all after it",
        "Shows the plan, with what it does to a running guest, and asks. Afterwards the "
        "machine is suspended: the daemon does not change it until `resume`.",
    )
    parser.add_argument("name", metavar="NAME", help="virtual machine")
    parser.add_argument(
        "number",
        metavar="N",
        nargs="?",
        type=int,
        help="its number in `history` (default: the last)",
    )
    _add_format(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan, and change nothing")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _export(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "export",
        "write manifests of existing domains",
        "To standard output, or with --output-dir to a file for each domain. `power` is left "
        "out, so that adoption starts and stops no guest.",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="domain")
    parser.add_argument("--all", action="store_true", help="every domain of the host")
    parser.add_argument(
        "--power", action="store_true", help="write `power` as well, as each domain is now"
    )
    parser.add_argument(
        "--output-dir", metavar="DIR", help="write DIR/NAME.yaml for each domain; DIR is made"
    )
    parser.add_argument(
        "--force", action="store_true", help="with --output-dir: replace files that exist"
    )


def _adopt(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "adopt",
        "take ownership of existing domains that match their manifests",
        "Refused if the plan would change anything.",
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="domain")
    parser.add_argument(
        "-f",
        "--manifests",
        dest="paths",
        metavar="PATH",
        nargs="+",
        required=True,
        help="manifest files or folders that name them",
    )


def _host(verbs: Any) -> None:
    parser = _verb(verbs, "host", "inspect this host")
    below = parser.add_subparsers(
        dest="host_verb", metavar="VERB", required=True, help="what to inspect"
    )
    check = _verb(
        below,
        "check",
        "show libvirt's daemons, their sockets, and which one a client reaches",
        "Against kind Host and requiredDaemons, where manifests are given. Exits with 1 if "
        "something is wrong.",
    )
    check.add_argument("paths", metavar="PATH", nargs="*", help="manifest file or folder")
    _add_format(check)


def _template(verbs: Any) -> None:
    parser = _verb(verbs, "template", "fetch the images of templates")
    below = parser.add_subparsers(
        dest="template_verb", metavar="VERB", required=True, help="what to do"
    )
    pull = _verb(
        below,
        "pull",
        "fetch and verify the image of a template now",
        "Else it is fetched when the first machine of this host is cloned from it.",
    )
    pull.add_argument("name", metavar="NAME", help="template")
    pull.add_argument("paths", metavar="PATH", nargs="+", help="manifest file or folder")


def _schema(verbs: Any) -> None:
    parser = _verb(verbs, "schema", "print the JSON Schema of a kind")
    parser.add_argument(
        "kind",
        metavar="KIND",
        help="VirtualMachine, Template, Host, Configuration, Plan, Snapshot, Measurement",
    )


def _add_verb(add: Callable[[Any, Any], None], verbs: Any) -> None:
    add(verbs, _verb)


def _add_guest_verb(name: str, verbs: Any) -> None:
    from reconciler.cli.guest_arguments import GUEST_VERBS  # noqa: PLC0415 - start-up time

    GUEST_VERBS[name](verbs, _verb)


def _bench(verbs: Any) -> None:
    from reconciler.cli.bench_arguments import add_bench  # noqa: PLC0415 - start-up time

    add_bench(verbs, _verb)


_VERBS: Mapping[str, Callable[[Any], None]] = {
    "validate": _validate,
    "plan": _plan,
    "snapshot": _snapshot,
    "apply": _apply,
    **{name: partial(_add_verb, add) for name, add in DAEMON_VERBS.items()},
    "history": _history,
    "rollback": _rollback,
    "export": _export,
    "adopt": _adopt,
    "host": _host,
    "template": _template,
    "console": partial(_add_guest_verb, "console"),
    "ssh": partial(_add_guest_verb, "ssh"),
    "import": partial(_add_guest_verb, "import"),
    "bench": _bench,
    "schema": _schema,
}
