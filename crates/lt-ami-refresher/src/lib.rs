//! lt-ami-refresher: scale-out always starts from the newest backup. It finds the newest image that AWS Backup
//! made of an instance, makes a version of the launch template with it that says everything else as before, and
//! then the default of that version; but not if instances could not be launched from it. Then it looks after
//! the template: old versions go, and groups that run other versions are refreshed.
//!
//! This module is a run from the payload to the answer: `order` reads the payload, `images`, `template` and
//! `groups` make the AWS calls, `plan` and `preflight` decide.
//!
//! A run makes three calls where the template is up to date, and six where it makes a version. It makes one more
//! where an image's event woke it, where the new version has security groups, where the source names them instead,
//! and where `KEEP_VERSIONS` is set; and one for each 200 versions that go and for each instance refresh. Long lists
//! take more calls, one for each page.

pub mod config;
pub mod copy;
pub mod groups;
pub mod images;
pub mod order;
pub mod plan;
pub mod preflight;
mod template;

use std::io;

use aws_types::SdkConfig;
use lifecycle_core::dispatch::{About, conclude};
use lifecycle_core::event;
use lifecycle_core::runtime::tuned;
use lifecycle_core::{Answer, Error, Invocation, Outcome, Output};
use serde_json::{Map, Value, json};
use tracing::{info, warn};

pub use config::Config;

use groups::{Groups, Template, Use};
use images::{Image, Images, News};
use order::{Order, Request};
use plan::Wanted;
use template::{Found, Templates};

/// The function's name, as crate, binary and template carry it.
pub const NAME: &str = "lt-ami-refresher";

/// What lives as long as the process: the configuration, the clients, standard output.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where metrics go.
    pub output: Output,
    config: Config,
    images: Images,
    templates: Templates,
    groups: Groups,
}

/// What became of the launch template.
struct Done {
    outcome: Outcome,
    /// The version that is the default now.
    default: i64,
    latest: i64,
}

impl Context {
    /// A context that writes to standard output and speaks to AWS as `sdk` says.
    ///
    /// # Errors
    /// Standard output could not be opened.
    pub fn new(config: Config, sdk: &SdkConfig) -> io::Result<Self> {
        let sdk = &tuned(sdk);
        let ec2 = aws_sdk_ec2::Client::new(sdk);
        Ok(Self {
            output: Output::stdout()?,
            images: Images::new(ec2.clone()),
            templates: Templates::new(ec2),
            groups: Groups::new(aws_sdk_autoscaling::Client::new(sdk)),
            config,
        })
    }

    /// Handles whatever Lambda delivers: a scheduled event, a payload of ours, the news of an image.
    ///
    /// # Errors
    /// What Lambda should run again, or keep: see [`Error`].
    pub async fn invoke(&self, payload: Value, invocation: &Invocation) -> Result<Value, Error> {
        // Boxed: what launch templates say is large, and each future around it would hold it again.
        let handle = |request| Box::pin(self.handle(request, invocation));
        let about = About { wait: None, time: event::time(&payload) };
        let work = Request::read(payload, &self.config).map(handle);
        let function = &self.config.function;
        Ok(json!(conclude(function, about, work, invocation, &self.output).await?))
    }

    async fn handle(&self, request: Request, invocation: &Invocation) -> Result<Answer, Error> {
        // Accept.
        let order = match request {
            Request::Run(order) => order,
            Request::Ignore(why) => return Ok(Answer::ignored(&why)),
        };
        info!("accepted: {order}");

        // Prepare: the newest image, and the template as it is.
        let known = match &order.announced {
            None => None,
            Some(announced) => match self.images.announced(announced, &order, invocation).await? {
                News::Wanted(image) => Some(image),
                News::Other(why) => return Ok(Answer::ignored(&why).with("image.id", announced.id.as_str())),
            },
        };
        let image = self.images.newest(&order, known, invocation).await?;
        images::check_age(&image, order.settings.max_age, invocation.now())?;
        let found = self.templates.find(&order.template, order.settings.source).await?;

        // Act: the version first, then what depends on it.
        let done = self.refresh_template(&order, &image, &found, invocation).await?;
        let template =
            Template { id: found.id, name: found.name, default: done.default, latest: done.latest };
        let tidied = self.look_after(&order, &template).await?;

        // Report.
        let reason = format!("version {} of {} has {} ({})", done.default, template.id, image.id, image.name);
        let answer = Answer { outcome: done.outcome, fields: tidied };
        let answer = answer.with("launch_template.id", template.id);
        let answer = answer.with("launch_template.version", done.default).with("image.id", image.id.as_str());
        Ok(answer.with("image.created", image.time()).with("reason", reason))
    }

