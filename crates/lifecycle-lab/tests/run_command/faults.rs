//! The shapes of faults, and the token bucket that all callers of Auto Scaling share.

use super::*;

#[tokio::test(start_paused = true)]
async fn faults_have_the_shapes_of_ssm() {
    let scene = Scene::of(1).await;
    let denied = "User: arn:aws:sts::123456789012:assumed-role/operator/operator is not authorized to perform: \
                  ssm:SendCommand because no identity-based policy allows the ssm:SendCommand action";
    let shapes = [
        (CallFault::Throttle, 400, "ThrottlingException", "Rate exceeded"),
        (CallFault::ServerError, 500, "InternalServerError", "An error occurred on the server side."),
        (CallFault::AccessDenied, 400, "AccessDeniedException", denied),
    ];
    for (fault, status, code, text) in shapes {
        scene.lab.faults().script("SendCommand", [fault]);

        let error = scene.order().send().await.unwrap_err();

        assert_eq!(error.raw_response().unwrap().status().as_u16(), status, "{fault:?}");
        assert_eq!((error.code(), error.message()), (Some(code), Some(text)), "{fault:?}");
    }
    assert!(scene.lab.world(|world| world.run_command.commands().is_empty()));

    scene.lab.faults().script("SendCommand", [CallFault::CutBefore, CallFault::CutAfter]);
    let cut = scene.order().send().await;
    assert!(matches!(cut, Err(SdkError::DispatchFailure(_))), "{cut:?}");
    assert!(scene.lab.world(|world| world.run_command.commands().is_empty()));
    let cut = scene.order().send().await;
    assert!(matches!(cut, Err(SdkError::DispatchFailure(_))), "{cut:?}");
    assert_eq!(scene.lab.world(|world| world.run_command.commands().len()), 1);
}

#[tokio::test(start_paused = true)]
async fn auto_scaling_keeps_its_own_shapes_of_faults() {
    let scene = Scene::of(0).await;
    let sdk = scene.lab.sdk_config("operator");
    let config = aws_sdk_autoscaling::config::Builder::from(&sdk).retry_config(RetryConfig::disabled());
    let autoscaling = aws_sdk_autoscaling::Client::from_conf(config.build());
    let shapes = [
        (CallFault::Throttle, 400, "Throttling"),
        (CallFault::ServerError, 500, "InternalFailure"),
        (CallFault::Contention, 500, "ResourceContention"),
        (CallFault::AccessDenied, 403, "AccessDenied"),
    ];
    for (fault, status, code) in shapes {
        scene.lab.faults().script("DescribeAutoScalingGroups", [fault]);

        let error = autoscaling.describe_auto_scaling_groups().send().await.unwrap_err();

        assert_eq!(error.raw_response().unwrap().status().as_u16(), status, "{fault:?}");
        assert_eq!(error.code(), Some(code), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_callers_of_auto_scaling_share_one_bucket_that_refills() {
    let scene = Scene::of(1).await;
    scene.lab.world(|world| world.autoscaling.bucket = Some(Bucket::new(3.0, 0.5)));
    let client = |caller: &str| {
        let sdk = scene.lab.sdk_config(caller);
        let config = aws_sdk_autoscaling::config::Builder::from(&sdk).retry_config(RetryConfig::disabled());
        aws_sdk_autoscaling::Client::from_conf(config.build())
    };
    let (one, other) = (client("drainer"), client("operator"));

    assert!(one.describe_auto_scaling_groups().send().await.is_ok());
    assert!(other.describe_auto_scaling_instances().send().await.is_ok());
    assert!(one.describe_lifecycle_hooks().auto_scaling_group_name("web").send().await.is_ok());
    let throttled = ("Throttling".to_owned(), "Rate exceeded".to_owned());
    assert_eq!(refusal(other.describe_auto_scaling_groups().send().await), throttled);
    // A call that is throttled has no effect.
    let set = one.set_desired_capacity().auto_scaling_group_name("web").desired_capacity(0).send().await;
    assert_eq!(refusal(set), throttled);
    assert_eq!(scene.lab.world(|world| world.autoscaling.group("web").unwrap().desired), 1);
    assert!(scene.ssm.list_commands().send().await.is_ok(), "SSM is not Auto Scaling");

    scene.sleep(2).await;
    assert!(one.describe_auto_scaling_groups().send().await.is_ok());
    assert!(one.describe_auto_scaling_groups().send().await.is_err());
    // Never more than it holds, however long nobody calls.
    scene.sleep(3600).await;
    for _ in 0..3 {
        assert!(one.describe_auto_scaling_groups().send().await.is_ok());
    }
    assert!(one.describe_auto_scaling_groups().send().await.is_err());

    let bucket = scene.lab.world(|world| world.autoscaling.bucket.clone().unwrap());
    assert_eq!((bucket.served, bucket.refused), (7, 4));
}

#[tokio::test(start_paused = true)]
async fn a_command_is_refused_with_the_code_that_a_test_says_once_or_always() {
    let scene = Scene::of(1).await;
    for refused in ["InvalidDocument", "UnsupportedPlatformType", "RequestExpired"] {
        scene.lab.faults().script("SendCommand", [CallFault::Refused(refused)]);
        let (code, text) = refusal(scene.order().send().await);
        assert_eq!((code.as_str(), text.is_empty()), (refused, false));
    }
    assert!(scene.order().send().await.is_ok());

    scene.lab.faults().always("SendCommand", Some(CallFault::Refused("InvalidDocument")));
    for _ in 0..3 {
        assert_eq!(code(scene.order().send().await), "InvalidDocument");
    }
    scene.lab.faults().always("SendCommand", None);
    assert!(scene.order().send().await.is_ok());
}
