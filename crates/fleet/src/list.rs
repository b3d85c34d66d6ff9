//! The functions by name: the one list of them in Rust. Templates, logs and tests go by it.

use lambda_kit::{Configuration, Error, Variables};

/// A function of this repository.
#[derive(Debug)]
pub struct Listed {
    /// Its name, as crate, binary and template carry it.
    pub name: &'static str,
    /// Its crate's name in Rust, which begins the targets of its log events.
    pub module: &'static str,
    /// The text of its template.
    pub template: &'static str,
    /// Reads its variables, and refuses bad ones.
    pub parse: fn(&Variables) -> Result<(), Error>,
}

macro_rules! functions {
    ($($name:literal $module:ident,)*) => {
        /// Every function.
        pub const FUNCTIONS: &[Listed] = &[$(
            Listed {
                name: $module::NAME,
                module: stringify!($module),
                template: include_str!(concat!("../../../infra/", $name, ".yaml")),
                parse: |variables| $module::Config::parse(variables).map(drop),
            },
        )*];
    };
}

functions! {
    "launch-logger" launch_logger,
    "terminate-drainer" terminate_drainer,
    "ami-snapshotter" ami_snapshotter,
    "lt-ami-refresher" lt_ami_refresher,
    "ecs-scheduler" ecs_scheduler,
}

/// The function of this name.
pub fn function(name: &str) -> Option<&'static Listed> {
    FUNCTIONS.iter().find(|listed| listed.name == name)
}
