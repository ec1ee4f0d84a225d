"""Files that announce their changes, as far as the system can. A hint, never the truth."""

from __future__ import annotations

from reconciler.adapters.watch.watching import FileWatcher

__all__ = ["FileWatcher"]
