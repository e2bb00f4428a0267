//! User space's references to the buffers of an area: counted, or estimated from a sample.

use zcrx_common::snapshot::Area;

use crate::model::AreaState;

/// Standard deviations within which 19 of 20 estimates lie.
const DEVIATIONS: f64 = 1.96;

/// The state of an area. Small areas are counted buffer by buffer; of a large one every so many groups of neighbours are.
pub(super) fn area(area: &Area, tells_dmabuf: bool, tells_user: bool) -> AreaState {
    let mut state = AreaState {
        buffers: area.buffers,
        free: area.free,
        dmabuf: tells_dmabuf.then_some(area.dmabuf != 0),
        ..AreaState::default()
    };
    if !tells_user {
        return state;
    }
    if area.stride <= 1 {
        let counted = area.scanned == area.buffers;
        state.user_buffers = counted.then_some(area.user_buffers);
        state.user_references = counted.then_some(area.user_references);
        state.user_buffers_error = counted.then_some(0);
    } else if let Some(estimate) = Estimate::of(area) {
        state.user_buffers = Some(estimate.buffers);
        state.user_references = Some(estimate.references);
        state.user_buffers_error = Some(estimate.error);
    }
    state
}

struct Estimate {
    buffers: u32,
    references: u64,
    error: u32,
}

impl Estimate {
    /// From the groups that were counted. Neighbours are alike, so the error comes from how much groups differ, not single buffers.
    fn of(area: &Area) -> Option<Self> {
        if area.scanned == 0 || area.chunks < 2 {
            return None;
        }
        let share = f64::from(area.buffers) / f64::from(area.scanned);
        let (chunks, groups) = (f64::from(area.chunks), f64::from(area.chunks) * f64::from(area.stride));
        let mean = f64::from(area.user_buffers) / chunks;
        let variance = ((area.squares as f64) - chunks * mean * mean).max(0.0) / (chunks - 1.0);
        let missing = (1.0 - chunks / groups).max(0.0);
        let error = DEVIATIONS * groups * (variance / chunks * missing).sqrt();
        let buffers = (f64::from(area.user_buffers) * share).round();
        Some(Self {
            buffers: (buffers as u32).min(area.buffers),
            references: (area.user_references as f64 * share).round() as u64,
            error: (error.ceil() as u32).min(area.buffers),
        })
    }
}

#[cfg(test)]
mod tests {
    use zcrx_common::snapshot::CHUNK;

    use super::*;

    /// What the program would count of an area of which user space holds these buffers.
    fn sample(held: &[bool], stride: u32, first: u32) -> Area {
        let mut area = Area { buffers: held.len() as u32, stride, ..Area::default() };
        let chunks = held.chunks(CHUNK as usize).skip(first as usize).step_by(stride as usize);
        for chunk in chunks {
            let nonzero = chunk.iter().filter(|held| **held).count() as u32;
            area.scanned += chunk.len() as u32;
            area.user_buffers += nonzero;
            area.user_references += u64::from(nonzero);
            area.squares += u64::from(nonzero).pow(2);
            area.chunks += 1;
        }
        area
    }

    #[test]
    fn a_count_of_all_buffers_has_no_error_and_a_partial_one_is_unknown() {
        let held = vec![true; 1000];
        let all = area(&sample(&held, 1, 0), true, true);
        assert_eq!(
            (all.user_buffers, all.user_buffers_error, all.dmabuf),
            (Some(1000), Some(0), Some(false))
        );
        let part = Area { scanned: 128, ..sample(&held, 1, 0) };
        let part = area(&part, false, true);
        assert_eq!((part.user_buffers, part.user_buffers_error, part.dmabuf), (None, None, None));
    }

    /// Buffers held in runs, as programs hold them: the stated error covers the truth in at least 9 of 10 samples.
    #[test]
    fn the_stated_error_of_a_sample_covers_the_truth() {
        const BUFFERS: usize = 1 << 20;
        const STRIDE: u32 = 16;
        let mut seed = 7_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize
        };
        let (mut covered, mut samples) = (0, 0);
        for _ in 0..6 {
            let mut held = vec![false; BUFFERS];
            for _ in 0..random() % 400 {
                let (start, run) = (random() % BUFFERS, random() % 3000);
                held[start..(start + run).min(BUFFERS)].fill(true);
            }
            let truth = held.iter().filter(|held| **held).count() as u32;
            for first in 0..STRIDE {
                let state = area(&sample(&held, STRIDE, first), true, true);
                let (estimate, error) =
                    (state.user_buffers.expect("known"), state.user_buffers_error.expect("known"));
                samples += 1;
                covered += u32::from(estimate.abs_diff(truth) <= error);
            }
        }
        assert!(covered * 10 >= samples * 9, "{covered} of {samples} covered");
    }
}
