//! Guests that write anything anywhere: a device may misbehave then, but not fail.

use proptest::prelude::*;
use proptest::sample::select;

use crate::bytes::put;
use crate::fbnic::Fbnic;
use crate::gvnic::Gvnic;
use crate::nic::{Nic, Pair};
use crate::port::Memory;
use crate::wire::Frame;

const MEMORY: usize = 1 << 20;

/// One thing that a guest does.
#[derive(Clone, Debug)]
enum Action {
    /// Writes to a base address register.
    Write(usize, usize, Vec<u8>),
    /// Reads from one.
    Read(usize, usize, usize),
    /// Writes to memory.
    Memory(u64, Vec<u8>),
    /// A frame comes in from the wire.
    Frame(Vec<u8>, Option<usize>),
}

/// Numbers that mean something to a device more often than random ones do.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0_u64..64,
        3 => select(vec![0x100, 0x200, 0x400, 0x1000, 0x8000, 0x10000, 0x80000, 0xf_ffff, 0xffff_ffff, u64::MAX]),
        2 => (0_u64..MEMORY as u64).prop_map(|address| address & !0x7f),
        1 => any::<u64>(),
    ]
}

fn big(number: u64, size: usize) -> Vec<u8> {
    number.to_be_bytes()[8 - size..].to_vec()
}

/// Admin commands of a gVNIC whose fields are plausible numbers, at places that the admin queue may have.
fn gvnic_command() -> impl Strategy<Value = Action> {
    let opcode = prop_oneof![4 => 1_u64..=0x12, 1 => Just(0xff), 1 => any::<u64>()];
    (0_u64..64, opcode, prop::collection::vec((number(), select(vec![2_usize, 4, 8])), 4..28)).prop_map(
        |(slot, opcode, fields)| {
            let mut command = big(opcode, 4);
            command.extend([0; 4]);
            command.extend(fields.iter().flat_map(|&(number, size)| big(number, size)));
            command.resize(64, 0);
            Action::Memory(64 * slot, command)
        },
    )
}

/// A command that creates a queue which works, so that rings and frames meet.
fn gvnic_queue() -> impl Strategy<Value = Action> {
    (0_u64..64, any::<bool>(), 0_u32..5, select(vec![256_u16, 512, 1024])).prop_map(
        |(slot, is_rx, queue, size)| {
            let mut command = vec![0; 64];
            put(&mut command, 0, &(if is_rx { 6_u32 } else { 5 }).to_be_bytes());
            put(&mut command, 8, &queue.to_be_bytes());
            if is_rx {
                put(&mut command, 24, &0x2000_u64.to_be_bytes());
                put(&mut command, 32, &0x1_0000_u64.to_be_bytes());
                put(&mut command, 40, &0x2_0000_u64.to_be_bytes());
                for (at, value) in [(52, size), (54, 2048), (56, size), (58, 0x0100), (60, 128)] {
                    put(&mut command, at, &value.to_be_bytes());
                }
            } else {
                put(&mut command, 16, &0x2000_u64.to_be_bytes());
                put(&mut command, 24, &0x3_0000_u64.to_be_bytes());
                put(&mut command, 40, &0x4_0000_u64.to_be_bytes());
                put(&mut command, 48, &size.to_be_bytes());
                put(&mut command, 50, &size.to_be_bytes());
            }
            Action::Memory(64 * slot, command)
        },
    )
}

fn frame() -> impl Strategy<Value = Action> {
    let kind = select(vec![[8_u8, 0, 0x45], [0x86, 0xdd, 0x60], [8, 6, 0]]);
    let protocol = select(vec![6_u8, 17, 1, 58]);
    (prop::collection::vec(any::<u8>(), 0..9000), kind, protocol, prop::option::of(1_usize..3000)).prop_map(
        |(mut bytes, kind, protocol, segment)| {
            put(&mut bytes, 12, &kind);
            put(&mut bytes, 20, &[0, 0]);
            put(&mut bytes, 23, &[protocol]);
            Action::Frame(bytes, segment)
        },
    )
}

fn common() -> impl Strategy<Value = Action> {
    let bytes = prop::collection::vec(any::<u8>(), 1..9);
    prop_oneof![
        (0_usize..6, any::<usize>(), bytes.clone())
            .prop_map(|(bar, at, bytes)| Action::Write(bar, at, bytes)),
        (0_usize..6, 0_usize..0x20_1000, 1_usize..9).prop_map(|(bar, at, size)| Action::Read(bar, at, size)),
        (number(), bytes).prop_map(|(at, bytes)| Action::Memory(at, bytes)),
        frame(),
    ]
}

fn gvnic_action() -> impl Strategy<Value = Action> {
    let status = select(vec![1_u32, 2, 3, 0]);
    let doorbell = prop_oneof![0_usize..6, 256_usize..262, 2048_usize..2060];
    prop_oneof![
        3 => gvnic_command(),
        3 => gvnic_queue(),
        3 => (0_u32..200).prop_map(|end| Action::Write(0, 0x14, end.to_be_bytes().to_vec())),
        1 => status.prop_map(|status| Action::Write(0, 0x04, status.to_be_bytes().to_vec())),
        4 => (doorbell, any::<u32>()).prop_map(|(at, value)| Action::Write(2, 4 * at, value.to_le_bytes().to_vec())),
        2 => common(),
        2 => frame(),
    ]
}

fn fbnic_action() -> impl Strategy<Value = Action> {
    let register = prop_oneof![
        2 => (0_usize..10, 0_usize..0x2d0).prop_map(|(triad, at)| 0x4_0000 + 0x400 * triad + at),
        1 => 0x8400_usize..0x8f20,
        1 => 0_usize..0x800,
        1 => select(vec![0x8008_usize, 0x8019]),
    ];
    prop_oneof![
        6 => (register, number()).prop_map(|(at, value)| Action::Write(0, 4 * at, (value as u32).to_le_bytes().to_vec())),
        2 => (0x6000_usize..0x6040, number())
            .prop_map(|(at, value)| Action::Write(4, 4 * at, (value as u32 | 1).to_le_bytes().to_vec())),
        2 => common(),
        2 => frame(),
    ]
}

fn run<N: Nic>(actions: Vec<Action>) {
    let pair = Pair::<N>::new();
    for end in 0..2 {
        pair.with(end, |nic| nic.port().memory = Memory::anonymous(MEMORY));
    }
    for action in actions {
        pair.with(0, |nic| match action {
            Action::Write(bar, at, bytes) => nic.write(bar, at, &bytes),
            Action::Read(bar, at, size) => nic.read(bar, at, &mut vec![0; size]),
            Action::Memory(at, bytes) => {
                nic.port().memory.write(at, &bytes);
            }
            Action::Frame(bytes, segment) => nic.receive(&Frame::new(bytes, segment)),
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gvnic_survives_any_guest(actions in prop::collection::vec(gvnic_action(), 1..200)) {
        run::<Gvnic>(actions);
    }

    #[test]
    fn fbnic_survives_any_guest(actions in prop::collection::vec(fbnic_action(), 1..200)) {
        run::<Fbnic>(actions);
    }
}
