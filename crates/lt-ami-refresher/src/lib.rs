//! lt-ami-refresher: puts the newest backup image of an instance into a launch template, so that new instances start from it.
//!
//! A run has four steps:
//!
//! 1. It finds the newest image that AWS Backup made of the instance, or one that a tag or an SSM parameter names.
//! 2. It creates a version of the launch template with this image and all other settings of the source version, unless
//!    instances could not launch from it.
//! 3. It makes this version the default.
//! 4. It deletes old versions and refreshes the groups that run other versions, if variables ask for it.
//!
//! This module is a run from the payload to the answer. `order` reads the payload; `images`, `template`, `lookup` and
//! `asgs` make the AWS calls; `plan` and `preflight` decide; `settings` knows what a version says.
//!
//! A run makes three calls if the template is up to date, and six if it creates a version. It makes one more call for each of
//! these: an image's event started it; the image comes from an SSM parameter; the new version names an instance type; it has
//! security groups; the source names them; they are of several VPCs; `KEEP_VERSIONS` is set, and again if a version could go;
//! 200 versions to delete; an instance refresh; a further page of a list.
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
mod lookup;
pub mod order;
mod outcome;
pub mod plan;
pub mod preflight;
pub mod settings;
pub mod template;

use std::collections::BTreeSet;

use aws_types::SdkConfig;
use lambda_kit::calls::CountCalls;
use lambda_kit::error::cut;
use lambda_kit::runtime::with_timeouts_and_retries;
use lambda_kit::{Answer, Error, Function, Invocation, Outcome, Output, Payload, Received};
use serde_json::{Map, Value, json};
use tracing::{debug, warn};

pub use config::{Config, NAME};

use asgs::{Asgs, Template, Use};
use config::{ImageSource, Source};
use error::Refusal;
use images::{EventImage, Image, Images};
use lookup::Lookup;
use order::{Order, Request};
use plan::Wanted;
use template::{Creation, Found, Templates};

/// The function's state, which lives as long as the process.
#[derive(Debug)]
pub struct Context {
    config: Config,
    images: Images,
    templates: Templates,
    lookup: Lookup,
    asgs: Asgs,
}

/// The result for the launch template.
struct Done {
    outcome: Outcome,
    /// The number of the default version; of one that a dry run only thinks of, the number that it would get.
    default: i64,
    latest: i64,
    /// What differs from the default version before the run.
    difference: Map<String, Value>,
    /// The versions that had to go first.
    deleted: Vec<i64>,
}

/// What an operator should know although the run went well. Each is logged when it is found, and in the answer.
#[derive(Debug, Default)]
struct Warnings(Vec<String>);

