"""Watch places by inotify where that is possible, and say why where it is not."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Callable, FrozenSet, Optional, Tuple

from reconciler.adapters.watch.observer import Observation
from reconciler.adapters.watch.places import Survey, explain, find_hindrance, survey
from reconciler.control.service_ports import INOTIFY, HostSigns

_TRIES = 3  # a folder may be exchanged while it is being armed


class FileWatcher:
    """Implements `Watcher`. Used by one thread; hints come from others."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._places: Tuple[str, ...] = ()
        self._survey: Optional[Survey] = None
        self._observation: Optional[Observation] = None

    def watch(self, places: Tuple[str, ...], hint: Callable[[], None]) -> str:
        """Watch these places in place of former ones; return how."""
        self.stop()
        self._places, why = places, ""
        for _ in range(_TRIES):
            self._survey = survey(places)
            hindrance = find_hindrance(self._survey.folders)
            if hindrance:
                return f"polling: {hindrance}"
            why = self._arm(self._survey, hint)
            if not why:
                return INOTIFY
        return f"polling: {why}"

    def is_armed(self) -> bool:
        """Whether what is watched is still what stands there; never while polling."""
        observation = self._observation
        if observation is None or not observation.is_alive():
            return False
        return survey(self._places) == self._survey

    def stop(self) -> None:
        """Watch nothing any more."""
        if self._observation is not None:
            self._observation.stop()
            self._observation = None

    def _arm(self, found: Survey, hint: Callable[[], None]) -> str:
        """Return why it is not possible, or nothing."""
        try:
            self._observation = Observation(found.folders, hint)
        except OSError as error:
            return explain(error)
        except RuntimeError as error:
            return f"no thread can be started: {error}"
        return ""


LINKS = "/sys/class/net"
MOUNTS = "/proc/self/mountinfo"


def read_signs() -> HostSigns:
    """Return the network interfaces and the mounts; what cannot be read is left out."""
    links: FrozenSet[str] = frozenset()
    mounts = ""
    with suppress(OSError):
        links = frozenset(os.listdir(LINKS))
    with suppress(OSError), open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
        mounts = file.read()
    return HostSigns(links, mounts)
