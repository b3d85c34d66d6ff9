//! AWS Backup: a backup of an instance is an image, and events report the state of the backup job.
//! <https://docs.aws.amazon.com/aws-backup/latest/devguide/eventbridge.html>

use chrono::TimeDelta;
use serde_json::json;

use super::images::{Image, ImageState, Order};
use crate::aws::world::{ACCOUNT, REGION, World, timestamp};

const VAULT: &str = "Default";

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
        let job = self.uuid();
        let image = self.create_image(Order {
            instance: instance.to_owned(),
            name,
            description: String::new(),
            no_reboot: true,
            image_tags: tags,
            snapshot_tags: super::Tags::new(),
        });
        self.ec2.backups.insert(image.clone(), job);
        self.tell_backup(&image);
        Some(image)
    }

    /// Sends AWS Backup's event about the state of an image, if the image is a backup.
    pub(super) fn tell_backup(&mut self, image: &str) {
        let ec2 = &self.ec2;
        let (Some(job), Some(Image { state, failure, created, source_instance: Some(instance), .. })) =
            (ec2.backups.get(image), ec2.image(image))
        else {
            return;
        };
        let state = match state {
            ImageState::Available => "COMPLETED",
            ImageState::Failed => "FAILED",
            _ => "RUNNING",
        };
        let completed = state == "COMPLETED";
        let mut detail = json!({
            "backupJobId": job,
            "backupVaultArn": format!("arn:aws:backup:{REGION}:{ACCOUNT}:backup-vault:{VAULT}"),
            "backupVaultName": VAULT,
            "bytesTransferred": "0",
            "creationDate": timestamp(*created),
            "iamRoleArn": format!("arn:aws:iam::{ACCOUNT}:role/service-role/AWSBackupDefaultServiceRole"),
            "resourceArn": format!("arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{instance}"),
            "resourceType": "EC2",
            "state": state,
            "startBy": timestamp(*created + TimeDelta::hours(8)),
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
