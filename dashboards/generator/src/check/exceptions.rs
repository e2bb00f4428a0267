//! What is allowed to be otherwise, and why.

use anyhow::{Context, Result};
use serde::Deserialize;

use xtask_tools::workspace::root;

/// `dashboards/exceptions.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exceptions {
    /// Metrics and recorded series that no dashboard and no alert reads.
    #[serde(default)]
    pub unread: Vec<Named>,
    /// Kinds of alarm without an alert of their own.
    #[serde(default)]
    pub alarm: Vec<Named>,
    /// Panels that break a rule.
    #[serde(default)]
    pub lint: Vec<Lint>,
}

/// A metric, a recorded series or a kind of alarm.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub name: String,
    pub reason: String,
}

/// A rule that does not hold for a panel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lint {
    pub rule: String,
    /// The dashboard's file, without its ending.
    pub dashboard: String,
    pub panel: String,
    pub reason: String,
}

impl Exceptions {
    pub(super) fn read() -> Result<Self> {
        let path = root().join("dashboards/exceptions.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not as expected", path.display()))
    }

    /// Exceptions without a reason worth the name.
    pub(super) fn unreasoned(&self) -> Vec<String> {
        let unread = self.unread.iter().chain(&self.alarm).map(|it| (&it.name, &it.reason));
        let lint = self.lint.iter().map(|it| (&it.panel, &it.reason));
        unread
            .chain(lint)
            .filter(|(_, reason)| reason.split_whitespace().count() < 3)
            .map(|(name, _)| format!("the exception for {name} has no reason"))
            .collect()
    }
}
