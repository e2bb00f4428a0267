//! Facts from which the report is made.

use super::Offer;
use crate::kernel::Kernel;
use crate::model::{Interface, ProbeSample};
use crate::net::{self, NetError, Netlink};
use crate::probe::{Options, Probes};

/// Facts about the host, without a verdict.
pub struct Facts {
    /// The running kernel.
    pub kernel: Kernel,
    /// What io_uring offers this process.
    pub offer: Offer,
    /// How the probes attached, and the queues at that moment. The probes are detached again.
    pub probe: ProbeSample,
    /// The named interface, or all interfaces of this network namespace.
    pub interfaces: Result<Vec<Interface>, String>,
    /// Whether the user named the interface: then everything that it lacks is a failure.
    pub named: bool,
}

impl Facts {
    /// Inspects the host and the named interface, or all interfaces. Takes some 100 ms.
    ///
    /// # Errors
    ///
    /// If the named interface does not exist.
    pub fn gather(interface: Option<&str>) -> Result<Self, NetError> {
        let mut netlink = Netlink::new();
        let interfaces = match interface {
            Some(name) => Ok(vec![net::interface(&mut netlink, name)?]),
            None => net::interfaces(&mut netlink).map_err(|error| error.to_string()),
        };
        let kernel = Kernel::inspect();
        let options = Options { self_check: true, ..Options::default() };
        let probe = Probes::attach_with(&kernel, options).sample();
        Ok(Self { kernel, offer: Offer::ask(), probe, interfaces, named: interface.is_some() })
    }
}
