#!/usr/bin/env python3
"""Checks the import rules: which crate may depend on which, which file may mention which word, and that modules do not
import one another in a circle.

Reads `cargo metadata` for both of Lambda's architectures, and the sources as text. Prints each violation.
"""

import json
import re
import subprocess
import sys

from functions import ROOT, functions

PLATFORMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")

FUNCTIONS = set(functions())

# Services in the roles' policies that no function calls: AWS checks these permissions when it acts for the caller.
ON_BEHALF = {"iam"}

# The SDK crates whose names differ from those of their service's permissions.
CRATES = {"tag": "resourcegroupstagging"}


def called(function):
    """The services that a function may call: those in the policy `function` of its role."""
    template = ROOT / f"infra/{function}.yaml"
    text = template.read_text() if template.exists() else ""
    policy = "".join(re.findall(r"PolicyName: function\n(.*?)PolicyName: runtime", text, re.DOTALL))
    # A condition key is in quotes, so it does not match.
    actions = re.findall(r'(?<![\w:/"-])([a-z0-9-]+):[A-Z]\w+', re.sub(r"#.*", "", policy))
    return {CRATES.get(service, service.replace("-", "")) for service in set(actions) - ON_BEHALF}


# The SDK crates that each crate may use. A crate without a row may use any.
SDK = {
    "lambda-kit": set(),
    "lifecycle-core": {"autoscaling"},
    **{function: called(function) for function in FUNCTIONS},
}

# The crates of this workspace that each of them may depend on.
CORE = {"lambda-kit", "lifecycle-core"}
LAB = CORE | {"lifecycle-lab"}
OURS = {
    "lambda-kit": set(),
    "lifecycle-core": {"lambda-kit"},
    # A function that does not call Auto Scaling does not compile its SDK.
    **{function: CORE if "autoscaling" in SDK[function] else {"lambda-kit"} for function in FUNCTIONS},
    # The lab models AWS, and does not know the functions.
    "lifecycle-lab": set(),
    "testkit": LAB,
    "fleet": LAB | FUNCTIONS,
    "fleet-sim": LAB | FUNCTIONS | {"fleet"},
    "storm": LAB | FUNCTIONS | {"fleet"},
}
# The crates that tests may use besides.
OF_TESTS = {name: {"lifecycle-lab", "testkit"} for name in OURS} | {"lifecycle-lab": set()}

# Words, each with the only files that may mention it.
MENTIONS = {
    "aws_config": r"crates/[^/]+/src/main\.rs",
    "lambda_runtime": r"crates/([^/]+/src/main\.rs|lambda-kit/src/runtime(\.rs|/.+))",
}

# Most lines of a function's main.rs, which is wiring only.
MAX_MAIN = 30

# The modules of the lab's state form one unit: they may name one another.
ONE_UNIT = ("lifecycle-lab", "aws")

# The lab's folders. Each may name only those after it.
FOLDERS = ("host", "wire", "aws")


def main():
    crates = metadata()
    violations = [
        *(line for name in sorted(crates) for line in of_crate(name, crates)),
        *of_files(sorted(crates)),
        *(line for name in sorted(crates) for line in circles(name)),
    ]
    for violation in violations:
        print(f"error: {violation}")
    if violations:
        sys.exit(f"{len(violations)} violation(s).")
    print("No violations in:", *sorted(crates))


# --- Crates. -------------------------------------------------------------------------------------------


def metadata():
    """By crate of this workspace: its direct dependencies by kind, and in `all` each package that its build compiles."""
    command = ["cargo", "metadata", "--locked", "--format-version=1"]
    for platform in PLATFORMS:
        command += ["--filter-platform", platform]
    answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE)
    if answer.returncode:
        sys.exit("cargo metadata failed.")
    found = json.loads(answer.stdout)
    packages = {package["id"]: package for package in found["packages"]}
    edges = {}
    for node in found["resolve"]["nodes"]:
        normal = [one["pkg"] for one in node["deps"] if any(kind["kind"] is None for kind in one["dep_kinds"])]
        edges[node["id"]] = set(normal)
    crates = {}
    for member in found["workspace_members"]:
        kinds = {"normal": set(), "build": set(), "dev": set()}
        # From the manifest: cargo's resolved graph leaves out a dependency on a crate without a library.
        for dependency in packages[member]["dependencies"]:
            kinds[dependency["kind"] or "normal"].add(dependency["name"])
        compiled = {packages[package]["name"] for package in reach(member, edges)}
        crates[packages[member]["name"]] = kinds | {"all": compiled}
    return crates


def of_crate(name, crates):
    if name not in OURS:
        yield f"crates/{name} is unknown to scripts/imports.py: add it to the rules"
        return
    found = crates[name]
    for kind in ("normal", "build", "dev"):
        allowed = OURS[name] | (OF_TESTS[name] if kind == "dev" else set())
        for other in sorted(found[kind] & crates.keys() - allowed):
            yield f"{name} depends on {other} ({kind}); of this workspace, it may depend on: {listed(allowed)}"
    if name in SDK:
        for crate in sdk_crates(found["normal"]) - SDK[name]:
            yield f"{name} depends on aws-sdk-{crate}; it may call: {listed(SDK[name])}"
        # aws-config needs STS. SSO comes in only if its feature is on.
        allowed = set().union(*(SDK[one] for one in OURS[name] | {name})) | ({"sts"} if name in FUNCTIONS else set())
        for crate in sdk_crates(found["all"]) - sdk_crates(found["normal"]) - allowed:
            yield f"{name} compiles aws-sdk-{crate}: cargo tree -p {name} -e normal -i aws-sdk-{crate}"
    if name in FUNCTIONS:
        if not found["normal"] & CORE:
            yield f"{name} depends neither on lambda-kit nor on lifecycle-core"
        # aws-lc costs 45 to 60 ms of CPU at the first handshake.
        for crate in sorted(found["all"] & {"aws-lc-rs", "aws-lc-sys"}):
            yield f"{name} compiles {crate}: cargo tree -p {name} -e normal -i {crate}"


