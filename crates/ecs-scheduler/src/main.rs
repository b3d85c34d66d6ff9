//! Wiring of ecs-scheduler.

use std::process::ExitCode;

use aws_config::environment::EnvironmentVariableCredentialsProvider;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda_kit::runtime::run::<ecs_scheduler::Context>(EnvironmentVariableCredentialsProvider::new()).await
}
