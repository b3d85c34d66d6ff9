//! Invokes one function with one event: the built binary as in Lambda, with the lab as AWS, in a scene that fits the
//! event. Shows the function's logs and calls as they come, then the answer.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use std::{env, fs};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, SecondsFormat, Utc};
use fleet::runtime::SEED;
use lifecycle_lab::{Code, Function, Lab, Moment, What};
use serde_json::Value;

use crate::scenes::{self, Scene};

/// Longer than any of these functions may run, so that a slow one shows where it hangs.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(60);

/// After the answer, until the last lines of the function's logs have come through their pipes.
const LAST_LINES: Duration = Duration::from_millis(200);

/// Invokes the binary that lies beside this one with the event in a file, in a scene of its own. A payload that
/// names an instance, a token or a time gets those of the scene. Fails if the function answers with an error.
///
/// # Errors
/// There is no such binary, event or scene.
pub(crate) async fn invoke(function: &str, event: &Path, variables: &[String]) -> anyhow::Result<ExitCode> {
    let binary = env::current_exe()?.with_file_name(function);
    ensure!(binary.is_file(), "there is no {}: cargo build -p {function}", binary.display());
    let text = fs::read_to_string(event).with_context(|| format!("no event {}", event.display()))?;
    let sample: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", event.display()))?;

    #[expect(clippy::disallowed_methods, reason = "the process goes by this clock")]
    let now: DateTime<Utc> = SystemTime::now().into();
    let lab = Lab::new(now - scenes::PROLOGUE, SEED);
    let scene = scenes::set(&lab, function, &sample).await?;
    let payload = as_of(&sample, &scene, now)?;

    let mut all = scene.variables.clone();
    for variable in variables {
        let (name, value) = variable.split_once('=').with_context(|| format!("{variable}: NAME=VALUE"))?;
        all.insert(name.to_owned(), value.to_owned());
    }
    anstream::println!("scene     {}", scene.description);
    print_state("before", &lab, &scene);
    for (name, value) in &all {
        anstream::println!("variable  {name}={value}");
    }
    lab.add_function(Function {
        name: function.to_owned(),
        code: Code::Binary { path: binary, variables: all },
        time_limit: FUNCTION_TIMEOUT,
    });

    let mut moments = lab.observe();
    tokio::spawn(async move {
        while let Some(moment) = moments.recv().await {
            show(&moment);
        }
    });
    let result = lab.invoke(function, payload, 1).await;
    tokio::time::sleep(LAST_LINES).await;
    print_state("after", &lab, &scene);
    let code = if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let answer = result.or_else(serde_json::to_value)?;
    anstream::println!("\n{answer:#}");
    Ok(code)
}

/// The sample as an event about what is in the scene, sent just now.
fn as_of(sample: &Value, scene: &Scene, now: DateTime<Utc>) -> anyhow::Result<Value> {
    let mut names = scene.names.clone();
    for key in ["time", "Time"] {
        let sent = now.to_rfc3339_opts(SecondsFormat::Millis, true);
        names.extend(scenes::text(sample, key).map(|found| (found, sent)));
    }
    let text = names.iter().fold(sample.to_string(), |text, (found, name)| text.replace(found, name));
    Ok(serde_json::from_str(&text)?)
}

fn print_state(when: &str, lab: &Lab, scene: &Scene) {
    for line in lab.world(|world| scene.about.state(world)) {
        anstream::println!("{when:9} {line}");
    }
}

fn show(moment: &Moment) {
    match &moment.what {
        What::Logged { line, .. } => anstream::println!("log       {}", line.trim_start()),
        What::Called(call) => {
            anstream::println!("call      {}:{} => {}", call.service, call.action, call.outcome);
        }
        _ => {}
    }
}
