"""From paths to `Desired` or to settings: every problem of every file at once.

Only puts the steps in order: files, documents, schema, meaning, meaning together. An object with
any problem is left out whole; a file that cannot be read leaves out all of its own.

Says nothing of what stands behind the settings: a folder or a host that is not there is a status
of the running daemon, and no reason not to start.
"""

from __future__ import annotations

import os
import re
import stat
from itertools import chain, islice
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from reconciler.adapters.manifests.documents import Blot, Document, read_documents
from reconciler.adapters.manifests.files import FileReading, SourceFile, read_files
from reconciler.adapters.manifests.schema_errors import check_cloud_config, is_valid, load_schema
from reconciler.core.document_set import check_together
from reconciler.core.documents import (
    CONFIGURATION,
    Clash,
    Finding,
    Together,
    drop_near,
    find_kind,
    format_path,
    prune,
    refuse_plain_secrets,
)
from reconciler.core.faults import isolate
from reconciler.core.frozen import frozen, replace
from reconciler.core.kinds import find_row, list_kinds
from reconciler.core.manifest import Desired, Manifest, Place
from reconciler.core.manifest_files import LoadedManifests, ManifestFile, show_name
from reconciler.core.secret_text import HIDDEN
from reconciler.core.settings import Settings, build_settings, check_configuration, refuse_head
from reconciler.errors import FaultError, InvalidManifestError, Problem, UsageError

MOST_PROBLEMS = 100  # of a kind, that are listed of a file
# What is taken away may be required by what is around it, which then goes as well.
_PRUNINGS = 3


@frozen
class Source:
    """A document in its file."""

    file: str
    document: Document

    @property
    def place(self) -> Place:
        """Where it begins."""
        return Place(self.file, self.document.line, self.document.column)

    def locate(self, path: Tuple[Union[str, int], ...]) -> Place:
        """Return where a field of it was written."""
        return Place(self.file, *self.document.locate(path))


