//! Hand-made records of small situations.

use super::*;
use crate::model::RunState;
use crate::probe::offsets;

fn bytes<T: Record>(record: &T) -> Vec<u8> {
    // SAFETY: the records have no padding (asserted where they are declared), so all bytes are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast(), size_of::<T>()) }.to_vec()
}

fn ring(address: u64, pid: u32, fd: u32) -> Ring {
    Ring { kind: kind::RING, pid, address, fd, cq_entries: 64, cq_head: 3, cq_tail: 5, ..Ring::default() }
}

fn member(ring: u64, ifq: u64, zcrx_id: u32) -> Member {
    Member { kind: kind::MEMBER, zcrx_id, ring, ifq }
}

fn queue(ring: u64, ifq: u64, known: u32) -> Queue {
    Queue { kind: kind::QUEUE, ring, ifq, known, if_rxq: 2, ..Queue::default() }
}

fn assemble_with(known: Known, records: &[Vec<u8>]) -> KernelSnapshot {
    let mut assembly = Assembly::new(known);
    for record in records {
        assembly.add(record);
    }
    assembly.finish(Duration::ZERO, Duration::ZERO, Vec::new(), Ok(&Sums::new()))
}

/// With a kernel that has every field.
fn assemble(records: &[Vec<u8>]) -> KernelSnapshot {
    assemble_with(Known::of(&offsets::Resolved::all()), records)
}

#[test]
fn a_ring_held_by_two_processes_is_one_queue_with_two_owners() {
    let snapshot = assemble(&[
        bytes(&ring(10, 1, 4)),
        bytes(&member(10, 20, 0)),
        bytes(&queue(10, 20, HAS_DEVICE)),
        bytes(&ring(10, 2, 4)),
        bytes(&ring(10, 1, REGISTERED)),
    ]);
    assert_eq!(snapshot.queues.len(), 1);
    let owners: Vec<_> = snapshot.queues[0].owners.iter().map(|owner| (owner.pid, owner.fd)).collect();
    assert_eq!(owners, [(1, Some(4)), (2, Some(4))]);
    assert_eq!(snapshot.queues[0].cq.and_then(|cq| cq.depth()), Some(2));
}

#[test]
fn rings_that_share_a_queue_are_all_there() {
    let full = Ring { cq_head: 0, cq_tail: 60, ..ring(11, 2, 7) };
    let consumer =
        Consumer { kind: kind::CONSUMER, ring: 11, pid: 2, state: 0x104, waiting: -1, ..Consumer::default() };
    let snapshot = assemble(&[
        bytes(&ring(10, 1, 4)),
        bytes(&member(10, 20, 0)),
        bytes(&queue(10, 20, 0)),
        bytes(&full),
        bytes(&consumer),
        bytes(&member(11, 20, 5)),
    ]);
    let [shared] = snapshot.queues.as_slice() else { panic!("{snapshot:#?}") };
    let rings: Vec<_> = shared.rings.iter().map(|ring| (ring.id, ring.zcrx_id, ring.owners[0].pid)).collect();
    assert_eq!(rings, [(10, Some(0), 1), (11, Some(5), 2)]);
    let task = shared.rings[1].consumer.as_ref().expect("recorded");
    assert_eq!((task.run.map(RunState::name), shared.rings[1].waiting), (Some("stopped"), Some(false)));
    assert_eq!(shared.cq.and_then(|cq| cq.depth()), Some(60), "the fullest");
    assert_eq!(shared.owners.len(), 2);
}

#[test]
fn an_exported_queue_belongs_to_each_holder_of_the_file_too() {
    let exported = Ring { kind: kind::EXPORTED, cq_entries: 0, ..ring(20, 3, 9) };
    let records = [bytes(&exported), bytes(&queue(0, 20, 0))];
    let alone = assemble(&records);
    assert_eq!((alone.queues[0].ring, alone.queues[0].cq), (None, None));
    assert_eq!(alone.queues[0].owners.len(), 1);
    let by_ring = [bytes(&ring(10, 1, 4)), bytes(&member(10, 20, 0)), bytes(&queue(10, 20, 0))];
    let both = assemble(&[&records[..], &by_ring].concat());
    assert_eq!(both.queues.len(), 1);
    assert_eq!(both.queues[0].ring, Some(10));
    assert_eq!(both.queues[0].owners.len(), 2);
}

