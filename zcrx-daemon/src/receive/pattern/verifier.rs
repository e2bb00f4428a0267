//! Compares a stream with the pattern, whatever pieces it comes in.

use serde::{Deserialize, Serialize};

use super::{HEADER_BYTES, MAGIC, Verdict, word};

/// What one piece held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Payload bytes compared.
    pub compared: u64,
    /// Of these, bytes that were not what was sent.
    pub mismatched: u64,
}

/// The state of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header seen.
    header_seen: usize,
    /// From the header, once it is whole and good.
    seed: Option<u64>,
    payload: u64,
    mismatched: u64,
    first_mismatch: Option<u64>,
}

impl Verifier {
    /// Compares the next piece of the stream.
    pub fn update(&mut self, piece: &[u8]) -> Checked {
        let piece = self.take_header(piece);
        let Some(seed) = self.seed else { return Checked::default() };
        let mismatched = self.compare(seed, piece);
        self.mismatched += mismatched;
        Checked { compared: piece.len() as u64, mismatched }
    }

    /// Whether a state from outside this process can be one of this type.
    pub(in crate::receive) const fn is_sound(&self) -> bool {
        self.header_seen <= HEADER_BYTES
    }

    /// The verdict if the stream ends here.
    pub fn verdict(&self) -> Verdict {
        match (self.seed, self.first_mismatch) {
            (None, _) => Verdict::BadHeader,
            (Some(_), None) => Verdict::Ok { payload: self.payload },
            (Some(_), Some(first)) => {
                Verdict::Bad { mismatched: self.mismatched, payload: self.payload, first }
            }
        }
    }

    /// Takes what belongs to the header off the front of a piece.
    fn take_header<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        if self.header_seen == HEADER_BYTES {
            return piece;
        }
        let take = piece.len().min(HEADER_BYTES - self.header_seen);
        let (now, rest) = piece.split_at(take);
        self.header[self.header_seen..self.header_seen + take].copy_from_slice(now);
        self.header_seen += take;
        if self.header_seen == HEADER_BYTES {
            let mut seed = [0; 8];
            seed.copy_from_slice(&self.header[8..]);
            self.seed = (self.header[..8] == MAGIC).then_some(u64::from_le_bytes(seed));
        }
        rest
    }

    fn compare(&mut self, seed: u64, piece: &[u8]) -> u64 {
        // The first bytes may continue a word, the last ones may begin one; between them, whole words.
        let skip = (self.payload % 8) as usize;
        let lead = if skip == 0 { 0 } else { (8 - skip).min(piece.len()) };
        let (lead, rest) = piece.split_at(lead);
        let mut mismatched = self.compare_part(seed, lead, skip);
        let (words, tail) = rest.as_chunks::<8>();
        for chunk in words {
            // Almost always equal: one comparison for 8 bytes.
            if *chunk == word(seed, self.payload / 8) {
                self.payload += 8;
            } else {
                mismatched += self.compare_part(seed, chunk, 0);
            }
        }
        mismatched + self.compare_part(seed, tail, 0)
    }

    /// Compares bytes of one word, beginning with the word's byte `skip`.
    fn compare_part(&mut self, seed: u64, part: &[u8], skip: usize) -> u64 {
        let expected = word(seed, self.payload / 8);
        let mut mismatched = 0;
        for (byte, expected) in part.iter().zip(&expected[skip..]) {
            if byte != expected {
                mismatched += 1;
                self.first_mismatch.get_or_insert(self.payload);
            }
            self.payload += 1;
        }
        mismatched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::pattern::{fill, header};
    use proptest::prelude::*;

    fn stream(seed: u64, payload: usize) -> Vec<u8> {
        let mut stream = header(seed).to_vec();
        stream.resize(HEADER_BYTES + payload, 0);
        fill(seed, 0, &mut stream[HEADER_BYTES..]);
        stream
    }

    proptest! {
        #[test]
        fn a_true_stream_is_ok_in_whatever_pieces(
            seed in any::<u64>(),
            payload in 0..3000_usize,
            cuts in prop::collection::vec(1..200_usize, 0..50),
        ) {
            let stream = stream(seed, payload);
            let mut verifier = Verifier::default();
            let mut rest = stream.as_slice();
            let mut compared = 0;
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                compared += verifier.update(now).compared;
                rest = later;
            }
            compared += verifier.update(rest).compared;
            prop_assert_eq!(verifier.verdict(), Verdict::Ok { payload: payload as u64 });
            prop_assert_eq!(compared, payload as u64);
        }

        #[test]
        fn every_changed_byte_is_found(
            seed in any::<u64>(),
            payload in 1..3000_usize,
            changes in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut stream = stream(seed, payload);
            let changed: std::collections::BTreeSet<_> = changes.iter().map(|i| i.index(payload)).collect();
            for at in &changed {
                stream[HEADER_BYTES + at] ^= 0x40;
            }
            let mut verifier = Verifier::default();
            let (left, right) = stream.split_at(cut.index(stream.len()));
            let mismatched = verifier.update(left).mismatched + verifier.update(right).mismatched;
            prop_assert_eq!(mismatched, changed.len() as u64);
            let first = changed.first().map(|at| *at as u64).expect("at least one");
            prop_assert_eq!(
                verifier.verdict(),
                Verdict::Bad { mismatched, payload: payload as u64, first }
            );
        }
    }

    #[test]
    fn a_lost_byte_shows() {
        let mut stream = stream(1, 1000);
        stream.remove(HEADER_BYTES + 500);
        let mut verifier = Verifier::default();
        verifier.update(&stream);
        assert!(matches!(verifier.verdict(), Verdict::Bad { first: 500.., .. }), "{:?}", verifier.verdict());
    }

    #[test]
    fn no_header_no_comparison() {
        let mut verifier = Verifier::default();
        assert_eq!(verifier.verdict(), Verdict::BadHeader, "nothing was sent");
        assert_eq!(verifier.update(b"GET / HTTP/1.1\r\n\r\n"), Checked::default());
        assert_eq!(verifier.verdict(), Verdict::BadHeader);
    }
}
