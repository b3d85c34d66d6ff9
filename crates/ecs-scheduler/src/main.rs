//! Wiring of ecs-scheduler: logs, configuration, SDK, context, run.

use std::process::ExitCode;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use ecs_scheduler::{Config, Context};
use lifecycle_core::runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, lambda_runtime::Error> {
    runtime::start_logging();
    let Some(config) = runtime::configure(Config::parse).await else {
        return Ok(ExitCode::FAILURE);
    };
    let sdk = runtime::sdk_config(EnvironmentVariableCredentialsProvider::new());
    let context = Context::new(config, &sdk)?;
    runtime::run(async |payload, invocation| context.invoke(payload, &invocation).await).await?;
    Ok(ExitCode::SUCCESS)
}
