"""Look at this host's daemons for a person, and ask those that may be asked who they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Union

from reconciler.control.ports.units import Units
from reconciler.core.daemons.judge import find_askable
from reconciler.core.daemons.report import Report, make_report
from reconciler.core.manifest import Desired
from reconciler.core.world import Unknown


def check_daemons(units: Units, desired: Desired) -> Union[Report, Unknown]:
    """Return the daemons judged, with who answers; no daemon that must be off is connected to.

    The units are shown as they were before anybody was asked, as asking starts what is idle.
    """
    view = units.observe()
    if isinstance(view, Unknown):
        return view
    rows = tuple(one.judgement for one in make_report(view, desired).rows)
    answers = {path: units.ask(path) for path in find_askable(rows, view)}
    if any(one.refused for one in answers.values()):
        again = units.observe()  # what was asked may have failed at starting
        view = view if isinstance(again, Unknown) else again
    return make_report(replace(view, answers=answers), desired)
