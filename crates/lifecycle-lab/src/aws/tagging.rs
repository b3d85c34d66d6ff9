//! The Resource Groups Tagging API over the services that the lab plays: `GetResources` of ECS services.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::json_api;
use super::request::{Answer, Request};
use super::world::World;

/// The type of the only resources that the lab finds by their tags.
const SERVICES: &str = "ecs:service";

/// The resources of one page, and the most that can be asked for.
const PAGE_SIZE: u64 = 100;

/// Plays one action.
pub(crate) fn call(world: &mut World, request: &Request) -> Answer {
    match request.action.as_str() {
        "GetResources" => get_resources(world, json_api::parameters(request, "InvalidParameterException")?),
        action => Err(ApiError::not_modelled(format!("tag:{action}"))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetResources {
    pagination_token: Option<String>,
    #[serde(default)]
    tag_filters: Vec<Filter>,
    resources_per_page: Option<u64>,
    #[serde(default)]
    resource_type_filters: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

/// A resource fits if it fits each filter: it has the key, and one of the values if there are any. One that was deleted
/// is found for `delays.tags_forgotten`. The last page has an empty token.
fn get_resources(world: &mut World, get: GetResources) -> Answer {
    if get.resource_type_filters != [SERVICES] {
        return Err(ApiError::not_modelled(format!("GetResources of {:?}", get.resource_type_filters)));
    }
    if get.tag_filters.is_empty() {
        return Err(ApiError::not_modelled("GetResources without TagFilters"));
    }
    let size = get.resources_per_page.unwrap_or(PAGE_SIZE);
    if !(1..=PAGE_SIZE).contains(&size) {
        return Err(invalid("ResourcesPerPage must be between 1 and 100."));
    }
    let (now, forgotten) = (world.now(), world.delays.tags_forgotten);
    let known = |deleted: DateTime<Utc>| (now - deleted).to_std().unwrap_or_default() < forgotten;
    let found = world.ecs.services().filter(|service| {
        service.deleted.is_none_or(known)
            && get.tag_filters.iter().all(|filter| {
                let value = service.tags.get(&filter.key);
                value.is_some_and(|value| filter.values.is_empty() || filter.values.contains(value))
            })
    });
    let found = found.map(|service| {
        let tags: Vec<Value> =
            service.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        json!({ "ResourceARN": service.arn(), "Tags": tags })
    });
    let token = get.pagination_token.filter(|token| !token.is_empty());
    let Some((page, token)) = json_api::page(found.collect(), size, token.as_deref()) else {
        let text = "The pagination token is not valid.";
        return Err(ApiError::new("PaginationTokenExpiredException", text));
    };
    Ok(Some(json!({ "ResourceTagMappingList": page, "PaginationToken": token.unwrap_or_default() })))
}

fn invalid(message: &str) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aws::ecs::{self, Scheduling};

    /// Services `a` to `d`, tagged in part.
    fn scene() -> World {
        let mut world = World::new("2026-03-02T18:00:00Z".parse().unwrap(), 7);
        for (service, tags) in [
            ("a", vec![("hours", "MON-FRI 09:00-18:00"), ("team", "blue")]),
            ("b", vec![("hours", "")]),
            ("c", vec![("team", "blue")]),
            ("d", vec![]),
        ] {
            world.add_service("demo", service, Scheduling::Replica, 2).unwrap();
            for (key, value) in tags {
                world.tag_service("demo", service, key, Some(value)).unwrap();
            }
        }
        world
    }

    fn get(world: &mut World, parameters: Value) -> Result<Value, String> {
        let (method, action) = ("POST".to_owned(), "GetResources".to_owned());
        let answer = call(world, &Request { method, action, lines: Vec::new(), parameters });
        answer.map(Option::unwrap_or_default).map_err(|error| error.to_string())
    }

    /// The names of the services that these filters find.
    fn found(world: &mut World, filters: &Value) -> Vec<String> {
        let parameters = json!({ "ResourceTypeFilters": [SERVICES], "TagFilters": filters });
        let answer = get(world, parameters).unwrap();
        let arns = answer["ResourceTagMappingList"].as_array().unwrap().iter();
        arns.map(|one| one["ResourceARN"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn services_are_found_by_all_filters_together() {
        let mut world = scene();
        for (filters, services) in [
            (json!([{ "Key": "hours" }]), vec!["a", "b"]),
            (json!([{ "Key": "team", "Values": ["red", "blue"] }]), vec!["a", "c"]),
            (json!([{ "Key": "hours", "Values": [""] }]), vec!["b"]),
            (json!([{ "Key": "hours" }, { "Key": "team", "Values": ["blue"] }]), vec!["a"]),
            (json!([{ "Key": "Hours" }]), vec![]),
        ] {
            assert_eq!(found(&mut world, &filters), services, "{filters}");
        }
    }

    #[test]
    fn services_come_in_pages_with_all_their_tags() {
        let mut world = scene();
        let mut page = |token: &str| {
            let mut parameters = json!({ "ResourceTypeFilters": [SERVICES], "ResourcesPerPage": 1 });
            parameters["TagFilters"] = json!([{ "Key": "team" }]);
            parameters["PaginationToken"] = json!(token);
            get(&mut world, parameters)
        };

        let first = page("").unwrap();
        let tags =
            json!([{ "Key": "hours", "Value": "MON-FRI 09:00-18:00" }, { "Key": "team", "Value": "blue" }]);
        assert_eq!(first["ResourceTagMappingList"][0]["Tags"], tags);
        let last = page(first["PaginationToken"].as_str().unwrap()).unwrap();
        assert_eq!(last["ResourceTagMappingList"].as_array().map(Vec::len), Some(1));
        assert_eq!(last["PaginationToken"], "");

        let lost = page("x").unwrap_err();
        assert_eq!(lost, "PaginationTokenExpiredException: The pagination token is not valid.");
    }

    #[test]
    fn a_deleted_service_is_found_for_a_while_where_the_scene_says_so() {
        for (forgotten, after) in [(0, vec!["b"]), (3_600, vec!["a", "b"])] {
            let mut world = scene();
            world.delays.tags_forgotten = Duration::from_secs(forgotten);
            let (method, action) = ("POST".to_owned(), "DeleteService".to_owned());
            let parameters = json!({ "cluster": "demo", "service": "a", "force": true });
            ecs::call(&mut world, &Request { method, action, lines: Vec::new(), parameters }).unwrap();

            let hours = json!([{ "Key": "hours" }]);
            assert_eq!(found(&mut world, &hours), after, "{forgotten}");
            world.advance(world.now() + Duration::from_secs(3_600));
            assert_eq!(found(&mut world, &hours), ["b"]);
        }
    }

    #[test]
    fn what_the_lab_does_not_play_it_refuses_by_name() {
        let mut world = scene();
        let filters = json!([{ "Key": "hours" }]);
        for (parameters, refusal) in [
            (json!({ "TagFilters": filters }), "GetResources of []"),
            (json!({ "ResourceTypeFilters": ["ec2:instance"] }), "GetResources of [\"ec2:instance\"]"),
            (json!({ "ResourceTypeFilters": [SERVICES] }), "GetResources without TagFilters"),
        ] {
            let error = get(&mut world, parameters).unwrap_err();
            assert!(error.starts_with("LabNotModelled") && error.contains(refusal), "{error}");
        }
        for size in [0, 101] {
            let mut parameters = json!({ "ResourceTypeFilters": [SERVICES], "TagFilters": filters });
            parameters["ResourcesPerPage"] = json!(size);
            let error = get(&mut world, parameters).unwrap_err();
            assert_eq!(error, "InvalidParameterException: ResourcesPerPage must be between 1 and 100.");
        }
    }
}
