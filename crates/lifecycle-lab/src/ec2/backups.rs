//! AWS Backup, as far as EC2's images show it: a backup of an instance is an image of it, and events tell
//! how the backup's job goes. <https://docs.aws.amazon.com/aws-backup/latest/devguide/eventbridge.html>

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::images::Order;
use crate::world::{ACCOUNT, REGION, World, timestamp};

const VAULT: &str = "Default";

/// A job of AWS Backup.
#[derive(Debug, Clone)]
pub(super) struct Backup {
    job: String,
    instance: String,
    created: DateTime<Utc>,
}

impl World {
    /// AWS Backup makes a backup of an instance; answers the image's id. The image is named
    /// `AwsBackup_<instance>_<uuid>`, has the instance's tags, and goes as
    /// [`super::Ec2::set_image_script`] says; at its end both EC2 and AWS Backup send an event. `None` if
    /// there is no such instance.
    pub fn backup(&mut self, instance: &str) -> Option<String> {
        let mut tags = self.ec2.instance(instance)?.tags.clone();
        // Nobody but AWS itself can give a resource such a tag.
        tags.retain(|key, _| !key.starts_with("aws:"));
        tags.insert("aws:backup:source-resource".to_owned(), instance.to_owned());
        let name = format!("AwsBackup_{instance}_{}", self.uuid());
        let (job, created) = (self.uuid(), self.now());
        let image = self.create_image(Order {
            instance: instance.to_owned(),
            name,
            description: String::new(),
            no_reboot: true,
            image_tags: tags,
            snapshot_tags: super::Tags::new(),
        });
        let backup = Backup { job, instance: instance.to_owned(), created };
        self.ec2.backups.insert(image.clone(), backup);
        self.tell_backup(&image, "RUNNING", None);
        Some(image)
    }

    /// A backup's image is made, or has failed.
    pub(super) fn backup_done(&mut self, image: &str, failure: Option<&str>) {
        let state = if failure.is_some() { "FAILED" } else { "COMPLETED" };
        self.tell_backup(image, state, failure);
    }

    fn tell_backup(&mut self, image: &str, state: &str, failure: Option<&str>) {
        let Some(Backup { job, instance, created }) = self.ec2.backups.get(image).cloned() else {
            return;
        };
        let completed = state == "COMPLETED";
        let mut detail = json!({
            "backupJobId": job,
            "backupVaultArn": format!("arn:aws:backup:{REGION}:{ACCOUNT}:backup-vault:{VAULT}"),
            "backupVaultName": VAULT,
            "bytesTransferred": "0",
            "creationDate": timestamp(created),
            "iamRoleArn": format!("arn:aws:iam::{ACCOUNT}:role/service-role/AWSBackupDefaultServiceRole"),
            "resourceArn": format!("arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{instance}"),
            "resourceType": "EC2",
            "state": state,
            "startBy": timestamp(created + TimeDelta::hours(8)),
            "percentDone": if completed { 100 } else { 0 },
        });
        if state != "RUNNING" {
            detail["completionDate"] = json!(timestamp(self.now()));
        }
        if let Some(failure) = failure {
            detail["statusMessage"] = json!(failure);
        }
        // The recovery point of an instance is its image.
        let recovery_point = completed.then(|| format!("arn:aws:ec2:{REGION}::image/{image}"));
        let resources = recovery_point.into_iter().collect();
        self.send_event("aws.backup", "Backup Job State Change", resources, detail);
    }
}