impl Warnings {
    fn add(&mut self, template: &str, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            warn!(launch_template.id = template, "{text}");
            self.0.push(text);
        }
    }
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
        let ssm = aws_sdk_ssm::config::Builder::from(sdk).interceptor(CountCalls).build();
        Self {
            images: Images::new(ec2.clone(), aws_sdk_ssm::Client::from_conf(ssm)),
            lookup: Lookup::new(ec2.clone()),
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
        let names_image = matches!(order.settings.image_source, ImageSource::Parameter(_));
        let known = match &order.announced {
            Some(announced) if !names_image => {
                match self.images.announced(announced, &order, invocation).await? {
                    EventImage::Wanted(image) => Some(*image),
                    EventImage::Other(why) => {
                        return Ok(Answer::ignored(&why).with("image.id", announced.id.as_str()));
                    }
                }
            }
            _ => None,
        };
        let (image, doubts) = self.images.newest(&order, known, invocation).await?;
        if let Some(announced) = order.announced.as_ref().filter(|one| names_image && one.id != image.id) {
            let why = format!("{} names {}", order.settings.image_source, image.id);
            return Ok(Answer::ignored(&why).with("image.id", announced.id.as_str()));
        }
        images::check_age(&image, order.settings.max_age, invocation.now())?;
        let found = self.templates.find(&order.template, order.settings.source).await?;
        let mut warnings = Warnings::default();
        warnings.add(&found.id, doubts);

        // Carry out: the version first, then what depends on it.
        let done = self.refresh_template(&order, &image, &found, &mut warnings, invocation).await?;
        let template =
            Template { id: found.id, name: found.name, default: done.default, latest: done.latest };
        let tidied = self.tidy_up(&order, &template, done.deleted, &mut warnings).await?;

        // Report.
        let changed = done.difference.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let reason = match changed.as_str() {
            "" => "nothing to change".to_owned(),
            changed => cut(&format!("changes {changed}")),
        };
        let answer = Answer { fields: tidied, ..Answer::new(done.outcome) };
        let answer = answer.with("launch_template.id", template.id);
        let answer = answer.with("launch_template.version", done.default).with("image.id", image.id.as_str());
        let answer = answer.with("reason", reason);
        Ok(match order.dry_run {
            true => answer.with("dryRun", true).with("difference", done.difference),
            false => answer,
        })
    }

    /// Makes the wanted version the default, unless it already is.
    async fn refresh_template(
        &self,
        order: &Order,
        image: &Image,
        found: &Found,
        warnings: &mut Warnings,
        invocation: &Invocation,
    ) -> Result<Done, Error> {
        let mut security_groups = order.settings.security_groups.clone();
        let names = plan::named_security_groups(&found.source, security_groups.as_deref());
        if !names.is_empty() {
            let mut ids = self.lookup.ids_of(names).await?;
            ids.sort_unstable();
            ids.dedup();
            security_groups = Some(ids);
        }
        let wanted = plan::wanted(&found.source, image, security_groups.as_deref());
        let wanted = wanted.map_err(|why| Refusal::UnusableTemplate(vec![why]))?;
        let (outcome, difference, deleted) = (outcome::UP_TO_DATE, Map::new(), Vec::new());
        let (default, latest) = (found.default.number, found.latest);
        if plan::is_current(&found.default, &wanted) {
            return Ok(Done { outcome, default, latest, difference, deleted });
        }

        let doubts = self.preflight(&wanted, image, order.settings.security_groups.as_deref()).await?;
        warnings.add(&found.id, doubts);
        let versions = self.templates.with_image(&found.id, image).await?;
        let existing = plan::find(&versions, &wanted).map(|version| version.number);
        let lost = plan::lost(&found.source, &wanted);
        if existing.is_none() && !lost.is_empty() {
            return Err(Refusal::UnusableTemplate(vec![format!(
                "version {} has settings that this build does not know and that the new version would lose: {}; \
                 update the function",
                found.source.number,
                lost.join(", ")
            )])
            .into());
        }
        let difference = found.default.settings.difference(&wanted.settings);
        let (default, deleted) = match existing {
            Some(number) if order.dry_run => (number, deleted),
            Some(number) => {
                self.templates.make_default(&found.id, number).await?;
                (number, deleted)
            }
            None if order.dry_run => (found.latest + 1, deleted),
            None => self.create(order, found, &wanted, warnings, invocation).await?,
        };
        let latest = found.latest.max(default);
        Ok(Done { outcome: outcome::VERSION_CREATED, default, latest, difference, deleted })
    }

    /// Creates the wanted version and makes it the default. Where the template is full, old versions go first. Returns the
    /// numbers of the version and of those.
    async fn create(
        &self,
        order: &Order,
        found: &Found,
        wanted: &Wanted,
        warnings: &mut Warnings,
        invocation: &Invocation,
    ) -> Result<(i64, Vec<i64>), Error> {
        let mut deleted = Vec::new();
        loop {
            match self.templates.create(&found.id, wanted, invocation).await? {
                Creation::Version(number, doubts) => {
                    warnings.add(&found.id, doubts);
                    return Ok((number, deleted));
                }
                Creation::Full(error) => {
                    let (Some(keep), true) = (order.settings.keep, deleted.is_empty()) else {
                        return Err(error);
                    };
                    let (id, name) = (found.id.clone(), found.name.clone());
                    let template = Template { id, name, default: found.default.number, latest: found.latest };
                    let asgs = self.asgs.using(&template).await?;
                    let uses: Vec<Use<'_>> = asgs.iter().filter_map(|asg| Use::of(asg, &template)).collect();
                    deleted = self.prune(order, keep, &template, &uses).await?;
                    if deleted.is_empty() {
                        // The new version will be one of those to keep.
                        deleted = self.prune(order, keep - 1, &template, &uses).await?;
                    }
                    if deleted.is_empty() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Refuses a version that could launch no instance. Returns the doubts that remain.
    async fn preflight(
        &self,
        wanted: &Wanted,
        image: &Image,
        security_groups: Option<&[String]>,
    ) -> Result<Vec<String>, Error> {
        let kind = match wanted.data.instance_type() {
            Some(kind) => self.lookup.kind(kind.as_str()).await?,
            None => None,
        };
        let mut reasons = preflight::check(&wanted.data, image, kind.as_ref());
        let mut doubts = preflight::doubts(&wanted.data, image, kind.as_ref(), security_groups);
        let ids = preflight::security_groups(&wanted.data);
        if !ids.is_empty() {
            let found = self.lookup.security_groups(&ids).await?;
            reasons.extend(preflight::check_security_groups(&ids, &found));
            if preflight::are_apart(&found) {
                let further = self.lookup.further_vpcs(found.keys()).await;
                match preflight::check_vpcs(&found, further.as_ref()) {
                    Ok(doubt) => doubts.push(doubt),
                    Err(reason) => reasons.push(reason),
                }
            }
        }
        if reasons.is_empty() { Ok(doubts) } else { Err(Refusal::UnusableTemplate(reasons).into()) }
    }

    /// Deletes old versions and refreshes groups, unless it is a dry run. Returns the fields for the answer. A failure is
    /// retried with the event, or in the next run.
    async fn tidy_up(
        &self,
        order: &Order,
        template: &Template,
        mut deleted: Vec<i64>,
        warnings: &mut Warnings,
    ) -> Result<Map<String, Value>, Error> {
        let settings = &order.settings;
        let asgs = match self.asgs.using(template).await {
            Ok(asgs) => asgs,
            Err(error) if settings.keep.is_none() && !settings.refresh => {
                let why = format!("can't read which groups use the new version: {}", error.chain());
                warnings.add(&template.id, [why]);
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let uses: Vec<Use<'_>> = asgs.iter().filter_map(|asg| Use::of(asg, template)).collect();
        warnings.add(&template.id, uses.iter().flat_map(Use::warnings));
        let mut refreshed = Ok(Vec::new());
        if !order.dry_run {
            let pruned = match settings.keep {
                Some(keep) => self.prune(order, keep, template, &uses).await,
                None => Ok(Vec::new()),
            };
            refreshed = self.start_refreshes(settings.refresh, &uses).await;
            deleted.extend(pruned?);
        }

        let mut fields = Map::new();
        for (name, values) in [
            ("warnings", json!(warnings.0)),
            ("versions_deleted", json!(deleted)),
            ("refreshes_started", json!(refreshed?)),
        ] {
            if values != json!([]) {
                fields.insert(name.to_owned(), values);
            }
        }
        Ok(fields)
    }

    /// Deletes old versions that nobody needs: no group, no instance, and no run as a source. Returns their numbers.
    async fn prune(
        &self,
        order: &Order,
        keep: usize,
        template: &Template,
        uses: &[Use<'_>],
    ) -> Result<Vec<i64>, Error> {
        let versions = self.templates.numbers(&template.id).await?;
        let mut needed: BTreeSet<i64> = uses.iter().flat_map(Use::numbers).collect();
        // The payload may name another source than the runs without one.
        for source in [order.settings.source, self.config.settings.source] {
            needed.extend(if let Source::Number(number) = source { Some(number) } else { None });
        }
        let superfluous =
            |needed: &BTreeSet<i64>| plan::superfluous(&versions, keep, template.default, needed);
        if superfluous(&needed).is_empty() {
            return Ok(Vec::new());
        }
        needed.extend(self.lookup.versions_in_use(&template.id).await?);
        self.templates.delete(&template.id, &superfluous(&needed)).await
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
