//! What Alertmanager sends during a page storm.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use serde_json::Value;

use super::{http, lock};

/// A receiver of notifications.
pub(super) struct Storm {
    /// Where Alertmanager sends.
    pub address: SocketAddr,
    notifications: Arc<Mutex<Vec<Notification>>>,
}

/// One notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notification {
    /// `/page` for the pager.
    pub path: String,
    /// What the notification groups by, such as `east ZcrxQueueStarving`.
    pub group: String,
    /// Alerts that it lists.
    pub alerts: usize,
}

impl Storm {
    /// Listens on a free port.
    pub(super) fn listen() -> Result<Self> {
        let notifications = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&notifications);
        let address = http::serve(move |request| {
            if let Ok(notice) = serde_json::from_slice::<Value>(&request.body) {
                lock(&shared).push(Notification::of(&request.path, &notice));
            }
            Vec::new()
        })?;
        Ok(Self { address, notifications })
    }

    /// What came since the last call.
    pub(super) fn take(&self) -> Vec<Notification> {
        std::mem::take(&mut *lock(&self.notifications))
    }
}

impl Notification {
    fn of(path: &str, notice: &Value) -> Self {
        let labels = notice["groupLabels"].as_object().into_iter().flatten();
        let labels: BTreeMap<_, _> =
            labels.map(|(name, value)| (name, value.as_str().unwrap_or_default())).collect();
        let group =
            ["cluster", "alertname"].map(|name| labels.get(&name.to_owned()).copied().unwrap_or_default());
        let alerts = notice["alerts"].as_array().map_or(0, Vec::len);
        Self { path: path.to_owned(), group: group.join(" "), alerts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_name_their_group() {
        let notice = serde_json::json!({
            "groupLabels": { "alertname": "ZcrxQueueStarving", "cluster": "east" },
            "alerts": [{}, {}],
        });
        let expected =
            Notification { path: "/page".into(), group: "east ZcrxQueueStarving".into(), alerts: 2 };
        assert_eq!(Notification::of("/page", &notice), expected);
    }
}
