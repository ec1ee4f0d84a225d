"""The row of the kind `Note`."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    Any,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from reconciler.control.ports import Host
from reconciler.core.documents import Claim, Finding
from reconciler.core.key import Key
from reconciler.core.manifest import Desired, Locate, Place, digest_generation, write_canonical
from reconciler.core.plan import Action, ActionKind, Before, Change, Effect, PlanOptions
from reconciler.core.prune import Remnant
from reconciler.core.world import Unknown, World
from reconciler.errors import NotFoundError, TerminalError
from reconciler.kinds.api import ActionTask, Execute, PassTask, Scene, Sighting, Surroundings
from reconciler.kinds.plain import PlainKind, make_scene

NOTE = "Note"


@dataclass(frozen=True)
class NoteManifest:
    """A `Note` manifest."""

    name: str
    text: str
    place: Place
    generation: str
    after: Optional[str] = None
    deletion: str = "orphan"
    labels: Mapping[str, str] = field(default_factory=dict)
    host: Optional[str] = None

    @property
    def key(self) -> Key:
        """The note's kind and name."""
        return Key(NOTE, self.name)


@dataclass(frozen=True)
class Write:
    """The one step: write the note, or remove it if there is nothing to write."""

    content: Optional[str]


class NoteKind(PlainKind):
    """A note: a file `NAME.json` in a folder. Implements `ObjectKind`."""

    name = NOTE
    word = "note"
    schema = str(Path(__file__).with_name("note.json"))

    def __init__(self, folder: Path) -> None:
        """Keep notes in that folder; `broken` has every write fail."""
        self.folder = folder
        self.broken = False

    def build(self, data: Mapping[str, Any], place: Place, locate: Locate) -> NoteManifest:
        """Return what a document means."""
        name, spec = data["metadata"]["name"], data["spec"]
        return NoteManifest(
            name,
            spec["text"],
            place,
            digest_generation(write_canonical(spec), {}),
            spec.get("after"),
            spec.get("deletion", "orphan"),
        )

    def check(self, manifest: NoteManifest, data: Mapping[str, Any]) -> List[Finding]:
        """Refuse a note that says nothing."""
        if manifest.text.strip():
            return []
        return [Finding(("spec", "text"), "is empty; write what the note says")]

    def claims(self, number: int, manifest: NoteManifest) -> Iterator[Claim]:
        """Yield the text: no two notes say the same."""
        yield Claim(number, ("spec", "text"), ("text", manifest.text))

    def needs(self, manifest: NoteManifest, desired: Desired) -> FrozenSet[Key]:
        """Return the note that comes before it."""
        return frozenset({Key(NOTE, manifest.after)} if manifest.after else ())

    def find_announced(self, what: str, name: str) -> FrozenSet[Key]:
        """Hear of notes."""
        return frozenset({Key(NOTE, name)} if what == "note" else ())

    def observe(
        self, host: Host, manifests: Sequence[NoteManifest], world: World
    ) -> Mapping[Key, object]:
        """Read the notes."""
        return {manifest.key: self._read(manifest.name) for manifest in manifests}

    def plan(
        self, manifest: NoteManifest, desired: Desired, world: World, options: PlanOptions
    ) -> Action:
        """Plan one note."""
        found: Any = world.observed.get(manifest.key)
        before = Before(None if found is None else write_canonical(found))
        new = {"text": manifest.text, "deletion": manifest.deletion}
        if found is not None and {key: found[key] for key in new} == new:
            return Action(NOTE, manifest.name, ActionKind.NONE)
        kind = ActionKind.CREATE if found is None else ActionKind.UPDATE
        identity = str(uuid.uuid4()) if found is None else found["uuid"]
        content = {**new, "uuid": identity, "generation": manifest.generation}
        changes = tuple(
            Change(path, found and found[path], value, Effect.LIVE)
            for path, value in new.items()
            if found is None or found[path] != value
        )
        steps = (Write(write_canonical(content)),)
        return Action(NOTE, manifest.name, kind, changes, steps, before)  # type: ignore[arg-type]

    def look(self, around: Surroundings, task: PassTask) -> Scene:
        """Read one note."""
        found = self._read(task.manifest.name)
        world = World("here", "", observed={} if found is None else {task.key: found})
        return make_scene(self, task.manifest, world, _see(found))

    def find_sighting(self, host: Host, key: Key) -> Optional[Sighting]:
        """Read one note."""
        return _see(self._read(key.name))

    def list_sightings(
        self, host: Host, desired: Desired
    ) -> Mapping[Key, Union[Sighting, Unknown]]:
        """Read all notes."""
        names = [path.stem for path in self.folder.glob("*.json")]
        found = {Key(NOTE, name): _see(self._read(name)) for name in names}
        return {key: sighting for key, sighting in found.items() if sighting is not None}

    def find_remnant(self, sighting: Sighting) -> Optional[Union[Remnant, Unknown]]:
        """Return what the note says of its end."""
        view: Dict[str, str] = sighting.view
        return Remnant(view["uuid"], view["deletion"], view["generation"])

    def find_executor(self, action: Action) -> Execute:
        """Write, or remove."""
        return self._execute

    def plan_delete(self, host: Host, desired: Desired, key: Key, uuid: str = "") -> Action:
        """Plan the end of a note."""
        found = self._read(key.name)
        if found is None or uuid not in ("", found["uuid"]):
            raise NotFoundError(f"{key}: there is no such note")
        change = Change("text", found["text"], None, Effect.DESTRUCTIVE)
        steps = (Write(None),)
        return Action(NOTE, key.name, ActionKind.DELETE, (change,), steps)  # type: ignore[arg-type]

    def export(self, host: Host, key: Key) -> Dict[str, Any]:
        """Return a manifest of a note."""
        found = self._read(key.name)
        if found is None:
            raise NotFoundError(f"{key.name}: no such note on this host")
        return {"text": found["text"], "deletion": found["deletion"]}

    def _execute(self, task: ActionTask) -> Tuple[str, ...]:
        for step in task.action.steps:
            task.refuse()
            self._write(task.action.name, step)
        return ()

    def _write(self, name: str, step: Any) -> None:
        if self.broken:
            raise TerminalError("the pencil is broken")
        path = self.folder / f"{name}.json"
        if step.content is None:
            path.unlink()
        else:
            path.write_text(step.content, encoding="utf-8")

    def _read(self, name: str) -> Optional[Dict[str, str]]:
        path = self.folder / f"{name}.json"
        if not path.exists():
            return None
        content: Dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return content


def _see(found: Optional[Dict[str, str]]) -> Optional[Sighting]:
    if found is None:
        return None
    parts = tuple(found[key] for key in sorted(found))
    return Sighting("written", f"{len(found['text'])} letters", found["uuid"], parts, view=found)
