"""The grammar of the daemon's verbs. On the start-up path: standard library only, no work."""

from __future__ import annotations

import argparse
from typing import Any, Callable, Mapping

Verb = Callable[..., argparse.ArgumentParser]


def _run(verbs: Any, verb: Verb) -> None:
    verb(
        verbs,
        "run",
        "keep this host like its manifests, until stopped",
        "The daemon, for a service manager; its configuration names the source of the manifests.",
    )


def _config(verbs: Any, verb: Verb) -> None:
    parser = verb(verbs, "config", "check the daemon's configuration")
    below = parser.add_subparsers(
        dest="config_verb", metavar="VERB", required=True, help="what to inspect"
    )
    check = verb(
        below,
        "check",
        "report every problem of the daemon's configuration",
        "As file:line:column: path: message, and exits with 65 if there is one. A reload of the "
        "service runs it first.",
    )
    check.add_argument(
        "file", metavar="FILE", nargs="?", help="default: --config, or the usual file"
    )


def _prune(verbs: Any, verb: Verb) -> None:
    parser = verb(
        verbs,
        "prune",
        "show and confirm deletions that the daemon holds back; or delete unused images",
        "Deletes no machine itself: the daemon does, after the confirmation.",
    )
    parser.add_argument(
        "--images",
        metavar="PATH",
        nargs="+",
        default=[],
        help="delete instead the fetched images that no template in these manifests names and "
        "nothing uses",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _status(verbs: Any, verb: Verb) -> None:
    parser = verb(
        verbs,
        "status",
        "show the state of objects and manifests",
        "From the daemon's records; from libvirt if no daemon has run here.",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="default: all; named: in full")
    parser.add_argument("--live", action="store_true", help="ask libvirt, not the daemon's records")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def _suspend(verbs: Any, verb: Verb) -> None:
    parser = verb(
        verbs,
        "suspend",
        "stop reconciling objects until they are resumed",
        "Survives restarts. Suspended machines are not deleted either. plan and apply ignore a "
        "suspension; apply notes it.",
    )
    _add_names(parser)
    parser.add_argument("--reason", metavar="TEXT", default="", help="reason, shown by status")


def _resume(verbs: Any, verb: Verb) -> None:
    parser = verb(
        verbs,
        "resume",
        "resume reconciling suspended or stalled objects",
        "Ends a suspension, and tries again what is stalled or left alone because someone "
        "keeps changing it back.",
    )
    _add_names(parser)


def _retry(verbs: Any, verb: Verb) -> None:
    parser = verb(
        verbs,
        "retry",
        "reconcile objects again now",
        "Ends a wait after a failure, and clears a stall or a field that is left alone. "
        "Suspended machines stay suspended.",
    )
    _add_names(parser)


def _add_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="object, like web01 or host/kvm01")


# Each adds one verb, by what is given: its name, a few words and what more there is to say.
DAEMON_VERBS: Mapping[str, Callable[[Any, Verb], None]] = {
    "run": _run,
    "config": _config,
    "prune": _prune,
    "status": _status,
    "suspend": _suspend,
    "resume": _resume,
    "retry": _retry,
}
