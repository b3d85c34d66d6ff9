//! Lambda's state: the configurations of functions, their variables with a revision, and the window of an update in
//! which invocations still see the old variables. `api` has the actions. The code of functions and their runs are in
//! `host`.

mod api;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rand::SeedableRng;
use rand::rngs::StdRng;

pub(crate) use api::call;

use crate::aws::world::{World, uuid};

/// Environment variables by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// Every function's configuration.
#[derive(Debug)]
pub struct Configurations {
    by_name: BTreeMap<String, Configuration>,
    /// Not the world's stream of random numbers: a function more must not change the world's ids.
    random: StdRng,
    environments: u64,
}

/// A function's configuration.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The function's name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its variables in the API's answers, including those of an update in progress.
    pub variables: BTreeMap<String, String>,
    /// Its variables as invocations see them.
    pub live: BTreeMap<String, String>,
    /// Another one after each change, and after the end of each update.
    pub revision: String,
    /// Whether an update is under way: AWS's `LastUpdateStatus` is `InProgress`.
    pub updating: bool,
    /// Why AWS can't decrypt the variables, as a code and a text: it then answers this and no variables.
    pub decryption_error: Option<(String, String)>,
    /// When it was last changed.
    pub modified: DateTime<Utc>,
    /// A run longer than this many seconds is killed.
    timeout: u64,
    /// Which environment invocations see: a process with an earlier one ends.
    environment: u64,
}

/// Something that will happen by itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Timer {
    /// An update is over; `revision` was its own.
    Updated { function: String, revision: String },
}

impl Configurations {
    pub(crate) fn new(seed: u64) -> Self {
        Self { by_name: BTreeMap::new(), random: StdRng::seed_from_u64(seed ^ 0x001a_3bda), environments: 0 }
    }

    /// The configuration of this function.
    pub fn get(&self, function: &str) -> Option<&Configuration> {
        self.by_name.get(function)
    }

    fn get_mut(&mut self, function: &str) -> Option<&mut Configuration> {
        self.by_name.get_mut(function)
    }

    /// Lets AWS be unable to decrypt a function's variables from now on, with this error's code and text, for
    /// example `AccessDeniedException`; or able again.
    pub fn set_decryption_error(&mut self, function: &str, error: Option<(&str, &str)>) {
        if let Some(configuration) = self.by_name.get_mut(function) {
            let error = error.map(|(code, text)| (code.to_owned(), text.to_owned()));
            configuration.decryption_error = error;
        }
    }

    /// What a run that begins now sees, and the number of that environment.
    pub(crate) fn environment(&self, function: &str) -> (u64, Variables) {
        let found = self.by_name.get(function);
        found.map_or_else(Default::default, |found| (found.environment, found.live.clone()))
    }

    fn another_revision(&mut self) -> String {
        uuid(&mut self.random)
    }
}

impl World {
    /// Deploys a function with these variables and nothing of an earlier function's of this name.
    pub(crate) fn deploy(&mut self, name: &str, timeout: u64, variables: Variables) {
        self.functions.environments += 1;
        let configuration = Configuration {
            name: name.to_owned(),
            description: String::new(),
            live: variables.clone(),
            variables,
            revision: self.functions.another_revision(),
            updating: false,
            decryption_error: None,
            modified: self.now(),
            timeout,
            environment: self.functions.environments,
        };
        self.functions.by_name.insert(name.to_owned(), configuration);
    }

    /// Replaces a function's variables, as a deployment does: at once, whatever is under way.
    pub fn set_variables<K: Into<String>, V: Into<String>>(
        &mut self,
        function: &str,
        variables: impl IntoIterator<Item = (K, V)>,
    ) {
        let variables: Variables =
            variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        if let Some(Configuration { timeout, .. }) = self.functions.get(function) {
            self.deploy(function, *timeout, variables);
        }
    }

    /// Begins an update: the API shows it at once, invocations see it when it ends.
    fn begin_update(&mut self, function: &str, variables: Option<Variables>, description: Option<String>) {
        let (now, revision) = (self.now(), self.functions.another_revision());
        let Some(configuration) = self.functions.get_mut(function) else {
            return;
        };
        if let Some(variables) = variables {
            configuration.variables = variables;
        }
        if let Some(description) = description {
            configuration.description = description;
        }
        (configuration.revision, configuration.modified) = (revision.clone(), now);
        configuration.updating = true;
        let timer = Timer::Updated { function: function.to_owned(), revision };
        self.after(self.delays.function_update, crate::aws::world::Timer::Lambda(timer));
    }

    pub(crate) fn lambda_timer(&mut self, Timer::Updated { function, revision }: Timer) {
        let next = self.functions.another_revision();
        self.functions.environments += 1;
        let environment = self.functions.environments;
        let ours = |configuration: &&mut Configuration| configuration.revision == revision;
        if let Some(configuration) = self.functions.get_mut(&function).filter(ours) {
            configuration.updating = false;
            configuration.live = configuration.variables.clone();
            configuration.environment = environment;
            configuration.revision = next;
        }
    }
}
