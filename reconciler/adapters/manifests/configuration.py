"""The daemon's configuration file: read as strictly as manifests are, every problem at once.

Says nothing of what stands behind the settings: a folder or a host that is not there is a status
of the running daemon, and no reason not to start.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Iterator, List

from reconciler.adapters.manifests.documents import Blot, Document, read_documents
from reconciler.adapters.manifests.files import read_files
from reconciler.adapters.manifests.schema_errors import is_valid, load_schema
from reconciler.core.configuration import build_settings, check_configuration, refuse_head
from reconciler.core.documents import CONFIGURATION, Finding, format_path
from reconciler.core.frozen import replace
from reconciler.core.manifest_files import show_name
from reconciler.core.settings import Settings
from reconciler.errors import InvalidManifestError, Problem, UsageError

# A setting on a line of its own, in a file that is not YAML as a whole.
_LINE = rb"""^[ ]+%s:[ ]+["']?([^\s"'#]+)["']?[ ]*(?:#.*)?$"""


def read_settings(path: str) -> Settings:
    """Return the settings in that file.

    Raises UsageError if there is no such file, InvalidManifestError with all that is wrong in it.
    """
    documents = _read(path)
    name = show_name(path)
    problems = [one for document in documents for one in _check(name, document)]
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
    problems = [*reading.problems, *(_blotted(name, blot) for blot in blots)]
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
        yield Problem(name, 0, 0, "", "is empty; see virt-reconciler-config(5)")
    for document in documents[1:]:
        yield Problem(
            name, document.line, document.column, "", "a configuration is a single document"
        )


def _check(name: str, document: Document) -> Iterator[Problem]:
    for blot in document.blots:
        yield _blotted(name, blot)
    for finding in _judge(document):
        place = document.locate(finding.path, at_key=finding.at_key)
        yield Problem(name, *place, format_path(finding.path), finding.message)


def _judge(document: Document) -> List[Finding]:
    wrong = refuse_head(document.data)
    if wrong is not None:
        return [wrong]
    found = [] if is_valid(CONFIGURATION)(document.data) else _explain(document)
    refused = {one.path for one in found}
    return found + [one for one in check_configuration(document.data) if one.path not in refused]


def _explain(document: Document) -> List[Finding]:
    from reconciler.adapters.manifests.schema_errors import explain  # noqa: PLC0415 - as in loading

    found = explain(CONFIGURATION, load_schema(CONFIGURATION), document.data)
    return found or [Finding((), "internal error: refused without a reason; please report it")]


def _blotted(name: str, one: Blot) -> Problem:
    return Problem(name, one.line, one.column, "", one.message)
