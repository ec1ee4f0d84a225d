"""Put together what brings the daemon its manifests, as the settings say."""

from __future__ import annotations

import os
from typing import Mapping

from reconciler.control.following import Follower, Listener
from reconciler.control.pace import Pace
from reconciler.control.ports import Clock
from reconciler.control.ports.service import FileSource, Journal, ManifestSource, Meter
from reconciler.core.loop.settings import Settings
from reconciler.errors import UsageError

REPOSITORY = "source.git"  # in the state folder


def make_source(settings: Settings, clock: Clock, environment: Mapping[str, str]) -> ManifestSource:
    """Return the source; `environment` may say where systemd's credentials are."""
    from reconciler.adapters.manifests import load_files  # noqa: PLC0415
    from reconciler.control.sources import ParsedFiles  # noqa: PLC0415

    return ParsedFiles(_make_files(settings, clock, environment), load_files)


def make_follower(
    settings: Settings, source: ManifestSource, listener: Listener, journal: Journal, meter: Meter
) -> Follower:
    """Return what follows the source by inotify and by looking from time to time."""
    from reconciler.adapters.watch import FileWatcher  # noqa: PLC0415 - watchdog is the daemon's

    interval = settings.git.interval if settings.git else settings.rescan
    return Follower(source, FileWatcher(), listener, journal, meter, Pace(interval))


def _make_files(settings: Settings, clock: Clock, environment: Mapping[str, str]) -> FileSource:
    from reconciler.adapters.git.remote import RemoteSource  # noqa: PLC0415
    from reconciler.adapters.git.work_tree import WorkTreeSource  # noqa: PLC0415
    from reconciler.adapters.manifests.folder import FolderSource  # noqa: PLC0415
    from reconciler.control.sources import LocalFiles  # noqa: PLC0415

    if settings.git is not None:
        folder = os.path.join(settings.state, REPOSITORY)
        return RemoteSource(settings.git, folder, environment.get("CREDENTIALS_DIRECTORY"))
    if settings.directory is None:
        raise UsageError("the settings name no source of manifests")
    path = settings.directory.path
    return LocalFiles(WorkTreeSource(path), FolderSource(path, clock))
