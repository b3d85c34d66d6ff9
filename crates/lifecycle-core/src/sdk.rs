//! The SDK's settings from Lambda's environment: Region, credentials and endpoints. Not by aws-config, which also
//! knows profiles, STS and the metadata of instances and containers: Lambda needs none of them, and they would be a
//! sixth of each function.

use std::fmt;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_autoscaling::config::{BehaviorVersion, Region, SharedHttpClient};
use aws_types::SdkConfig;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

/// The settings that these variables make: `AWS_REGION`, `AWS_ACCESS_KEY_ID` and its companions,
/// `AWS_ENDPOINT_URL` for all services and `AWS_ENDPOINT_URL_AUTO_SCALING` and its siblings for one,
/// `AWS_USE_FIPS_ENDPOINT` and `AWS_USE_DUALSTACK_ENDPOINT`. An empty one counts as not set. Without a Region or
/// credentials every call fails, and says so.
pub fn config(
    variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    http_client: SharedHttpClient,
) -> SdkConfig {
    let variable = move |name: &str| variable(name).filter(|value| !value.is_empty());
    let is_true = |name| variable(name).map(|value| value.eq_ignore_ascii_case("true"));
    let mut config =
        SdkConfig::builder().behavior_version(BehaviorVersion::v2026_01_12()).http_client(http_client);
    config.set_region(variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).map(Region::new));
    config.set_endpoint_url(variable("AWS_ENDPOINT_URL"));
    config.set_use_fips(is_true("AWS_USE_FIPS_ENDPOINT"));
    config.set_use_dual_stack(is_true("AWS_USE_DUALSTACK_ENDPOINT"));
    let keys = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
    config.set_credentials_provider(keys.map(|(id, secret)| {
        let token = variable("AWS_SESSION_TOKEN");
        SharedCredentialsProvider::new(Credentials::new(id, secret, token, None, "environment"))
    }));
    config.service_config(OfOneService(variable)).build()
}

/// Variables that are meant for one service.
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
    use aws_credential_types::provider::ProvideCredentials;

    use super::*;

    fn config_of(variables: &'static [(&str, &str)]) -> SdkConfig {
        let value =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        config(value, crate::runtime::http_client())
    }

    #[test]
    fn the_region_and_the_endpoints_are_those_of_the_environment() {
        let config = config_of(&[
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", "http://localhost:1"),
            ("AWS_ENDPOINT_URL_AUTO_SCALING", "http://localhost:2"),
            ("AWS_ENDPOINT_URL_EC2", ""),
            ("AWS_USE_FIPS_ENDPOINT", "TRUE"),
        ]);
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

    #[tokio::test]
    async fn the_credentials_are_those_of_the_environment() {
        let config = config_of(&[
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "token"),
        ]);
        let found = config.credentials_provider().unwrap().provide_credentials().await.unwrap();
        assert_eq!(
            (found.access_key_id(), found.secret_access_key(), found.session_token()),
            ("AKIA", "secret", Some("token"))
        );
        assert!(config_of(&[("AWS_ACCESS_KEY_ID", "AKIA")]).credentials_provider().is_none());
    }
}