    /// Makes the version that is wanted the default, unless it is.
    async fn refresh_template(
        &self,
        order: &Order,
        image: &Image,
        found: &Found,
        invocation: &Invocation,
    ) -> Result<Done, Error> {
        let unusable = |why| Error::UnusableTemplate(vec![why]);
        let mut groups = order.settings.groups.clone();
        let names = plan::named_groups(&found.source, groups.as_deref());
        if !names.is_empty() {
            let mut ids = self.templates.ids_of(names).await?;
            ids.sort_unstable();
            ids.dedup();
            groups = Some(ids);
        }
        let wanted = plan::wanted(&found.source, image, groups.as_deref()).map_err(unusable)?;
        if plan::is_current(&found.default, &wanted) {
            let default = found.default.number;
            return Ok(Done { outcome: Outcome::UpToDate, default, latest: found.latest });
        }

        self.preflight(&wanted, image).await?;
        let versions = self.templates.with_image(&found.id, image).await?;
        let default = match plan::find(&versions, &wanted) {
            Some(version) => {
                self.templates.make_default(&found.id, version.number).await?;
                version.number
            }
            None => self.templates.create(&found.id, &wanted, invocation).await?,
        };
        Ok(Done { outcome: Outcome::VersionCreated, default, latest: found.latest.max(default) })
    }

    /// Refuses a version from which no instance could be launched.
    async fn preflight(&self, wanted: &Wanted, image: &Image) -> Result<(), Error> {
        let mut reasons = preflight::check(&wanted.data, image);
        let groups = preflight::groups(&wanted.data);
        if !groups.is_empty() {
            reasons.extend(preflight::check_groups(&groups, &self.templates.groups(&groups).await?));
        }
        if !reasons.is_empty() {
            return Err(Error::UnusableTemplate(reasons));
        }
        for doubt in preflight::doubts(&wanted.data, image) {
            warn!(image.id = image.id, "{doubt}");
        }
        Ok(())
    }

    /// Looks after everything around the template; answers what it found and did. What fails is tried again
    /// with the next run of the event, or by the next run at all: none of it is lost.
    async fn look_after(&self, order: &Order, template: &Template) -> Result<Map<String, Value>, Error> {
        let settings = &order.settings;
        let groups = match self.groups.using(template).await {
            Ok(groups) => groups,
            Err(error) if settings.keep.is_none() && !settings.refresh => {
                warn!(
                    launch_template.id = template.id,
                    "can't tell whether groups use the new version: {}",
                    error.chain()
                );
                return Ok(Map::new());
            }
            Err(error) => return Err(error),
        };
        let uses: Vec<Use<'_>> = groups.iter().filter_map(|group| Use::of(group, template)).collect();
        let warnings: Vec<String> = uses.iter().flat_map(Use::warnings).collect();
        for warning in &warnings {
            warn!(launch_template.id = template.id, "{warning}");
        }
        let deleted = self.prune(settings.keep, template, &uses).await;
        let refreshed = self.start_refreshes(settings.refresh, &uses).await;

        let mut fields = Map::new();
        for (name, values) in [
            ("warnings", json!(warnings)),
            ("versions_deleted", json!(deleted?)),
            ("refreshes_started", json!(refreshed?)),
        ] {
            if values != json!([]) {
                fields.insert(name.to_owned(), values);
            }
        }
        Ok(fields)
    }

    /// Deletes old versions; answers which.
    async fn prune(
        &self,
        keep: Option<usize>,
        template: &Template,
        uses: &[Use<'_>],
    ) -> Result<Vec<i64>, Error> {
        let Some(keep) = keep else {
            return Ok(Vec::new());
        };
        let versions = self.templates.numbers(&template.id).await?;
        let named = uses.iter().flat_map(Use::numbers).collect();
        let superfluous = plan::superfluous(&versions, keep, template.default, &named);
        self.templates.delete(&template.id, &superfluous).await
    }

    /// Starts instance refreshes where they are due; answers the groups. One that fails does not stop the others.
    async fn start_refreshes(&self, refresh: bool, uses: &[Use<'_>]) -> Result<Vec<String>, Error> {
        let mut started = Vec::new();
        let mut failure = None;
        for one in uses.iter().filter(|one| refresh && !one.outdated().is_empty()) {
            match self.groups.refresh(one.name()).await {
                Ok(true) => started.push(one.name().to_owned()),
                Ok(false) => {}
                Err(error) => {
                    warn!(asg.name = one.name(), "{}: no instance refresh: {}", one.name(), error.chain());
                    failure = failure.or(Some(error));
                }
            }
        }
        failure.map_or(Ok(started), Err)
    }
}
