"""The daemon's settings as `config.yaml` gives them, complete and checked; times are seconds."""

from __future__ import annotations

from dataclasses import field
from typing import Optional

from reconciler.core.frozen import frozen


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
    """

    git: Optional[GitSource] = None
    directory: Optional[DirectorySource] = None
    connect: str = "qemu:///system"
    state: str = "/var/lib/virt-reconciler"
    resync: float = 300.0
    rescan: float = 30.0
    lanes: int = 4
    prune: PruneRails = field(default_factory=PruneRails)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
