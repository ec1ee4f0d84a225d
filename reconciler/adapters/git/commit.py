"""Read the manifests of one commit, out of the object database: never a file in flux."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import Dict, List, Mapping, Sequence, Tuple

from reconciler.adapters.git.command import Repository, TooMuchOutputError
from reconciler.adapters.git.tree import Found, Tree, find_links, find_manifests, parse_listing
from reconciler.core.files import (
    MOST_BYTES,
    TOO_LARGE,
    FileSet,
    ManifestFile,
    check_not_empty,
    check_total,
    show_name,
)
from reconciler.errors import RefusedError, TransientError

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
            f"there is no folder {show_name(folder)} in {where}: nothing is concluded from that, "
            "and what was in force stays; check the path, and that it was committed"
        )
    files = _read_files(repository, found, where)
    identity = f"{commit}:{show_name(folder)}" if folder else commit
    place = f"{show_name(folder)} of {where}" if folder else where
    return check_not_empty(FileSet(identity, place, files, tuple(sorted(found.problems)), commit))


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
            "links, so it is not read; keep manifests in a repository of their own"
        )
    short = {one for one, size in sizes.items() if size <= MOST_TARGET}
    targets = _read_objects(repository, {one: sizes[one] for one in short})
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
            "folders, so it is not read; keep manifests in a repository of their own"
        )
    return listing


def _read_files(repository: Repository, found: Found, where: str) -> Tuple[ManifestFile, ...]:
    sizes = _read_sizes(repository, tuple(found.objects.values()))
    for name, one in sorted(found.objects.items()):
        if sizes[one] > MOST_BYTES:
            found.refuse(name, TOO_LARGE)
            del found.objects[name]
    check_total(sum(sizes[one] for one in found.objects.values()), where)
    kept = {one: sizes[one] for one in found.objects.values()}
    contents = _read_objects(repository, kept)
    return tuple(
        ManifestFile(show_name(name), contents[one]) for name, one in sorted(found.objects.items())
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
    given = "".join(f"{one}\n" for one in objects).encode()
    return repository.ask("cat-file", option, given=given, most=most).output
