"""Computes, for scripts/deploy, how the configuration of a deployed function has to change.

    configuration.py FUNCTION STACK [PARAMETER=value ...]

FUNCTION is a file with Lambda's answer to GetFunctionConfiguration, STACK one with CloudFormation's answer to
DescribeStacks. The parameters are those of the command line. Prints the input of UpdateFunctionConfiguration, or
nothing if nothing has to change. Standard error gets the names of the variables that change, but no values: they may
be secrets.
"""

import json
import sys


def main(function_file, stack_file, *parameters):
    with open(function_file) as file:
        function = json.load(file)
    with open(stack_file) as file:
        stack = json.load(file)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    environment = function.get("Environment", {})
    if "Error" in environment:
        # An update would overwrite variables that cannot be read.
        sys.exit("Lambda does not show the variables: " + environment["Error"].get("Message", ""))
    before = environment.get("Variables", {})
    after = wanted(before, outputs, parameters)

    change = {}
    if after != before:
        change["Environment"] = {"Variables": after}
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                print(name, "is removed" if name not in after else "is set", file=sys.stderr)
    if function["Role"] != outputs["RoleArn"]:
        change["Role"] = outputs["RoleArn"]
    if change:
        print(json.dumps({"RevisionId": function["RevisionId"], **change}))


def wanted(before, outputs, parameters):
    """The variables after the deployment: those with a value in the stack are set, the others stay unchanged."""
    after = dict(before)
    for key, output in outputs.items():
        if not key.startswith("Variable"):
            continue
        name, value = output.split("=", 1)
        if value:
            after[name] = value
        elif key.removeprefix("Variable") + "=" in parameters:
            after.pop(name, None)
    return after


if __name__ == "__main__":
    main(*sys.argv[1:])
