//! The two sides of the ring under loom: every order in which their writes may become visible is tried.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::{Consumer, Producer, RingMemory};
use zcrx_uapi::ZcrxRqe;

/// A ring of two entries: small enough to be full, and to wrap around, within a few steps.
struct LoomRing {
    head: AtomicU32,
    tail: AtomicU32,
    /// Not atomic, unlike in [`super::MappedRing`]: so loom fails on any access that only the entries' own
    /// atomicity would have saved.
    off: [UnsafeCell<u64>; 2],
}

// SAFETY: the ring's protocol keeps both sides from one entry; that it does is what loom checks here.
unsafe impl Sync for LoomRing {}
// SAFETY: plain integers.
unsafe impl Send for LoomRing {}

impl LoomRing {
    /// Starts just before 2^32, so that the counters wrap as well.
    fn new() -> Arc<Self> {
        let start = u32::MAX;
        Arc::new(Self {
            head: AtomicU32::new(start),
            tail: AtomicU32::new(start),
            off: [UnsafeCell::new(u64::MAX), UnsafeCell::new(u64::MAX)],
        })
    }
}

impl RingMemory for Arc<LoomRing> {
    fn entries(&self) -> u32 {
        2
    }

    fn load_head(&self, order: Ordering) -> u32 {
        self.head.load(order)
    }

    fn store_head(&self, head: u32, order: Ordering) {
        self.head.store(head, order);
    }

    fn load_tail(&self, order: Ordering) -> u32 {
        self.tail.load(order)
    }

    fn store_tail(&self, tail: u32, order: Ordering) {
        self.tail.store(tail, order);
    }

    fn read(&self, at: u32) -> ZcrxRqe {
        // SAFETY: loom panics if the other side writes the entry at this time.
        let off = self.off[(at & 1) as usize].with(|off| unsafe { *off });
        ZcrxRqe { off, ..ZcrxRqe::default() }
    }

    fn write(&self, at: u32, rqe: ZcrxRqe) {
        // SAFETY: loom panics if the other side touches the entry at this time.
        self.off[(at & 1) as usize].with_mut(|off| unsafe { *off = rqe.off });
    }
}

fn consume(consumer: &mut Consumer<Arc<LoomRing>>, into: &mut Vec<u64>) {
    for _ in 0..consumer.available() {
        into.push(consumer.take().off);
    }
    consumer.release();
}

/// Two threads of one queue, which take turns to publish.
#[test]
fn entries_of_two_producers_arrive_once_each_and_whole() {
    loom::model(|| {
        let ring = LoomRing::new();
        let turn = Arc::new(Mutex::new(()));
        let publish = |producer: &mut Producer<Arc<LoomRing>>, turn: &Mutex<()>| {
            let _turn = turn.lock().expect("no thread panics while it holds the lock");
            producer.publish()
        };
        let other = thread::spawn({
            let mut producer = Producer::of_several(Arc::clone(&ring));
            let turn = Arc::clone(&turn);
            move || {
                producer.push(ZcrxRqe { off: 1, ..ZcrxRqe::default() });
                producer.push(ZcrxRqe { off: 2, ..ZcrxRqe::default() });
                publish(&mut producer, &turn);
                producer
            }
        });
        let mut consumer = Consumer::new(Arc::clone(&ring));
        let mut own = Producer::of_several(ring);
        own.push(ZcrxRqe { off: 3, ..ZcrxRqe::default() });
        publish(&mut own, &turn);
        let mut seen = Vec::new();
        consume(&mut consumer, &mut seen);
        let mut other = other.join().expect("the other producer does not panic");
        while own.stashed() + other.stashed() > 0 || own.depth() > 0 {
            consume(&mut consumer, &mut seen);
            publish(&mut own, &turn);
            publish(&mut other, &turn);
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
    });
}

#[test]
fn each_entry_arrives_once_in_order_and_whole() {
    const ENTRIES: u64 = 4;
    loom::model(|| {
        let ring = LoomRing::new();
        let other_side = thread::spawn({
            let mut consumer = Consumer::new(Arc::clone(&ring));
            move || {
                let mut seen = Vec::new();
                for _ in 0..2 {
                    consume(&mut consumer, &mut seen);
                }
                (consumer, seen)
            }
        });

        let mut producer = Producer::new(ring);
        for off in 0..ENTRIES {
            producer.push(ZcrxRqe { off, ..ZcrxRqe::default() });
            producer.publish();
        }

        let (mut consumer, mut seen) = other_side.join().expect("the consumer does not panic");
        while producer.stashed() > 0 || producer.depth() > 0 {
            consume(&mut consumer, &mut seen);
            producer.publish();
        }
        assert_eq!(seen, (0..ENTRIES).collect::<Vec<_>>());
    });
}
