//! Wiring of launch-logger.

use std::process::ExitCode;

use aws_config::environment::EnvironmentVariableCredentialsProvider;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda_kit::runtime::run::<launch_logger::Context>(EnvironmentVariableCredentialsProvider::new()).await
}
