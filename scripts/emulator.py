"""Starts MiniStack, an emulator of AWS, for scripts/test_deploy.py. It listens on loopback. The argument is its port.

`aws cloudformation deploy` uses change sets. Three corrections make them behave as in AWS:

- A change set leaves out resources whose condition is false. MiniStack compares all resources, so a condition that
  becomes true would change nothing.
- A change set can be executed if only outputs change. It then has no changes.
- A change set sets the stack's description.
"""

import os
import sys

# MiniStack reads these variables when it is imported. With AUTH, it enforces the roles' policies.
os.environ.update(BIND_HOST="127.0.0.1", GATEWAY_PORT=sys.argv.pop(1), AUTH="true")

from ministack import app  # noqa: E402
from ministack.services.cloudformation import changesets  # noqa: E402

resolve = changesets._resolve_props_for_diff


def resolve_what_conditions_allow(template, params, *stack):
    resolved = resolve(template, params, *stack)
    if resolved:
        conditions = changesets._evaluate_conditions(template, params)
        resources = resolved["Resources"].items()
        resolved["Resources"] = {
            name: resource for name, resource in resources if conditions.get(resource.get("Condition"), True)
        }
    return resolved


class Executable(list):
    """Changes that can be executed, even if there are none."""

    def __bool__(self):
        return True


diff = changesets._diff_resources


def diff_with_outputs(old, new, resources, template, changed_parameters, retagged):
    changes = diff(old, new, resources, template, changed_parameters, retagged)
    # Every parameter of the templates is in a resource or in an output.
    return Executable(changes) if changed_parameters else changes


execution = changesets._track_change_set_execution


def execution_with_description(change_set, stack, *more):
    stack["Description"] = change_set["_template"].get("Description", "")
    return execution(change_set, stack, *more)


changesets._track_change_set_execution = execution_with_description
changesets._resolve_props_for_diff = resolve_what_conditions_allow
changesets._diff_resources = diff_with_outputs
app.main()
