"""MiniStack, an emulator of AWS, for scripts/test_deploy.py: on loopback, with its port as argument.

With one correction: CloudFormation's change sets, which `aws cloudformation deploy` goes by, leave out resources
whose condition is false. MiniStack's compare all of them, so that a condition that becomes true changes nothing.
"""

import os
import sys

# Before the import, which reads them. AUTH: roles' policies are enforced.
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


changesets._resolve_props_for_diff = resolve_what_conditions_allow
app.main()
