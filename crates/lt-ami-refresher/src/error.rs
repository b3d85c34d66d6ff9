//! The errors of this function only. Each variant has a stable name and stands for one thing that an operator would
//! do.

/// Why the launch template is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no image: the backups have never run in this account and Region, or have other names.
    #[error("{0}")]
    NoImageFound(String),
    /// The newest image is too old: the backups have stopped.
    #[error("{0}")]
    StaleImage(String),
    /// The new version could launch no instance; each line has a reason. Correct the launch template or the
    /// variables.
    #[error("{}", .0.join("; "))]
    UnusableTemplate(Vec<String>),
}

impl From<Refusal> for lambda_kit::Error {
    fn from(error: Refusal) -> Self {
        let name = match error {
            Refusal::NoImageFound(_) => "NoImageFound",
            Refusal::StaleImage(_) => "StaleImage",
            Refusal::UnusableTemplate(_) => "UnusableTemplate",
        };
        Self::Own { name, message: error.to_string() }
    }
}
