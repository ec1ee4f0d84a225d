"""`plan --base`: two versions of the manifests, and the plan of what lies between them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from reconciler.adapters.manifests.loading import load_files
from reconciler.cli.console import Console
from reconciler.cli.plans import Wish, plan_options, reach
from reconciler.cli.services import Services, Versions
from reconciler.control.comparison import compare_on, compare_without_host
from reconciler.core.frozen import frozen, replace
from reconciler.core.manifest import Desired
from reconciler.core.manifest_files import ManifestFile, find_needed, split_files
from reconciler.core.plan import Plan
from reconciler.core.render.values import escape
from reconciler.core.render.words import SHORT, count
from reconciler.errors import InvalidManifestError, Problem, RefusedError, UsageError
from reconciler.kinds.machine.observe import observe

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
    needed = find_needed(split.both, [load_files(one).desired for one in (split.base, split.head)])
    base, head = (load_files([*one, *needed]) for one in (split.base, split.head))
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
    host, wanted, taken_at = reach(wish, head, console, services)
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
