#!/bin/sh
# review.sh BASE FOLDER [SNAPSHOT]: write what a branch changes to plan.md, for a comment.
#
# BASE is a revision in this clone (in CI: fetch it before), FOLDER has the manifests. With a SNAPSHOT of
# the host (`virt-reconciler snapshot`) the plan is for that host. Exits with the status of the plan: 0, or
# 65 if a manifest is invalid; plan.md has the errors too.
set -u
base=$1 folder=$2 snapshot=${3:-}
set -- --base "$base" --format markdown
if [ -n "$snapshot" ]; then set -- "$@" --against "$snapshot"; fi

status=0
virt-reconciler plan "$@" "$folder" >plan.md 2>problems.txt || status=$?
cat problems.txt >&2
# The marker is needed to find the comment again, also if there is no plan.
if [ ! -s plan.md ]; then printf '<!-- virt-reconciler plan -->\n**There is no plan.**\n' >plan.md; fi
if [ -s problems.txt ]; then
  printf '\n**Messages:**\n\n' >>plan.md
  # Text that is indented by four is code, whatever it contains. A comment may have 65536 characters.
  room=$((64000 - $(wc -c <plan.md)))
  if [ "$room" -gt 2000 ]; then
    sed 's/^/    /' problems.txt | head -c "$room" >>plan.md
  else
    echo "See the log of this job; there is no more room here." >>plan.md
  fi
fi
exit "$status"
