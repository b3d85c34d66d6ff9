//! Answers a call: applies its fault, runs its action on AWS's state, and writes the answer in the caller's protocol.

use std::time::Duration;

use super::call::{Call, Caller, OPERATOR, Outcome};
use super::faults::CallFault;
use super::lab::Lab;
use crate::aws::error::ApiError;
use crate::aws::services;
use crate::wire::{HttpAnswer, HttpRequest};

/// Shortest latency of a call. Each call takes up to twice as long. A setting of the lab, close to the
/// latency of these services.
const LATENCY: Duration = Duration::from_millis(30);

/// The end of a call, as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// An answer.
    Answer(HttpAnswer),
    /// The connection was cut.
    Cut,
    /// AWS never answers.
    Silence,
}

impl Lab {
    /// Plays one HTTP request to an AWS service.
    pub(super) async fn answer(&self, caller: Caller, http: &HttpRequest) -> Reply {
        let request = http.request();
        let Some(service) = http.service() else {
            let error = ApiError {
                status: 403,
                code: "MissingAuthenticationToken",
                message: "The request is not signed, so lifecycle-lab can't tell which service it is for"
                    .to_owned(),
            };
            return Reply::Answer(http.answer(&request.action, &Err(error), String::new()));
        };
        let nth = self.count_call(&caller.name);
        let (fault, slowness) = {
            let mut faults = self.faults();
            let function = (caller.name != OPERATOR).then_some(caller.name.as_str());
            (faults.of_call(function, nth, &request.action), faults.share())
        };
        let list = request.action.starts_with("List") || request.action.starts_with("Describe");
        let longer = if list { self.world(|world| world.delays.page) } else { Duration::ZERO };
        tokio::time::sleep(LATENCY.mul_f64(1.0 + slowness) + longer).await;

        let end = |outcome: Outcome| {
            self.record(Call {
                caller: caller.name.clone(),
                method: request.method.clone(),
                service: service.to_owned(),
                action: request.action.clone(),
                parameters: request.lines.clone(),
                outcome,
            });
        };
        let kill = || match &caller.kill {
            Some(kill) => {
                kill.notify_one();
                Reply::Silence
            }
            // The caller is not a run, so it cannot be killed.
            None => Reply::Cut,
        };
        match fault {
            Some(CallFault::Hang) => {
                end(Outcome::NoAnswer);
                return Reply::Silence;
            }
            Some(CallFault::CutBefore) => {
                end(Outcome::CutBefore);
                return Reply::Cut;
            }
            Some(CallFault::KillBefore) => {
                end(Outcome::KilledBefore);
                return kill();
            }
            _ => {}
        }
        // Tags in the call need the permission to tag (recorded).
        let tags = request.action == "CreateImage"
            && request.lines.iter().any(|line| line.starts_with("TagSpecification"))
            && self.faults().is_denied("CreateTags");
        let refused = fault.map(|fault| (fault, request.action.as_str()));
        let refused = refused.or(tags.then_some((CallFault::AccessDenied, "CreateTags")));
        let refusal = refused.and_then(|(fault, action)| fault.answer(&caller.name, service, action));
        let played = match refusal {
            Some(error) => Err(error),
            None => self.world(|world| services::call(world, service, &request)),
        };
        let verdict = played.as_ref().map(drop).map_err(|error| error.code);
        match fault {
            Some(CallFault::CutAfter) => {
                end(Outcome::AnswerLost(verdict));
                Reply::Cut
            }
            Some(CallFault::KillAfter) => {
                end(Outcome::KilledAfter(verdict));
                kill()
            }
            _ => {
                end(Outcome::Answered(verdict));
                Reply::Answer(http.answer(&request.action, &played, format!("{}-{nth}", caller.name)))
            }
        }
    }
}
