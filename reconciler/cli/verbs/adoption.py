"""`export` and `adopt`: from a domain to a manifest, and to a managed machine."""

from __future__ import annotations

import argparse
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from reconciler.adapters.manifests.reader import load_files
from reconciler.adapters.text_files import write_folder
from reconciler.cli.console import Console, Exit
from reconciler.cli.daemon_state import find_chronicle, withhold_conflicts
from reconciler.cli.names import choose, list_names, split_kinds
from reconciler.cli.plans import Wish, prepare, trouble
from reconciler.cli.progress import carry_out
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.control.ports import Host
from reconciler.core.documents import API_VERSION
from reconciler.core.faults import isolate
from reconciler.core.frozen import frozen, replace
from reconciler.core.key import Key
from reconciler.core.manifest_files import ManifestFile, show_name
from reconciler.core.plan import Action, ActionKind, Plan
from reconciler.core.render.text import render_text
from reconciler.core.render.words import escape
from reconciler.core.world import Reading, Unknown
from reconciler.core.yaml_text import write_documents
from reconciler.errors import FaultError, Problem, RefusedError, TerminalError, UsageError
from reconciler.kinds.api import find_kind
from reconciler.kinds.machine.export import export_machine, take_out
from reconciler.kinds.machine.survey import look_around, read_domains, read_sizes
from reconciler.kinds.machine.uncovered import find_remarks

Refused = List[Tuple[str, str]]


@frozen
class Exported:
    """A manifest of a domain, and what it does not say."""

    reading: Reading
    manifest: Dict[str, Any]
    remarks: Tuple[str, ...]

    @property
    def name(self) -> str:
        """The domain's name."""
        return self.reading.view.name

    @property
    def file(self) -> ManifestFile:
        """The manifest as a file; its name is what problems of other manifests call it."""
        text = write_documents([(self.manifest, ())])
        return ManifestFile(f"domain {self.name}", text.encode())


