"""The lists of checksums that distributors publish beside their images. Pure.

The formats are those of `sha256sum` (`DIGEST  NAME`, with `*` before the name of a binary file) and
of `sha256sum --tag` (`SHA256 (NAME) = DIGEST`).
"""

from __future__ import annotations

from typing import Iterator, Tuple
from urllib.parse import unquote, urlsplit

from reconciler.core.frozen import regex
from reconciler.errors import MissingError

_PLAIN = regex(r"(?P<digest>[0-9A-Fa-f]{32,128}) [ *](?P<name>.+)")
_TAGGED = regex(r"(?P<kind>[A-Za-z0-9/-]+) \((?P<name>.+)\) = (?P<digest>[0-9A-Fa-f]+)")
_DIGITS = 64  # of a SHA-256


def find_listed(content: bytes, source: str, url: str) -> str:
    """Return the SHA-256 that a list has for the file at an address.

    `source` is where the list is from. Raises MissingError: its publisher may mend it at any time.
    """
    path = unquote(urlsplit(url).path)
    name = path.rpartition("/")[2]
    entries = [entry for entry in _read_entries(content) if _is_of(entry[0], path)]
    found = {digest for _, digest in entries if len(digest) == _DIGITS}
    if len(found) > 1:
        raise MissingError(
            f"{source}: has two checksums for {name}, and only one can be right; write the right "
            "one in spec.image.sha256 in place of spec.image.checksums"
        )
    if found:
        return found.pop()
    if entries:
        raise MissingError(
            f"{source}: has no SHA-256 for {name}, only another kind of checksum; write "
            "spec.image.sha256 in place of spec.image.checksums"
        )
    raise MissingError(
        f"{source}: does not list {name}; check that spec.image.url and spec.image.checksums.url "
        "belong to one release"
    )


def _read_entries(content: bytes) -> Iterator[Tuple[str, str]]:
    """Yield name and checksum of each line that has both."""
    for line in content.decode(errors="replace").splitlines():
        found = _TAGGED.fullmatch(line.strip()) or _PLAIN.fullmatch(line.strip())
        if found:
            kind = found.groupdict().get("kind")
            is_other = kind is not None and kind.upper() not in ("SHA256", "SHA2-256")
            yield found["name"], "" if is_other else found["digest"].lower()


def _is_of(name: str, path: str) -> bool:
    """Whether a name in a list, which may have folders, is that of the file at that path."""
    return f"/{path}".endswith(f"/{name.removeprefix('./')}")
