"""`plan --base`: two versions of the manifests, and the plan of what lies between them.

With a host, or a snapshot of one, that is what would happen there; without, what would happen
on a host that is as the former version says. What both versions describe alike is left out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Callable, List, Mapping, Optional, Sequence, Tuple

from reconciler.cli.console import Console
from reconciler.cli.plans import Wish, plan_options, reach
from reconciler.cli.services import Services, Versions
from reconciler.control.ports import Host
from reconciler.core.frozen import frozen, replace
from reconciler.core.key import Key
from reconciler.core.kinds import find_row
from reconciler.core.manifest import Desired
from reconciler.core.manifest_files import (
    Differing,
    ManifestFile,
    find_differing,
    find_needed,
    split_files,
)
from reconciler.core.plan import Action, ActionKind, Plan, PlanOptions, failed_action
from reconciler.core.render.words import SHORT, count, escape
from reconciler.errors import (
    InvalidManifestError,
    NotFoundError,
    Problem,
    ReconcilerError,
    RefusedError,
    UsageError,
)
from reconciler.kinds.api import find_kind, list_reconciled
from reconciler.kinds.machine.observe import observe


def compare_without_host(base: Desired, head: Desired, options: PlanOptions) -> Plan:
    """Plan on a host where `base` was applied; every host's objects at once."""
    differing = find_differing(base, head)
    actions: List[Action] = []
    for kind in list_reconciled():
        actions += kind.compare(base, head, differing, options)
    return _finish(Plan("", "", (), options.revision), actions, differing)


def compare_on(
    host: Host, base: Desired, head: Desired, plan_chosen: Callable[[Desired], Plan]
) -> Plan:
    """Plan on a host as it is; what both versions describe alike is left out, drifted or not.

    `plan_chosen` plans manifests on that host. Raises TransientError if it cannot be read.
    """
    differing = find_differing(base, head)
    keys = differing.changed | differing.added
    needed = {need for key in keys for need in find_row(key.kind).needs(head.objects[key], head)}
    chosen = {
        key: manifest
        for key, manifest in head.objects.items()
        if key in keys | needed or not find_row(key.kind).is_planned(manifest)
    }
    plan = plan_chosen(Desired(chosen))
    actions = list(plan.actions)
    for key in sorted(differing.gone):
        if find_row(key.kind).is_here(base.objects[key], plan.host):
            actions += _plan_end(host, head, key)
    return _finish(plan, actions, differing)


def _plan_end(host: Host, head: Desired, key: Key) -> Sequence[Action]:
    """Plan the end of an object whose manifest goes; nothing if there is none on the host."""
    try:
        return [find_kind(key.kind).plan_delete(host, head, key)]
    except NotFoundError:
        return []
    except ReconcilerError as error:
        return [failed_action(key.kind, key.name, error)]


def _finish(plan: Plan, actions: Sequence[Action], differing: Differing) -> Plan:
    renamed = dict(differing.renamed)
    shown = [_tell_renamed(_show_end(action, differing), renamed) for action in actions]
    return replace(plan, actions=tuple(sorted(shown, key=lambda action: action.key)))


def _show_end(action: Action, differing: Differing) -> Action:
    """Show what becomes of an object whose manifest goes, even where that is nothing."""
    if action.key not in differing.gone or action.action is not ActionKind.NONE:
        return action
    word = find_row(action.kind).word
    reason = f"its manifest is removed; the {word} stays (lifecycle.deletion: orphan)"
    return Action(action.kind, action.name, ActionKind.WITHHELD, reason=reason)


def _tell_renamed(action: Action, renamed: Mapping[Key, Key]) -> Action:
    new = renamed.get(action.key)
    if new is None:
        return action
    word = find_row(action.kind).word
    note = (
        f"its manifest is called {new.name} now: that is another {word}, created anew; to keep "
        "this one, do not change metadata.name"
    )
    return replace(action, notes=(*action.notes, note))


BARE_HEAD = "HEAD"


@frozen
class Question:
    """What is compared: the folders' manifests at `base`, and at `head` or as they are here."""

    paths: Sequence[str]
    base: str
    head: Optional[str] = None


