//! What the report is made from.

use super::Offer;
use crate::kernel::Kernel;
use crate::model::{Interface, ProbeSample};
use crate::net::{self, NetError, Netlink};
use crate::probe::Probes;

/// Everything that was found out, nothing judged yet.
pub struct Facts {
    /// The kernel.
    pub kernel: Kernel,
    /// io_uring and zcrx.
    pub offer: Offer,
    /// Probes as they attached, and the queues there are now. They are detached again.
    pub probe: ProbeSample,
    /// The interface that was named, or every one of this network namespace.
    pub interfaces: Result<Vec<Interface>, String>,
    /// Whether the interface was named: then what it lacks is a failure.
    pub named: bool,
}

impl Facts {
    /// Looks at the host, and at one interface or at all. An interface that does not exist is an error. Takes some
    /// 100 ms.
    pub fn gather(interface: Option<&str>) -> Result<Self, NetError> {
        let mut netlink = Netlink::new();
        let interfaces = match interface {
            Some(name) => Ok(vec![net::interface(&mut netlink, name)?]),
            None => net::interfaces(&mut netlink).map_err(|error| error.to_string()),
        };
        let kernel = Kernel::inspect();
        let probe = Probes::attach(&kernel).sample();
        Ok(Self { kernel, offer: Offer::ask(), probe, interfaces, named: interface.is_some() })
    }
}
