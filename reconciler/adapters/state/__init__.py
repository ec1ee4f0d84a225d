"""The daemon's memory on disk. Nothing in it is needed to know what to do."""

from __future__ import annotations

from reconciler.adapters.state.folder import FolderStore
from reconciler.adapters.state.history import FolderHistory
from reconciler.adapters.state.object_locks import FolderLocks, find_folder

__all__ = ["FolderHistory", "FolderLocks", "FolderStore", "find_folder"]
