"""The daemon's state in one line, for `systemctl status`. Pure."""

from __future__ import annotations

from typing import Mapping

from reconciler.core.loop.record import Record, SourceRecord
from reconciler.core.loop.verdict import READY, RESTART_REQUIRED, STALLED

_SHORT = 12  # characters of a commit


def summarise(records: Mapping[str, Record], source: SourceRecord, memory: str = "") -> str:
    """Return how many objects there are, what is not well, and at which revision.

    `memory` is why nothing is written down, if so.
    """
    counts = [
        (sum(bool(one.condition(type_).holds) for one in records.values()), word)
        for type_, word in (
            (READY, "ready"),
            (STALLED, "stalled"),
            (RESTART_REQUIRED, "waiting for a restart"),
        )
    ]
    words = [f"{len(records)} virtual machine{'' if len(records) == 1 else 's'}"]
    words += [f"{count} {word}" for count, word in counts if count or word == "ready"]
    if source.revision:
        words.append(f"at {source.revision[:_SHORT]}")
    trouble = source.error or source.refused
    said = [f"manifests: {trouble}"] if trouble else []
    said += [f"configuration not reloaded: {source.configuration}"] if source.configuration else []
    if source.restart_needed:
        said.append(f"restart needed for: {', '.join(source.restart_needed)}")
    said += [f"works without a memory: {memory}"] if memory else []
    return "; ".join([", ".join(words), *said])
