//! What it costs this machine to hand a cache line from core to core, measured beside rows of several threads.
//!
//! Virtual machines move: two of their cores may share a cache in one moment and not in the next, and what threads share
//! takes several times as long then. A row says which it was.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dyconv_core::Info;

use crate::peak::isa_of;

/// How long a try lasts: thousands of turns where cores share a cache.
const TRY: Duration = Duration::from_micros(400);

/// The line that goes back and forth, alone on it and on its neighbour, which some prefetch.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// What the second thread takes for the end.
const END: u64 = u64::MAX;

/// Nanoseconds from one core to another, where a CPU backend has several threads. Some milliseconds.
#[must_use]
pub fn beside(info: &Info) -> Option<f64> {
    (info.threads > 1 && isa_of(&info.id).is_some()).then(handoff)
}

/// The best of a few tries, since a disturbance isn't the way.
fn handoff() -> f64 {
    (0..6).map(|_| back_and_forth()).fold(f64::INFINITY, f64::min)
}

/// Half a turn's nanoseconds: odd numbers are answered by the next even one.
fn back_and_forth() -> f64 {
    let line = Line::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                match line.0.load(Ordering::Acquire) {
                    END => return,
                    n if n % 2 == 1 => line.0.store(n + 1, Ordering::Release),
                    _ => std::hint::spin_loop(),
                }
            }
        });
        // The first answer comes when the other thread runs.
        turn(&line, 0);
        let (start, mut turns) = (Instant::now(), 1);
        // As many again between two looks at the clock: where others keep the cores busy, one turn takes milliseconds.
        while start.elapsed() < TRY {
            (turns..2 * turns).for_each(|n| turn(&line, 2 * n));
            turns *= 2;
        }
        let time = start.elapsed();
        line.0.store(END, Ordering::Release);
        time.as_secs_f64() * 1e9 / (2 * (turns - 1)) as f64
    })
}

/// There and back.
fn turn(line: &Line, n: u64) {
    line.0.store(n + 1, Ordering::Release);
    while line.0.load(Ordering::Acquire) != n + 2 {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use dyconv_core::Accuracy;

    use super::*;

    #[test]
    fn only_cpu_backends_of_several_threads_hand_over() {
        let of = |id: &str, threads| beside(&Info::new(id, "", threads, Accuracy::Cpu));
        assert!(of("simd-portable", 2).is_some_and(|ns| ns > 0.0 && ns.is_finite()));
        assert_eq!([of("simd-portable", 1), of("wgpu-vulkan", 2)], [None; 2]);
    }
}
