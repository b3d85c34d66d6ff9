//! Templates and versions, described.

use aws_sdk_ec2::operation::describe_launch_template_versions::builders::DescribeLaunchTemplateVersionsFluentBuilder;
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};

use crate::scene::*;

/// What is found, as `name version`, in the order in which it comes.
async fn found(describe: DescribeLaunchTemplateVersionsFluentBuilder) -> Vec<String> {
    let versions = describe.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap();
    let line = |one: aws_sdk_ec2::types::LaunchTemplateVersion| {
        format!("{} {}", one.launch_template_name().unwrap(), one.version_number().unwrap())
    };
    versions.into_iter().map(line).collect()
}

/// The template `web` with four versions, the second of which is the default, and `api` with one.
async fn library() -> (Scene, String) {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    for image in ["ami-0000000000000000a", "ami-0000000000000000b", "ami-0000000000000000a"] {
        scene.sleep(10).await;
        scene.version(&id, scene.data().image_id(image).ebs_optimized(true)).await;
    }
    scene.set_default(&id, 2).await;
    let tags = TagSpecification::builder().resource_type(ResourceType::LaunchTemplate);
    let tags = tags.tags(Tag::builder().key("team").value("shop").build()).build();
    let create = scene.ec2.create_launch_template().launch_template_name("api").tag_specifications(tags);
    create.launch_template_data(scene.data().build()).send().await.unwrap();
    (scene, id)
}

#[tokio::test(start_paused = true)]
async fn versions_are_found_by_number_by_name_by_range_and_by_filter() {
    let (scene, id) = library().await;
    let all = || scene.ec2.describe_launch_template_versions();
    let web = || all().launch_template_id(&id);
    for (describe, expected) in [
        (web(), vec!["web 1", "web 2", "web 3", "web 4"]),
        (all().launch_template_name("api"), vec!["api 1"]),
        (web().versions("3").versions("1"), vec!["web 1", "web 3"]),
        (web().versions("$Latest").versions("$Default").versions("4"), vec!["web 2", "web 4", "web 4"]),
        (web().min_version("2").max_version("3"), vec!["web 2", "web 3"]),
        (web().filters(filter("image-id", &["ami-*a"])), vec!["web 2", "web 4"]),
        (web().filters(filter("is-default-version", &["true"])), vec!["web 2"]),
        (web().filters(filter("ebs-optimized", &["true"])).max_version("2"), vec!["web 2"]),
        (web().filters(filter("create-time", &["2026-03-01T12:00:00.000Z"])), vec!["web 1"]),
        (web().filters(filter("instance-type", &["T3.micro"])), vec![]),
        (all().versions("$Latest"), vec!["api 1", "web 4"]),
        (all().versions("$Default"), vec!["api 1", "web 2"]),
        (all().versions("$Latest").versions("$Default"), vec!["api 1", "api 1", "web 2", "web 4"]),
    ] {
        let mut found = found(describe).await;
        found.sort();
        assert_eq!(found, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_described_is_refused() {
    let (scene, id) = library().await;
    let all = || scene.ec2.describe_launch_template_versions();
    for (describe, expected) in [
        (all(), "MissingParameter"),
        (all().versions("1"), "MissingParameter"),
        (all().launch_template_id(&id).versions("9"), "InvalidLaunchTemplateId.VersionNotFound"),
        (all().launch_template_id("lt-0000000000000000f"), "InvalidLaunchTemplateId.NotFound"),
        (all().launch_template_name("none"), "InvalidLaunchTemplateName.NotFoundException"),
        (all().launch_template_id(&id).max_results(201), "InvalidMaxResults"),
        (all().launch_template_id(&id).resolve_alias(true), "LabNotModelled"),
        (all().launch_template_id(&id).filters(filter("http-tokens", &["required"])), "LabNotModelled"),
    ] {
        assert_eq!(refusal(describe.send().await).0, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn versions_come_in_pages_the_newest_first() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    for _ in 1..50 {
        scene.version(&id, scene.data()).await;
    }
    scene.lab.world(|world| world.ec2.page_size = 7);
    let describe = || scene.ec2.describe_launch_template_versions().launch_template_id(&id);

    let first = describe().max_results(200).send().await.unwrap();
    assert_eq!(first.launch_template_versions().len(), 7, "the page is as long as the lab lets it be");
    assert_eq!(describe().max_results(3).send().await.unwrap().launch_template_versions().len(), 3);
    let all = found(describe()).await;
    let ordered: Vec<_> = (1..=50).rev().map(|number| format!("web {number}")).collect();
    assert_eq!(all, ordered);
    let named = describe().versions("1").versions("1").versions("$Default");
    assert_eq!(found(named).await, ["web 1"; 3], "as often as it is named");
}

#[tokio::test(start_paused = true)]
async fn templates_are_found_by_id_by_name_and_by_filter() {
    let (scene, id) = library().await;
    let describe = || scene.ec2.describe_launch_templates();
    for (describe, expected) in [
        (describe(), vec!["api", "web"]),
        (describe().launch_template_ids(&id), vec!["web"]),
        (describe().launch_template_names("api"), vec!["api"]),
        (describe().launch_template_names("api").launch_template_ids(&id), vec!["api", "web"]),
        (describe().filters(filter("launch-template-name", &["w*"])), vec!["web"]),
        (describe().filters(filter("tag:team", &["shop"])), vec!["api"]),
    ] {
        let mut names: Vec<_> = describe.send().await.unwrap().launch_templates.unwrap();
        names.sort_by_key(|template| template.launch_template_name.clone());
        let names: Vec<_> = names.iter().map(|template| template.launch_template_name().unwrap()).collect();
        assert_eq!(names, expected);
    }
    let web = describe().launch_template_ids(&id).send().await.unwrap().launch_templates.unwrap().remove(0);
    assert_eq!((web.default_version_number(), web.latest_version_number()), (Some(2), Some(4)));
    let missing = "At least one of the launch templates specified in the request does not exist.";
    for (describe, expected) in [
        (describe().launch_template_ids("lt-0000000000000000f"), "InvalidLaunchTemplateId.NotFound"),
        (describe().launch_template_names("none"), "InvalidLaunchTemplateName.NotFoundException"),
    ] {
        assert_eq!(refusal(describe.send().await), refused(expected, missing));
    }
    assert_eq!(refusal(describe().max_results(201).send().await).0, "InvalidMaxResults");
}
