//! `aya::Pod`: user space may copy these types out of maps as bytes.

use crate::{allocation, event, offsets::Offsets, page_pool, registration, residence, snapshot};

/// Marks types that are safe to make from any bytes.
macro_rules! pod {
    ($($type:ty),+ $(,)?) => {
        $(
            // SAFETY: `repr(C)`, made of integers and arrays of integers only, without padding (asserted by
            // size where the type is declared): every byte pattern is a value and every byte is initialised.
            unsafe impl aya::Pod for $type {}
        )+
    };
}

pod!(
    Offsets,
    allocation::State,
    event::Events,
    page_pool::Count,
    page_pool::Identity,
    page_pool::Key,
    registration::Call,
    registration::Event,
    residence::Residence,
    residence::Stamp,
    snapshot::Config,
    snapshot::RegisteredRing,
    snapshot::Sockets,
    snapshot::SocketsKey,
);
