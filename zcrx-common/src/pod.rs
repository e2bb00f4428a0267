//! `aya::Pod`: user space may copy these types out of maps as bytes.

use crate::{offsets::Offsets, page_pool, registration};

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

pod!(Offsets, registration::Event, registration::Call, page_pool::Key, page_pool::Identity, page_pool::Count);