def sdk_crates(names):
    return {name.removeprefix("aws-sdk-") for name in names if name.startswith("aws-sdk-")}


def listed(names):
    return ", ".join(sorted(names)) or "none"


# --- Files. --------------------------------------------------------------------------------------------


def of_files(crates):
    for path in sources(crates):
        name = path.relative_to(ROOT).as_posix()
        for word, allowed in MENTIONS.items():
            if re.search(rf"\b{word}\b", path.read_text()) and not re.fullmatch(allowed, name):
                yield f"{name} mentions {word}"
    for function in FUNCTIONS & set(crates):
        lines = len((ROOT / f"crates/{function}/src/main.rs").read_text().splitlines())
        if lines > MAX_MAIN:
            yield f"crates/{function}/src/main.rs has {lines} lines: wiring needs at most {MAX_MAIN}"


def sources(crates):
    return sorted(path for name in crates for path in (ROOT / "crates" / name / "src").rglob("*.rs"))


# --- Modules. ------------------------------------------------------------------------------------------


def circles(crate):
    """Modules that import one another: each circle, with its imports. A library and its program count as two crates.
    Tests do not count."""
    src = ROOT / "crates" / crate / "src"
    texts = {}
    for path in sources([crate]):
        parts = path.relative_to(src).with_suffix("").parts
        if parts == ("main",) and (src / "lib.rs").exists():
            continue
        parts = () if parts in (("lib",), ("main",)) else parts[:-1] if parts[-1] == "mod" else parts
        texts[parts] = plain(path.read_text())
    uses = {module: dict(imported(module, text, texts)) for module, text in texts.items()}
    edges = {}
    for module, text in texts.items():
        named = [*uses[module].values(), *mentioned(module, text, texts)]
        for path in named:
            target = resolve(path, texts, uses)
            if target is not None and unit(crate, target) != unit(crate, module):
                edges.setdefault(unit(crate, module), set()).add(unit(crate, target))
    if crate == ONE_UNIT[0]:
        rank = {folder: at for at, folder in enumerate(FOLDERS)}
        for module in sorted(edges):
            for other in sorted(edges[module]):
                if module and other and rank[other[0]] < rank[module[0]]:
                    yield f"{label(module)} of {crate} names {label(other)}: only {' -> '.join(FOLDERS)} is allowed"
    seen = set()
    for module in sorted(edges):
        circle = {other for other in reach(module, edges) if module in reach(other, edges)}
        if module in seen or not circle:
            continue
        seen |= circle
        arrows = ", ".join(f"{label(a)} -> {label(b)}" for a in sorted(circle) for b in sorted(edges[a] & circle))
        yield f"modules of {crate} import one another: {arrows}"


def plain(text):
    """A module's code without comments, visibilities and the tests at its end."""
    text = re.sub(r"//.*|pub\(in [\w:]+\)", "", text)
    return re.split(r"#\[cfg\(test\)\]\s*mod \w+ \{", text)[0]


def imported(module, text, texts):
    """The imports of a module: the name of each in the module, and its path from the crate's root."""
    for tree in re.findall(r"\buse\s+([^;]+);", text):
        for path in flat("".join(re.sub(r"\s+as\s+", "@", tree).split())):
            path, _, alias = path.partition("@")
            parts = absolute(module, path.split("::"), texts)
            if parts is not None:
                yield alias or parts[-1], parts


def mentioned(module, text, texts):
    """Paths in the code itself: `crate::a::b`, `super::a`, or `child::a`."""
    for path in re.findall(r"(?<![\w:])(?:\w+::)+\w+", text):
        parts = absolute(module, path.split("::"), texts)
        if parts is not None:
            yield parts


def flat(tree):
    """`a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`."""
    before, brace, rest = tree.partition("{")
    if not brace:
        return [tree.removesuffix("::self")]
    items, depth, item = [], 0, ""
    for character in rest[: rest.rindex("}")]:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            items.append(item)
            item = ""
        else:
            item += character
    return [path for item in [*items, item] if item for path in flat(before + item)]


def absolute(module, parts, texts):
    """A path from the crate's root. `None` if the path is in another crate."""
    if parts[0] == "crate":
        return tuple(parts[1:])
    if parts[0] in ("self", "super"):
        while parts and parts[0] in ("self", "super"):
            module = module[: len(module) - (parts[0] == "super")]
            parts = parts[1:]
        return (*module, *parts)
    return (*module, *parts) if (*module, parts[0]) in texts else None


def resolve(path, texts, uses, depth=0):
    """The module that defines the item at a path. Follows re-exports."""
    module = ()
    for at, part in enumerate(path):
        if (*module, part) in texts:
            module = (*module, part)
            continue
        through = uses[module].get(part)
        if through is not None and depth < 9:
            return resolve((*through, *path[at + 1 :]), texts, uses, depth + 1)
        break
    return module


def unit(crate, module):
    return module[:1] if (crate, *module[:1]) == ONE_UNIT else module


def label(module):
    return "::".join(module) or "the root"


def reach(start, edges):
    """The nodes that can be reached from a node. The node itself is among them only if it is in a circle."""
    reached, todo = set(), [start]
    while todo:
        for other in edges.get(todo.pop(), ()):
            if other not in reached:
                reached.add(other)
                todo.append(other)
    return reached


if __name__ == "__main__":
    main()
