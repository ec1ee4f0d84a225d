#!/usr/bin/env python3
"""comment.py FILE: post FILE as a comment on this pull or merge request, or update that comment.

Runs in GitHub Actions (GITHUB_TOKEN) and GitLab CI (VIRT_PLAN_TOKEN, a project access token with
scope `api`). It updates the comment that begins as FILE does: with the marker of the plan's first
line. It needs Python's standard library only.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

PAGE = 100  # comments asked for at once; both services give no more


class Service(NamedTuple):
    """Where one's comments are, and how it is asked."""

    comments: str
    one: str
    update: str
    headers: Dict[str, str]


def find_service(env: Mapping[str, str]) -> Service:
    """Return the service that this runs in. Exits where it is neither, or no request's pipeline."""
    if env.get("GITHUB_ACTIONS") == "true":
        with open(env["GITHUB_EVENT_PATH"], encoding="utf-8") as file:
            number = json.load(file)["pull_request"]["number"]
        issues = f"{env['GITHUB_API_URL']}/repos/{env['GITHUB_REPOSITORY']}/issues"
        headers = {
            "Authorization": f"Bearer {env['GITHUB_TOKEN']}",
            "Accept": "application/vnd.github+json",
        }
        return Service(f"{issues}/{number}/comments", f"{issues}/comments", "PATCH", headers)
    if env.get("GITLAB_CI") == "true":
        project = f"{env['CI_API_V4_URL']}/projects/{env['CI_PROJECT_ID']}"
        notes = f"{project}/merge_requests/{env['CI_MERGE_REQUEST_IID']}/notes"
        return Service(notes, notes, "PUT", {"PRIVATE-TOKEN": env["VIRT_PLAN_TOKEN"]})
    sys.exit("comment.py: this is neither GitHub Actions nor GitLab CI")


def ask(service: Service, method: str, url: str, data: Optional[Dict[str, str]] = None) -> Any:
    """Make one call and return its answer."""
    body = None if data is None else json.dumps(data).encode()
    headers = {**service.headers, "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def find_comment(service: Service, marker: str) -> Optional[int]:
    """Return the number of the comment that begins with the marker, None if there is none."""
    page = 1
    while True:
        url = f"{service.comments}?per_page={PAGE}&page={page}"
        found: List[Dict[str, Any]] = ask(service, "GET", url)
        for one in found:
            if (one.get("body") or "").startswith(marker):
                return int(one["id"])
        if len(found) < PAGE:
            return None
        page += 1


def post(service: Service, text: str) -> Tuple[str, int]:
    """Post the text or update the comment; return which of both, and the comment's number."""
    marker = text.split("\n", 1)[0]
    number = find_comment(service, marker)
    if number is None:
        return "posted", int(ask(service, "POST", service.comments, {"body": text})["id"])
    ask(service, service.update, f"{service.one}/{number}", {"body": text})
    return "updated", number


if __name__ == "__main__":
    # review.sh cuts by bytes, within a letter even; a mark in its place is better than no comment.
    with open(sys.argv[1], encoding="utf-8", errors="replace") as plan:
        print(*post(find_service(os.environ), plan.read()))
