"""Which settings hold for a command: those of `--config`, of the usual file, or the defaults."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import Optional

from reconciler.cli.arguments import CONFIG_FILE
from reconciler.cli.console import Console
from reconciler.cli.services import Services
from reconciler.core.frozen import replace
from reconciler.core.render.words import count
from reconciler.core.settings import Settings
from reconciler.errors import InvalidManifestError, TransientError, UsageError

URI_VARIABLE = "LIBVIRT_DEFAULT_URI"


def settings_of(
    options: argparse.Namespace, services: Services, *, is_required: bool = False
) -> Settings:
    """Return the settings that the options ask for; `--connect` goes before the file's.

    A file that is named must be there. The usual one may be missing, and the defaults hold, which
    have no source of manifests; unless `is_required`, as it is for the daemon.
    """
    if options.config is None and not is_required and _is_missing(CONFIG_FILE):
        settings = Settings()
    else:
        settings = services.read_settings(options.config or CONFIG_FILE)
    return settings if options.connect is None else replace(settings, connect=options.connect)


def settings_to_order(
    options: argparse.Namespace, services: Services, console: Optional[Console] = None
) -> Settings:
    """Return the settings for verbs that show or hold back a running daemon.

    They must work while the configuration is wrong: then the daemon's memory is where the file says
    as far as it can be read, else where it is by default; a console is told so. Raises UsageError
    if a file that is named is not there.
    """
    try:
        return settings_of(options, services)
    except InvalidManifestError as error:
        path = options.config or CONFIG_FILE
        settings = services.salvage_settings(path)
        if console is not None:
            problems = count(len(error.problems), "problem")
            check = f"virt-reconciler config check{_name_file(options)}"
            console.note(f"{path} has {problems} ({check}); assuming state: {settings.state}")
    return settings if options.connect is None else replace(settings, connect=options.connect)


def _name_file(options: argparse.Namespace) -> str:
    return f" {shlex.quote(options.config)}" if options.config else ""


def _is_missing(path: str) -> bool:
    """Whether the file is not there; one that may not be looked at is there, as far as we know."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def names_another_host(options: argparse.Namespace, services: Services, console: Console) -> bool:
    """Whether the command is for another libvirt than the daemon's, whose memory says nothing then.

    Where `--config` names a configuration too, it is that daemon that is meant.
    """
    asked = _asked_uri(options, console)
    return asked is not None and options.config is None and asked != _own_uri(options, services)


def refuse_another_host(options: argparse.Namespace, services: Services, console: Console) -> None:
    """Raise UsageError if the command is for another libvirt than that of the daemon it orders."""
    asked = _asked_uri(options, console)
    own = asked and _own_uri(options, services)
    if asked is None or asked == own:
        return
    named = "--connect" if options.connect is not None else URI_VARIABLE
    names = "".join(f" {shlex.quote(name)}" for name in getattr(options, "names", ()))
    raise UsageError(
        f"{options.verb} is an order to the daemon, which manages {own}; {named} names {asked}. "
        "Run it on that host, or name the configuration of that daemon: --config FILE; "
        f"for the daemon of this host: virt-reconciler --connect {own} {options.verb}{names}"
    )


def _asked_uri(options: argparse.Namespace, console: Console) -> Optional[str]:
    """Return the libvirt that the user names, by option or by variable."""
    if options.connect is not None:
        return str(options.connect)
    return console.environ.get(URI_VARIABLE) or None


def _own_uri(options: argparse.Namespace, services: Services) -> str:
    """Return the libvirt of the daemon whose configuration counts for this command."""
    own = argparse.Namespace(config=options.config, connect=None)
    try:
        return settings_to_order(own, services).connect
    except TransientError:  # this user may not read it
        if options.config is not None:
            raise
        return Settings().connect


def uri_of(options: argparse.Namespace, services: Services, console: Console) -> Optional[str]:
    """Return the libvirt to ask, or None for libvirt's own choice.

    The option goes before the variable, as with libvirt's own tools; the configuration, which is
    the host's, stands in for what libvirt would choose by itself. A user who gets his own libvirt
    that way, on a host that has one for all, is told so.
    """
    asked = _asked_uri(options, console)
    if asked is not None:
        return asked
    if options.config is not None or not _is_missing(CONFIG_FILE):
        try:
            return settings_to_order(options, services).connect
        except TransientError:  # this user may not read it
            if options.config is not None:
                raise
    if services.chooses_session():
        console.note(
            "this asks your own libvirt, qemu:///session; the host's guests are in qemu:///system: "
            f"add --connect qemu:///system, or export {URI_VARIABLE}=qemu:///system"
        )
    return None
