//! Templates and versions: created, based on others, made the default, deleted.

use aws_sdk_ec2::types::builders::RequestLaunchTemplateDataBuilder;
use aws_sdk_ec2::types::{
    CreditSpecificationRequest, InstanceType, LaunchTemplateBlockDeviceMappingRequest,
    LaunchTemplateEbsBlockDeviceRequest, LaunchTemplateHttpTokensState,
    LaunchTemplateInstanceMetadataOptionsRequest, LaunchTemplateInstanceNetworkInterfaceSpecificationRequest,
    LaunchTemplateTagSpecificationRequest, LaunchTemplatesMonitoringRequest, RequestLaunchTemplateData,
    ResourceType, Tag, TagSpecification, ValidationWarning, VolumeType,
};

use crate::scene::*;

fn disk(device: &str, ebs: LaunchTemplateEbsBlockDeviceRequest) -> LaunchTemplateBlockDeviceMappingRequest {
    LaunchTemplateBlockDeviceMappingRequest::builder().device_name(device).ebs(ebs).build()
}

#[tokio::test(start_paused = true)]
async fn a_template_begins_with_its_first_version_as_the_default() {
    let scene = Scene::new();
    let tags = TagSpecification::builder().resource_type(ResourceType::LaunchTemplate);
    let create = scene.ec2.create_launch_template().launch_template_name("web").version_description("first");
    let create =
        create.tag_specifications(tags.tags(Tag::builder().key("team").value("shop").build()).build());
    let created = create.launch_template_data(scene.data().build()).send().await.unwrap();

    let template = created.launch_template.unwrap();
    assert!(template.launch_template_id().unwrap().starts_with("lt-0"));
    assert_eq!(template.launch_template_name(), Some("web"));
    assert_eq!(template.create_time().unwrap().to_string(), "2026-03-01T12:00:00Z");
    assert_eq!((template.default_version_number(), template.latest_version_number()), (Some(1), Some(1)));
    assert_eq!(template.tags()[0].value(), Some("shop"));
    let version = scene.describe(template.launch_template_id().unwrap(), "1").await;
    assert_eq!(version.version_description(), Some("first"));
    assert_eq!(version.default_version(), Some(true));
    assert_eq!(version.launch_template_data().unwrap().image_id(), Some(scene.image.as_str()));
    assert_eq!(scene.sights(), ["web 1 created", "web default 1"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_version_was_given_comes_back() {
    let scene = Scene::new();
    let ebs = LaunchTemplateEbsBlockDeviceRequest::builder().volume_size(20).volume_type(VolumeType::Gp3);
    let ebs = ebs.encrypted(true).delete_on_termination(false).snapshot_id("snap-0000000000000000f");
    let interface = LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder().device_index(0);
    let interface =
        interface.associate_public_ip_address(true).groups("sg-0000000000000000a").groups("sg-0b");
    let metadata = LaunchTemplateInstanceMetadataOptionsRequest::builder().http_put_response_hop_limit(2);
    let name = Tag::builder().key("Name").value("web & <more>").build();
    let tags =
        LaunchTemplateTagSpecificationRequest::builder().resource_type(ResourceType::Instance).tags(name);
    let data = scene.data().user_data("IyEvYmluL3NoCg==").ebs_optimized(true).disable_api_stop(false);
    let data = data.block_device_mappings(disk("/dev/xvda", ebs.build()));
    let data = data.network_interfaces(interface.build());
    let data = data.metadata_options(metadata.http_tokens(LaunchTemplateHttpTokensState::Required).build());
    let data = data.tag_specifications(tags.build());
    let data =
        data.credit_specification(CreditSpecificationRequest::builder().cpu_credits("unlimited").build());
    let id = scene.template(data).await;

    let data = scene.data_of(&id, "1").await;

    assert_eq!(data.instance_type(), Some(&InstanceType::T3Micro));
    assert_eq!(data.user_data(), Some("IyEvYmluL3NoCg=="));
    assert_eq!((data.ebs_optimized(), data.disable_api_stop()), (Some(true), Some(false)));
    let ebs = data.block_device_mappings()[0].ebs().unwrap();
    assert_eq!((ebs.volume_size(), ebs.volume_type()), (Some(20), Some(&VolumeType::Gp3)));
    assert_eq!((ebs.encrypted(), ebs.delete_on_termination()), (Some(true), Some(false)));
    assert_eq!(ebs.snapshot_id(), Some("snap-0000000000000000f"));
    let interface = &data.network_interfaces()[0];
    assert_eq!((interface.device_index(), interface.associate_public_ip_address()), (Some(0), Some(true)));
    assert_eq!(interface.groups(), ["sg-0000000000000000a", "sg-0b"]);
    let metadata = data.metadata_options().unwrap();
    assert_eq!(metadata.http_put_response_hop_limit(), Some(2));
    assert_eq!(metadata.http_tokens(), Some(&LaunchTemplateHttpTokensState::Required));
    assert_eq!(data.tag_specifications()[0].tags()[0].value(), Some("web & <more>"));
    assert_eq!(data.credit_specification().unwrap().cpu_credits(), Some("unlimited"));
    assert!(data.key_name().is_none() && data.security_group_ids().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_version_takes_over_from_its_source_what_it_does_not_say_anew() {
    let scene = Scene::new();
    let ebs = |size| {
        let ebs = LaunchTemplateEbsBlockDeviceRequest::builder().volume_size(size);
        ebs.snapshot_id("snap-0000000000000000f").build()
    };
    let data = scene.data().key_name("ops").security_group_ids("sg-0a").security_group_ids("sg-0b");
    let id = scene.template(data.block_device_mappings(disk("/dev/xvda", ebs(20)))).await;
    scene.version(&id, RequestLaunchTemplateData::builder().key_name("latest")).await;
    let based_on = async |source: Option<&str>, data: RequestLaunchTemplateData| {
        let create = scene.ec2.create_launch_template_version().launch_template_name("web");
        let create = create.set_source_version(source.map(str::to_owned)).launch_template_data(data);
        let version = create.send().await.unwrap().launch_template_version.unwrap();
        let data = version.launch_template_data.unwrap();
        (data.image_id.clone(), data.key_name.clone(), data)
    };
    let image = || RequestLaunchTemplateData::builder().image_id("ami-0000000000000000f");
    let new = Some("ami-0000000000000000f".to_owned());
    let key = |name: &str| Some(name.to_owned());

    for (source, expected) in
        [(Some("$Default"), key("ops")), (Some("1"), key("ops")), (Some("$Latest"), key("ops")), (None, None)]
    {
        let (image, key, data) = based_on(source, image().build()).await;
        assert_eq!((image, key), (new.clone(), expected), "{source:?}");
        let groups = if source.is_some() { vec!["sg-0a", "sg-0b"] } else { vec![] };
        assert_eq!(data.security_group_ids(), groups, "{source:?}");
        let disks: Vec<_> = data.block_device_mappings().iter().map(|device| device.ebs().unwrap()).collect();
        let disks: Vec<_> = disks.iter().map(|ebs| (ebs.volume_size(), ebs.snapshot_id())).collect();
        let expected = if source.is_some() { vec![(Some(20), None)] } else { vec![] };
        assert_eq!(disks, expected, "{source:?}: the disk is taken over, its snapshot is not");
    }
    let (_, key, data) = based_on(Some("2"), image().security_group_ids("sg-0c").build()).await;
    assert_eq!((key.as_deref(), data.instance_type()), (Some("latest"), None));
    let (.., data) = based_on(Some("1"), image().security_group_ids("sg-0c").build()).await;
    assert_eq!(data.security_group_ids(), ["sg-0c"], "a list takes the place of the whole list");
    let device = disk("/dev/xvdb", ebs(30));
    let (.., data) = based_on(Some("1"), image().block_device_mappings(device).build()).await;
    let [device] = data.block_device_mappings() else { panic!("{data:?}") };
    assert_eq!(device.ebs().unwrap().snapshot_id(), Some("snap-0000000000000000f"), "what is given is kept");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_can_launch_nothing_is_accepted_with_a_warning_where_ec2_knows() {
    let scene = Scene::new();
    let interface = LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder().device_index(0);
    let nonsense = RequestLaunchTemplateData::builder().instance_type("not-real".into());
    let nonsense = nonsense.security_group_ids("sg-0000000000000000f").network_interfaces(interface.build());
    let silent = || RequestLaunchTemplateData::builder().key_name("none").image_id("ami-0000000000000000f");
    let said = |warning: Option<ValidationWarning>| -> Vec<(String, String)> {
        let errors = warning.and_then(|warning| warning.errors).unwrap_or_default();
        errors.into_iter().map(|error| (error.code.unwrap(), error.message.unwrap())).collect()
    };
    let expected = [
        ("InvalidInstanceType", "The following supplied instance types do not exist: [not-real]"),
        (
            "InvalidParameterCombination",
            "If you specify a network interface, you must specify all security groups as part of the network interface.",
        ),
        ("InvalidSecurityGroupID.NotFound", "The security group 'sg-0000000000000000f' does not exist"),
    ];
    let expected = expected.map(|(code, text)| refused(code, text));
    let create = scene.ec2.create_launch_template().launch_template_name("web");
    let created = create.launch_template_data(nonsense.clone().build()).send().await.unwrap();
    assert_eq!(said(created.warning), expected);
    for (data, expected) in [(nonsense, &expected[..]), (silent(), &[])] {
        let create = scene.ec2.create_launch_template_version().launch_template_name("web");
        let created = create.launch_template_data(data.build()).send().await.unwrap();
        assert_eq!(said(created.warning), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn data_that_can_not_be_read_is_refused() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    let create = |data: RequestLaunchTemplateDataBuilder| {
        let create = scene.ec2.create_launch_template_version().launch_template_id(&id);
        create.launch_template_data(data.build()).send()
    };
    let hops = |limit| {
        let metadata = LaunchTemplateInstanceMetadataOptionsRequest::builder();
        scene.data().metadata_options(metadata.http_put_response_hop_limit(limit).build())
    };
    let monitoring = LaunchTemplatesMonitoringRequest::builder().build();
    let empty = RequestLaunchTemplateData::builder().monitoring(monitoring);
    let no_hops = "A value of ‘999’ is not valid for http-put-response-hop-limit. Specify a value between 1 and 64, and \
                   try again.";
    let no_image =
        "The image ID 'nonsense' is not valid. The expected format is ami-xxxxxxxx or ami-xxxxxxxxxxxxxxxxx.";
    let no_data =
        "No launch template data was provided. Launch template data is required to create a launch template.";
    for (data, code, text) in [
        (
            scene.data().user_data("not base64"),
            "InvalidUserData.Malformed",
            "Invalid BASE64 encoding of user data.",
        ),
        (hops(999), "InvalidParameterValue", no_hops),
        (scene.data().image_id("nonsense"), "InvalidAMIID.Malformed", no_image),
        (empty, "MissingParameter", no_data),
    ] {
        assert_eq!(refusal(create(data).await), refused(code, text));
    }
    assert!(create(hops(64).image_id("resolve:ssm:golden").user_data("YQ==")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_malformed_missing_or_taken_is_refused() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    let named = async |name: &str| {
        let create = scene.ec2.create_launch_template().launch_template_name(name);
        refusal(create.launch_template_data(scene.data().build()).send().await)
    };
    let malformed = "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, \
                     and the following characters: - ( ) . / _.";
    for name in ["ab", "with space", "ä-template", &"x".repeat(129)] {
        assert_eq!(
            named(name).await,
            refused("InvalidLaunchTemplateName.MalformedException", malformed),
            "{name}"
        );
    }
    let taken =
        refused("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.");
    assert_eq!(named("web").await, taken);

    let version = || scene.ec2.create_launch_template_version();
    let on = |id: &str| version().launch_template_id(id).launch_template_data(scene.data().build());
    let unknown = "lt-0000000000000000f";
    let of_id = |id: &str| format!("The specified launch template, with template ID {id}, does not exist.");
    assert_eq!(
        refusal(on(unknown).send().await),
        refused("InvalidLaunchTemplateId.NotFound", of_id(unknown))
    );
    let malformed = "The following launch template ids are malformed: web";
    assert_eq!(refusal(on("web").send().await), refused("InvalidLaunchTemplateId.Malformed", malformed));
    let by_name = version().launch_template_name("none").launch_template_data(scene.data().build());
    let text = "The specified launch template, with template name none, does not exist.";
    assert_eq!(refusal(by_name.send().await), refused("InvalidLaunchTemplateName.NotFoundException", text));
    let both = on(&id).launch_template_name("web");
    let text = "Either provide launch template ID or launch template name to modify the template.";
    assert_eq!(refusal(both.send().await), refused("InvalidParameterCombination", text));
    let neither = version().launch_template_data(scene.data().build());
    assert_eq!(refusal(neither.send().await).0, "MissingParameter");
    let empty =
        version().launch_template_id(&id).launch_template_data(RequestLaunchTemplateData::builder().build());
    assert_eq!(refusal(empty.send().await).0, "MissingParameter");
    let source = refusal(on(&id).source_version("9").send().await);
    let text = format!("Could not find the specified version 9 for the launch template with ID {id}.");
    assert_eq!(source, refused("InvalidLaunchTemplateId.VersionNotFound", text));
    assert_eq!(refusal(on(&id).version_description("x".repeat(256)).send().await).0, "InvalidParameterValue");
    assert!(on(&id).version_description("ä".repeat(255)).send().await.is_ok());
    assert_eq!(refusal(on(&id).resolve_alias(true).send().await).0, "LabNotModelled");
}

#[tokio::test(start_paused = true)]
async fn a_client_token_makes_one_version_and_means_one_request() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    let create = |token: &str, image: &str| {
        let create = scene.ec2.create_launch_template_version().launch_template_id(&id).client_token(token);
        create.launch_template_data(scene.data().image_id(image).build()).send()
    };
    let number = async |token: &str| {
        let version = create(token, "ami-0000000000000000f").await.unwrap().launch_template_version.unwrap();
        version.version_number.unwrap()
    };

    assert_eq!([number("one").await, number("one").await], [2, 2]);
    assert_eq!(number("another").await, 3);
    scene.set_default(&id, 3).await;
    assert_eq!(number("one").await, 2, "whatever happened since");
    let used = |text: &str| refused("IdempotentParameterMismatch", text);
    let other = refusal(create("one", "ami-0000000000000000e").await);
    assert_eq!(other, used("Client token already used before"));
    let long = refusal(create(&"x".repeat(129), "ami-0000000000000000f").await);
    assert_eq!(long.0, "InvalidParameterValue");
    assert_eq!(scene.sights()[2..], ["web 2 created", "web 3 created", "web default 3"]);

    let template = || {
        let create = scene.ec2.create_launch_template().launch_template_name("api").client_token("one");
        create.launch_template_data(scene.data().build()).send()
    };
    let [first, second] =
        [template().await, template().await].map(|created| created.unwrap().launch_template.unwrap());
    assert_eq!(first, second, "instead of a name that is taken");
    let modify = |version: &str| {
        let modify = scene.ec2.modify_launch_template().launch_template_id(&id).client_token("one");
        modify.default_version(version).send()
    };
    modify("1").await.unwrap();
    let text = "The specified client token has already been used before.";
    assert_eq!(refusal(modify("2").await), used(text));
    // A template that is no longer as it was created is not answered again.
    let create = scene.ec2.create_launch_template_version().launch_template_name("api");
    create.launch_template_data(scene.data().build()).send().await.unwrap();
    assert_eq!(refusal(template().await), used("Client token already used before."));
    scene.ec2.delete_launch_template().launch_template_name("api").send().await.unwrap();
    assert_eq!(refusal(template().await), used("Client token already used before."));
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_does_not_use_up_its_token() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    let create = || {
        let create = scene.ec2.create_launch_template_version().launch_template_id(&id).client_token("one");
        create.source_version("2").launch_template_data(scene.data().build()).send()
    };
    assert_eq!(refusal(create().await).0, "InvalidLaunchTemplateId.VersionNotFound");
    scene.version(&id, scene.data()).await;
    assert_eq!(create().await.unwrap().launch_template_version.unwrap().version_number, Some(3));
}

#[tokio::test(start_paused = true)]
async fn the_default_version_is_one_that_exists() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    scene.version(&id, scene.data()).await;
    let modify = |version: &str| {
        let modify = scene.ec2.modify_launch_template().launch_template_name("web");
        modify.default_version(version).send()
    };

    let text = "The launch template version 3 is not found for the specified launch template.";
    assert_eq!(refusal(modify("3").await), refused("InvalidLaunchTemplateId.VersionNotFound", text));
    let none = refusal(scene.ec2.modify_launch_template().launch_template_name("web").send().await);
    let text =
        "A launch template version must be specified to set the new default version for the template with ID";
    assert_eq!(none, refused("MissingParameter", format!("{text} {id}.")));
    let modified = modify("$Latest").await.unwrap().launch_template.unwrap();
    assert_eq!((modified.default_version_number(), modified.latest_version_number()), (Some(2), Some(2)));
    assert_eq!(modified.create_time().unwrap().secs(), 0, "not when it was created");
    modify("2").await.unwrap();
    assert_eq!(scene.sights()[2..], ["web 2 created", "web default 2"]);
    assert_eq!(scene.describe(&id, "1").await.default_version(), Some(false));
}

#[tokio::test(start_paused = true)]
async fn versions_are_deleted_but_never_the_default() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    for _ in 0..3 {
        scene.version(&id, scene.data()).await;
    }
    let delete = || scene.ec2.delete_launch_template_versions().launch_template_id(&id);
    let text = "The default version cannot be deleted. Either specify another version as default or delete the launch \
                template.";
    let with_default = delete().versions("4").versions("1").versions("2").send().await;
    assert_eq!(refusal(with_default), refused("InvalidParameterValue", text.to_owned()));
    assert_eq!(scene.describe(&id, "$Latest").await.version_number(), Some(4), "none is gone");
    let deleted = delete().versions("4").versions("9").versions("2").send().await.unwrap();

    let gone = deleted.successfully_deleted_launch_template_versions();
    assert_eq!(gone.iter().map(|one| one.version_number()).collect::<Vec<_>>(), [Some(4), Some(2)]);
    assert_eq!(gone[0].launch_template_name(), Some("web"));
    let kept = deleted.unsuccessfully_deleted_launch_template_versions();
    let codes = kept.iter().map(|one| {
        let code = one.response_error().unwrap().code().unwrap().as_str().to_owned();
        (one.version_number().unwrap(), code)
    });
    let expected = [(9, "launchTemplateVersionDoesNotExist")];
    assert_eq!(codes.collect::<Vec<_>>(), expected.map(|(number, code)| (number, code.to_owned())));
    assert_eq!(scene.describe(&id, "$Latest").await.version_number(), Some(3));
    assert_eq!(scene.version(&id, scene.data()).await, 5, "no number is given twice");
    assert_eq!(scene.sights()[5..], ["web 4 deleted", "web 2 deleted", "web 5 created"]);

    for version in ["0", "-1", "x"] {
        let text = format!("Invalid value for version: {version}");
        let deleted = delete().versions("3").versions(version).send().await;
        assert_eq!(refusal(deleted), refused("InvalidParameterValue", text));
    }
    let latest = delete().versions("$Latest").send().await.unwrap();
    assert_eq!(latest.successfully_deleted_launch_template_versions()[0].version_number(), Some(5));
    let many = (1..=201).map(|number| number.to_string()).collect();
    assert_eq!(refusal(delete().set_versions(Some(many)).send().await).0, "InvalidParameterValue");
}

#[tokio::test(start_paused = true)]
async fn a_template_goes_with_all_of_its_versions() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    scene.version(&id, scene.data()).await;

    let deleted = scene.ec2.delete_launch_template().launch_template_id(&id).send().await.unwrap();

    assert_eq!(deleted.launch_template.unwrap().latest_version_number(), Some(2));
    let again = refusal(scene.ec2.delete_launch_template().launch_template_name("web").send().await);
    assert_eq!(again.0, "InvalidLaunchTemplateName.NotFoundException");
    assert_eq!(scene.sights()[3..], ["web 1 deleted", "web 2 deleted"]);
    assert_ne!(scene.template(scene.data()).await, id, "the name is free again");
}

#[tokio::test(start_paused = true)]
async fn a_template_has_only_so_many_versions() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    assert_eq!(scene.lab.world(|world| world.ec2.versions_per_template), 10_000);
    scene.lab.world(|world| world.ec2.versions_per_template = 2);
    assert_eq!(scene.version(&id, scene.data()).await, 2);

    let create = scene.ec2.create_launch_template_version().launch_template_id(&id);
    let create = create.launch_template_data(scene.data().build());
    assert_eq!(refusal(create.clone().send().await).0, "VersionLimitExceeded");
    scene.ec2.delete_launch_template_versions().launch_template_id(&id).versions("2").send().await.unwrap();
    assert_eq!(create.send().await.unwrap().launch_template_version.unwrap().version_number, Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_template_can_be_tagged() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    let tag = Tag::builder().key("team").value("shop").build();
    scene.ec2.create_tags().resources(&id).tags(tag).send().await.unwrap();

    let described = scene.ec2.describe_tags().filters(filter("resource-type", &["launch-template"]));
    let tags = described.send().await.unwrap().tags.unwrap();
    assert_eq!((tags[0].resource_id(), tags[0].value()), (Some(id.as_str()), Some("shop")));
}
