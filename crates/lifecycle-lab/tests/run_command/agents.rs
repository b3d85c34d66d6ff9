//! Agents: which take commands, which fall silent, restart or register late.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_agent_takes_an_execution_timeout_under_five_seconds_for_an_hour() {
    let scene = Scene::of(1).await;
    for (timeout, seconds, end) in [("4", 3_000, "Success"), ("5", 20, "ExecutionTimedOut")] {
        scene.script(seconds, 0);
        let order = scene.order().parameters("executionTimeout", vec![timeout.to_owned()]);
        let command = order.send().await.unwrap().command.unwrap();
        let lasts = command.expires_after.unwrap().secs() - command.requested_date_time.unwrap().secs();
        assert_eq!(lasts, 3_600 + timeout.parse::<i64>().unwrap());
        scene.sleep(3_100).await;
        assert_eq!(scene.course().0, end, "{timeout}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_after_the_delivery_timeout_does_not_run_the_command() {
    let scene = Scene::of(1).await;
    scene.agent(Ping::ConnectionLost);

    scene.short_order().send().await.unwrap();
    scene.sleep(35).await;
    scene.agent(Ping::Online);
    scene.sleep(65).await;
    assert_eq!(scene.course(), ("Delayed", None, None));
    scene.sleep(60).await;

    assert_eq!(scene.course(), ("DeliveryTimedOut", None, Some(105)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_is_online_until_ten_minutes_after_its_last_ping() {
    let scene = Scene::of(1).await;
    scene.sleep(400).await;
    let online = |age| Some(("Online".to_owned(), age));
    let (_, age) = scene.agent_told().await.unwrap();
    assert!((90..130).contains(&age), "{age} s: a healthy agent pings every five minutes");

    scene.agent(Ping::Silent);
    assert!(scene.order().send().await.is_ok(), "commands are accepted");
    scene.sleep(300).await;
    let (_, now) = scene.agent_told().await.unwrap();
    assert_eq!((scene.agent_told().await, now / 10), (online(now), (age + 300) / 10), "the ping is the same");
    scene.sleep(200).await;
    let (status, age) = scene.agent_told().await.unwrap();
    assert_eq!((status.as_str(), age / 10), ("ConnectionLost", (now + 200) / 10));
    scene.agent(Ping::Online);
    scene.sleep(1).await;
    assert_eq!(scene.agent_told().await.unwrap().0, "Online");
}

#[tokio::test(start_paused = true)]
async fn a_command_does_not_move_the_last_ping() {
    let scene = Scene::of(1).await;
    scene.sleep(100).await;
    let (_, before) = scene.agent_told().await.unwrap();
    scene.send().await;
    scene.sleep(20).await;
    let (_, after) = scene.agent_told().await.unwrap();
    assert!(after >= before + 20, "{before} {after}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_silent_for_a_while_gets_and_reports_commands_afterwards() {
    let scene = Scene::of(1).await;
    scene.lab.world(|world| world.silence_agent(&scene.ids[0], Duration::from_secs(60)));
    scene.order().send().await.unwrap();
    scene.sleep(50).await;
    assert_eq!(scene.course(), ("Delayed", None, None));
    scene.sleep(60).await;
    assert_eq!(scene.course().0, "Success");

    scene.script(30, 0);
    scene.order().send().await.unwrap();
    scene.sleep(5).await;
    scene.lab.world(|world| world.silence_agent(&scene.ids[0], Duration::from_secs(600)));
    scene.sleep(500).await;
    assert_eq!(scene.course(), ("InProgress", Some(1), None), "it has run, and nobody knows");
    scene.sleep(200).await;
    let (status, _, ended) = scene.course();
    assert_eq!((status, ended), ("Success", Some(605)));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_restarted_leaves_its_command_in_progress_for_ever() {
    let scene = Scene::of(1).await;
    scene.script(60, 0);
    let id = id(scene.short_order().send().await.unwrap());
    scene.sleep(5).await;
    scene.lab.world(|world| world.restart_agent(&scene.ids[0]));
    scene.sleep(48 * 3_600).await;
    assert_eq!(scene.course(), ("InProgress", Some(1), None));
    scene.ssm.cancel_command().command_id(&id).send().await.unwrap();
    scene.sleep(48 * 3_600).await;
    assert_eq!(scene.course(), ("Cancelling", Some(1), None));
    assert_eq!(scene.get(&id).await.status, Some(CommandInvocationStatus::Cancelling));

    scene.send().await;
    scene.sleep(65).await;
    assert_eq!(scene.course().0, "Success", "the next command runs");
}

#[tokio::test(start_paused = true)]
async fn an_agent_registers_20_to_40_seconds_after_its_instance_runs_unless_its_group_says_otherwise() {
    let registered = async |set: fn(&mut RunCommand, &str)| {
        let scene = Scene::of(1).await;
        scene.lab.world(|world| world.delays.agent_registration = Duration::from_secs(20));
        scene.set(set);
        let runs = scene.lab.world(|world| world.ec2.instance(&scene.ids[0]).unwrap().runs_since);
        let there = |world: &lifecycle_lab::World| world.agent(&scene.ids[0]).is_some();
        assert_eq!(scene.agent_told().await, None);
        assert_eq!(code(scene.order().send().await), "InvalidInstanceId");
        while scene.lab.now() - runs < chrono::TimeDelta::seconds(1_000) {
            if scene.lab.world(|world| there(world)) {
                assert!(scene.order().send().await.is_ok());
                return Some((scene.lab.now() - runs).num_seconds());
            }
            scene.sleep(1).await;
        }
        None
    };
    let usual = registered(|_, _| ()).await.unwrap();
    assert!((20..=42).contains(&usual), "{usual} s");
    let slow =
        registered(|run, _| run.set_registration("web", Some(Duration::from_secs(300)))).await.unwrap();
    assert!((300..=302).contains(&slow), "{slow} s");
    assert_eq!(registered(|run, _| run.set_registration("web", None)).await, None);
    let own = registered(|run, id| {
        run.set_registration("web", None);
        run.set_registration(id, Some(Duration::from_secs(50)));
    });
    assert!((50..=52).contains(&own.await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_is_not_listed_and_takes_no_commands() {
    let scene = Scene::of(1).await;
    assert!(scene.agent_told().await.is_some());
    scene.lab.world(|world| world.fail_instance(&scene.ids[0]));
    assert_eq!(scene.agent_told().await, None);
    let text = "Instances not in a valid state for account".to_owned();
    assert_eq!(refusal(scene.order().send().await), ("InvalidInstanceId".to_owned(), text));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_in_time_gets_the_command_once() {
    let scene = Scene::of(1).await;
    scene.agent(Ping::ConnectionLost);

    scene.order().timeout_seconds(30).send().await.unwrap();
    scene.sleep(20).await;
    scene.agent(Ping::Online);
    scene.agent(Ping::Online);
    scene.sleep(60).await;

    let (status, started, ended) = scene.course();
    assert_eq!((status, ended.unwrap() - started.unwrap()), ("Success", 2));
    assert!((20..=22).contains(&started.unwrap()), "{started:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_on_a_skipped_clock_gets_the_command_when_it_came_back() {
    let scene = Scene::of(1).await;
    scene.agent(Ping::ConnectionLost);

    scene.order().timeout_seconds(30).send().await.unwrap();
    scene.agent(Ping::Online);
    scene.lab.skip(Duration::from_secs(3600));

    assert_eq!(scene.course(), ("Success", Some(1), Some(3)));
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_ran_while_it_was_offline_is_seen_when_it_is_back() {
    let mut scene = Scene::of(1).await;
    scene.script(10, 0);

    let id = scene.send().await;
    scene.sleep(5).await;
    scene.agent(Ping::ConnectionLost);
    scene.sleep(60).await;
    assert_eq!(scene.get(&id).await.status, Some(CommandInvocationStatus::InProgress));
    assert_eq!(scene.statuses(), ["Pending", "InProgress"]);
    scene.agent(Ping::Online);
    scene.sleep(1).await;

    assert_eq!(scene.statuses(), ["Success"]);
    assert_eq!(scene.get(&id).await.response_code, 0);
    let (status, started, ended) = scene.course();
    assert_eq!((status, started), ("Success", Some(1)));
    assert!(ended.unwrap() >= 65, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_instance_goes_stays_in_progress_until_it_expires() {
    let scene = Scene::of(1).await;
    scene.script(60, 0);

    let order = scene.order().timeout_seconds(30).parameters("executionTimeout", vec!["100".to_owned()]);
    order.send().await.unwrap();
    scene.sleep(5).await;
    scene.lab.world(|world| world.reclaim_spot(&scene.ids[0]));
    scene.sleep(115).await;
    assert!(scene.lab.world(|world| world.autoscaling.instance(&scene.ids[0]).is_none()));
    assert_eq!(scene.course(), ("InProgress", Some(1), None));
    scene.sleep(60).await;

    assert_eq!(scene.course(), ("DeliveryTimedOut", Some(1), Some(145)));
}

#[tokio::test(start_paused = true)]
async fn instances_that_are_not_registered_or_gone_or_unknown_are_refused() {
    let scene = Scene::of(3).await;
    scene.agent(Ping::Unregistered);
    scene.lab.world(|world| world.reclaim_spot(&scene.ids[1]));
    scene.sleep(10).await;

    let text = "Instances not in a valid state for account";
    let invalid = ("InvalidInstanceId".to_owned(), text.to_owned());
    for id in [&scene.ids[0], &scene.ids[1], "i-00000000000000000"] {
        let both = scene.order_on(&scene.ids[2]).instance_ids(id).send().await;
        assert_eq!(refusal(both), invalid);
    }
    assert!(scene.lab.world(|world| world.run_command.commands().is_empty()));
    let twice = scene.order().instance_ids(&scene.ids[0]).send().await;
    assert_eq!(code(twice), "DuplicateInstanceId");
}

#[tokio::test(start_paused = true)]
async fn registered_agents_are_described_in_pages() {
    let scene = Scene::of(12).await;
    scene.lab.world(|world| {
        world.run_command.set_agent(&scene.ids[0], Ping::Unregistered);
        world.run_command.set_agent(&scene.ids[1], Ping::ConnectionLost);
        world.run_command.set_agent(&scene.ids[2], Ping::Inactive);
    });
    let lost_at = scene.lab.now();
    scene.sleep(60).await;

    let first = scene.ssm.describe_instance_information().max_results(5).send().await.unwrap();
    assert_eq!((first.instance_information_list().len(), first.next_token()), (5, Some("5")));
    let mut pages = scene.ssm.describe_instance_information().into_paginator().send();
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        all.extend(page.unwrap().instance_information_list.unwrap());
    }
    let seen: Vec<_> =
        all.iter().map(|one| (one.instance_id().unwrap(), one.ping_status().unwrap().as_str())).collect();
    assert_eq!(seen.len(), 11);
    assert_eq!(
        seen[..3],
        [
            (scene.ids[1].as_str(), "ConnectionLost"),
            (scene.ids[2].as_str(), "Inactive"),
            (scene.ids[3].as_str(), "Online"),
        ]
    );
    assert_eq!(all[0].last_ping_date_time().unwrap().secs(), lost_at.timestamp());
    assert!(all.iter().all(|one| one.last_ping_date_time().is_some()));
    assert_eq!(all[2].platform_type().unwrap().as_str(), "Linux");
    assert!(all[2].agent_version().is_some());

    let few = scene.ssm.describe_instance_information().max_results(4).send().await;
    assert_eq!(code(few), "ValidationException");
    let token = scene.ssm.describe_instance_information().next_token("nonsense").send().await;
    assert_eq!(refusal(token), ("InvalidNextToken".to_owned(), String::new()));
    let by = |keys: &[&str]| {
        let filter =
            |key: &&str| InstanceInformationStringFilter::builder().key(*key).values("x").build().unwrap();
        let filters = keys.iter().map(filter).collect();
        scene.ssm.describe_instance_information().set_filters(Some(filters)).send()
    };
    let mixed = "Cannot mix tag or inventory filter with any other filter.";
    assert_eq!(
        refusal(by(&["InstanceIds", "tag:a"]).await),
        ("ValidationException".to_owned(), mixed.to_owned())
    );
    let unknown = "UnknownKey filter Key is invalid.";
    assert_eq!(refusal(by(&["UnknownKey"]).await), ("InvalidFilterKey".to_owned(), unknown.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn agents_are_described_by_instance_id() {
    let scene = Scene::of(3).await;
    scene.agent(Ping::Unregistered);
    scene.lab.world(|world| world.reclaim_spot(&scene.ids[1]));
    scene.sleep(10).await;

    let new =
        InstanceInformationStringFilter::builder().key("InstanceIds").set_values(Some(scene.ids.clone()));
    let old = InstanceInformationFilter::builder().key(InstanceInformationFilterKey::InstanceIds);
    let describe = || scene.ssm.describe_instance_information();
    let answers = [
        describe().filters(new.build().unwrap()).send().await.unwrap(),
        describe()
            .instance_information_filter_list(old.set_value_set(Some(scene.ids.clone())).build().unwrap())
            .send()
            .await
            .unwrap(),
    ];

    for answer in answers {
        let [only] = answer.instance_information_list() else { panic!("{answer:?}") };
        assert_eq!(only.instance_id(), Some(scene.ids[2].as_str()), "one is not registered, one is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn every_agent_may_be_unregistered_unless_said_otherwise() {
    let scene = Scene::of(2).await;
    scene.set(|run, id| {
        run.default_agent = Ping::Unregistered;
        run.set_agent(id, Ping::Online);
    });

    assert!(scene.order().send().await.is_ok());
    assert_eq!(code(scene.order_on(&scene.ids[1]).send().await), "InvalidInstanceId");
}
