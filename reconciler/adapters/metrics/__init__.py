"""Metrics for those who collect them: a file, a loopback address. Counts nothing itself."""

from __future__ import annotations

from reconciler.adapters.metrics.exposition import Exposition

__all__ = ["Exposition"]