@dataclass
class Sides:
    """The files of both versions, and how the revisions are called."""

    base: List[ManifestFile]
    head: List[ManifestFile]
    problems: List[Problem]
    base_name: str = ""
    revision: Optional[str] = None


def prepare_comparison(
    question: Question, wish: Wish, console: Console, services: Services
) -> Tuple[Plan, Tuple[Problem, ...]]:
    """Plan what one version changes against the other: on a host, a snapshot of one, or none.

    Problems are told on standard error. Raises UsageError where there is nothing to compare.
    """
    sides = _read(question, console, services)
    split = split_files(sides.base, sides.head)
    needed = find_needed(
        split.both, [services.load_files(files).desired for files in (split.base, split.head)]
    )
    base, head = (services.load_files([*files, *needed]) for files in (split.base, split.head))
    problems = tuple(sorted({*sides.problems, *head.problems}))
    for problem in problems:
        console.complain(escape(str(problem)))
    if problems:
        console.error(f"{count(len(problems), 'problem')}: not in this plan")
    _tell(set(base.problems) - set(problems), question.base, console)
    plan = _plan(base.desired, head.desired, wish, console, services)
    return replace(plan, base=sides.base_name, revision=sides.revision), problems


def _plan(base: Desired, head: Desired, wish: Wish, console: Console, services: Services) -> Plan:
    options = plan_options(replace(wish, revision=False), services)
    if wish.uri is None and wish.against is None:
        return compare_without_host(base, head, options)
    host, wanted, taken_at = reach(
        wish, head, console, services, lambda: services.connect(wish.uri)
    )
    plan = compare_on(host, base, wanted, lambda chosen: observe(host, chosen).plan(options))
    return replace(plan, taken_at=taken_at)


def _tell(problems: set[Problem], base: str, console: Console) -> None:
    for problem in sorted(problems):
        console.complain(escape(str(problem)))
    if problems:
        console.note(f"what is wrong at {escape(base)} counts as not there, and shows as new")


def _read(question: Question, console: Console, services: Services) -> Sides:
    sides = Sides([], [], [])
    for path in question.paths:
        if os.path.isfile(path):
            raise UsageError(f"{escape(path)}: --base compares folders, and this is a file")
        versions = services.find_versions(path)
        _read_base(versions, path, question, sides, console)
        commit = _read_head(versions, path, question, sides, services)
        _warn(versions, question.base, commit, console)
    if not sides.head and not sides.problems:
        raise RefusedError(f"there are no manifests in {', '.join(map(escape, question.paths))}")
    if not sides.head:
        raise InvalidManifestError(tuple(sides.problems))
    return sides


def _read_base(
    versions: Versions, path: str, question: Question, sides: Sides, console: Console
) -> None:
    commit = versions.resolve(question.base)
    found = versions.read(question.base, commit)
    sides.base_name = f"{question.base} ({commit[:SHORT]})"
    if found is None:
        console.note(f"{escape(path)}: no manifests at {escape(question.base)}; all of it is new")
        return
    sides.base += [replace(file, name=f"{question.base}:{file.name}") for file in found.files]


def _read_head(
    versions: Versions, path: str, question: Question, sides: Sides, services: Services
) -> str:
    """Read the newer side and return its commit."""
    head = question.head or (BARE_HEAD if versions.is_bare else None)
    commit = versions.resolve(head or BARE_HEAD)
    sides.revision = commit
    if head is None:
        files, problems = services.read_files([path])
        sides.head += files
        sides.problems += problems
        return commit
    found = versions.read(head, commit)
    if found is not None:
        sides.head += [replace(file, name=f"{head}:{file.name}") for file in found.files]
        sides.problems += found.problems
    return commit


def _warn(versions: Versions, base: str, head: str, console: Console) -> None:
    missing = versions.count_missing(versions.resolve(base), head)
    if missing:
        console.note(
            f"{escape(base)} is ahead of these manifests by {count(missing, 'commit')}; what "
            f"they did shows as taken back; without them: --base $(git merge-base {escape(base)} "
            f"{head[:SHORT]})"
        )
