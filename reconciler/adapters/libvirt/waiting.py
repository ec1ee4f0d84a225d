"""Run one long call in a thread of its own, and look at how far it is meanwhile."""

from __future__ import annotations

import threading
from typing import Callable, Generic, List, TypeVar

T = TypeVar("T")

LOOK_EVERY = 0.25  # seconds


class _Call(Generic[T]):
    """A call, and what came of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self.results: List[T] = []
        self.errors: List[BaseException] = []

    def __call__(self) -> None:
        try:
            self.results.append(self._function())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self.errors.append(error)


def run_watched(function: Callable[[], T], look: Callable[[], None]) -> T:
    """Return the function's result or raise its error; `look` is called every quarter second.

    The thread is a daemon: an interrupt (Ctrl-C) ends the wait at once. The call itself cannot be
    called back, and libvirt goes on with it to its end.
    """
    call = _Call(function)
    thread = threading.Thread(target=call, name="long call", daemon=True)
    thread.start()
    thread.join(LOOK_EVERY)
    while thread.is_alive():
        look()
        thread.join(LOOK_EVERY)
    if call.errors:
        raise call.errors[0]
    return call.results[0]
