//! The functions in a lab, as the templates of `infra/` deploy them: their handlers, the rules of their templates, and an
//! operator who creates the groups. fleet-sim and storm play stories with it.
//!
//! ```
//! use fleet::{functions, operator, runtime};
//! # use aws_sdk_autoscaling::Client;
//! # use lifecycle_lab::Lab;
//! # fn main() -> anyhow::Result<()> {
//! runtime::paused()?.block_on(async {
//!     let lab = Lab::new("2026-11-21T08:00:00Z".parse()?, runtime::SEED);
//!     functions::deploy_launch_logger(&lab, "web", "record")?;
//!
//!     let aws = Client::new(&lab.sdk_config("operator"));
//!     operator::create(&aws, "web", &["us-east-1a"]).await?;
//!     operator::hook(&aws, "web", "record", "LAUNCHING", 300, "ABANDON").await?;
//!     operator::desire(&aws, "web", 1).await?;
//!     operator::serving(&lab).await?;
//!     assert!(lab.transcript("launch-logger").contains("LifecycleActionResult=CONTINUE"));
//!     Ok(())
//! })
//! # }
//! ```

pub mod functions;
pub mod list;
pub mod measure;
pub mod operator;
pub mod runtime;
pub mod template;
pub mod timeline;
