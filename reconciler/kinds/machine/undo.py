"""What was done of an action so far, and what becomes of it when a step fails.

As much as the order of the steps allows is put back. A machine that was made stays defined when it
cannot be started, because its volumes took long to make; what stays is always said.
"""

from __future__ import annotations

from typing import List, Optional, Tuple

from reconciler.core import plan
from reconciler.core.plan import ActionKind, Effect, Step
from reconciler.core.xmltree import digest
from reconciler.errors import ReconcilerError
from reconciler.kinds.api import ActionTask
from reconciler.kinds.machine.execute import LASTING, PERFORM, StepContext, Undo
from reconciler.kinds.machine.guest_steps import read_definition

PUT_BACK = "everything was put back"
# What is gone with the running guest, so that it neither can nor must be taken back in it.
_LIVE = (plan.AttachDevice, plan.DetachDevice)
# What a guest has done cannot be taken back, and what led there must stay.
_IN_GUEST = (plan.Shutdown, plan.RecordStart, plan.InstallDriver)
_NOT_STORED = ("power", "metadata.owner", "metadata.generation")


class UndoTrail:
    """The steps of one action that were carried out, each with its way back."""

    def __init__(self, work: StepContext, task: ActionTask) -> None:
        """Begin with nothing done."""
        self._work = work
        self._task = task
        self._action = task.action
        self._undo: List[Tuple[Step, Undo]] = []
        self._lasting: List[str] = []
        self._last_definition: Optional[str] = None

    def add(self, step: Step, undo: Optional[Undo]) -> None:
        """Note a step that was carried out."""
        if isinstance(step, plan.Shutdown):
            self._undo = [entry for entry in self._undo if not isinstance(entry[0], _LIVE)]
        if undo is not None:
            self._undo.append((step, undo))
        elif type(step) in LASTING:
            self._lasting.append(LASTING[type(step)](step))

    def remember_definition(self) -> None:
        """Note the definition as it is when all steps are done, to know another's change by."""
        if self._undo and self._work.former is not None:
            self._last_definition = digest(read_definition(self._work))

    def explain(self, words: str, failed: Step) -> str:
        """Put back what can be, and return the failure's words with what became of the rest."""
        if isinstance(failed, plan.Start) and self._undo:
            return self._explain_start(words)
        if isinstance(failed, _IN_GUEST):
            return words + self._keep()
        return words + self._take_back()

    def explain_wait(self, words: str) -> str:
        """Return why a machine is not started yet; all that was done until then is sound."""
        if self._work.former is None:
            self._task.keep(["definition"])
            return f"defined but not started: {words}"
        return f"not started: {words}{self._keep()}"

    def give_up(self, failed: Optional[Step]) -> None:
        """Put back what can be after Ctrl-C or a fault of our own, and say nothing.

        libvirt goes on with a copy that nobody waits for. Then our mark stays, which alone tells
        the next apply that the volume is ours and not complete.
        """
        if isinstance(failed, (plan.Start, *_IN_GUEST)):
            return
        is_done = any(step is failed for step, _ in self._undo)
        if is_done or not isinstance(failed, plan.CreateVolume):
            self._take_back()

    def explain_difference(self, words: str) -> str:
        """Do the same when all steps went well and the result is not what was planned.

        Only a definition that nobody has changed since, and nothing but a definition, is put back.
        """
        only_stored = all(
            isinstance(step, (plan.Define, plan.SetMetadata)) for step, _ in self._undo
        )
        is_plain = not self._lasting and not any(
            isinstance(step, (plan.Start, plan.Shutdown, plan.CreateVolume))
            for step in self._action.steps
        )
        if not (self._undo and only_stored and is_plain and self._work.former is not None):
            return words + self._keep()
        try:
            is_ours = digest(read_definition(self._work)) == self._last_definition
        except ReconcilerError:
            is_ours = False
        return words + (self._take_back() if is_ours else self._keep())

    def _explain_start(self, words: str) -> str:
        former = self._work.former
        if former is None:
            self._task.keep(["definition"])
            return f"defined but not started: {words}. The next apply tries again"
        makes = any(isinstance(step, plan.CreateVolume) for step in self._action.steps)
        if makes or not self._is_off():
            return words + self._keep()
        text = words + self._take_back()
        if former.is_active:
            text += f"; {self._start_again()}"
        return text

    def _start_again(self) -> str:
        """Start the guest that was shut down for nothing, by its former definition."""
        try:
            PERFORM[plan.Start](self._work, plan.Start())
        except ReconcilerError as error:
            self._task.keep([*self._task.kept, "power"])
            return f"the guest is off, and does not start as it was either: {error}"
        return "the guest was started again as it was"

    def _keep(self) -> str:
        """Leave what was done, and say it."""
        adopts = self._action.action is ActionKind.ADOPT
        done = [
            change.path
            for change in self._action.changes
            if change.effect is not Effect.WITHHELD
            and (change.path not in _NOT_STORED or (adopts and change.path == "metadata.owner"))
        ]
        if not (done and (self._undo or self._lasting)):
            return ""
        self._task.keep(done)
        return f"; what was done before that stays: {', '.join(done)}"

    def _take_back(self) -> str:
        """Undo in reverse order; stop at the first that fails, and say what is left."""
        if not self._undo:
            self._task.keep(self._lasting)
            return f"; already done: {', '.join(self._lasting)}" if self._lasting else ""
        for step, undo in reversed(self._undo):
            try:
                undo()
            except ReconcilerError as error:
                self._task.keep(change.path for change in self._action.changes)
                name = type(step).__name__
                left = (
                    f"; undoing {name} failed too, and the steps before it were not undone: {error}"
                )
                return left + self._mark_again()
        self._task.keep(self._lasting)
        if self._lasting:
            done = ", ".join(self._lasting)
            text = f"; put back, except for what was already done: {done}"
            return text + self._mark_again()
        return f"; {PUT_BACK}"

    def _mark_again(self) -> str:
        """Leave the mark on a domain that was to be adopted and is changed: it is ours now."""
        first = self._action.steps[0]
        if self._action.action is not ActionKind.ADOPT or not isinstance(first, plan.SetMetadata):
            return ""
        try:
            PERFORM[type(first)](self._work, first)
        except ReconcilerError as error:
            return f"; writing the mark of its adoption failed too: {error}"
        return "; the domain is adopted, and the next apply tries the rest again"

    def _is_off(self) -> bool:
        """Whether the guest is certainly off."""
        try:
            return not self._work.host.domains.read_domain(self._work.name).is_active
        except ReconcilerError:
            return False
