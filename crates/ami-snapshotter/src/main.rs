//! Wiring of ami-snapshotter.

use std::process::ExitCode;

use aws_config::environment::EnvironmentVariableCredentialsProvider;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda_kit::runtime::run::<ami_snapshotter::Context>(EnvironmentVariableCredentialsProvider::new()).await
}
