//! A panel: what it asks, and how the answer is to be shown.

/// How a panel shows its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Lines over time.
    Lines,
    /// Areas over time, one upon the other: parts of a whole.
    Stack,
    /// One number each.
    Stat,
    /// A line for each series as it is now.
    Table,
    /// A bar for each series as it is now.
    Bars,
    /// Which state held when.
    States,
}

/// One query of a panel.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The query.
    pub query: String,
    /// What its series are called: `{{label}}` stands for the label's value.
    pub legend: &'static str,
}

/// One panel.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub kind: Kind,
    pub title: &'static str,
    pub description: &'static str,
    /// A unit as Grafana names it.
    pub unit: &'static str,
    /// In 24ths of the page.
    pub width: u32,
    pub targets: Vec<Target>,
    /// From this value on, this colour. From 0 to the first it is green; without any, the colour says nothing.
    pub thresholds: Vec<(f64, &'static str)>,
    /// The greatest value there can be.
    pub max: Option<f64>,
    /// Columns of a table that are left out.
    pub hidden: Vec<&'static str>,
    /// The heading of the value's column in a table.
    pub value: Option<&'static str>,
    /// Alert whose runbook page has more information.
    pub runbook: Option<&'static str>,
}

/// What a share is shown in.
pub(super) const SHARE: &str = "percentunit";
/// Things counted.
pub(super) const COUNT: &str = "short";
/// Things per second.
pub(super) const RATE: &str = "ops";
pub(super) const BYTES: &str = "bytes";
pub(super) const BYTE_RATE: &str = "Bps";
pub(super) const SECONDS: &str = "s";
/// A state, shown as it is named.
pub(super) const STATE: &str = "none";

pub(super) const RED: &str = "red";
pub(super) const ORANGE: &str = "orange";
pub(super) const GREEN: &str = "green";
/// What is unknown.
pub(super) const NEUTRAL: &str = "text";
/// What is neither good nor bad.
pub(super) const PLAIN: &str = "blue";

impl Panel {
    const fn new(
        kind: Kind,
        width: u32,
        title: &'static str,
        unit: &'static str,
        description: &'static str,
    ) -> Self {
        Self {
            kind,
            title,
            description,
            unit,
            width,
            targets: Vec::new(),
            thresholds: Vec::new(),
            max: None,
            hidden: Vec::new(),
            value: None,
            runbook: None,
        }
    }

    pub(super) const fn lines(title: &'static str, unit: &'static str, description: &'static str) -> Self {
        Self::new(Kind::Lines, 8, title, unit, description)
    }

    pub(super) const fn stack(title: &'static str, unit: &'static str, description: &'static str) -> Self {
        Self::new(Kind::Stack, 8, title, unit, description)
    }

    pub(super) const fn stat(title: &'static str, unit: &'static str, description: &'static str) -> Self {
        Self::new(Kind::Stat, 4, title, unit, description)
    }

    pub(super) const fn table(title: &'static str, unit: &'static str, description: &'static str) -> Self {
        Self::new(Kind::Table, 12, title, unit, description)
    }

    pub(super) const fn bars(title: &'static str, unit: &'static str, description: &'static str) -> Self {
        Self::new(Kind::Bars, 8, title, unit, description)
    }

    pub(super) const fn states(title: &'static str, unit: &'static str, description: &'static str) -> Self {
        Self::new(Kind::States, 12, title, unit, description)
    }

    /// Asks this too.
    pub(super) fn ask(mut self, query: &str, legend: &'static str) -> Self {
        let host = "{job=~\"$job\",instance=~\"$instance\"";
        let queue = format!("{host},interface=~\"$interface\",queue=~\"$queue\"");
        let query = query.replace("{HOST", host).replace("{QUEUE", &queue);
        self.targets.push(Target { query, legend });
        self
    }

    /// As [`Self::ask`], for a panel that exists.
    pub(super) fn ask_too(&mut self, query: &str, legend: &str) {
        let legend = String::leak(legend.to_owned());
        *self = self.clone().ask(query, legend);
    }

    pub(super) const fn wide(mut self, width: u32) -> Self {
        self.width = width;
        self
    }

    pub(super) fn from(mut self, value: f64, colour: &'static str) -> Self {
        self.thresholds.push((value, colour));
        self
    }

    pub(super) const fn at_most(mut self, max: f64) -> Self {
        self.max = Some(max);
        self
    }

    pub(super) fn hide(mut self, columns: &[&'static str]) -> Self {
        self.hidden.extend(columns);
        self
    }

    pub(super) const fn value(mut self, heading: &'static str) -> Self {
        self.value = Some(heading);
        self
    }

    pub(super) const fn runbook(mut self, alert: &'static str) -> Self {
        self.runbook = Some(alert);
        self
    }

    /// Height in Grafana's rows.
    pub(super) const fn height(&self) -> u32 {
        match self.kind {
            Kind::Stat => 4,
            _ => 8,
        }
    }
}
