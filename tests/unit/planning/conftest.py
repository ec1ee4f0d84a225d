"""Every plan of these tests is made a second time, of a world that has only what the plan asked."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List

import pytest

from reconciler.core.plan import Action
from reconciler.core.world import World
from reconciler.kinds.machine import planner
from reconciler.kinds.machine.planning import delete

from .asking import find_guess


@pytest.fixture(autouse=True)
def _no_guesses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail where a plan depends on what it did not ask for."""
    guesses: List[str] = []

    def checked(plan: Callable[..., Action], place: int) -> Callable[..., Action]:
        def run(*arguments: Any) -> Action:
            def again(world: World) -> Action:
                return plan(*arguments[:place], world, *arguments[place + 1 :])

            whole = arguments[place]
            if whole.known is None:
                guess = find_guess(again, whole)
                if guess:
                    guesses.append(guess)
            return again(whole)

        return run

    monkeypatch.setattr(planner, "_plan_served", checked(planner._plan_served, 2))
    monkeypatch.setattr(delete, "_plan", checked(delete._plan, 1))
    yield
    assert guesses == []
