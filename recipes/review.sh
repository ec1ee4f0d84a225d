#!/bin/sh
# review.sh BASE FOLDER [SNAPSHOT]: write what a branch changes to plan.md, for a comment.
#
# BASE is a revision that is here (in CI: fetched before), FOLDER has the manifests. With a SNAPSHOT of
# the host (`virt-reconciler snapshot`) the plan is for that host. Ends with the status of the plan: 0, or 65
# where a manifest is invalid; the problems stand in plan.md too.
set -u
base=$1 folder=$2 snapshot=${3:-}
set -- --base "$base" --format markdown
if [ -n "$snapshot" ]; then set -- "$@" --against "$snapshot"; fi

status=0
virt-reconciler plan "$@" "$folder" >plan.md 2>problems.txt || status=$?
cat problems.txt >&2
# Without a plan there is no marker, by which the comment is found again.
if [ ! -s plan.md ]; then printf '<!-- virt-reconciler plan -->\n**There is no plan.**\n' >plan.md; fi
if [ -s problems.txt ]; then
  printf '\n**What was said:**\n\n' >>plan.md
  # Indented by four it is code, whatever is in it. A comment holds 65536 characters.
  room=$((64000 - $(wc -c <plan.md)))
  if [ "$room" -gt 2000 ]; then
    sed 's/^/    /' problems.txt | head -c "$room" >>plan.md
  else
    echo "The log of this job has it; there is no more room here." >>plan.md
  fi
fi
exit "$status"
