//! Images: their state, how they are made and deleted, and their events. Some come from `CreateImage`, others, such
//! as a backup's or another account's, from [`World::add_image`].

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::snapshots::{SIZE, Snapshot};
use super::{Ec2, InstanceState, Tags, Timer, instances, not_found, well_formed, whole_second};
use crate::aws::error::ApiError;
use crate::aws::world::{ACCOUNT, Effect, REGION, Sight, World};

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id. [`World::add_image`] gives one to an image that has none.
    pub id: String,
    /// Its name, unique in its owner's account.
    pub name: String,
    /// Its owner's account. An image of another account is here because it is public or shared with this
    /// one.
    pub owner: String,
    /// What AWS calls the owner, for example `aws-backup-vault`.
    pub owner_alias: Option<String>,
    /// Its description.
    pub description: String,
    /// Its state.
    pub state: ImageState,
    /// Why it failed.
    pub failure: Option<String>,
    /// When it was created, to the second.
    pub created: DateTime<Utc>,
    /// Its tags. Of another account's image AWS shows those that this account gave it, never the owner's (recorded).
    pub tags: Tags,
    /// `x86_64`, `arm64` …
    pub architecture: String,
    /// `hvm` or `paravirtual`.
    pub virtualization_type: String,
    /// `ebs` or `instance-store`.
    pub root_device_type: String,
    /// Whether it supports enhanced networking with ENA, if it says so.
    pub ena_support: Option<bool>,
    /// `legacy-bios`, `uefi` or `uefi-preferred`, if it demands one.
    pub boot_mode: Option<String>,
    /// Whether it is among the account's allowed images. EC2 says so while Allowed AMIs is in audit mode or enabled.
    pub allowed: Option<bool>,
    /// Its devices, the root device first.
    pub devices: Vec<Device>,
    /// Whether everybody can use it.
    pub public: bool,
    /// Whether its owner, another account, shares it with this one.
    pub shared: bool,
    /// From when on others than its owner see it only if they ask for deprecated ones.
    pub deprecated: Option<DateTime<Utc>>,
    /// The instance that it was made of, if `CreateImage` did it.
    pub source_instance: Option<String>,
    /// Whether `CreateImage` had `NoReboot`.
    pub no_reboot: Option<bool>,
}

/// A device of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name, for example `/dev/xvda`.
    pub name: String,
    /// The id of its snapshot. [`World::add_image`] makes one where there is none.
    pub snapshot: String,
    /// The size of the volume that the snapshot was taken of, in GiB.
    pub size: u32,
}

/// The state of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageState {
    /// It is being made.
    Pending,
    /// Instances can be launched from it.
    Available,
    /// It could not be made. It keeps its name until it is deregistered: AWS does not say so, nor the
    /// contrary.
    Failed,
    /// Nothing can be launched from it, and it keeps its name. A list shows it only to those who ask for disabled images.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/disable-an-ami.html>
    Disabled,
    /// It is no more. AWS still answers a request for it, with an empty list.
    Deregistered,
}

impl ImageState {
    /// As AWS spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Failed => "failed",
            Self::Disabled => "disabled",
            Self::Deregistered => "deregistered",
        }
    }
}

impl Image {
    /// An available image of this account with one device and nothing else.
    pub fn new(name: &str, created: DateTime<Utc>) -> Self {
        Self {
            id: String::new(),
            name: name.to_owned(),
            owner: ACCOUNT.to_owned(),
            owner_alias: None,
            description: String::new(),
            state: ImageState::Available,
            failure: None,
            created,
            tags: Tags::new(),
            architecture: "x86_64".to_owned(),
            virtualization_type: "hvm".to_owned(),
            root_device_type: "ebs".to_owned(),
            ena_support: Some(true),
            boot_mode: None,
            allowed: None,
            devices: vec![Device { name: "/dev/xvda".to_owned(), snapshot: String::new(), size: SIZE }],
            public: false,
            shared: true,
            deprecated: None,
            source_instance: None,
            no_reboot: None,
        }
    }

    /// Whether it belongs to this account.
    pub(super) fn is_own(&self) -> bool {
        self.owner == ACCOUNT
    }

    /// Whether this account may see and launch it.
    pub(super) fn is_usable(&self) -> bool {
        self.is_own() || self.public || self.shared
    }

    pub(super) fn is_registered(&self) -> bool {
        self.state != ImageState::Deregistered
    }

    /// When it was created, as AWS writes it in this place.
    pub(super) fn creation_date(&self) -> String {
        whole_second(self.created)
    }
}

/// How the images of an instance go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageScript {
    /// How long they are pending; [`Duration::MAX`] is for ever.
    pub pending: Duration,
    /// Why they fail then; `None` is success. What stands before a colon is the reason's code, if it begins with
    /// `Server.` or `Client.`, for example `Server.InternalError: the snapshot failed`.
    pub failure: Option<String>,
}

