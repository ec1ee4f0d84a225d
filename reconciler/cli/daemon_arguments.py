"""The grammar of the daemon's verbs. On the start-up path: standard library only, no work."""

from __future__ import annotations

import argparse
from typing import Any, Callable

Verb = Callable[..., argparse.ArgumentParser]


def add_daemon_verbs(verbs: Any, verb: Verb) -> None:
    """Add them; `verb` adds one, given its name, a few words and what more there is to say."""
    for add in (_run, _config, _prune, _status, _suspend, _resume, _retry):
        add(verbs, verb)


def _run(verbs: Any, verb: Verb) -> None:
    verb(
        verbs,
        "run",
        "keep this host as its manifests say, until stopped",
        "The daemon, for a service manager; its configuration says where the manifests are.",
    )


def _config(verbs: Any, verb: Verb) -> None:
    parser = verb(verbs, "config", "check the daemon's configuration")
    below = parser.add_subparsers(
        dest="config_verb", metavar="VERB", required=True, help="what of it"
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
        "see and confirm what the daemon does not delete unasked",
        "Deletes nothing itself: the daemon does, once it is confirmed.",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _status(verbs: Any, verb: Verb) -> None:
    parser = verb(
        verbs,
        "status",
        "show how the virtual machines are, and the manifests",
        "From the daemon's memory; from libvirt itself where no daemon has run.",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="default: all; named: in full")
    parser.add_argument("--live", action="store_true", help="ask libvirt, whatever is remembered")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def _suspend(verbs: Any, verb: Verb) -> None:
    parser = verb(
        verbs,
        "suspend",
        "have the daemon leave virtual machines alone until they are resumed",
        "Holds over restarts. They are not deleted either. plan and apply do not heed it, and "
        "apply says so.",
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="virtual machine")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for others to read")


def _resume(verbs: Any, verb: Verb) -> None:
    parser = verb(
        verbs,
        "resume",
        "have the daemon reconcile virtual machines again that are suspended or stalled",
        "Lifts a suspension. What is stalled, or left alone because someone keeps changing it "
        "back, is tried again.",
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="virtual machine")


def _retry(verbs: Any, verb: Verb) -> None:
    parser = verb(
        verbs,
        "retry",
        "have the daemon try virtual machines again now",
        "Whatever is known of them: a failure, a wait until the next try, a field that is left "
        "alone. Suspended ones stay suspended.",
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="virtual machine")
