//! What the program shares with its tests: the templates of `infra/`, whose event patterns the lab's bus goes by.

pub mod template;