impl Ec2 {
    /// Lets images that are made of this instance from now on go like this. Without it they are pending for
    /// [`crate::aws::world::Delays::image`] and succeed.
    pub fn set_image_script(&mut self, instance: &str, script: ImageScript) {
        self.scripts.insert(instance.to_owned(), script);
    }

    /// Lets the next images whose names contain `text` go like these, one each, whatever their instance.
    pub fn script_images(&mut self, text: &str, scripts: impl IntoIterator<Item = ImageScript>) {
        self.next_scripts.extend(scripts.into_iter().map(|script| (text.to_owned(), script)));
    }

    /// How an image of this instance with this name will go, if something was set.
    fn script_for(&mut self, instance: &str, name: &str) -> Option<ImageScript> {
        let next = self.next_scripts.iter().position(|(text, _)| name.contains(text.as_str()));
        let next = next.map(|next| self.next_scripts.remove(next).1);
        next.or_else(|| self.scripts.get(instance).cloned())
    }

    /// How many images of this instance are being made.
    pub(super) fn pending_images(&self, instance: &str) -> usize {
        let of_instance = |image: &&Image| {
            image.state == ImageState::Pending && image.source_instance.as_deref() == Some(instance)
        };
        self.images.values().filter(of_instance).count()
    }

    /// Every image that there ever was, deregistered ones too, the oldest first: the truth, whatever the API
    /// shows yet.
    pub fn images(&self) -> Vec<&Image> {
        let mut images: Vec<_> = self.images.values().collect();
        images.sort_by_key(|image| image.created);
        images
    }

    /// The image of this id.
    pub fn image(&self, id: &str) -> Option<&Image> {
        self.images.get(id)
    }

    /// The registered image of this name in this account.
    pub fn image_named(&self, name: &str) -> Option<&Image> {
        self.images.values().find(|image| image.is_own() && image.is_registered() && image.name == name)
    }
}

/// What `CreateImage` was asked for, after it was found to be right.
pub(super) struct Order {
    pub(super) instance: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) no_reboot: bool,
    pub(super) image_tags: Tags,
    pub(super) snapshot_tags: Tags,
}

impl World {
    /// Adds an image as it is, for example a backup's or another account's; answers its id. No event tells of
    /// it.
    pub fn add_image(&mut self, mut image: Image) -> String {
        if image.id.is_empty() {
            image.id = self.id("ami");
        }
        for n in 0..image.devices.len() {
            if image.devices[n].snapshot.is_empty() {
                image.devices[n].snapshot = self.id("snap");
            }
            if !image.is_own() {
                continue;
            }
            let snapshot = Snapshot {
                id: image.devices[n].snapshot.clone(),
                volume: "vol-ffffffff".to_owned(),
                size: image.devices[n].size,
                state: "completed",
                started: image.created,
                tags: Tags::new(),
                description: format!("This snapshot is created for {}", image.id),
            };
            self.ec2.snapshots.entry(snapshot.id.clone()).or_insert(snapshot);
        }
        let id = image.id.clone();
        self.ec2.images.insert(id.clone(), image);
        id
    }

    /// Adds so many images like this one, numbered behind its name.
    pub fn add_images(&mut self, count: u32, image: &Image) {
        for n in 0..count {
            self.add_image(Image { id: String::new(), name: format!("{}-{n}", image.name), ..image.clone() });
        }
    }

    /// Begins an image; answers its id. The point in time that it shows is now, whatever becomes of the
    /// instance.
    pub(super) fn create_image(&mut self, order: Order) -> String {
        let Order { instance: source, name, description, no_reboot, image_tags, snapshot_tags } = order;
        let (id, now) = (self.id("ami"), self.now());
        let launch = self.ec2.instance(&source).map(|instance| instance.launch.clone()).unwrap_or_default();
        let mut devices = Vec::new();
        for (n, (device, size)) in self.ec2.devices_of(&launch).into_iter().enumerate() {
            let snapshot = Snapshot {
                id: self.id("snap"),
                volume: instances::volume(&source, n),
                size,
                state: "pending",
                started: now,
                tags: snapshot_tags.clone(),
                description: format!("Created by CreateImage({source}) for {id}"),
            };
            devices.push(Device { name: device, snapshot: snapshot.id.clone(), size });
            self.ec2.snapshots.insert(snapshot.id.clone(), snapshot);
        }
        let script = self.ec2.script_for(&source, &name);
        let script = script.unwrap_or(ImageScript { pending: self.delays.image, failure: None });
        let rebooted = self.ec2.instances.get_mut(&source);
        if let Some(instance) = rebooted.filter(|one| !no_reboot && one.state == InstanceState::Running) {
            instance.reboots += 1;
        }
        let image = Image {
            id: id.clone(),
            description,
            state: ImageState::Pending,
            tags: image_tags,
            devices,
            architecture: launch.architecture,
            virtualization_type: launch.virtualization_type,
            root_device_type: launch.root_device_type,
            source_instance: Some(source),
            no_reboot: Some(no_reboot),
            ..Image::new(&name, now)
        };
        self.ec2.images.insert(id.clone(), image);
        self.see_image(&id);
        let timer = Timer::ImageDone { image: id.clone(), failure: script.failure };
        self.after(script.pending, crate::aws::world::Timer::Ec2(timer));
        id
    }