#[test]
fn areas_come_in_order_and_a_partial_count_is_no_count() {
    let area = |index, scanned| Area {
        kind: kind::AREA,
        index,
        ifq: 20,
        buffers: 256,
        free: 1,
        scanned,
        user_buffers: 7,
        user_references: 9,
        stride: 1,
        ..Area::default()
    };
    let snapshot = assemble(&[
        bytes(&ring(10, 1, 4)),
        bytes(&member(10, 20, 0)),
        bytes(&queue(10, 20, 0)),
        bytes(&area(1, 128)),
        bytes(&area(0, 256)),
    ]);
    let counts: Vec<_> = snapshot.queues[0].areas.iter().map(|area| area.user_buffers).collect();
    assert_eq!(counts, [Some(7), None]);
    assert_eq!(snapshot.queues[0].user_buffers(), None);
}

#[test]
fn figures_that_were_not_found_are_unknown() {
    let without_device = Queue { if_rxq: u32::MAX, ..queue(10, 20, 0) };
    let snapshot = assemble(&[bytes(&ring(10, 1, 4)), bytes(&member(10, 20, 0)), bytes(&without_device)]);
    let queue = &snapshot.queues[0];
    assert_eq!((queue.ifindex, queue.queue, queue.netns), (None, None, None));
    assert_eq!((queue.refill, queue.pool), (None, None));
    assert_eq!((&queue.interface, queue.buffer_bytes, queue.moved), (&None, None, None));
}

#[test]
fn number_of_a_hardware_queue_without_its_device_is_not_dropped() {
    let snapshot = assemble(&[bytes(&ring(10, 1, 4)), bytes(&member(10, 20, 0)), bytes(&queue(10, 20, 0))]);
    assert_eq!((snapshot.queues[0].ifindex, snapshot.queues[0].queue), (None, Some(2)));
}

#[test]
fn figures_of_absent_fields_are_unknown_and_not_zero() {
    let all = HAS_DEVICE | HAS_POOL | HAS_REFILL;
    let records = [bytes(&ring(10, 1, 4)), bytes(&member(10, 20, 0)), bytes(&queue(10, 20, all))];
    let bare = assemble_with(Known::default(), &records);
    let queue = &bare.queues[0];
    assert_eq!((queue.refill, queue.pool, queue.cq, queue.ifindex), (None, None, None, None));
    assert!(assemble(&records).queues[0].pool.is_some());
}

#[test]
fn a_ring_that_was_torn_down_meanwhile_leaves_nothing() {
    let gone = Ring { kind: kind::GONE, ..ring(10, 0, 0) };
    let records = [bytes(&ring(10, 1, 4)), bytes(&member(10, 20, 0)), bytes(&queue(10, 20, 0)), bytes(&gone)];
    assert_eq!(assemble(&records).queues, []);
}

#[test]
fn movement_between_the_first_and_the_last_read_is_stated() {
    let before = Queue { cached_head: u32::MAX, tail: 100, ..queue(10, 20, HAS_REFILL) };
    let after = After { kind: kind::AFTER, ifq: 20, cached_head: 4, tail: 103, cq_tail: 12 };
    let records = [bytes(&ring(10, 1, 4)), bytes(&member(10, 20, 0)), bytes(&before), bytes(&after)];
    assert_eq!(assemble(&records).queues[0].moved, Some(5 + 3 + 7));
}

#[test]
fn damaged_records_are_passed_over() {
    let ring = ring(10, 1, 4);
    assert_eq!(assemble(&[bytes(&ring)[..20].to_vec(), vec![9, 0, 0, 0], vec![], vec![1, 0]]).queues, []);
}

#[test]
fn an_area_that_was_not_read_leaves_none() {
    let two = Queue { areas: 2, ..queue(10, 20, 0) };
    let area = |index| Area { kind: kind::AREA, ifq: 20, index, buffers: 64, free: 8, ..Area::default() };
    let base = [bytes(&ring(10, 1, 4)), bytes(&member(10, 20, 0)), bytes(&two), bytes(&area(0))];
    let part = assemble(&base);
    assert!(part.queues[0].areas.is_empty(), "a sum over one of two areas is no sum");
    assert_eq!(part.incomplete, ["of 1 queues not every area could be read"]);
    let whole = assemble(&[base.as_slice(), &[bytes(&area(1))]].concat());
    assert_eq!((whole.queues[0].buffers(), whole.incomplete.len()), (128, 0));
}

#[test]
fn completions_of_two_sizes_that_were_not_counted_are_unknown() {
    let mixed = |known| Ring { known: HAS_MIXED | known, cq_unread: 1, ..ring(10, 1, 4) };
    let depth = |ring: &Ring| {
        let snapshot = assemble(&[bytes(ring), bytes(&member(10, 20, 0)), bytes(&queue(10, 20, 0))]);
        snapshot.queues[0].cq.and_then(|cq| cq.depth())
    };
    assert_eq!((depth(&mixed(HAS_UNREAD)), depth(&mixed(0))), (Some(1), None));
}
