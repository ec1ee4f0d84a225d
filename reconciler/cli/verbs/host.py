"""`host check`, `snapshot`: what this host is. `template pull`, `prune --images`: its images."""

from __future__ import annotations

import argparse
from functools import partial
from typing import List, Optional, Sequence, Tuple

from reconciler import __version__
from reconciler.adapters.text_files import write_text
from reconciler.cli.console import Console, Exit
from reconciler.cli.daemon_state import find_chronicle
from reconciler.cli.plans import Prepared
from reconciler.cli.progress import carry_out
from reconciler.cli.services import Services
from reconciler.cli.settings import names_another_host, settings_of, uri_of
from reconciler.control.ports import Host
from reconciler.core.frozen import frozen
from reconciler.core.host_snapshot import write_snapshot
from reconciler.core.kinds import has_planned
from reconciler.core.manifest import DOWNLOADING, UNPACKING, Desired, TemplateManifest
from reconciler.core.plan import ActionKind, Plan
from reconciler.core.render.text import render_text
from reconciler.core.render.words import count, escape
from reconciler.core.units import format_roughly, show_time
from reconciler.core.world import Unknown, VolumeView
from reconciler.errors import InvalidManifestError, RefusedError, TerminalError, TransientError
from reconciler.kinds.api import settle_template
from reconciler.kinds.host.execute import check_daemons
from reconciler.kinds.host.judgement import render_report, render_report_json
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.machine.survey import take_snapshot
from reconciler.kinds.template.planning import find_image, find_unnamed, find_user, plan_pull


def check_host(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Print the table; the exit status says whether all is right."""
    desired = _load(options, console, services)
    report = check_daemons(services.units(uri_of(options, services, console)), desired or Desired())
    if isinstance(report, Unknown):
        raise TransientError(f"the daemons cannot be inspected: {report.reason}")
    if options.format == "json":
        console.write(render_report_json(report))
    else:
        console.write(render_report(report, console.style()))
    return Exit.DONE if report.is_right else Exit.FAILED


def _load(options: argparse.Namespace, console: Console, services: Services) -> Optional[Desired]:
    """Read the manifests, if any are given; what is wrong in some is told."""
    if not options.paths:
        return None
    loaded = services.load_manifests(options.paths)
    if loaded.problems and not has_planned(loaded.desired):
        raise InvalidManifestError(loaded.problems)
    for problem in sorted(loaded.problems):
        console.complain(escape(str(problem)))
    return loaded.desired


def record_snapshot(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Write the snapshot to standard output, or to a file."""
    host = services.connect(uri_of(options, services, console))
    snapshot = take_snapshot(
        host,
        show_time(services.clock.wall()) or "",
        __version__,
        _read_revision(options, services, console),
    )
    text = write_snapshot(snapshot)
    if options.out is None:
        console.write(text)
        return Exit.DONE
    write_text(options.out, text)
    console.note(f"{escape(snapshot.host)}: state recorded in {escape(options.out)}")
    return Exit.DONE


def _read_revision(
    options: argparse.Namespace, services: Services, console: Console
) -> Optional[str]:
    """Return the revision that the daemon here has in force; None if there is none to be seen."""
    if names_another_host(options, services, console):
        return None
    try:
        return services.reach_memory(settings_of(options, services).state).read_source().revision
    except TransientError:  # no daemon, or this user may not look
        return None


def pull_template(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Fetch the image of a template, whether or not a machine needs it."""
    desired = _load_all(options.paths, services)
    manifest = _find_template(desired, options.name)
    host = services.connect(uri_of(options, services, console))
    observation = observe(host, Desired.of(manifest))
    action = observation.make(lambda world: plan_pull(manifest, world))
    if action.action is ActionKind.NONE:
        there = observation.make(lambda world: find_image(settle_template(manifest, world), world))
        console.line(f"{escape(manifest.name)}: {escape(there or '')} is there already.")
        return Exit.DONE
    plan = Plan(host.domains.host, host.domains.uri, (action,))
    console.write(render_text(plan, console.style(), verbose=options.verbose))
    if not action.steps:
        return Exit.FAILED if action.action is ActionKind.FAILED else Exit.REFUSED
    prepared = Prepared(host=host, desired=desired, observation=observation, plan=plan, problems=())
    chronicle = find_chronicle(options, prepared, console, services)
    return carry_out(prepared, chronicle, console, services).status


def _load_all(paths: Sequence[str], services: Services) -> Desired:
    loaded = services.load_manifests(paths)
    if loaded.problems:
        raise InvalidManifestError(loaded.problems)
    return loaded.desired


def _find_template(desired: Desired, name: str) -> TemplateManifest:
    manifest = desired.template(name)
    if manifest is None:
        there = ", ".join(known.name for known in desired.templates) or "none"
        raise TerminalError(f"no Template {name!r} among the given manifests; there are: {there}")
    if manifest.address is None:
        raise TerminalError(f"{name}: its image has no address (spec.image.url) to fetch it from")
    return manifest


@frozen
class SpareImage:
    """An image that no template names; `user` says what uses it all the same, if anything does."""

    volume: VolumeView
    about: str
    user: str = ""

    @property
    def label(self) -> str:
        """What to call the volume: pool/name."""
        return f"{self.volume.pool}/{self.volume.name}"


def prune_images(options: argparse.Namespace, console: Console, services: Services) -> int:
    """List the images that no template names, ask unless `--yes`, delete those that none uses."""
    desired = _load_all(options.images, services)
    host = services.connect(uri_of(options, services, console))
    found = find_spare_images(host, desired)
    for image in found:
        words = f"kept: {image.user}" if image.user else image.about
        console.line(f"{escape(image.label)}: {escape(words)}")
    spare = [image for image in found if not image.user]
    if not spare:
        console.line("There is no image to delete.")
        return Exit.DONE
    if not options.yes and not console.confirm("Delete these images?", "nothing was deleted"):
        console.line("Nothing was deleted.")
        return Exit.FAILED
    still = {image.label for image in find_spare_images(host, desired) if not image.user}
    for image in spare:
        if image.label not in still:
            raise RefusedError(f"{image.label}: is in use by now, so it is kept; run prune again")
        host.storage.delete_volume(image.volume.pool, image.volume.name, image.volume.path)
    console.line(f"Deleted: {count(len(spare), 'image')}.")
    return Exit.DONE


def find_spare_images(host: Host, desired: Desired) -> Tuple[SpareImage, ...]:
    """Return the images that were fetched and that no template of these manifests names.

    Raises TransientError where a domain cannot be read: it may use any of them.
    """
    views = host.domains.list_domains()
    for name, view in views.items():
        if isinstance(view, Unknown):
            raise TransientError(
                f"domain {name} cannot be read, so which images it uses is unknown: {view.reason}"
            )
    observation = observe(host, desired, views)
    found: List[SpareImage] = []
    for volume in observation.make(partial(find_unnamed, desired)):
        about = _describe_image(host, volume)
        if about:
            user = observation.make(partial(find_user, volume.path, frozenset(views)))
            found.append(SpareImage(volume, about, user))
    return tuple(found)


def _describe_image(host: Host, volume: VolumeView) -> str:
    """Say where an image came from; empty for one that was not fetched."""
    size = format_roughly(volume.allocation or 0)
    if volume.name.endswith((DOWNLOADING, UNPACKING)):
        return f"{size}, left by a download that was not finished"
    origin = host.storage.open_part(volume.pool, volume.name).read_origin()
    return f"{size}, fetched from {origin.get('url', '')}" if origin is not None else ""
