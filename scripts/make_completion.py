#!/usr/bin/env python3
"""Write packaging/completion/virt-reconciler.bash from the command line's grammar.

The completion needs bash and nothing else; names are asked of virsh where it is there. A test
holds the file against the grammar and completes with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterator, List, Tuple

from grammar import Command, Word, read_commands

import reconciler.kinds  # noqa: F401 - fills the table
from reconciler.core.documents import CONFIGURATION, DOCUMENTS
from reconciler.core.kinds import list_kinds

FILE = Path(__file__).resolve().parents[1] / "packaging" / "completion" / "virt-reconciler.bash"

# What stands for a value → what may be typed there; what is not here cannot be guessed.
WANTED = {
    "PATH": "files",
    "FILE": "files",
    "PLANFILE": "files",
    "DIR": "files",
    "DEV": "files",
    "NAME": "names",
    "STATE": "files",
    "KIND": f"words {' '.join((*list_kinds(), CONFIGURATION, *DOCUMENTS))}",
}

HEAD = r"""# bash completion for virt-reconciler(1)
# Written by scripts/make_completion.py from the command line's grammar; do not edit.

# Set what is wanted after an option, or nothing where it takes no value: VERB OPTION
_virt_reconciler_value() {
    case "$1:$2" in
"""
MIDDLE = r"""        *) wants='' many='' ;;
    esac
}

# Set what may follow a verb: VERB
_virt_reconciler_verb() {
    case "$1" in
"""
TAIL = r"""    esac
}

# Print the host's domains, of the connection on the command line.
_virt_reconciler_names() {
    local uri=()
    [[ $COMP_LINE =~ [[:space:]](-c|--connect)[[:space:]=]+([^[:space:]]+) ]] &&
        uri=(-c "${BASH_REMATCH[2]}")
    virsh -q -r "${uri[@]}" list --all --name 2>/dev/null </dev/null
}

_virt_reconciler() {
    local cur=${COMP_WORDS[COMP_CWORD]} verb='' verbs='' options='' rest=''
    local wants='' many='' value='' index word
    COMPREPLY=()
    [[ $cur == '=' ]] && cur=''  # bash splits --format=json at the sign
    _virt_reconciler_verb ''
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if [[ $word == '=' ]]; then
            continue
        elif [[ $word == -* ]]; then
            _virt_reconciler_value "$verb" "$word"
            value=$wants
        elif [[ -n $value && -z $many ]]; then
            value=''
        elif [[ -z $value && " $verbs " == *" $word "* ]]; then
            verb=${verb:+$verb }$word
            _virt_reconciler_verb "$verb"
        fi
    done
    if [[ -n $value && $cur != -* ]]; then
        wants=$value
    elif [[ $cur == -* ]]; then
        wants="words $options"
    else
        wants=${verbs:+words $verbs}
        wants=${wants:-$rest}
    fi
    case $wants in
        words*) mapfile -t COMPREPLY < <(compgen -W "${wants#words}" -- "$cur") ;;
        files)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            ;;
        names)
            while IFS= read -r word; do
                [[ -n $word && $word == "$cur"* ]] && COMPREPLY+=("$(printf %q "$word")")
            done < <(_virt_reconciler_names)
            ;;
    esac
}

complete -F _virt_reconciler virt-reconciler
"""


def main() -> None:
    """Write the file."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(render(), encoding="utf-8")


def render() -> str:
    """Return the file."""
    commands = read_commands()
    values = "".join(_value_line(*one) for one in _group_values(commands))
    verbs = "".join(map(_verb_line, commands))
    return f"{HEAD}{values}{MIDDLE}{verbs}{TAIL}"


def _group_values(commands: Tuple[Command, ...]) -> Iterator[Tuple[List[str], Word]]:
    """Yield options that take a value, and the patterns under which bash finds them."""
    found: Dict[Word, List[Command]] = {}
    for command in commands:
        for option in command.options:
            if option.value:
                found.setdefault(option, []).append(command)
    for option, having in found.items():
        verbs = ["*"] if len(having) == len(commands) else [f"'{one.name}'" for one in having]
        yield [f"{verb}:{flag}" for verb in verbs for flag in option.flags], option


def _value_line(patterns: List[str], option: Word) -> str:
    many = "many=1" if option.is_many else "many=''"
    return f"        {' | '.join(patterns)}) wants='{_wants(option) or 'nothing'}' {many} ;;\n"


def _verb_line(command: Command) -> str:
    options = " ".join(flag for option in command.options for flag in option.flags)
    rest = _wants(command.arguments[0]) if command.arguments else ""
    verbs = " ".join(command.verbs)
    return (
        f"        '{command.name}')\n"
        f"            options='{options}'\n"
        f"            rest='{rest}' verbs='{verbs}' value='' many=''\n"
        "            ;;\n"
    )


def _wants(word: Word) -> str:
    if word.choices:
        return f"words {' '.join(word.choices)}"
    return WANTED.get(word.metavar or "", "")


if __name__ == "__main__":
    main()
