"""The daemon's settings as `config.yaml` gives them, complete and checked; times are seconds.

Checks take the document as it was written, however wrong: what the schema refuses they pass over,
so that a person gets everything that is wrong at once.
"""

from __future__ import annotations

import ipaddress
from dataclasses import field
from typing import Any, Callable, Iterator, List, Mapping, Optional, Tuple

from reconciler.core.documents import CONFIGURATION, DocumentPath, Finding, suggest
from reconciler.core.frozen import frozen, regex
from reconciler.core.kinds import list_kinds
from reconciler.core.units import parse_duration


@frozen
class GitSource:
    """Follow a Git remote. `path` is the folder of the manifests inside of the repository.

    `verify_signatures` takes only commits that `git verify-commit` accepts for `allowed_signers`,
    a file as of ssh-keygen(1). `deploy_key` is a private key's file, or None: the systemd
    credential `deploy_key` where there is one.
    """

    url: str
    ref: str = "main"
    path: str = "."
    interval: float = 60.0
    verify_signatures: bool = False
    allowed_signers: Optional[str] = None
    deploy_key: Optional[str] = None
    known_hosts: Optional[str] = None


@frozen
class DirectorySource:
    """Follow a folder. In a Git work tree the manifests are read from its commit."""

    path: str


@frozen
class PruneRails:
    """How much may be pruned without a person's word: both limits hold.

    `most` objects in one revision, and at most `share` (0 to 1) of all that are owned.
    """

    most: int = 1
    share: float = 0.2


@frozen
class MetricsSettings:
    """Where metrics go: a file for node_exporter's textfile collector, a loopback address, both."""

    file: Optional[str] = None
    address: Optional[str] = None
    port: int = 9477


@frozen
class Settings:
    """All settings. Exactly one of `git` and `directory` is set.

    `resync` is the time between two looks at every domain, `rescan` between two at the
    manifests. `lanes` is how many objects are worked on side by side, long waits not counted.
    `allow_plain_passwords`: a manifest of this host may contain passwords and keys.
    """

    git: Optional[GitSource] = None
    directory: Optional[DirectorySource] = None
    connect: str = "qemu:///system"
    state: str = "/var/lib/virt-reconciler"
    resync: float = 300.0
    rescan: float = 30.0
    lanes: int = 4
    allow_plain_passwords: bool = False
    prune: PruneRails = field(default_factory=PruneRails)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)


Data = Mapping[str, Any]

_GIT: DocumentPath = ("spec", "source", "git")
_DAY = 24 * 3600
# Where a time stands, and the shortest that makes sense; the longest is a day.
_TIMES: Tuple[Tuple[DocumentPath, int], ...] = (
    (("spec", "resync"), 10),
    (("spec", "rescan"), 1),
    ((*_GIT, "interval"), 5),
)
# With https a name alone is a token: nobody is asked for its password.
_PASSWORD = regex(r"[a-z]+://[^/@]*:[^/@]*@|https?://[^/]*@")
_BY_SSH = regex(r"ssh://|(?!/)[^/:]+:(?!//)")


def refuse_head(data: Any) -> Optional[Finding]:
    """Return why the document is something else than a configuration, or None if it is one."""
    if not isinstance(data, dict):
        what = "a list" if isinstance(data, list) else "a single value"
        return Finding(
            (), f"a configuration must be a mapping of apiVersion, kind and spec, not {what}"
        )
    kind = data.get("kind")
    if kind == CONFIGURATION:
        return None
    if "kind" not in data:
        return Finding((), f"kind is missing: write {CONFIGURATION}")
    if kind in list_kinds():
        return Finding(("kind",), f"{kind} is a manifest, not the daemon's {CONFIGURATION}")
    return Finding(("kind",), f"{kind!r} is not {CONFIGURATION}{suggest(kind, [CONFIGURATION])}")


def check_configuration(data: Data) -> List[Finding]:
    """Return what is wrong beyond the schema."""
    return [finding for check in _CHECKS for finding in check(data)]


