"""What a secret is, and how it is kept out of everything that is shown, told or written down.

The only place that knows. Pure text in, pure text out; no digest of a secret ever comes out, as
a short password is soon found from one. What is hidden still shows that it is there, and that it
changes.
"""

from __future__ import annotations

from reconciler.core.secrets.hiding import hide_sides, hide_text, hide_value
from reconciler.core.secrets.mask import HIDDEN, OTHER

__all__ = ["HIDDEN", "OTHER", "hide_sides", "hide_text", "hide_value"]
