"""Which settings hold for a command: those of `--config`, of the usual file, or the defaults."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

from reconciler.cli.arguments import CONFIG_FILE
from reconciler.cli.composition import Parts
from reconciler.core.loop.settings import Settings


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


def _is_missing(path: str) -> bool:
    """Whether the file is not there; one that may not be looked at is there, as far as we know."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
