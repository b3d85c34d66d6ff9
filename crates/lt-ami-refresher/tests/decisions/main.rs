//! Tables of what is decided without AWS: which image is taken, what a version must say, whether instances could
//! be launched from it, which versions can go, and which groups use the template how.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod asgs;
mod images;
mod preflight;
mod versions;

use aws_sdk_ec2::types::builders::ImageBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, Image as Ec2Image, ImageState,
    LaunchTemplateBlockDeviceMappingRequest as Mapping, LaunchTemplateEbsBlockDeviceRequest as Ebs,
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest as Interface, Tag,
};
use chrono::{DateTime, Utc};
use lt_ami_refresher::config::Settings;
use lt_ami_refresher::images::Image;

pub(crate) fn eight_o_clock() -> DateTime<Utc> {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

pub(crate) fn described() -> ImageBuilder {
    let ebs = EbsBlockDevice::builder().volume_size(30).build();
    Ec2Image::builder()
        .image_id("ami-1")
        .name("AwsBackup_i-1_1")
        .state(ImageState::Available)
        .creation_date("2026-11-21T03:00:00.000Z")
        .tags(Tag::builder().key("Name").value("web").build())
        .tags(Tag::builder().key("aws:backup:source-resource").value("i-1").build())
        .root_device_name("/dev/xvda")
        .block_device_mappings(BlockDeviceMapping::builder().device_name("/dev/xvda").ebs(ebs).build())
}

/// The settings of a run that looks for backups of `web`.
pub(crate) fn settings() -> Settings {
    Settings { instance: Some("web".to_owned()), ..Settings::default() }
}

pub(crate) fn read(image: ImageBuilder) -> Option<Image> {
    Image::read(&image.build(), &settings(), eight_o_clock())
}

pub(crate) fn image() -> Image {
    read(described()).unwrap()
}

pub(crate) fn interface(index: Option<i32>, groups: &[&str]) -> Interface {
    let groups = groups.iter().map(|id| (*id).to_owned()).collect();
    Interface::builder().set_device_index(index).set_groups(Some(groups)).subnet_id("subnet-1").build()
}

pub(crate) fn mapping(name: &str, size: Option<i32>, snapshot: Option<&str>) -> Mapping {
    let ebs = Ebs::builder().set_volume_size(size).set_snapshot_id(snapshot.map(str::to_owned)).iops(3_000);
    Mapping::builder().device_name(name).ebs(ebs.build()).build()
}

pub(crate) fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}
