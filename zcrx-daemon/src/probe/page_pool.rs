//! Reads what the page_pool probe counted.

use std::collections::BTreeMap;

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use zcrx_common::page_pool::{Count, HAS_ID, HAS_IFINDEX, HAS_PROVIDER, Identity, Key};

use super::object::{self, PerCpuHashMap};
use crate::model::{PagePoolCount, from_kernel};

pub(super) struct Reader {
    counts: PerCpuHashMap<Key, Count>,
    identities: HashMap<MapData, Key, Identity>,
}

impl Reader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        Some(Self {
            counts: object::map(ebpf, "PAGE_POOLS")?,
            identities: object::map(ebpf, "PAGE_POOL_IDENTITIES")?,
        })
    }

    /// Every pool with an event since attaching that still exists; `None` if the kernel did not say.
    pub(super) fn counts(&self) -> Option<Vec<PagePoolCount>> {
        let mut pools = BTreeMap::new();
        for entry in &self.counts {
            let (key, counts) = entry.ok()?;
            let identity = self.identities.get(&key, 0).ok();
            let held = object::values(&counts, |count| count.held);
            let released = object::values(&counts, |count| count.released);
            pools.insert(key, count(key, identity, held, released));
        }
        Some(pools.into_values().collect())
    }
}

fn count(key: Key, identity: Option<Identity>, held: u64, released: u64) -> PagePoolCount {
    let known = |what| identity.filter(|identity| identity.known & what != 0);
    PagePoolCount {
        id: known(HAS_ID).map(|_| key.id),
        ifindex: known(HAS_IFINDEX).map(|identity| identity.ifindex),
        interface: known(HAS_IFINDEX)
            .map(|identity| from_kernel(&identity.interface))
            .filter(|name| !name.is_empty()),
        provider: known(HAS_PROVIDER).map(|identity| identity.provider != 0),
        held,
        released,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_not_tell_is_unknown() {
        let key = Key { pool: 1, id: 0, reserved: 0 };
        let identity = Identity { ifindex: 0, provider: 0, known: 0, interface: [0; 16] };
        for identity in [None, Some(identity)] {
            let pool = count(key, identity, 3, 1);
            assert_eq!((pool.id, pool.ifindex, pool.interface, pool.provider), (None, None, None, None));
            assert_eq!((pool.held, pool.released), (3, 1));
        }
    }
}
