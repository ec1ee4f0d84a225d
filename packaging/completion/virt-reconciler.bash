# bash completion for virt-reconciler(1)
# Written by scripts/make_completion.py from the command line's grammar; do not edit.

# Set what is wanted after an option, or nothing where it takes no value: VERB OPTION
_virt_reconciler_value() {
    case "$1:$2" in
        *:-c | *:--connect) wants='nothing' many='' ;;
        *:--config) wants='files' many='' ;;
        'plan':--format) wants='words text markdown html json' many='' ;;
        'plan':--adopt-only | 'apply':--adopt-only) wants='names' many='' ;;
        'plan':--here | 'apply':--here) wants='names' many='' ;;
        'plan':--against) wants='files' many='' ;;
        'plan':--base) wants='nothing' many='' ;;
        'plan':--head) wants='nothing' many='' ;;
        'plan':--out) wants='files' many='' ;;
        'snapshot':--out) wants='files' many='' ;;
        'apply':--abort-bus-change) wants='names' many='' ;;
        'apply':--parallel) wants='nothing' many='' ;;
        'apply':--wait) wants='nothing' many='' ;;
        'prune':--images) wants='files' many=1 ;;
        'status':--format | 'history':--format | 'rollback':--format | 'host check':--format | 'bench disk':--format | 'bench matrix':--format | 'bench host':--format | 'bench list':--format) wants='words text json' many='' ;;
        'suspend':--reason) wants='nothing' many='' ;;
        'export':--output-dir) wants='files' many='' ;;
        'adopt':-f | 'adopt':--manifests) wants='files' many=1 ;;
        'ssh':-l | 'ssh':--user) wants='nothing' many='' ;;
        'import inspect':--image-format) wants='words vmdk vhdx vdi vpc qcow2 raw' many='' ;;
        'bench disk':--pool) wants='names' many='' ;;
        'bench disk':--path) wants='files' many='' ;;
        'bench disk':--guest) wants='names' many='' ;;
        'bench disk':--device) wants='files' many='' ;;
        'bench disk':--profile) wants='words seq_write seq_read rand_write rand_read rand_rw dd_write dd_read' many='' ;;
        'bench disk':--guest-path) wants='files' many='' ;;
        'bench disk':--size | 'bench matrix':--size) wants='nothing' many='' ;;
        'bench disk':--runtime) wants='nothing' many='' ;;
        'bench disk':--runs | 'bench matrix':--runs) wants='nothing' many='' ;;
        'bench disk':--depth | 'bench matrix':--depth) wants='nothing' many='' ;;
        'bench disk':--engine | 'bench matrix':--engine) wants='words libaio io_uring psync' many='' ;;
        'bench disk':--nice | 'bench matrix':--nice | 'bench host':--nice) wants='nothing' many='' ;;
        'bench disk':--ionice | 'bench matrix':--ionice) wants='words best-effort idle' many='' ;;
        'bench disk':--rate | 'bench matrix':--rate) wants='nothing' many='' ;;
        'bench disk':--label | 'bench matrix':--label | 'bench host':--label) wants='nothing' many='' ;;
        'bench matrix':--template) wants='names' many='' ;;
        'bench matrix':--image) wants='files' many='' ;;
        'bench matrix':--disk) wants='names' many='' ;;
        'bench matrix':--bus) wants='words virtio scsi sata ide usb' many='' ;;
        'bench matrix':--cache) wants='words none directsync writethrough writeback unsafe' many='' ;;
        'bench matrix':--io) wants='words native io_uring threads' many='' ;;
        'bench matrix':--profile) wants='words seq_write seq_read rand_write rand_read rand_rw dd_write dd_read' many='' ;;
        'bench matrix':--guest-path) wants='files' many='' ;;
        'bench matrix':--boot-time) wants='nothing' many='' ;;
        'bench matrix':--time-limit) wants='nothing' many='' ;;
        'bench matrix':--runtime) wants='nothing' many='' ;;
        'bench host':--iperf3) wants='nothing' many='' ;;
        'bench host':--guests) wants='names' many='' ;;
        'bench host':--runtime) wants='nothing' many='' ;;
        'bench host':--runs) wants='nothing' many='' ;;
        'bench compare':--format) wants='words text json html' many='' ;;
        'bench compare':--output-dir) wants='files' many='' ;;
        *) wants='' many='' ;;
    esac
}

