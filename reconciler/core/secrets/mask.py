"""What stands in the place of a secret. Knows no format."""

from __future__ import annotations

from typing import Callable, Set

HIDDEN = "(hidden)"
OTHER = "(hidden, other)"

# Given a secret, what is shown for it.
Mask = Callable[[str], str]


def hide(raw: str) -> str:
    """Return what stands for any secret; what is hidden already stays as it is."""
    return raw if raw in (HIDDEN, OTHER) else HIDDEN


def hide_other(raw: str) -> str:
    """Return what stands for a secret that is known to be another one."""
    return raw if raw == HIDDEN else OTHER


def remember(seen: Set[str]) -> Mask:
    """Return a mask that keeps what it hid."""

    def mask(raw: str) -> str:
        seen.add(raw)
        return hide(raw)

    return mask


def compare_with(seen: Set[str]) -> Mask:
    """Return a mask that tells secrets that are not among those seen; if any were."""

    def mask(raw: str) -> str:
        return hide_other(raw) if seen and raw not in seen else hide(raw)

    return mask
