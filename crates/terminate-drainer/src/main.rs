//! Wiring of terminate-drainer.

use std::process::ExitCode;

use aws_config::environment::EnvironmentVariableCredentialsProvider;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda_kit::runtime::run::<terminate_drainer::Context>(EnvironmentVariableCredentialsProvider::new())
        .await
}
