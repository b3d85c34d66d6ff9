//! Wiring of terminate-drainer: logs, configuration, SDK, context, run.

use std::process::ExitCode;

use aws_config::BehaviorVersion;
use lifecycle_core::runtime;
use terminate_drainer::{Config, Context};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, lambda_runtime::Error> {
    runtime::start_logging();
    let Some(config) = runtime::configure(Config::parse).await else {
        return Ok(ExitCode::FAILURE);
    };
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
    let sdk = loader.http_client(runtime::http_client()).load().await;
    let context = Context::new(config, &sdk)?;
    runtime::run(async |payload, invocation| context.invoke(payload, &invocation).await).await?;
    Ok(ExitCode::SUCCESS)
}
