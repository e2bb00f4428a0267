//! Three ways to bring payload from the network into the area, behind one trait.

mod any;
mod area;
mod contract;
mod copy;
mod features;
mod growth;
mod notifications;
mod posted;
mod refused;
mod select;
mod shared;
mod surviving;
mod zcrx;

pub(super) use any::AnyBackend;
pub(super) use area::map;
pub(super) use contract::{Backend, Completion, EVENT_USER_DATA};
pub(super) use select::{Selected, check_interface, select, select_better};
pub(super) use shared::Shared;
pub(super) use surviving::{QueueState, SurvivingQueue};
