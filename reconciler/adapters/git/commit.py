"""Read the manifests of one commit, out of the object database: never a file in flux."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

from reconciler.adapters.git.command import Repository, TooMuchOutputError
from reconciler.core.frozen import frozen, replace
from reconciler.core.manifest_files import (
    MOST_BYTES,
    TOO_LARGE,
    FileSet,
    ManifestFile,
    check_not_empty,
    check_total,
    is_hidden,
    is_manifest,
    show_name,
)
from reconciler.errors import Problem, RefusedError, TransientError

LINK = "120000"
_MOST_LINKS = 40  # as many as the kernel follows


@frozen
class TreeEntry:
    """What a tree has under a name: its mode, its type in Git's words, and its object."""

    mode: str
    type: str
    object: str


@frozen
class Tree:
    """All of a commit: folder → name → entry, and where its links lead to. The top is ``."""

    folders: Mapping[str, Mapping[str, TreeEntry]]
    links: Mapping[str, str] = field(default_factory=dict)

    def entry(self, path: str) -> Optional[TreeEntry]:
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
    folders: Dict[str, Dict[str, TreeEntry]] = {"": {}}
    for line in listing.split(b"\0"):
        if line:
            head, name = line.decode("utf-8", "surrogateescape").split("\t", 1)
            entry = TreeEntry(*head.split(" "))
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
class TreeManifests:
    """The objects of manifest files, by the name that led to them first; and what is wrong."""

    tree: Tree
    objects: Dict[str, str] = field(default_factory=dict)
    problems: List[Problem] = field(default_factory=list)
    seen: Set[str] = field(default_factory=set)

    def refuse(self, name: str, message: str) -> None:
        """Note that something cannot be read."""
        self.problems.append(
            Problem(file=show_name(name), line=0, column=0, path="", message=message)
        )

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
            self.refuse(name, "is a symbolic link that leads out of the commit or back to itself")
        else:
            self.visit(name, real)

    def _take(self, name: str, entry: Optional[TreeEntry]) -> None:
        if entry is None:
            self.refuse(name, "cannot be read: the link leads to nothing in this commit")
        else:
            self.objects[name] = entry.object


def find_manifests(tree: Tree, folder: str) -> Optional[TreeManifests]:
    """Return the manifest files below a folder of the commit; None if there is no such folder."""
    real = tree.resolve(folder)
    if real is None or real not in tree.folders:
        return None
    found = TreeManifests(tree)
    found.visit(folder, real)
    return found


MOST_ENTRIES = 100_000  # files and folders of a commit
MOST_LISTING = 32 * 2**20  # bytes of their names
MOST_LINKS = 10_000  # symbolic links
MOST_TARGET = 4095  # bytes of a symbolic link's target: PATH_MAX
_HEAD = 256  # bytes that Git writes of an object besides its content, at most


def read_commit(repository: Repository, commit: str, folder: str, where: str) -> FileSet:
    """Return the manifests below a folder of a commit; `where` is how a person calls the commit.

    Raises RefusedError if there is nothing, TransientError if an object cannot be read.
    """
    found = find_manifests(_read_tree(repository, commit), folder)
    if found is None:
        raise RefusedError(
            f"there is no folder {show_name(folder)} in {where}: the manifests in force stay "
            "unchanged; check the path, and that it was committed"
        )
    files = _read_files(repository, found, where)
    identity = f"{commit}:{show_name(folder)}" if folder else commit
    place = f"{show_name(folder)} of {where}" if folder else where
    return check_not_empty(
        FileSet(
            identity=identity,
            where=place,
            files=files,
            problems=tuple(sorted(found.problems)),
            revision=commit,
        )
    )


def clean_folder(path: str) -> str:
    """Return a folder as Git writes it. Raises RefusedError for one outside of the repository."""
    made = posixpath.normpath(path)
    if made.startswith("/") or made.split("/")[0] == "..":
        raise RefusedError(f"the path {show_name(path)} is not inside of the repository")
    return "" if made == "." else made


def _read_tree(repository: Repository, commit: str) -> Tree:
    tree = parse_listing(_list(repository, commit))
    links = find_links(tree)
    sizes = _read_sizes(repository, tuple(set(links.values())))
    if len(sizes) > MOST_LINKS:
        raise RefusedError(
            f"{repository.folder}: commit {commit[:12]} has more than {MOST_LINKS:,} symbolic "
            "links, so it is refused; keep the manifests in a repository of their own"
        )
    short = {blob for blob, size in sizes.items() if size <= MOST_TARGET}
    targets = _read_objects(repository, {blob: sizes[blob] for blob in short})
    return replace(
        tree,
        links={
            # What is no path leads nowhere.
            name: targets.get(link, b"/").decode("utf-8", "surrogateescape")
            for name, link in links.items()
        },
    )


def _list(repository: Repository, commit: str) -> bytes:
    """Return all entries of a commit. Raises RefusedError if they are too many."""
    command = ("ls-tree", "-r", "-t", "-z", "--full-tree", commit)
    try:
        listing = repository.ask(*command, most=MOST_LISTING).output
    except TooMuchOutputError:
        listing = None
    if listing is None or listing.count(b"\0") > MOST_ENTRIES:
        raise RefusedError(
            f"{repository.folder}: commit {commit[:12]} has more than {MOST_ENTRIES:,} files and "
            "folders, so it is refused; keep the manifests in a repository of their own"
        )
    return listing


def _read_files(
    repository: Repository, found: TreeManifests, where: str
) -> Tuple[ManifestFile, ...]:
    sizes = _read_sizes(repository, tuple(found.objects.values()))
    for name, blob in sorted(found.objects.items()):
        if sizes[blob] > MOST_BYTES:
            found.refuse(name, TOO_LARGE)
            del found.objects[name]
    check_total(sum(sizes[blob] for blob in found.objects.values()), where)
    kept = {blob: sizes[blob] for blob in found.objects.values()}
    contents = _read_objects(repository, kept)
    return tuple(
        ManifestFile(show_name(name), contents[blob])
        for name, blob in sorted(found.objects.items())
    )


def _read_sizes(repository: Repository, objects: Sequence[str]) -> Mapping[str, int]:
    answer = _batch(repository, "--batch-check", objects, _HEAD * len(objects))
    lines = [line.split(" ") for line in answer.decode().splitlines()]
    for line in lines:
        if len(line) != 3:  # noqa: PLR2004 - object, type, size
            raise TransientError(f"{repository.folder}: git cannot read an object: {line}")
    return {line[0]: int(line[2]) for line in lines}


def _read_objects(repository: Repository, objects: Mapping[str, int]) -> Mapping[str, bytes]:
    """Return the content of each object, of which the size is known.

    Git writes a line `object type size`, the bytes, a line's end.
    """
    most = sum(objects.values()) + _HEAD * len(objects)
    rest = memoryview(_batch(repository, "--batch", tuple(objects), most))
    found: Dict[str, bytes] = {}
    while rest:
        head = bytes(rest[: bytes(rest[:256]).index(b"\n")])
        words: List[str] = head.decode().split(" ")
        if len(words) != 3:  # noqa: PLR2004
            raise TransientError(f"{repository.folder}: git cannot read an object: {words}")
        start, size = len(head) + 1, int(words[2])
        found[words[0]] = bytes(rest[start : start + size])
        rest = rest[start + size + 1 :]
    return found


def _batch(repository: Repository, option: str, objects: Sequence[str], most: int) -> bytes:
    if not objects:
        return b""
    given = "".join(f"{name}\n" for name in objects).encode()
    return repository.ask("cat-file", option, given=given, most=most).output
