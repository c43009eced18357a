//! Durations of single calls.

use std::time::{Duration, Instant};

const WARM_UP: Duration = Duration::from_millis(20);
/// One warm-up call is enough for these.
const LONG_CALL: Duration = Duration::from_millis(50);
/// And of these, one timed call.
const ENDLESS_CALL: Duration = Duration::from_secs(1);
const FEWEST_CALLS: usize = 3;

/// Durations in µs, for `ms` after a warm-up; at least `FEWEST_CALLS`, where one doesn't take for ever.
pub fn timed<E>(mut call: impl FnMut() -> Result<(), E>, ms: u64) -> Result<Vec<f64>, E> {
    let (start, mut calls) = (Instant::now(), 0);
    loop {
        call()?;
        calls += 1;
        let warm = start.elapsed() >= WARM_UP && calls >= FEWEST_CALLS;
        if warm || start.elapsed() >= LONG_CALL {
            break;
        }
    }
    let fewest = if start.elapsed() < ENDLESS_CALL { FEWEST_CALLS } else { 1 };
    let (start, time, mut durations) = (Instant::now(), Duration::from_millis(ms), Vec::new());
    while durations.len() < fewest || start.elapsed() < time {
        let before = Instant::now();
        call()?;
        durations.push(before.elapsed().as_secs_f64() * 1e6);
    }
    Ok(durations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_are_not_timed_come_first() {
        let mut calls = 0;
        let mut call = || {
            Ok::<(), ()>({
                calls += 1;
                std::thread::sleep(Duration::from_millis(60));
            })
        };
        assert_eq!(timed(&mut call, 1).unwrap().len(), FEWEST_CALLS);
        assert_eq!(calls, FEWEST_CALLS + 1, "a long call warms up once");
    }

    #[test]
    fn a_slice_lasts_its_time() {
        let start = Instant::now();
        let durations = timed(|| Ok::<(), ()>(std::thread::sleep(Duration::from_millis(1))), 30).unwrap();
        assert!(start.elapsed() >= WARM_UP + Duration::from_millis(30));
        assert!(durations.iter().all(|&us| us >= 1000.0), "{durations:?}");
    }

    #[test]
    fn a_failure_ends_it() {
        assert_eq!(timed(|| Err("no"), 1), Err("no"));
    }
}