    pub(super) fn image_done(&mut self, id: &str, failure: Option<String>) {
        let Some(image) = self.ec2.images.get_mut(id).filter(|image| image.state == ImageState::Pending)
        else {
            return;
        };
        let (state, snapshots) = match failure {
            None => (ImageState::Available, "completed"),
            Some(_) => (ImageState::Failed, "error"),
        };
        (image.state, image.failure) = (state, failure);
        for device in &image.devices {
            if let Some(snapshot) = self.ec2.snapshots.get_mut(&device.snapshot) {
                snapshot.state = snapshots;
            }
        }
        self.tell_image(id);
        self.tell_backup(id);
    }

    /// Deregisters an image; answers its snapshots.
    pub(super) fn deregister_image(&mut self, id: &str) -> Vec<String> {
        let Some(image) = self.ec2.images.get_mut(id) else {
            return Vec::new();
        };
        image.state = ImageState::Deregistered;
        let snapshots = image.devices.iter().map(|device| device.snapshot.clone()).collect();
        self.tell_image(id);
        snapshots
    }

    /// Sends the event about an image's state.
    fn tell_image(&mut self, id: &str) {
        let Some(image) = self.ec2.images.get(id).cloned() else {
            return;
        };
        let request = self.uuid();
        let detail = json!({
            "RequestId": request,
            "ImageId": id,
            "State": image.state.as_str(),
            "ErrorMessage": image.failure.filter(|_| image.state == ImageState::Failed).unwrap_or_default(),
        });
        self.see_image(id);
        let resources = vec![format!("arn:aws:ec2:{REGION}::image/{id}")];
        self.send_event("aws.ec2", "EC2 AMI State Change", resources, detail);
    }

    fn see_image(&mut self, id: &str) {
        if let Some(image) = self.ec2.images.get(id) {
            let (name, state) = (image.name.clone(), image.state.as_str());
            self.send(Effect::Seen(Sight::Image { image: id.to_owned(), name, state }));
        }
    }

    /// Whether the API knows an image already. It lists no image that is not shared with this account, but does not
    /// say that there is none either (recorded).
    pub(super) fn knows_image(&self, image: &Image) -> bool {
        let delay = TimeDelta::from_std(self.delays.image_visible).unwrap_or_default();
        image.created + delay <= self.now()
    }
}

/// Refuses an id that can't be an image's: EC2 takes no id of one repeated digit either (recorded).
pub(super) fn check_id(id: &str) -> Result<(), ApiError> {
    if id.is_empty() {
        return Err(ApiError::new("MissingParameter", "The request must contain the parameter ImageId"));
    }
    well_formed("InvalidAMIID.Malformed", "ami", id)?;
    let mut digits = id.chars().skip("ami-".len());
    let first = digits.next();
    if digits.all(|digit| Some(digit) == first) {
        return Err(ApiError::new("InvalidAMIID.Malformed", format!("Invalid id: \"{id}\"")));
    }
    Ok(())
}

/// A registered image of this account that the API knows already.
pub(super) fn find_mut<'a>(world: &'a mut World, id: &str) -> Result<&'a mut Image, ApiError> {
    find_usable_mut(world, id).and_then(|image| {
        let foreign = || ApiError::new("AuthFailure", format!("Not authorized for image:{id}"));
        if image.is_own() { Ok(image) } else { Err(foreign()) }
    })
}

/// A registered image of this account, or shared with it, that the API knows already. Whoever may use an image may
/// tag it; nobody else sees these tags.
pub(super) fn find_usable_mut<'a>(world: &'a mut World, id: &str) -> Result<&'a mut Image, ApiError> {
    check_id(id)?;
    let missing = || unknown(&[id.to_owned()]);
    let image = world.ec2.images.get(id).ok_or_else(missing)?;
    if !world.knows_image(image) {
        return Err(missing());
    }
    if !image.is_registered() {
        let text = format!("The image ID '{id}' is no longer available");
        return Err(ApiError::new("InvalidAMIID.Unavailable", text));
    }
    if !image.is_usable() {
        return Err(ApiError::new("AuthFailure", format!("Not authorized for image:{id}")));
    }
    world.ec2.images.get_mut(id).ok_or_else(missing)
}

pub(super) fn unknown(ids: &[String]) -> ApiError {
    not_found("InvalidAMIID.NotFound", "The image id", "The image ids", ["'[", "]'"], ids)
}
