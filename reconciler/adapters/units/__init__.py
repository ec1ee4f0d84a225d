"""libvirt's daemons as systemd and the kernel show them. Implements `ports.units.Units`.

Judges nothing. Reading starts no daemon; only `ask` connects to one, and only `change` changes any.
"""

from __future__ import annotations

import os
import socket
from typing import Mapping, Optional, Tuple, Union

from reconciler.adapters.units.answering import ask
from reconciler.adapters.units.client import read_uri
from reconciler.adapters.units.kernel import read_guests, read_listening
from reconciler.adapters.units.systemctl import change, is_there, show
from reconciler.core.daemons.client import find_socket
from reconciler.core.daemons.faults import Verb
from reconciler.core.daemons.table import ALL_UNITS, DAEMONS
from reconciler.core.daemons.view import Answer, DaemonsView
from reconciler.core.world import Unknown
from reconciler.errors import ReconcilerError

__all__ = ["SystemdUnits"]

_PATHS = frozenset(one.socket.path for one in DAEMONS)


class SystemdUnits:
    """The daemons of this host, for those who reach it at `uri` (None: libvirt's own choice)."""

    def __init__(self, uri: Optional[str], environ: Mapping[str, str]) -> None:
        """Keep what is needed to know where a client goes; nothing is read yet."""
        self._uri = uri
        self._environ = environ

    def observe(self) -> Union[DaemonsView, Unknown]:
        """Read every unit; Unknown for another host, another socket, or without systemd."""
        uri = read_uri(self._uri, self._environ)
        try:
            client = find_socket(uri, os.path.exists)
            if client not in _PATHS:
                return Unknown(f"{uri} goes to {client}, which is no daemon's of the system")
            if not is_there():
                return Unknown("systemd does not run here")
            units, listening = show(ALL_UNITS), read_listening()
        except ReconcilerError as error:
            return Unknown(str(error))
        return DaemonsView(socket.gethostname(), uri, client, units, listening, read_guests())

    def ask(self, path: str) -> Answer:
        """Connect to a socket as a client would, and see who accepts."""
        return ask(path)

    def change(self, verb: Verb, units: Tuple[str, ...]) -> None:
        """Do one thing to units, and wait until it is done."""
        change(verb, units)
