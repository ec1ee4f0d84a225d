"""Which files of a commit are manifests: the same that a reading of its files would find. Pure.

Links are followed as far as they stay in the commit. What cannot be followed is a problem, never
nothing.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Set

from reconciler.core.files import is_hidden, is_manifest, show_name
from reconciler.errors import Problem

LINK = "120000"
_MOST_LINKS = 40  # as many as the kernel follows


@dataclass(frozen=True)
class Entry:
    """What a tree has under a name: its mode, its type in Git's words, and its object."""

    mode: str
    type: str
    object: str


@dataclass(frozen=True)
class Tree:
    """All of a commit: folder → name → entry, and where its links lead to. The top is ``."""

    folders: Mapping[str, Mapping[str, Entry]]
    links: Mapping[str, str] = field(default_factory=dict)

    def entry(self, path: str) -> Optional[Entry]:
        """Return what is at a path that has no links in it."""
        return self.folders.get(posixpath.dirname(path), {}).get(posixpath.basename(path))

    def resolve(self, path: str) -> Optional[str]:
        """Return where a path leads, link by link; None out of the commit, or in circles."""
        done, todo, links = "", path.split("/"), 0
        while todo:
            part = todo.pop(0)
            step = posixpath.normpath(posixpath.join(done, part)) if part else done
            if step == ".." or step.startswith(("../", "/")):
                return None
            step = "" if step == "." else step
            if step in self.links and part != "..":
                links += 1
                if links > _MOST_LINKS or self.links[step].startswith("/"):
                    return None
                todo = self.links[step].split("/") + todo
            else:
                done = step
        return done


def parse_listing(listing: bytes) -> Tree:
    """Return what `ls-tree -r -t -z` says; links lead nowhere yet."""
    folders: Dict[str, Dict[str, Entry]] = {"": {}}
    for line in listing.split(b"\0"):
        if line:
            head, name = line.decode("utf-8", "surrogateescape").split("\t", 1)
            entry = Entry(*head.split(" "))
            folders.setdefault(posixpath.dirname(name), {})[posixpath.basename(name)] = entry
            if entry.type == "tree":
                folders.setdefault(name, {})
    return Tree(folders)


def find_links(tree: Tree) -> Mapping[str, str]:
    """Return the object of each link, by path."""
    return {
        posixpath.join(folder, name): entry.object
        for folder, entries in tree.folders.items()
        for name, entry in entries.items()
        if entry.mode == LINK
    }


@dataclass
class Found:
    """The objects of manifest files, by the name that led to them first; and what is wrong."""

    tree: Tree
    objects: Dict[str, str] = field(default_factory=dict)
    problems: List[Problem] = field(default_factory=list)
    seen: Set[str] = field(default_factory=set)

    def refuse(self, name: str, message: str) -> None:
        """Note that something cannot be read."""
        self.problems.append(Problem(show_name(name), 0, 0, "", message))

    def visit(self, name: str, path: str) -> None:
        """Look at what is at `path`, a real one, which a person calls `name`; but once."""
        entry = self.tree.entry(path)
        if path in self.seen:
            return
        if path in self.tree.folders:
            self.seen.add(path)
            for child in sorted(self.tree.folders[path]):
                if not is_hidden(child):
                    self._enter(posixpath.join(name, child), posixpath.join(path, child))
        elif entry is not None and entry.type == "commit":
            self.refuse(name, "is a submodule: its manifests are not in this commit")
        elif is_manifest(posixpath.basename(name)):
            self.seen.add(path)
            self._take(name, entry)

    def _enter(self, name: str, path: str) -> None:
        real = self.tree.resolve(path)
        if real is None:
            self.refuse(name, "is a symbolic link that leads out of the commit, or in circles")
        else:
            self.visit(name, real)

    def _take(self, name: str, entry: Optional[Entry]) -> None:
        if entry is None:
            self.refuse(name, "cannot be read: the link leads to nothing in this commit")
        else:
            self.objects[name] = entry.object


def find_manifests(tree: Tree, folder: str) -> Optional[Found]:
    """Return the manifest files below a folder of the commit; None if there is no such folder."""
    real = tree.resolve(folder)
    if real is None or real not in tree.folders:
        return None
    found = Found(tree)
    found.visit(folder, real)
    return found
