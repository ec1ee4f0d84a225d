"""The formats of a plan, one a row. On the start-up path: a writer is imported when it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Mapping

from reconciler.core.frozen import frozen

if TYPE_CHECKING:
    from reconciler.core.plan import Plan
    from reconciler.core.render.layout import Style


@frozen
class Format:
    """How a plan is written; `verbose` lists unchanged objects where a format leaves them out.

    `with_revision`: Git is asked for the manifests' commit, which takes time.
    """

    write: Callable[[Plan, Style, bool], str]
    with_revision: bool = True


def _text(plan: Plan, style: Style, verbose: bool) -> str:  # noqa: FBT001 - a row's signature
    from reconciler.core.render.text import render_text  # noqa: PLC0415

    return render_text(plan, style, verbose=verbose)


def _markdown(plan: Plan, _style: Style, _verbose: bool) -> str:  # noqa: FBT001
    from reconciler.core.render.markdown import render_markdown  # noqa: PLC0415

    return render_markdown(plan)


def _html(plan: Plan, _style: Style, _verbose: bool) -> str:  # noqa: FBT001
    from reconciler.core.render.html import render_html  # noqa: PLC0415

    return render_html(plan)


def _json(plan: Plan, _style: Style, _verbose: bool) -> str:  # noqa: FBT001
    from reconciler.core.render.json import render_json  # noqa: PLC0415

    return render_json(plan)


PLAN_FORMATS: Mapping[str, Format] = {
    "text": Format(_text, with_revision=False),
    "markdown": Format(_markdown),
    "html": Format(_html),
    "json": Format(_json),
}
