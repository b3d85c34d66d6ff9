//! lt-ami-refresher: puts the newest backup image of an instance into a launch template, so that new instances start from it.
//!
//! A run has four steps:
//!
//! 1. It finds the newest image that AWS Backup made of the instance.
//! 2. It creates a version of the launch template with this image and all other settings of the source version, unless
//!    instances could not launch from it.
//! 3. It makes this version the default.
//! 4. It deletes old versions and refreshes the groups that run other versions, if variables ask for it.
//!
//! This module is a run from the payload to the answer. `order` reads the payload, `images`, `template` and `groups` make the
//! AWS calls, `plan` and `preflight` decide.
//!
//! A run makes three calls if the template is up to date, and six if it creates a version. It makes one more call for each of
//! these: an image's event started it; the new version has security groups; the source names them; `KEEP_VERSIONS` is set; 200
//! versions to delete; an instance refresh; a further page of a list.
//!
//! ```
//! use lambda_kit::Configuration;
//! use lt_ami_refresher::Config;
//! use lt_ami_refresher::config::{EC2_INSTANCE_NAME, KEEP_VERSIONS, LAUNCH_TEMPLATE_NAME};
//!
//! let variables = [(EC2_INSTANCE_NAME, "web"), (LAUNCH_TEMPLATE_NAME, "web"), (KEEP_VERSIONS, "5")];
//! assert!(Config::parse(&variables.into_iter().collect()).is_ok());
//!
//! // A bad value stops the function at its start, and the error names the variable.
//! let error = Config::parse(&[(KEEP_VERSIONS, "some")].into_iter().collect()).unwrap_err();
//! assert!(error.to_string().starts_with("KEEP_VERSIONS: "));
//! ```

pub mod asgs;
pub mod config;
pub mod copy;
pub mod error;
pub mod images;
pub mod order;
mod outcome;
pub mod plan;
pub mod preflight;
pub mod template;

use aws_types::SdkConfig;
use lambda_kit::calls::CountCalls;
use lambda_kit::runtime::with_timeouts_and_retries;
use lambda_kit::{Answer, Error, Function, Invocation, Outcome, Output, Payload, Received};
use serde_json::{Map, Value, json};
use tracing::{debug, warn};

pub use config::{Config, NAME};

use asgs::{Asgs, Template, Use};
use error::Refusal;
use images::{EventImage, Image, Images};
use order::{Order, Request};
use plan::Wanted;
use template::{Found, Templates};

/// The function's state, which lives as long as the process.
#[derive(Debug)]
pub struct Context {
    config: Config,
    images: Images,
    templates: Templates,
    asgs: Asgs,
}

/// The result for the launch template.
struct Done {
    outcome: Outcome,
    /// The number of the default version.
    default: i64,
    latest: i64,
}

impl Function for Context {
    const NAME: &'static str = NAME;
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;
    type Message = Request;

    fn new(config: Config, sdk: &SdkConfig, _: Output) -> Self {
        let sdk = &with_timeouts_and_retries(sdk);
        let ec2 = aws_sdk_ec2::config::Builder::from(sdk).interceptor(CountCalls).build();
        let ec2 = aws_sdk_ec2::Client::from_conf(ec2);
        let autoscaling = aws_sdk_autoscaling::config::Builder::from(sdk).interceptor(CountCalls).build();
        Self {
            images: Images::new(ec2.clone()),
            templates: Templates::new(ec2),
            asgs: Asgs::new(aws_sdk_autoscaling::Client::from_conf(autoscaling)),
            config,
        }
    }

    fn read(&self, payload: Value) -> Result<Payload<Request>, Error> {
        Ok(Payload::One(Received::new(payload, |payload| Request::read(payload, &self.config))))
    }

    async fn handle(&self, request: Request, invocation: &Invocation) -> Result<Answer, Error> {
        // Boxed because launch template data is large, and each future around it would hold another copy.
        Box::pin(self.run(request, invocation)).await
    }
}