@frozen
class Item:
    """A document, where it is from, and what it means if that can be told."""

    file: str
    document: Document
    name: Optional[Tuple[str, str]] = None
    manifest: Optional[Manifest] = None
    findings: Tuple[Finding, ...] = ()
    warnings: Tuple[Finding, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found wrong with it alone."""
        return self.manifest is not None and not self.findings and not self.document.blots


Allows = Callable[[], bool]
"""Whether this host allows secrets in manifests; asked only when there is one."""


def _allow_none() -> bool:
    return False


def load_manifests(
    paths: Sequence[str],
    allows_plain: Allows = _allow_none,
    on_sound: Optional[Callable[[], object]] = None,
) -> LoadedManifests:
    """Return the valid manifests and the problems of the others; raises nothing for bad input.

    `on_sound` is called as soon as one is right, and may be called again.
    """
    return _load(paths, read_files(paths), allows_plain, on_sound)


def load_files(
    files: Sequence[ManifestFile], allows_plain: Allows = _allow_none
) -> LoadedManifests:
    """Do the same for files that were read already; that one has nothing in it is no problem."""
    sources = [SourceFile("", file.name, file.content) for file in files]
    return _load((), FileReading(files=sources), allows_plain)


def _load(
    paths: Sequence[str],
    reading: FileReading,
    allows_plain: Allows,
    on_sound: Optional[Callable[[], object]] = None,
) -> LoadedManifests:
    items, problems = _read_items(reading, allows_plain, on_sound)
    problems.extend(reading.problems)
    problems.extend(_empty_paths(paths, reading, items, problems))
    clashes, findings = check_together(_together(items))
    problems.extend(_problem(items[clash.one], _finding(clash, items)) for clash in clashes)
    for number, found in findings.items():
        problems.extend(_problem(items[number], finding) for finding in found)
    bad = {clash.one for clash in clashes} | {clash.other for clash in clashes} | set(findings)
    sound = [item for number, item in enumerate(items) if item.is_sound and number not in bad]
    valid = (item.manifest for item in sound if item.manifest is not None)
    warnings = sorted({_problem(item, found) for item in sound for found in item.warnings})
    return LoadedManifests(Desired.of(*valid), tuple(sorted(set(problems))), tuple(warnings))


def _read_items(
    reading: FileReading, allows_plain: Allows, on_sound: Optional[Callable[[], object]]
) -> Tuple[List[Item], List[Problem]]:
    items: List[Item] = []
    problems: List[Problem] = []
    for file in reading.files:
        documents, blots = read_documents(file.content)
        problems.extend(_blotted(file.name, blot) for blot in blots)
        here = [_isolate(file, document, allows_plain) for document in documents]
        problems.extend(_find_problems(file.name, here))
        items.extend(here)
        if on_sound is not None and any(item.is_sound for item in here):
            on_sound()
    return items, problems


def _find_problems(file: str, items: Sequence[Item]) -> Iterator[Problem]:
    """Yield what is wrong in a file, up to as much as anybody reads: each place has to be found."""
    blots = ((item, blot) for item in items for blot in item.document.blots)
    findings = ((item, finding) for item in items for finding in item.findings)
    for item, blot in islice(blots, MOST_PROBLEMS):
        yield _blotted(item.file, blot)
    for item, finding in islice(findings, MOST_PROBLEMS):
        yield _problem(item, finding)
    if next(chain(blots, findings), None) is not None:
        yield Problem(
            file=file, line=0, column=0, path="", message="has further problems; fix these first"
        )


def _isolate(file: SourceFile, document: Document, allows_plain: Allows) -> Item:
    """Understand one document; a bug of ours there leaves out that document, and no other."""
    try:
        return isolate(_understand, file, document, allows_plain)
    except FaultError as error:
        return Item(file.name, document, findings=(Finding((), str(error)),))


def _understand(file: SourceFile, document: Document, allows_plain: Allows) -> Item:
    """Hold one document against its schema and its meaning."""
    data = document.data
    kind, findings = find_kind(data, list_kinds())
    if kind is None:
        return Item(file.name, document, findings=tuple(findings))
    name = _name_of(kind, data)
    source = Source(file.name, document)
    if not is_valid(kind)(data):
        findings = _explain(kind, data)
        findings.extend(_check_rest(kind, data, findings, source))
        return Item(file.name, document, name, findings=tuple(findings))
    manifest, findings, warnings = _check(kind, data, source)
    # A manifest that keeps its spec has hidden the secrets in it: often there are none to find.
    may_have = HIDDEN in getattr(manifest, "spec", HIDDEN)
    plain = refuse_plain_secrets(data.get("spec")) if may_have else []
    if plain and not allows_plain():
        findings.extend(plain)
    item = Item(file.name, document, name, manifest)
    return replace(item, findings=tuple(findings), warnings=tuple(warnings))


def _check(
    kind: str, data: Any, source: Source
) -> Tuple[Manifest, List[Finding], Sequence[Finding]]:
    """Return what a document means that fits its schema, what is wrong with that, and warnings."""
    row = find_row(kind)
    manifest = row.build(data, source.place, source.locate)
    findings = row.check(manifest, data)
    if "cloudInit" not in data.get("spec", {}):
        return manifest, findings, ()
    wrong, warnings = check_cloud_config(data["spec"])
    return manifest, [*findings, *wrong], warnings


def _check_rest(
    kind: str, data: Any, findings: Sequence[Finding], source: Source
) -> Sequence[Finding]:
    """Check what the schema did not refuse, so that nobody has to come twice."""
    rest, wrong = data, list(findings)
    for _ in range(_PRUNINGS):
        rest = prune(rest, wrong)
        if is_valid(kind)(rest):
            return drop_near(_check(kind, rest, source)[1], wrong)
        wrong += _explain(kind, rest)
    return []


def _explain(kind: str, data: Mapping[str, object]) -> List[Finding]:
    # Costs more than all the rest together, and is needed only now.
    from reconciler.adapters.manifests.schema_errors import explain  # noqa: PLC0415

    findings = explain(kind, load_schema(kind), data)
    if not findings:
        message = "internal error: refused without a reason; please report it with this document"
        findings = [Finding((), message)]
    return findings


def _name_of(kind: str, data: Mapping[str, object]) -> Optional[Tuple[str, str]]:
    """Return the name even of an invalid document, so that others can be held against it."""
    metadata = data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return (kind, name) if isinstance(name, str) else None


def _together(items: Sequence[Item]) -> Together:
    numbered = list(enumerate(items))
    return Together(
        {number: item.name for number, item in numbered if item.name is not None},
        {number: item.manifest for number, item in numbered if item.manifest is not None},
        frozenset(number for number, item in numbered if not item.is_sound),
    )


def _empty_paths(
    paths: Sequence[str], reading: FileReading, items: Sequence[Item], problems: Sequence[Problem]
) -> List[Problem]:
    """Nothing at all in a path is a mistake, and never means that nothing is wanted."""
    full = {item.file for item in items} | {problem.file for problem in problems}
    told = {file.given for file in reading.files if file.name in full} | reading.told
    return [
        Problem(
            file=show_name(path),
            line=0,
            column=0,
            path="",
            message=f"there are no manifests in {show_name(path)}",
        )
        for path in paths
        if path not in told
    ]


def _blotted(file: str, blot: Blot) -> Problem:
    return Problem(file=file, line=blot.line, column=blot.column, path="", message=blot.message)


def _problem(item: Item, finding: Finding) -> Problem:
    line, column = item.document.locate(finding.path, at_key=finding.at_key)
    return Problem(
        file=item.file,
        line=line,
        column=column,
        path=format_path(finding.path),
        message=finding.message,
    )


def _finding(clash: Clash, items: Sequence[Item]) -> Finding:
    other = items[clash.other]
    line, column = other.document.locate(clash.other_path)
    place = f"{other.file}:{line}:{column}"
    return Finding(clash.path, f"{clash.message} at {place}{clash.advice}")


# A setting on a line of its own, in a file that is not YAML as a whole.
_LINE = rb"""^[ ]+%s:[ ]+["']?([^\s"'#]+)["']?[ ]*(?:#.*)?$"""


def read_settings(path: str) -> Settings:
    """Return the settings in that file.

    Raises UsageError if there is no such file, InvalidManifestError with all that is wrong in it.
    """
    documents = _read(path)
    name = show_name(path)
    problems = [
        problem for document in documents for problem in _check_configuration(name, document)
    ]
    problems.extend(_refuse_number(name, documents))
    if problems:
        raise InvalidManifestError(tuple(problems))
    return build_settings(documents[0].data)


def salvage_settings(path: str) -> Settings:
    """Return what can be told of a configuration that is wrong: where the daemon's memory is.

    For the verbs that hold a daemon back, which must work before anybody has mended the file. The
    folder and libvirt's URI are taken from it where they can be found; the rest is as left out.
    """
    plain = Settings()
    return replace(
        plain,
        state=_salvage(path, "state") or plain.state,
        connect=_salvage(path, "connect") or plain.connect,
    )


def _salvage(path: str, name: str) -> str:
    for file in read_files([path]).files:
        documents, _ = read_documents(file.content)
        for document in documents:
            spec = document.data.get("spec") if isinstance(document.data, dict) else None
            text = spec.get(name) if isinstance(spec, dict) else None
            if isinstance(text, str):
                return text
        found = re.search(_LINE % name.encode(), file.content, re.MULTILINE)
        if found is not None:
            return found.group(1).decode(errors="replace")
    return ""


def _read(path: str) -> List[Document]:
    name = show_name(path)
    _refuse_kind_of_file(path, name)
    reading = read_files([path])
    blots: List[Blot] = []
    documents: List[Document] = []
    for file in reading.files:
        documents, blots = read_documents(file.content)
    problems = [*reading.problems, *(_find_blots(name, blot) for blot in blots)]
    if problems:
        raise InvalidManifestError(tuple(problems))
    return documents


def _refuse_kind_of_file(path: str, name: str) -> None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"no configuration file {name}") from error
    except (OSError, ValueError):  # what else is wrong is found again, and told, when it is read
        return
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{name} is a folder and not a configuration file")


def _refuse_number(name: str, documents: List[Document]) -> Iterator[Problem]:
    if not documents:
        yield Problem(
            file=name, line=0, column=0, path="", message="is empty; see virt-reconciler-config(5)"
        )
    for document in documents[1:]:
        yield Problem(
            file=name,
            line=document.line,
            column=document.column,
            path="",
            message="a configuration is a single document",
        )


def _check_configuration(name: str, document: Document) -> Iterator[Problem]:
    for blot in document.blots:
        yield _find_blots(name, blot)
    for finding in _judge(document):
        place = document.locate(finding.path, at_key=finding.at_key)
        yield Problem(name, *place, format_path(finding.path), finding.message)


def _judge(document: Document) -> List[Finding]:
    wrong = refuse_head(document.data)
    if wrong is not None:
        return [wrong]
    found = [] if is_valid(CONFIGURATION)(document.data) else _explain_configuration(document)
    refused = {finding.path for finding in found}
    return found + [
        finding for finding in check_configuration(document.data) if finding.path not in refused
    ]


def _explain_configuration(document: Document) -> List[Finding]:
    from reconciler.adapters.manifests.schema_errors import explain  # noqa: PLC0415 - as in loading

    found = explain(CONFIGURATION, load_schema(CONFIGURATION), document.data)
    return found or [Finding((), "internal error: refused without a reason; please report it")]


def _find_blots(name: str, blot: Blot) -> Problem:
    return Problem(file=name, line=blot.line, column=blot.column, path="", message=blot.message)
