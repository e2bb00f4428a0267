//! What can go wrong when the kernel is asked about an interface.

use std::io;

use crate::model::Reading;

/// A question or a change that the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No such interface here.
    #[error("no interface {0:?} in this network namespace{hint} (`ip link` lists what there is)", hint = altname(.0))]
    NoInterface(String),
    /// The kernel refused.
    #[error("{what}: {reason}")]
    Refused {
        /// The request, as text.
        what: String,
        /// The errno, if it was one.
        errno: Option<i32>,
        /// The kernel's own words where it has any, else the errno's.
        reason: String,
    },
    /// zcrxd cannot parse the kernel's answer.
    #[error("{what}: the kernel's answer cannot be read: {reason}")]
    Unreadable {
        /// The request, as text.
        what: String,
        /// The fault of the answer.
        reason: &'static str,
    },
}

/// Names of 16 and more characters are no interface names: the kernel keeps them as alternative names only.
fn altname(name: &str) -> &'static str {
    if name.len() >= libc::IFNAMSIZ {
        ": a name of 16 or more characters can only be an alternative name, and no interface has this one"
    } else {
        ""
    }
}

impl NetError {
    /// From an errno.
    pub(crate) fn errno(what: impl Into<String>, error: &io::Error) -> Self {
        Self::Refused { what: what.into(), errno: error.raw_os_error(), reason: error.to_string() }
    }

    /// The errno, if the kernel gave one.
    pub const fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } => *errno,
            Self::NoInterface(_) | Self::Unreadable { .. } => None,
        }
    }

    /// Whether a capability is missing.
    pub const fn is_permission(&self) -> bool {
        matches!(self.raw_os_error(), Some(libc::EPERM | libc::EACCES))
    }

    /// Whether the driver or the kernel does not offer what was asked for, or the interface is gone.
    pub const fn is_lack(&self) -> bool {
        matches!(self, Self::NoInterface(_))
            || matches!(
                self.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOENT | libc::ENODEV)
            )
    }

    /// Why a value stays unknown: an unsupported request is the driver's or kernel's lack, not a failure.
    fn lack(&self) -> String {
        match self.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::ENOTTY) => "the driver does not offer it".to_owned(),
            Some(libc::EPERM | libc::EACCES) => "needs CAP_NET_ADMIN".to_owned(),
            _ => match self {
                Self::Refused { reason, .. } => reason.clone(),
                Self::NoInterface(_) | Self::Unreadable { .. } => self.to_string(),
            },
        }
    }
}

impl<T> From<Result<T, NetError>> for Reading<T> {
    fn from(result: Result<T, NetError>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(error) => Self::Unknown(error.lack()),
        }
    }
}