# Set what may follow a verb: VERB
_virt_reconciler_verb() {
    case "$1" in
        '')
            options='-h --help --version -c --connect --config -v --verbose'
            rest='' verbs='validate plan snapshot apply run config prune status suspend resume retry history rollback export adopt host template console ssh import bench schema' value='' many=''
            ;;
        'validate')
            options='-h --help -c --connect --config -v --verbose'
            rest='files' verbs='' value='' many=''
            ;;
        'plan')
            options='-h --help -c --connect --config -v --verbose --format --adopt --adopt-only --here --against --base --head --out --detailed-exitcode'
            rest='files' verbs='' value='' many=''
            ;;
        'snapshot')
            options='-h --help -c --connect --config -v --verbose --out'
            rest='' verbs='' value='' many=''
            ;;
        'apply')
            options='-h --help -c --connect --config -v --verbose --adopt --adopt-only --here --abort-bus-change -y --yes --parallel --wait'
            rest='files' verbs='' value='' many=''
            ;;
        'run')
            options='-h --help -c --connect --config -v --verbose'
            rest='' verbs='' value='' many=''
            ;;
        'config')
            options='-h --help -c --connect --config -v --verbose'
            rest='' verbs='check' value='' many=''
            ;;
        'config check')
            options='-h --help -c --connect --config -v --verbose'
            rest='files' verbs='' value='' many=''
            ;;
        'prune')
            options='-h --help -c --connect --config -v --verbose --images -y --yes'
            rest='' verbs='' value='' many=''
            ;;
        'status')
            options='-h --help -c --connect --config -v --verbose --live --format'
            rest='names' verbs='' value='' many=''
            ;;
        'suspend')
            options='-h --help -c --connect --config -v --verbose --reason'
            rest='names' verbs='' value='' many=''
            ;;
        'resume')
            options='-h --help -c --connect --config -v --verbose'
            rest='names' verbs='' value='' many=''
            ;;
        'retry')
            options='-h --help -c --connect --config -v --verbose'
            rest='names' verbs='' value='' many=''
            ;;
        'history')
            options='-h --help -c --connect --config -v --verbose --definition --format'
            rest='names' verbs='' value='' many=''
            ;;
        'rollback')
            options='-h --help -c --connect --config -v --verbose --format --dry-run -y --yes'
            rest='names' verbs='' value='' many=''
            ;;
        'export')
            options='-h --help -c --connect --config -v --verbose --all --power --output-dir --force'
            rest='names' verbs='' value='' many=''
            ;;
        'adopt')
            options='-h --help -c --connect --config -v --verbose -f --manifests'
            rest='names' verbs='' value='' many=''
            ;;
        'host')
            options='-h --help -c --connect --config -v --verbose'
            rest='' verbs='check' value='' many=''
            ;;
        'host check')
            options='-h --help -c --connect --config -v --verbose --format'
            rest='files' verbs='' value='' many=''
            ;;
        'template')
            options='-h --help -c --connect --config -v --verbose'
            rest='' verbs='pull' value='' many=''
            ;;
        'template pull')
            options='-h --help -c --connect --config -v --verbose'
            rest='names' verbs='' value='' many=''
            ;;
        'console')
            options='-h --help -c --connect --config -v --verbose --force'
            rest='names' verbs='' value='' many=''
            ;;
        'ssh')
            options='-h --help -c --connect --config -v --verbose -l --user --direct'
            rest='names' verbs='' value='' many=''
            ;;
        'import')
            options='-h --help -c --connect --config -v --verbose'
            rest='' verbs='inspect' value='' many=''
            ;;
        'import inspect')
            options='-h --help -c --connect --config -v --verbose --image-format'
            rest='files' verbs='' value='' many=''
            ;;
        'bench')
            options='-h --help -c --connect --config -v --verbose'
            rest='' verbs='disk matrix host list compare' value='' many=''
            ;;
        'bench disk')
            options='-h --help -c --connect --config -v --verbose --pool --path --guest --device --profile --guest-path --size --runtime --runs --depth --engine --nice --ionice --rate --label --format'
            rest='' verbs='' value='' many=''
            ;;
        'bench matrix')
            options='-h --help -c --connect --config -v --verbose --template --image --disk --bus --cache --io --profile --guest-path --boot-time --time-limit --size --runtime --runs --depth --engine --nice --ionice --rate --label --format'
            rest='names' verbs='' value='' many=''
            ;;
        'bench host')
            options='-h --help -c --connect --config -v --verbose --iperf3 --guests --runtime --runs --nice --label --format'
            rest='' verbs='' value='' many=''
            ;;
        'bench list')
            options='-h --help -c --connect --config -v --verbose --format'
            rest='names' verbs='' value='' many=''
            ;;
        'bench compare')
            options='-h --help -c --connect --config -v --verbose --format --output-dir --force'
            rest='names' verbs='' value='' many=''
            ;;
        'schema')
            options='-h --help -c --connect --config -v --verbose'
            rest='words Host Template VirtualMachine Configuration Plan Snapshot Measurement' verbs='' value='' many=''
            ;;
    esac
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
