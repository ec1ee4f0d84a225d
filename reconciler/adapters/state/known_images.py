"""What was read in images, kept in the state folder so that it need not be read again.

Only a cache: without it everything is the same and takes longer. An entry counts as long as its
image is the same file, of the same size and unwritten.
"""

from __future__ import annotations

import json
import os
from typing import Dict, Optional, Tuple

from reconciler.adapters.state.files import FORMAT, read_json
from reconciler.adapters.text_files import write_file
from reconciler.core.windows_images import WindowsImage
from reconciler.errors import TransientError

NAME = "windows-images.json"
MOST = 200  # entries; the newest are kept
_FIELDS = ("state", "fault", "why", "has_answers")
_MODE = 0o644  # what root has read, the daemon may know

Identity = Tuple[str, int, int, int, int]
"""Path, device, inode, time of the last change in nanoseconds, size."""


class KnownImages:
    """What is known of images, by their identity; in memory too, where nothing can be written."""

    def __init__(self, folder: Optional[str] = None) -> None:
        """Read nothing yet. `folder` is the state folder; None keeps all in memory."""
        self._path = None if folder is None else os.path.join(folder, NAME)
        self._known: Dict[Identity, WindowsImage] = {}

    def find(self, path: str) -> Tuple[Identity, Optional[WindowsImage]]:
        """Return what identifies the image at a path now, and what is known of it."""
        status = os.stat(path)
        identity = (path, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if identity not in self._known:
            self._known = {**self._read(), **self._known}
        return identity, self._known.get(identity)

    def keep(self, identity: Identity, image: WindowsImage) -> None:
        """Remember it in place of what was known of that path."""
        others = {**self._read(), **self._known}
        kept = {known: found for known, found in others.items() if known[0] != identity[0]}
        self._known = {**dict(list(kept.items())[-MOST:]), identity: image}
        entries = [
            {"identity": list(known), **{name: getattr(found, name) for name in _FIELDS}}
            for known, found in self._known.items()
        ]
        text = json.dumps({"formatVersion": FORMAT, "images": entries}, indent=1)
        if self._path is not None and os.path.isdir(os.path.dirname(self._path)):
            try:
                write_file(self._path, text + "\n", _MODE)
            except OSError:
                return  # read again next time

    def _read(self) -> Dict[Identity, WindowsImage]:
        try:
            data = read_json(self._path) if self._path is not None else None
            return {
                tuple(entry["identity"]): WindowsImage(**{name: entry[name] for name in _FIELDS})
                for entry in (data or {"images": ()})["images"]
            }
        except (TransientError, KeyError, TypeError):
            return {}
