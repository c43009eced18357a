//! The multiply-add peak of this machine, measured beside what is read against it.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use dyconv_core::{Info, Result};
use dyconv_simd::Isa;
use dyconv_simd::peak::{Chains, multiply_adds};

/// The instruction set of a CPU backend, from its id; others have no peak that is known here.
#[must_use]
pub fn isa_of(backend: &str) -> Option<Isa> {
    backend.strip_prefix("simd-")?.parse().ok()
}

/// The peak of a backend's instruction set and threads, in GFLOP/s.
///
/// # Errors
/// Where the machine lacks the instructions.
pub fn beside(info: &Info) -> Result<Option<f64>> {
    isa_of(&info.id).map(|isa| peak(isa, info.threads)).transpose()
}

/// What so many threads reach together with multiply-adds alone: the best of several short loops, since a disturbance
/// must not lower what figures are read against. Some milliseconds.
///
/// # Errors
/// Where the machine lacks the instructions.
pub fn peak(isa: Isa, threads: usize) -> Result<f64> {
    const ROUNDS: u64 = 40_000;
    let mut best = 0.0;
    for chains in [Chains::Seven, Chains::Twelve] {
        // The first loops are the warm-up: wide units wake slowly.
        for _ in 0..8 {
            let (work, time) = match threads {
                0 | 1 => alone(isa, chains, ROUNDS)?,
                // Long enough that threads which start a little apart still overlap.
                _ => together(isa, chains, 8 * ROUNDS, threads)?,
            };
            best = f64::max(best, 2e-9 * work as f64 / time.as_secs_f64());
        }
    }
    Ok(best)
}

fn alone(isa: Isa, chains: Chains, rounds: u64) -> Result<(u64, Duration)> {
    let start = Instant::now();
    let (work, sum) = multiply_adds(isa, chains, black_box(rounds))?;
    black_box(sum);
    Ok((work, start.elapsed()))
}

/// All start at once; the time is that of the slowest.
fn together(isa: Isa, chains: Chains, rounds: u64, threads: usize) -> Result<(u64, Duration)> {
    let barrier = Barrier::new(threads);
    let run = || {
        barrier.wait();
        alone(isa, chains, rounds)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut total = run()?;
        for other in others {
            // A thread that failed has no work to add.
            if let Ok(result) = other.join() {
                let (work, time) = result?;
                total = (total.0 + work, total.1.max(time));
            }
        }
        Ok(total)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_backends_have_a_peak_and_others_have_none() {
        assert_eq!(isa_of("simd-avx2"), Some(Isa::Avx2));
        assert_eq!(["reference", "wgpu-vulkan", "simd-", "avx2"].map(isa_of), [None; 4]);
    }

    #[test]
    fn several_threads_do_as_many_times_the_work() {
        let isa = Isa::Portable;
        let one = alone(isa, Chains::Seven, 10).unwrap().0;
        assert_eq!(together(isa, Chains::Seven, 10, 3).unwrap().0, 3 * one);
        assert!(peak(isa, 2).unwrap() > 0.0);
    }
}
