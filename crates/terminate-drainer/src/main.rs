//! Wiring of terminate-drainer: logs, configuration, SDK, context, run.

use std::process::ExitCode;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use lifecycle_core::runtime;
use terminate_drainer::{Config, Context};

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
