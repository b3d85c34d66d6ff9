# What scripts/deploy and scripts/destroy share. To be sourced.

# fail WHAT [HINT…]
fail() {
    printf 'error: %s\n' "$1" >&2
    if (($# > 1)); then printf '  %s\n' "${@:2}" >&2; fi
    exit 1
}

headline() {
    printf '\n== %s\n' "$1"
}

# Shows a command, and runs it unless this is a dry run.
run() {
    local word line=+
    for word in "$@"; do
        if [[ ! $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then word=${word@Q}; fi
        line+=" $word"
    done
    echo "$line"
    if [[ $dry_run == false ]]; then "$@"; fi
}

# run, where the answer says nothing.
run_quietly() {
    run "$@" | sed -n 1p
}

# Where they are not installed, the tools that scripts/check tools puts into .venv. cargo-lambda finds zig through the
# first python3 of PATH.
use_venv() {
    if ! cargo lambda --version &>/dev/null && [[ -x .venv/bin/cargo-lambda ]]; then PATH=$PWD/.venv/bin:$PATH; fi
    PATH=$PATH:$PWD/.venv/bin
}

# The text at the head of the script, which says how it is used.
usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "scripts/${0##*/}"
}

known_function() {
    local template known=()
    for template in infra/*.yaml; do
        template=${template#infra/}
        if [[ -d crates/${template%.yaml} ]]; then known+=("${template%.yaml}"); fi
    done
    if [[ -z $1 ]]; then usage; fi
    [[ -n $1 && " ${known[*]} " == *" $1 "* ]] || fail "${1:+$1 is no function: }name one of ${known[*]}"
}

# manifest KEY: what the function's crate tells these scripts, in its section [package.metadata.scripts].
manifest() {
    sed -n "/^\[package.metadata.scripts\]/,/^\[/s/^$1 = \"\(.*\)\"\$/\1/p" "crates/$function/Cargo.toml"
}

# Whether the function answers lifecycle hooks.
answers_hooks() {
    grep -q '^  LifecycleHooks:' "infra/$function.yaml"
}

# The name is the function's and the stack's; stacks allow less.
legal_name() {
    [[ $1 =~ ^[A-Za-z][A-Za-z0-9-]{0,63}$ ]] ||
        fail "$1 is no name" "Letters, digits and hyphens, a letter first, at most 64."
}

# need COMMAND HINT…
need() {
    command -v "$1" >/dev/null || fail "$1 is not installed" "${@:2}"
}

need_aws() {
    need aws "Install the AWS CLI: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html" \
        "or let scripts/check tools put it into .venv."
    export AWS_PAGER=
    # The AWS CLI and cargo lambda look at different variables.
    AWS_REGION=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
    [[ -n $AWS_REGION ]] || fail "no Region is chosen" "export AWS_REGION=eu-west-1, or aws configure"
    export AWS_REGION AWS_DEFAULT_REGION=$AWS_REGION
    local error
    if ! account=$(aws sts get-caller-identity --query Account --output text 2>"$scratch/error"); then
        error=$(tail -n 1 "$scratch/error")
        fail "AWS does not know you: $error" "aws configure, aws sso login, or export AWS_PROFILE=…"
    fi
}

# One value of an answer of AWS's; nothing where the thing does not exist. Other errors are errors of ask.
# ask NOT_FOUND QUERY COMMAND…
ask() {
    local answer
    if answer=$(aws "${@:3}" --query "$2" --output text 2>"$scratch/error"); then
        if [[ $answer != None ]]; then printf '%s\n' "$answer"; fi
    else
        grep -q "$1" "$scratch/error"
    fi
}

# unanswered WHAT: ends the script with AWS's own words.
unanswered() {
    fail "AWS did not say $1" "$(grep . "$scratch/error")"
}

# ask_stack QUERY
ask_stack() {
    ask "does not exist" "Stacks[0].$1" cloudformation describe-stacks --stack-name "$name" ||
        unanswered "whether the stack $name is there"
}

# output KEY
output() {
    ask_stack "Outputs[?OutputKey=='$1'].OutputValue | [0]"
}

# Sets $stack to the stack's status and $deployed to the function's processors, each empty where there is none.
look_for_both() {
    stack=$(ask_stack StackStatus)
    # In review it has neither a description nor resources.
    if [[ -n $stack && $stack != REVIEW_IN_PROGRESS && $(ask_stack Description) != "$function:"* ]]; then
        fail "the stack $name is not one of $function's" "Choose another name with --name"
    fi
    deployed=$(ask ResourceNotFoundException 'Architectures[0]' \
        lambda get-function-configuration --function-name "$name") ||
        unanswered "whether the function $name is there"
}