def export(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Write one document for each domain; what cannot be read is told on standard error."""
    if bool(options.names) is options.all:
        raise UsageError("name the domains to export, or give --all")
    if options.force and not options.output_dir:
        raise UsageError("--force requires --output-dir")
    host = services.connect(uri_of(options, services, console))
    others, names = split_kinds(options.names)
    manifests = [_export_other(key, host) for key in others]
    found = read_domains(host)
    chosen, missing = choose(sorted(found) if options.all else names, found, console)
    readings = [reading for _, reading in chosen if isinstance(reading, Reading)]
    unread = [(name, reading.reason) for name, reading in chosen if isinstance(reading, Unknown)]
    around = look_around(host, readings)

    def export(reading: Reading) -> Exported:
        sizes = read_sizes(host, reading)
        manifest = export_machine(reading, sizes, around, power=options.power)
        return Exported(reading, manifest, find_remarks(reading, around))

    exported: List[Exported] = []
    for reading in readings:
        try:
            exported.append(isolate(export, reading))
        except (FaultError, TerminalError) as error:  # it concerns this one
            unread.append((reading.view.name, str(error)))
    valid, refused = make_valid(exported)
    _complain(unread, "cannot be read", console)
    _complain(refused, "a manifest cannot express this", console)
    if options.output_dir:
        _write_files(valid, options, console)
    else:
        manifests += [(domain.manifest, domain.remarks) for domain in valid]
        console.write(write_documents(manifests))
    return Exit.FAILED if missing or unread or refused else Exit.DONE


def _export_other(key: Key, host: Host) -> Tuple[Dict[str, Any], Tuple[str, ...]]:
    """Return the manifest of an object that is no domain. Raises TerminalError if there is none."""
    spec = find_kind(key.kind).export(host, key)
    head = {"apiVersion": API_VERSION, "kind": key.kind, "metadata": {"name": key.name}}
    return {**head, "spec": dict(spec)}, ()


def _write_files(
    exported: Sequence[Exported], options: argparse.Namespace, console: Console
) -> None:
    """Write a file for each domain; none at all if one of them is there already."""
    texts = {
        f"{domain.name}.yaml": write_documents([(domain.manifest, domain.remarks)])
        for domain in exported
    }
    for path in write_folder(options.output_dir, texts, replace=options.force):
        console.line(show_name(path))


def _complain(reasons: Sequence[Tuple[str, str]], what: str, console: Console) -> None:
    lines: List[str] = [f"{escape(name)}: {what}: {reason}" for name, reason in reasons]
    for line in lines:
        console.error(line)


def make_valid(exported: Sequence[Exported]) -> Tuple[List[Exported], Refused]:
    """Return the manifests so that all of them are valid together, and those that never are.

    Every round takes something out, so there is an end.
    """
    valid = {domain.file.name: domain for domain in exported}
    refused: Refused = []
    while True:
        problems = _find_first(load_files([domain.file for domain in valid.values()]).problems)
        if not problems:
            return list(valid.values()), refused
        for file, problem in problems.items():
            less = _lessen(valid[file], problem)
            if less is None:
                refused.append((valid.pop(file).name, f"{problem.path}: {problem.message}"))
            else:
                valid[file] = less


def _find_first(problems: Sequence[Problem]) -> Mapping[str, Problem]:
    """Return one problem of each manifest: what it leads to may be what the next is about."""
    return {problem.file: problem for problem in sorted(problems, reverse=True)}


def _lessen(exported: Exported, problem: Problem) -> Optional[Exported]:
    less = take_out(exported.manifest, problem, exported.reading.persistent)
    if less is None:
        return None
    return replace(exported, manifest=less.manifest, remarks=(*exported.remarks, less.remark))


# What an adoption itself writes; any other change means that the domain is not as wanted.
MARK = "metadata.owner"
GENERATION = "metadata.generation"


def adopt(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Adopt the named domains, or none of them if one is not as its manifest says."""
    names = sorted(set(options.names))
    uri = uri_of(options, services, console)
    prepared = prepare(Wish(options.paths, uri, frozenset(names)), console, services)
    chosen = _choose(prepared.plan, names)
    _refuse_changes(chosen, console)
    todo, conflicts = withhold_conflicts(replace(prepared, plan=chosen), options, console, services)
    if conflicts:
        raise RefusedError(f"nothing was adopted: {_explain(todo.plan, conflicts[0])}")
    if not _has_work(chosen, console):
        return trouble(prepared.problems, 0)
    chronicle = find_chronicle(options, todo, console, services)
    carried = carry_out(todo, chronicle, console, services)
    return carried.status if carried.failed else trouble(prepared.problems, 0)


def _choose(plan: Plan, names: Sequence[str]) -> Plan:
    """Keep the actions of the named machines."""
    found: Mapping[str, Action] = {action.name: action for action in plan.actions}
    missing = [name for name in names if name not in found]
    if missing:
        raise UsageError(f"no manifest for this host names {list_names(missing)}")
    return replace(plan, actions=tuple(found[name] for name in names))


def _refuse_changes(plan: Plan, console: Console) -> None:
    absent = [action.name for action in plan.actions if action.action is ActionKind.CREATE]
    if absent:
        raise RefusedError(
            f"nothing was adopted: {list_names(absent)}: no such domain on this host; `apply` "
            "creates it"
        )
    unfit = [action for action in plan.actions if not _is_fit(action)]
    if not unfit:
        return
    console.write(render_text(replace(plan, actions=tuple(unfit)), console.style()))
    raise RefusedError(
        f"nothing was adopted: not like their manifests: {list_names([x.name for x in unfit])}; "
        "change the manifests, or use `apply --adopt` to adopt and change"
    )


def _is_fit(action: Action) -> bool:
    if action.action is ActionKind.ADOPT:
        return all(change.path == MARK for change in action.changes)
    if action.action is ActionKind.UPDATE:  # ours already: only what is applied is written anew
        return {change.path for change in action.changes} == {GENERATION}
    return action.action is ActionKind.NONE


def _explain(plan: Plan, name: str) -> str:
    return next(f"{name}: {action.reason}" for action in plan.actions if action.name == name)


def _has_work(plan: Plan, console: Console) -> bool:
    for action in plan.actions:
        if action.action is ActionKind.NONE:
            console.line(f"{action.name}: is already managed")
    return any(action.steps for action in plan.actions)