impl Context {
    async fn run(&self, request: Request, invocation: &Invocation) -> Result<Answer, Error> {
        // Accept.
        let order = match request {
            Request::Run(order) => order,
            Request::Ignore(why) => return Ok(Answer::ignored(&why)),
        };
        debug!("accepted: {order}");

        // Observe: the newest image and the template.
        let known = match &order.announced {
            None => None,
            Some(announced) => match self.images.announced(announced, &order, invocation).await? {
                EventImage::Wanted(image) => Some(image),
                EventImage::Other(why) => {
                    return Ok(Answer::ignored(&why).with("image.id", announced.id.as_str()));
                }
            },
        };
        let image = self.images.newest(&order, known, invocation).await?;
        images::check_age(&image, order.settings.max_age, invocation.now())?;
        let found = self.templates.find(&order.template, order.settings.source).await?;

        // Carry out: the version first, then what depends on it.
        let done = self.refresh_template(&order, &image, &found, invocation).await?;
        let template =
            Template { id: found.id, name: found.name, default: done.default, latest: done.latest };
        let tidied = self.tidy_up(&order, &template).await?;

        // Report.
        let reason = format!("version {} of {} has {} ({})", done.default, template.id, image.id, image.name);
        let answer = Answer { fields: tidied, ..Answer::new(done.outcome) };
        let answer = answer.with("launch_template.id", template.id);
        let answer = answer.with("launch_template.version", done.default).with("image.id", image.id.as_str());
        Ok(answer.with("image.created", image.time()).with("reason", reason))
    }

    /// Makes the wanted version the default, unless it already is.
    async fn refresh_template(
        &self,
        order: &Order,
        image: &Image,
        found: &Found,
        invocation: &Invocation,
    ) -> Result<Done, Error> {
        let unusable = |why| -> Error { Refusal::UnusableTemplate(vec![why]).into() };
        let mut security_groups = order.settings.security_groups.clone();
        let names = plan::named_security_groups(&found.source, security_groups.as_deref());
        if !names.is_empty() {
            let mut ids = self.templates.ids_of(names).await?;
            ids.sort_unstable();
            ids.dedup();
            security_groups = Some(ids);
        }
        let wanted = plan::wanted(&found.source, image, security_groups.as_deref()).map_err(unusable)?;
        if plan::is_current(&found.default, &wanted) {
            let default = found.default.number;
            return Ok(Done { outcome: outcome::UP_TO_DATE, default, latest: found.latest });
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
        Ok(Done { outcome: outcome::VERSION_CREATED, default, latest: found.latest.max(default) })
    }

    /// Refuses a version that could launch no instance.
    async fn preflight(&self, wanted: &Wanted, image: &Image) -> Result<(), Error> {
        let mut reasons = preflight::check(&wanted.data, image);
        let ids = preflight::security_groups(&wanted.data);
        if !ids.is_empty() {
            let found = self.templates.security_groups(&ids).await?;
            reasons.extend(preflight::check_security_groups(&ids, &found));
        }
        if !reasons.is_empty() {
            return Err(Refusal::UnusableTemplate(reasons).into());
        }
        for doubt in preflight::doubts(&wanted.data, image) {
            warn!(image.id = image.id, "{doubt}");
        }
        Ok(())
    }

    /// Deletes old versions and refreshes groups. Returns the fields for the answer. A failure is retried with the
    /// event, or in the next run.
    async fn tidy_up(&self, order: &Order, template: &Template) -> Result<Map<String, Value>, Error> {
        let settings = &order.settings;
        let asgs = match self.asgs.using(template).await {
            Ok(asgs) => asgs,
            Err(error) if settings.keep.is_none() && !settings.refresh => {
                warn!(
                    launch_template.id = template.id,
                    "can't read which groups use the new version: {}",
                    error.chain()
                );
                return Ok(Map::new());
            }
            Err(error) => return Err(error),
        };
        let uses: Vec<Use<'_>> = asgs.iter().filter_map(|asg| Use::of(asg, template)).collect();
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

    /// Deletes old versions. Returns their numbers.
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

    /// Starts the instance refreshes that are due. Returns the groups. A failure does not stop the others.
    async fn start_refreshes(&self, refresh: bool, uses: &[Use<'_>]) -> Result<Vec<String>, Error> {
        let mut started = Vec::new();
        let mut failure = None;
        for one in uses.iter().filter(|one| refresh && !one.outdated().is_empty()) {
            match self.asgs.refresh(one.name()).await {
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
