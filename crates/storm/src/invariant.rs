//! The invariants of a storm: their names and the sentences of the report, in the order of an instance's life.
//! `observer/rules.rs` checks them.

/// Something that must hold, every time that it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Invariant {
    LaunchAnswered,
    RecordedLaunchGoesOn,
    LaunchLeftToHook,
    DeathHeld,
    DeathAnswered,
    NoneWithoutDrain,
    OneDrain,
    DrainEnds,
    ProlongedForWork,
    EndsByPolicy,
    DeathLeavesImage,
    OneImage,
    ImageReady,
    PlannedLeavesNone,
    ComesToItsEnd,
    VariablesSurvive,
    LaunchSucceeds,
    DefaultCanBeLaunched,
    DefaultFollowsBackup,
    OneVersion,
    VersionsInUseStay,
    ServicesKeepHours,
    BucketLeftToOthers,
    SweepCostsWhatWaits,
    ForeignLeftAlone,
    FailureReported,
    NothingElseReported,
}

impl Invariant {
    /// All of them.
    pub(crate) const ALL: [Self; 27] = [
        Self::LaunchAnswered,
        Self::RecordedLaunchGoesOn,
        Self::LaunchLeftToHook,
        Self::DeathHeld,
        Self::DeathAnswered,
        Self::NoneWithoutDrain,
        Self::OneDrain,
        Self::DrainEnds,
        Self::ProlongedForWork,
        Self::EndsByPolicy,
        Self::DeathLeavesImage,
        Self::OneImage,
        Self::ImageReady,
        Self::PlannedLeavesNone,
        Self::ComesToItsEnd,
        Self::VariablesSurvive,
        Self::LaunchSucceeds,
        Self::DefaultCanBeLaunched,
        Self::DefaultFollowsBackup,
        Self::OneVersion,
        Self::VersionsInUseStay,
        Self::ServicesKeepHours,
        Self::BucketLeftToOthers,
        Self::SweepCostsWhatWaits,
        Self::ForeignLeftAlone,
        Self::FailureReported,
        Self::NothingElseReported,
    ];

    /// It in a sentence.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::LaunchAnswered => {
                "No launch times out whose event was delivered, or that an undisturbed sweep has seen."
            }
            Self::RecordedLaunchGoesOn => "A launch that was recorded goes on.",
            Self::LaunchLeftToHook => "A launch that ami-snapshotter sees is left to the hook.",
            Self::DeathHeld => "An instance that has served waits in its terminating hook before it goes.",
            Self::DeathAnswered => "No wait times out that undisturbed sweeps have seen.",
            Self::NoneWithoutDrain => "No instance whose agent can be reached goes without its drain.",
            Self::OneDrain => "A drain is started once, and once more if it was not delivered.",
            Self::DrainEnds => "No instance goes while its drain runs.",
            Self::ProlongedForWork => "No wait is prolonged without a command or an image under way.",
            Self::EndsByPolicy => "No wait lasts longer than its policy allows.",
            Self::DeathLeavesImage => "An unplanned termination leaves an image.",
            Self::OneImage => "One death leaves one image at most, and a second one if the first failed.",
            Self::ImageReady => "No instance goes before its image is ready.",
            Self::PlannedLeavesNone => "A death that was planned leaves no image.",
            Self::ComesToItsEnd => "Every instance comes to its end.",
            Self::VariablesSurvive => "Variables that belong to others survive.",
            Self::LaunchSucceeds => "Every instance that a group wants can be launched from its version.",
            Self::DefaultCanBeLaunched => "What lt-ami-refresher makes the default can be launched.",
            Self::DefaultFollowsBackup => {
                "After an undisturbed run the default is the newest backup, or that was refused."
            }
            Self::OneVersion => "No version says what another one does.",
            Self::VersionsInUseStay => "No version is deleted that is in use.",
            Self::ServicesKeepHours => {
                "ECS services are awake in their hours, at no other time, and at their size."
            }
            Self::BucketLeftToOthers => {
                "The functions leave half of Auto Scaling's bucket to others, hour by hour."
            }
            Self::SweepCostsWhatWaits => "The calls of a sweep are bounded by the waits that it finds.",
            Self::ForeignLeftAlone => {
                "No function changes what belongs to others, or an instance that does not wait."
            }
            Self::FailureReported => "Each failure is reported.",
            Self::NothingElseReported => "Only failures are reported as failures.",
        }
    }
}
