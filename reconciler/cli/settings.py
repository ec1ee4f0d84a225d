"""Which settings hold for a command: those of `--config`, of the usual file, or the defaults."""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import replace
from typing import Optional

from reconciler.cli.arguments import CONFIG_FILE
from reconciler.cli.console import Console
from reconciler.cli.parts import Parts
from reconciler.core.loop.settings import Settings
from reconciler.core.render.words import count
from reconciler.errors import InvalidManifestError


def settings_of(
    options: argparse.Namespace, parts: Parts, *, is_required: bool = False
) -> Settings:
    """Return the settings that the options ask for; `--connect` goes before the file's.

    A file that is named must be there. The usual one may be missing, and the defaults hold, which
    have no source of manifests; unless `is_required`, as it is for the daemon.
    """
    if options.config is None and not is_required and _is_missing(CONFIG_FILE):
        settings = Settings()
    else:
        settings = parts.read_settings(options.config or CONFIG_FILE)
    return settings if options.connect is None else replace(settings, connect=options.connect)


def settings_to_order(
    options: argparse.Namespace, parts: Parts, console: Optional[Console] = None
) -> Settings:
    """Return the settings for verbs that show or hold back a running daemon.

    They must work while the configuration is wrong: then the daemon's memory is where the file says
    as far as it can be read, else where it is by default; a console is told so. Raises UsageError
    if a file that is named is not there.
    """
    try:
        return settings_of(options, parts)
    except InvalidManifestError as error:
        path = options.config or CONFIG_FILE
        settings = parts.salvage_settings(path)
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


def names_another_host(options: argparse.Namespace, parts: Parts) -> bool:
    """Whether `--connect` is for another libvirt than the daemon's, whose memory says nothing then.

    Where `--config` names a configuration too, it is that daemon that is meant.
    """
    if options.connect is None or options.config is not None:
        return False
    own = settings_to_order(argparse.Namespace(config=None, connect=None), parts)
    return own.connect != str(options.connect)


def uri_of(options: argparse.Namespace, parts: Parts) -> Optional[str]:
    """Return the libvirt to ask: the one named, the configuration's, or libvirt's own choice."""
    if options.connect is not None or (options.config is None and _is_missing(CONFIG_FILE)):
        return None if options.connect is None else str(options.connect)
    return settings_to_order(options, parts).connect
