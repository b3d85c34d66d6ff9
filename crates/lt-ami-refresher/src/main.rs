//! Wiring of lt-ami-refresher.

use std::process::ExitCode;

use aws_config::environment::EnvironmentVariableCredentialsProvider;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda_kit::runtime::run::<lt_ami_refresher::Context>(EnvironmentVariableCredentialsProvider::new()).await
}
