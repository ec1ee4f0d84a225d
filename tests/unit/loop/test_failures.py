"""How failures are told."""

from __future__ import annotations

from reconciler.core.conditions import describe_unreached


def test_a_reason_that_several_drivers_have_is_said_once() -> None:
    reasons = {"storage": "no socket", "qemu": "no socket", "network": "refused"}
    assert describe_unreached(reasons) == "network: refused; qemu, storage: no socket"


def test_nothing_is_said_where_all_are_reached() -> None:
    assert describe_unreached({}) == ""
