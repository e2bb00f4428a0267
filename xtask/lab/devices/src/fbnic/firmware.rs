//! The firmware's mailbox: two rings of 16 descriptors in BAR 4, and answers to what the driver asks.
//!
//! A message has a header (an id, a flag, a length in 32-bit units) and attributes (each an id and a length in bytes).

use std::collections::VecDeque;

use super::Fbnic;

/// First word of the rings: messages to the driver, then from it.
const TO_DRIVER: usize = 0x6000;
const FROM_DRIVER: usize = TO_DRIVER + 2 * DESCRIPTORS;
const DESCRIPTORS: usize = 16;

/// Bits of a descriptor.
const HOST_DONE: u64 = 1 << 0;
const FIRMWARE_DONE: u64 = 1 << 1;
const END_OF_MESSAGE: u64 = 1 << 46;
const ADDRESS: u64 = 0x3fff_ffff_fff8;

const IS_MESSAGE: u16 = 1 << 15;
/// A page, as the driver's messages.
const MOST_BYTES: usize = 4096;

/// Version 25.5.7, new enough for everything the driver uses.
const VERSION: u32 = 25 << 24 | 5 << 16 | 7 << 8;
const LINK_SPEED_100G: u32 = 4;
const FEC_RS: u32 = 2;
const NOT_FOUND: i32 = -2;

/// The mailbox's vector.
const VECTOR: u32 = 0;

/// The firmware's side of the mailbox.
#[derive(Debug)]
pub(super) struct Firmware {
    words: Vec<u32>,
    from_driver: usize,
    to_driver: usize,
    answers: VecDeque<Vec<u8>>,
}

impl Firmware {
    /// A mailbox in BAR 4.
    pub(super) fn new(words: usize) -> Self {
        Self { words: vec![0; words], from_driver: 0, to_driver: 0, answers: VecDeque::new() }
    }

    /// Forgets answers that were not fetched.
    pub(super) fn reset(&mut self) {
        self.answers.clear();
    }

    /// Reads a word of BAR 4.
    pub(super) fn read(&self, index: usize) -> u32 {
        self.words.get(index).copied().unwrap_or(0)
    }

    fn descriptor(&self, ring: usize, index: usize) -> u64 {
        let at = ring + 2 * index;
        u64::from(self.read(at)) | u64::from(self.read(at + 1)) << 32
    }

    fn set_descriptor(&mut self, ring: usize, index: usize, descriptor: u64) {
        self.words[ring + 2 * index] = descriptor as u32;
        self.words[ring + 2 * index + 1] = (descriptor >> 32) as u32;
    }
}

impl Fbnic {
    /// The driver writes a word of BAR 4.
    pub(super) fn write_mailbox(&mut self, index: usize, value: u32) {
        let Some(word) = self.firmware.words.get_mut(index) else { return };
        *word = value;
        // The lower half of a descriptor is written last.
        if !(TO_DRIVER..FROM_DRIVER + 2 * DESCRIPTORS).contains(&index) || index % 2 == 1 {
            return;
        }
        let is_from_driver = index >= FROM_DRIVER;
        let state = u64::from(value) & (HOST_DONE | FIRMWARE_DONE);
        let position = (index - TO_DRIVER) % (2 * DESCRIPTORS) / 2;
        if position == 1 && state == HOST_DONE | FIRMWARE_DONE {
            // The last write of a ring's reset, which the firmware acknowledges by an interrupt.
            if is_from_driver {
                self.firmware.from_driver = 0;
            } else {
                self.firmware.to_driver = 0;
            }
            self.fire(VECTOR);
        } else if state == HOST_DONE {
            if is_from_driver {
                self.take_messages();
            }
            self.send_answers();
        }
    }

    fn take_messages(&mut self) {
        for _ in 0..DESCRIPTORS {
            let index = self.firmware.from_driver;
            let descriptor = self.firmware.descriptor(FROM_DRIVER, index);
            if descriptor & (HOST_DONE | FIRMWARE_DONE) != HOST_DONE {
                return;
            }
            let (length, mut message) = ((descriptor >> 48) as usize, Vec::new());
            let read = self.port.memory.append(descriptor & ADDRESS, length.min(MOST_BYTES), &mut message);
            if read.is_some() && message.len() >= 4 {
                self.answer(message);
            }
            self.firmware.set_descriptor(FROM_DRIVER, index, descriptor | FIRMWARE_DONE);
            self.firmware.from_driver = (index + 1) % DESCRIPTORS;
            self.fire(VECTOR);
        }
    }

    fn answer(&mut self, message: Vec<u8>) {
        let number = |value: u32| value.to_le_bytes().to_vec();
        let uptime = || (self.uptime_ns() / 1_000_000).to_le_bytes().to_vec();
        let refused = || NOT_FOUND.to_le_bytes().to_vec();
        let id = u16::from_le_bytes([message[0], message[1]]) & 0xfff;
        let answer = match id {
            // An echo.
            0x00 => message,
            // Capabilities: version running and stored, commit, link speed and error correction.
            0x10 => encode(
                0x11,
                &[
                    (0x0, number(VERSION)),
                    (0x6, b"emulated\0".to_vec()),
                    (0x4, number(VERSION)),
                    (0xa, number(LINK_SPEED_100G)),
                    (0xb, number(FEC_RS)),
                ],
            ),
            // Ownership, heartbeat, flash and QSFP (there are none), temperature and voltage.
            0x12 => encode(0x13, &[(0x1, uptime())]),
            0x14 => encode(0x15, &[(0x0, uptime())]),
            0x18 => encode(0x19, &[(0x2, refused())]),
            0x38 => encode(0x39, &[(0x4, refused())]),
            0x3c => encode(0x3d, &[(0x0, number(40_000)), (0x1, number(850))]),
            _ => {
                self.port.log(format_args!("firmware message {id:#x} has no answer"));
                return;
            }
        };
        // A driver that asks without fetching answers loses the oldest.
        if self.firmware.answers.len() >= DESCRIPTORS {
            self.firmware.answers.pop_front();
        }
        self.firmware.answers.push_back(answer);
    }

    fn send_answers(&mut self) {
        while let Some(answer) = self.firmware.answers.front() {
            let index = self.firmware.to_driver;
            let descriptor = self.firmware.descriptor(TO_DRIVER, index);
            if descriptor & (HOST_DONE | FIRMWARE_DONE) != HOST_DONE {
                return;
            }
            let address = descriptor & ADDRESS;
            // A buffer outside the guest's memory gets nothing.
            let _ = self.port.memory.write(address, answer);
            let length = (answer.len() as u64) << 48;
            self.firmware.set_descriptor(
                TO_DRIVER,
                index,
                address | HOST_DONE | FIRMWARE_DONE | END_OF_MESSAGE | length,
            );
            self.firmware.answers.pop_front();
            self.firmware.to_driver = (index + 1) % DESCRIPTORS;
            self.fire(VECTOR);
        }
    }
}

fn encode(id: u16, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (id, value) in attributes {
        body.extend(id.to_le_bytes());
        body.extend((4 + value.len() as u16).to_le_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = (id | IS_MESSAGE).to_le_bytes().to_vec();
    message.extend((1 + body.len() as u16 / 4).to_le_bytes());
    message.extend(body);
    message
}
