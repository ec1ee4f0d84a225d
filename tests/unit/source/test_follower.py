"""What a follower tells whom, with a source and a watcher in memory."""

from __future__ import annotations

import threading

from reconciler.control.manifest_follower import NOTHING_TO_WATCH, LookCause
from reconciler.core.metrics import WATCH_MISSED
from reconciler.errors import RefusedError, TransientError
from tests.unit.source.clocks import wait_until
from tests.unit.source.fakes import Deaf, Script, Stage


def test_each_identity_is_published_once() -> None:
    stage = Stage(Script("a"))
    for says in ("a", "a", "b", "b", "a"):
        stage.source.says = says
        stage.follower.look(LookCause.HINT)
    assert stage.ears.published() == ["a", "b", "a"]


def test_trouble_is_told_once_for_each_text_and_its_end_too() -> None:
    stage = Stage(Script("a"))
    for says in ("a", TransientError("x"), TransientError("x"), RefusedError("y"), "a", "a"):
        stage.source.says = says
        stage.follower.look(LookCause.TIMER)
    assert stage.ears.heard == ["a", "watching: inotify", "trouble: x", "trouble: y", "recovered"]


def test_what_was_taken_before_is_in_force_while_a_start_fails() -> None:
    stage = Stage(Script(TransientError("x"), remembers="old"))
    for says in (TransientError("x"), TransientError("z"), "new"):
        stage.source.says = says
        stage.follower.look(LookCause.HINT)
    heard = [one for one in stage.ears.heard if not one.startswith("watching")]
    assert heard == ["old", "trouble: x", "trouble: z", "recovered", "new"]


def test_a_memory_that_may_not_be_used_is_not() -> None:
    stage = Stage(Script(RefusedError("x")))

    def refuse() -> None:
        raise RefusedError("unsigned")

    stage.source.recall = refuse  # type: ignore[method-assign]
    stage.follower.look(LookCause.HINT)
    assert stage.ears.heard == ["trouble: x", "watching: inotify"]


def test_a_change_that_only_the_timer_found_is_counted_told_once_and_watched_anew() -> None:
    stage = Stage(Script("a"))
    stage.follower.look(LookCause.HINT)
    for says in ("b", "c"):
        stage.pace.begin()
        stage.time.now += 100
        stage.source.says = says
        stage.follower.look(LookCause.TIMER)
    assert stage.ears.published() == ["a", "b", "c"]
    assert stage.ears.counts[WATCH_MISSED] == 2
    assert stage.ears.told == [
        "watch: a change of the manifests was not announced; the watch is renewed"
    ]
    assert stage.watcher.watched == [("/here",)] * 3


def test_it_is_told_again_when_hints_had_come_meanwhile() -> None:
    stage = Stage(Script("a"))
    stage.follower.look(LookCause.HINT)
    for says, cause in (("b", LookCause.TIMER), ("c", LookCause.HINT), ("d", LookCause.TIMER)):
        stage.pace.begin()
        stage.time.now += 100
        stage.source.says = says
        stage.follower.look(cause)
    assert len(stage.ears.told) == 2


def test_a_change_that_was_hinted_at_shortly_before_is_not_missed() -> None:
    stage = Stage(Script("a"))
    stage.follower.look(LookCause.HINT)
    stage.time.now += 100
    stage.watcher.hint()
    stage.time.now += 1.9
    stage.source.says = "b"
    stage.follower.look(LookCause.TIMER)
    assert not stage.ears.counts


def test_a_hint_that_comes_while_the_timer_looks_is_not_late() -> None:
    stage = Stage(Script("a"))
    stage.follower.look(LookCause.HINT)
    stage.pace.begin()
    stage.time.now += 100
    stage.source.says = "b"
    stage.source.during = lambda: stage.watcher.hint()
    stage.follower.look(LookCause.TIMER)
    assert not stage.ears.counts


def test_a_hint_that_comes_a_little_after_the_timer_has_looked_is_not_missed() -> None:
    stage = Stage(Script("a"))
    stage.follower.look(LookCause.HINT)
    stage.pace.begin()
    stage.time.now += 100
    stage.source.says = "b"
    stage.ears.on_publish = lambda: stage.watcher.hint()
    stage.follower.look(LookCause.TIMER)
    assert (stage.ears.published(), stage.ears.counts) == (["a", "b"], {})


def test_nothing_is_missed_where_nothing_is_watched() -> None:
    stage = Stage(Script("a"), Deaf("polling: no inotify here"))
    stage.follower.look(LookCause.HINT)
    stage.time.now += 100
    stage.source.says = "b"
    stage.follower.look(LookCause.TIMER)
    assert not stage.ears.counts
    assert stage.ears.told == ["watch: the manifests are watched by polling: no inotify here"]


def test_the_end_of_trouble_is_no_missed_change() -> None:
    stage = Stage(Script("a"))
    for says in ("a", TransientError("x"), "b"):
        stage.source.says = says
        stage.follower.look(LookCause.TIMER)
        stage.pace.begin()
        stage.time.now += 100
    assert not stage.ears.counts


def test_a_remote_is_not_watched_and_misses_nothing() -> None:
    stage = Stage(Script("a"))
    stage.source.watched = ()
    stage.follower.look(LookCause.HINT)
    stage.source.says = "b"
    stage.follower.look(LookCause.TIMER)
    assert (stage.watcher.watched, stage.ears.told, stage.ears.counts) == ([], [], {})
    assert f"watching: {NOTHING_TO_WATCH}" in stage.ears.heard


def test_what_is_not_what_was_watched_is_watched_anew_and_looked_at_again() -> None:
    stage = Stage(Script("a"))
    stage.follower.look(LookCause.HINT)
    stage.pace.begin()
    stage.watcher.armed = False
    stage.follower.look(LookCause.TIMER)
    assert len(stage.watcher.watched) == 2
    assert stage.pace.find_due()[0] <= stage.time.now + 0.2


def test_other_places_are_watched_in_place_of_the_former() -> None:
    stage = Stage(Script("a"))
    stage.follower.look(LookCause.HINT)
    stage.source.watched = ("/there",)
    stage.follower.look(LookCause.HINT)
    assert stage.watcher.watched == [("/here",), ("/there",)]


def test_polling_is_left_as_soon_as_it_can_be_and_both_are_told() -> None:
    stage = Stage(Script("a"), Deaf("polling: too many"))
    stage.follower.look(LookCause.HINT)
    stage.follower.look(LookCause.TIMER)
    stage.watcher.how = "inotify"
    stage.follower.look(LookCause.TIMER)
    heard = [one for one in stage.ears.heard if one.startswith("watching")]
    assert heard == ["watching: polling: too many", "watching: inotify"]
    assert len(stage.ears.told) == 2


def test_polling_does_not_look_more_often() -> None:
    stage = Stage(Script("a"), Deaf("polling: too many"))
    stage.pace.begin()
    stage.follower.look(LookCause.TIMER)
    assert stage.pace.find_due() == (stage.time.now + 30, LookCause.TIMER)


def test_nothing_is_published_after_the_end_even_by_a_look_that_is_going_on() -> None:
    stage = Stage(Script("a"))
    stage.source.during = stage.follower.stop
    stage.follower.run()
    assert (stage.ears.heard, stage.watcher.is_stopped) == ([], True)


def test_whoever_follows_looks_at_once_and_ends_when_stopped() -> None:
    stage = Stage(Script("a"))
    thread = threading.Thread(target=stage.follower.run)
    thread.start()
    wait_until(lambda: stage.ears.published() == ["a"])
    stage.follower.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert stage.watcher.is_stopped