def _find(data: Any, path: DocumentPath) -> Optional[str]:
    """Return the text at that path; None if there is something else, or nothing."""
    for step in path:
        data = data.get(step) if isinstance(data, dict) else None
    return data if isinstance(data, str) else None


def _check_times(data: Data) -> Iterator[Finding]:
    for path, least in _TIMES:
        text = _find(data, path)
        if text is not None and not _is_within(text, least):
            yield Finding(path, f"{text} is not within {least}s to 24h")


def _is_within(text: str, least: int) -> bool:
    try:
        return least <= parse_duration(text) <= _DAY
    except ValueError:  # the schema says so
        return True


def _check_url(data: Data) -> Iterator[Finding]:
    url = _find(data, (*_GIT, "url"))
    if url is None:
        return
    if _PASSWORD.match(url):
        message = "contains a password that anyone can read here; use ssh with a deployKey"
        yield Finding((*_GIT, "url"), message)
    for name in ("deployKey", "knownHosts"):
        if _find(data, (*_GIT, name)) is not None and not _BY_SSH.match(url):
            message = f"has no effect with {url.partition(':')[0]}: only ssh uses it"
            yield Finding((*_GIT, name), message)


def _check_signers(data: Data) -> Iterator[Finding]:
    """Nobody shall believe that signatures are checked when they are not."""
    verify = _find(data, (*_GIT, "verify"))
    signers = _find(data, (*_GIT, "allowedSigners"))
    if verify == "signed" and signers is None:
        message = "signed needs allowedSigners, the file of keys that may sign"
        yield Finding((*_GIT, "verify"), message)
    if verify is None and signers is not None:
        message = "nothing is verified without `verify: signed`; set that, or `verify: none`"
        yield Finding((*_GIT, "allowedSigners"), message)


def _check_address(data: Data) -> Iterator[Finding]:
    path: DocumentPath = ("spec", "metrics", "address")
    text = _find(data, path)
    if text is not None and not _is_loopback(text):
        message = f"{text} is not a loopback address; write 127.0.0.1 or ::1"
        yield Finding(path, message)


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


_CHECKS: Tuple[Callable[[Data], Iterator[Finding]], ...] = (
    _check_times,
    _check_url,
    _check_signers,
    _check_address,
)


def build_settings(data: Data) -> Settings:
    """Return the settings of a document in which nothing is wrong; what is left out as it is."""
    spec, plain = data["spec"], Settings()
    source = spec["source"]
    return Settings(
        git=_git(source["git"]) if "git" in source else None,
        directory=DirectorySource(source["directory"]) if "directory" in source else None,
        connect=spec.get("connect", plain.connect),
        state=spec.get("state", plain.state),
        resync=_seconds(spec, "resync", plain.resync),
        rescan=_seconds(spec, "rescan", plain.rescan),
        lanes=int(spec.get("lanes", plain.lanes)),
        allow_plain_passwords=spec.get("allowPlainPasswords", False),
        prune=_prune(spec.get("prune", {})),
        metrics=_metrics(spec.get("metrics", {})),
    )


def _seconds(data: Data, name: str, plain: float) -> float:
    return float(parse_duration(data[name])) if name in data else plain


def _git(data: Data) -> GitSource:
    return GitSource(
        url=data["url"],
        ref=data.get("ref", GitSource.ref),
        path=data.get("path", GitSource.path),
        interval=_seconds(data, "interval", GitSource.interval),
        verify_signatures=data.get("verify") == "signed",
        allowed_signers=data.get("allowedSigners"),
        deploy_key=data.get("deployKey"),
        known_hosts=data.get("knownHosts"),
    )


def _prune(data: Data) -> PruneRails:
    share = int(data["share"].rstrip("%")) / 100 if "share" in data else PruneRails.share
    return PruneRails(most=int(data.get("most", PruneRails.most)), share=share)


def _metrics(data: Data) -> MetricsSettings:
    return MetricsSettings(
        file=data.get("file"),
        address=data.get("address"),
        port=int(data.get("port", MetricsSettings.port)),
    )
