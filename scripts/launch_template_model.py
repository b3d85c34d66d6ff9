"""The settings of a launch template's version in EC2's model, as botocore has it: their paths in EC2's answers.

    launch_template_model.py           writes them to the file that the tests of lt-ami-refresher read
    launch_template_model.py --check   fails if that file has others, and prints what is new or gone
"""

import sys
from difflib import unified_diff

import botocore.session

from functions import ROOT

FILE = ROOT / "crates/lt-ami-refresher/tests/ec2-model.txt"


def paths(shape, path):
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield from paths(member, [*path, member.serialization.get("name", name)])
    elif shape.type_name == "list":
        yield from paths(shape.member, [*path, shape.member.serialization.get("name", "item")])
    else:
        yield "/".join(path) + "\n"


def main():
    model = botocore.session.get_session().get_service_model("ec2")
    found = sorted(paths(model.shape_for("ResponseLaunchTemplateData"), []))
    if sys.argv[1:] == ["--check"]:
        known = FILE.read_text().splitlines(keepends=True)
        difference = list(unified_diff(known, found, FILE.name, f"botocore {botocore.__version__}", n=0))
        if difference:
            sys.exit(f"EC2's model of launch templates has changed:\n{''.join(difference)}")
        print(f"EC2's model has the {len(known)} settings of {FILE.name}.")
    else:
        FILE.write_text("".join(found))


if __name__ == "__main__":
    main()
