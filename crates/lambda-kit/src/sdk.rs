//! The SDK's settings from Lambda's environment: Region and endpoints. aws-config's default chain also tries
//! profiles, STS and the metadata of instances and containers. Lambda has none of them, and they would be a sixth of
//! each binary.

use std::fmt;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::SdkConfig;
use aws_types::region::Region;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

/// Reads these variables: `AWS_REGION` or else `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL` for all services,
/// `AWS_ENDPOINT_URL_AUTO_SCALING` and its siblings for one service, `AWS_USE_FIPS_ENDPOINT` and
/// `AWS_USE_DUALSTACK_ENDPOINT`. An empty variable counts as not set. Without a Region every call fails with an error
/// that says so.
pub(crate) fn config(
    variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    credentials: SharedCredentialsProvider,
    http_client: SharedHttpClient,
) -> SdkConfig {
    let variable = move |name: &str| variable(name).filter(|value| !value.is_empty());
    let is_true = |name| variable(name).map(|value| value.eq_ignore_ascii_case("true"));
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .credentials_provider(credentials)
        .http_client(http_client);
    config.set_region(variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).map(Region::new));
    config.set_endpoint_url(variable("AWS_ENDPOINT_URL"));
    config.set_use_fips(is_true("AWS_USE_FIPS_ENDPOINT"));
    config.set_use_dual_stack(is_true("AWS_USE_DUALSTACK_ENDPOINT"));
    config.service_config(OfOneService(variable)).build()
}

/// The variables for one service.
struct OfOneService<F>(F);

impl<F> fmt::Debug for OfOneService<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfOneService")
    }
}

impl<F: Fn(&str) -> Option<String> + Send + Sync> LoadServiceConfig for OfOneService<F> {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace(' ', "_");
        (self.0)(&format!("{}_{service}", key.env()))
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;

    use super::*;

    #[test]
    fn the_region_and_the_endpoints_are_those_of_the_environment() {
        let variables = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", "http://localhost:1"),
            ("AWS_ENDPOINT_URL_AUTO_SCALING", "http://localhost:2"),
            ("AWS_ENDPOINT_URL_EC2", ""),
            ("AWS_USE_FIPS_ENDPOINT", "TRUE"),
        ];
        let value = move |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let credentials =
            SharedCredentialsProvider::new(Credentials::new("id", "secret", None, None, "test"));
        let config = config(value, credentials, crate::runtime::http_client());
        assert_eq!(config.region(), Some(&Region::from_static("eu-west-1")));
        assert_eq!(config.endpoint_url(), Some("http://localhost:1"));
        assert_eq!((config.use_fips(), config.use_dual_stack()), (Some(true), None));
        let of_service = |id| {
            let key =
                ServiceConfigKey::builder().service_id(id).env("AWS_ENDPOINT_URL").profile("endpoint_url");
            config.service_config().unwrap().load_config(key.build().unwrap())
        };
        assert_eq!(of_service("Auto Scaling").as_deref(), Some("http://localhost:2"));
        assert_eq!(of_service("EC2"), None);
    }
}
