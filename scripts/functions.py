"""Finds the functions of this repository: the crates with MARK in their manifest. Finds the parameters that their
templates require."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARK = "[package.metadata.lambda.deploy]"

# A value for each parameter without a default.
REQUIRED = {"AutoScalingGroups": "web,api-*"}


def functions():
    """The names of the functions."""
    manifests = sorted((ROOT / "crates").glob("*/Cargo.toml"))
    return [path.parent.name for path in manifests if MARK in path.read_text().splitlines()]


def required(function):
    """The parameters that a first deployment needs: `PARAMETER=value`."""
    text = (ROOT / "infra" / f"{function}.yaml").read_text()
    section = re.search(r"^Parameters:\n(.*?)^\w", text, re.MULTILINE | re.DOTALL)[1]
    declared = re.split(r"^  (\w+):\n", section, flags=re.MULTILINE)[1:]
    pairs = zip(declared[::2], declared[1::2], strict=True)
    return [f"{name}={REQUIRED[name]}" for name, rest in pairs if "    Default:" not in rest]
