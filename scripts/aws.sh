# Functions that scripts/deploy and scripts/destroy share. They source this file.

# fail WHAT [HINT…]
fail() {
    printf 'error: %s\n' "$1" >&2
    if (($# > 1)); then printf '  %s\n' "${@:2}" >&2; fi
    exit 1
}

headline() {
    printf '\n== %s\n' "$1"
}

# Prints a command. Runs it, unless this is a dry run.
run() {
    local word line=+
    for word in "$@"; do
        if [[ ! $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then word=${word@Q}; fi
        line+=" $word"
    done
    echo "$line"
    if [[ $dry_run == false ]]; then "$@"; fi
}

# Like run, for a command whose output is of no use: prints its first line only.
run_quietly() {
    run "$@" | sed -n 1p
}

# Adds the tools in .venv, which scripts/check tools installs, to PATH. Installed tools come first. If cargo-lambda
# comes from .venv, .venv comes first: cargo-lambda finds zig through the first python3 of PATH.
use_venv() {
    if ! cargo lambda --version &>/dev/null && [[ -x .venv/bin/cargo-lambda ]]; then PATH=$PWD/.venv/bin:$PATH; fi
    PATH=$PATH:$PWD/.venv/bin
}

# Prints the usage: the comment at the top of the script.
usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "scripts/${0##*/}"
}

check_function() {
    local template known=()
    for template in infra/*.yaml; do
        template=${template#infra/}
        if [[ -d crates/${template%.yaml} ]]; then known+=("${template%.yaml}"); fi
    done
    if [[ -z $1 ]]; then usage; fi
    [[ -n $1 && " ${known[*]} " == *" $1 "* ]] || fail "${1:+there is no function $1: }name one of ${known[*]}"
}

# manifest KEY: a value in the section [package.metadata.scripts] of the crate's Cargo.toml.
manifest() {
    sed -n "/^\[package.metadata.scripts\]/,/^\[/s/^$1 = \"\(.*\)\"\$/\1/p" "crates/$function/Cargo.toml"
}

# Whether the function completes lifecycle actions.
answers_hooks() {
    grep -q '^  LifecycleHooks:' "infra/$function.yaml"
}

# The function and its stack have the same name. The limits are those of stacks: they are stricter.
check_name() {
    [[ $1 =~ ^[A-Za-z][A-Za-z0-9-]{0,63}$ ]] ||
        fail "the name $1 is not valid" "It begins with a letter, and has at most 64 letters, digits and hyphens."
}

# need COMMAND HINT…
need() {
    command -v "$1" >/dev/null || fail "$1 is not installed" "${@:2}"
}

need_aws() {
    need aws "Install the AWS CLI: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html" \
        "or let scripts/check tools put it into .venv."
    export AWS_PAGER=
    # The AWS CLI reads AWS_DEFAULT_REGION, cargo lambda AWS_REGION.
    AWS_REGION=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
    [[ -n $AWS_REGION ]] || fail "no Region is set" "export AWS_REGION=eu-west-1, or aws configure"
    export AWS_REGION AWS_DEFAULT_REGION=$AWS_REGION
    local error
    if ! account=$(aws sts get-caller-identity --query Account --output text 2>"$scratch/error"); then
        error=$(tail -n 1 "$scratch/error")
        fail "no valid AWS credentials: $error" "aws configure, aws sso login, or export AWS_PROFILE=…"
    fi
}

# query_aws NOT_FOUND QUERY COMMAND…: prints one value of the output of an aws command. Prints nothing if the command
# fails with the error NOT_FOUND. Fails if it fails with another error.
query_aws() {
    local answer
    if answer=$(aws "${@:3}" --query "$2" --output text 2>"$scratch/error"); then
        if [[ $answer != None ]]; then printf '%s\n' "$answer"; fi
    else
        grep -q "$1" "$scratch/error"
    fi
}

# query_failed WHAT: ends the script with AWS's error message.
query_failed() {
    fail "could not find out $1" "$(grep . "$scratch/error")"
}

# query_stack QUERY
query_stack() {
    query_aws "does not exist" "Stacks[0].$1" cloudformation describe-stacks --stack-name "$name" ||
        query_failed "whether the stack $name exists"
}

# output KEY
output() {
    query_stack "Outputs[?OutputKey=='$1'].OutputValue | [0]"
}

# Sets $stack to the stack's status, and $deployed to the function's architecture. Each is empty if it does not exist.
read_state() {
    stack=$(query_stack StackStatus)
    # A stack in review has neither a description nor resources.
    if [[ -n $stack && $stack != REVIEW_IN_PROGRESS && $(query_stack Description) != "$function:"* ]]; then
        fail "the stack $name does not belong to $function" "Choose another name with --name"
    fi
    deployed=$(query_aws ResourceNotFoundException 'Architectures[0]' \
        lambda get-function-configuration --function-name "$name") ||
        query_failed "whether the function $name exists"
}
