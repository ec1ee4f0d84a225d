"""The kinds of object that this program knows: one row a kind. Importing it fills the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.core.kinds import register_kind

if TYPE_CHECKING:
    from reconciler.kinds.api import ObjectKind


def _host() -> ObjectKind:
    from reconciler.kinds.host.row import ROW  # noqa: PLC0415 - start-up time

    return ROW


def _template() -> ObjectKind:
    from reconciler.kinds.template.row import ROW  # noqa: PLC0415 - start-up time

    return ROW


def _machine() -> ObjectKind:
    from reconciler.kinds.machine.row import ROW  # noqa: PLC0415 - start-up time

    return ROW


register_kind("Host", _host)
register_kind("Template", _template)
register_kind("VirtualMachine", _machine)
