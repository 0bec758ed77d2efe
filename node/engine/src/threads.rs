//! Divides a job's thread budget among decoding, scaling and encoding. Pure.
//!
//! Nothing is left on "auto": libav would take the machine's cores, not the container's, and
//! each encoder would take all of them again.

/// Threads for one x264 instance and each core it may use: its own rule, which keeps cores busy
/// while frames wait for their references.
const ENCODER_OVERCOMMIT: f64 = 1.5;

/// Frame threads beyond this cost memory and delay, and H.264 of one segment gains nothing.
const MOST_DECODE_THREADS: u32 = 4;

/// x264 loses quality with each thread; more than this buys no time at segment length.
const MOST_ENCODE_THREADS: u32 = 16;

/// Threads of a job's stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Threads {
    pub(crate) decode: u32,
    /// For each rendition's filters.
    pub(crate) scale: u32,
    /// In the order of the renditions.
    pub(crate) encode: Vec<u32>,
}

/// Divides `budget` cores; `loads` are the renditions' pixels per second, or any measure like it.
pub(crate) fn divide(budget: u32, loads: &[u64]) -> Threads {
    let budget = budget.max(1);
    let total: u64 = loads.iter().sum::<u64>().max(1);
    let encode = loads
        .iter()
        .map(|&load| share(budget, load, total))
        .collect();
    Threads {
        decode: (budget / 4).clamp(1, MOST_DECODE_THREADS),
        scale: 1,
        encode,
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a ratio of at most 1 times a small count, rounded and clamped"
)]
fn share(budget: u32, load: u64, total: u64) -> u32 {
    let threads = f64::from(budget) * ENCODER_OVERCOMMIT * (load as f64 / total as f64);
    (threads.round() as u32).clamp(1, MOST_ENCODE_THREADS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_thread_even_on_one_core() {
        let threads = divide(1, &[100, 1]);
        assert_eq!(
            threads,
            Threads {
                decode: 1,
                scale: 1,
                encode: vec![1, 1]
            }
        );
    }

    #[test]
    fn the_largest_rendition_gets_the_most_encoder_threads() {
        let ladder = [1280 * 720, 854 * 480, 640 * 360, 426 * 240];
        assert_eq!(divide(2, &ladder).encode, [2, 1, 1, 1]);
        assert_eq!(divide(8, &ladder).encode, [7, 3, 2, 1]);
    }
}
