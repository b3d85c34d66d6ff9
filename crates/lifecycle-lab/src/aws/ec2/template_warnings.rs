//! What EC2 says of a launch template version that it accepts: that it could launch nothing, where that shows at once.
//! Recorded for `CreateLaunchTemplate`; the same of `CreateLaunchTemplateVersion` is assumed. A missing image, key pair or
//! snapshot is accepted in silence.

use serde_json::{Value, json};

use super::{Ec2, instance_types};

/// The warning about a version's data, if there is something to warn of.
pub(super) fn of(ec2: &Ec2, data: &Value) -> Option<Value> {
    let mut errors = Vec::new();
    let mut warn = |code: &str, message: String| errors.push(json!({ "code": code, "message": message }));
    if let Some(name) = data["InstanceType"].as_str().filter(|name| instance_types::find(name).is_err()) {
        warn("InvalidInstanceType", instance_types::unknown(&[name]));
    }
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (own, interfaces) = (items(&data["SecurityGroupId"]), items(&data["NetworkInterface"]));
    let has_groups = !own.is_empty() || !items(&data["SecurityGroup"]).is_empty();
    if has_groups && !interfaces.is_empty() {
        let text = "If you specify a network interface, you must specify all security groups as part of the network \
                    interface.";
        warn("InvalidParameterCombination", text.to_owned());
    }
    let of_interfaces = interfaces.iter().flat_map(|interface| items(&interface["SecurityGroupId"]));
    for id in own.iter().cloned().chain(of_interfaces).filter_map(|id| id.as_str().map(str::to_owned)) {
        if !ec2.security_groups.contains_key(&id) {
            warn("InvalidSecurityGroupID.NotFound", format!("The security group '{id}' does not exist"));
        }
    }
    (!errors.is_empty()).then(|| json!({ "errorSet": errors }))
}
