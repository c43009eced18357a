//! Durations of calls, and how long they may be collected.

use std::time::{Duration, Instant};

use dyconv_core::Result;

/// How long one measurement may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Time for the calls of one row, warm-up apart.
    pub time: Duration,
    /// At most this many calls of each form.
    pub most_runs: usize,
    /// How long one form is called before the other has its turn: at least one call. Long enough that a call finds
    /// the caches as its like left them, short enough that what disturbs the machine disturbs both.
    pub turn: Duration,
}

impl Budget {
    /// Good medians: half a second a row.
    pub const BENCH: Self =
        Self { time: Duration::from_millis(500), most_runs: 20_000, turn: Duration::from_millis(10) };
    /// A first impression: what the main job can afford.
    pub const GLANCE: Self =
        Self { time: Duration::from_millis(60), most_runs: 200, turn: Duration::from_millis(5) };
    /// One pair of calls after the warm-up.
    pub const ONCE: Self = Self { time: Duration::ZERO, most_runs: 1, turn: Duration::ZERO };

    /// Calls again and again until the time or the number of calls is used up: at least once.
    ///
    /// # Errors
    /// The first of a call.
    pub fn repeat(&self, mut call: impl FnMut() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        for number in 0..self.most_runs.max(1) {
            if number > 0 && start.elapsed() >= self.time {
                break;
            }
            call()?;
        }
        Ok(())
    }
}

/// Durations of calls, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Median.
    pub median_us: f64,
    /// Minimum.
    pub min_us: f64,
    /// Calls timed.
    pub runs: usize,
}

impl Timing {
    /// Sums up the durations that repeated calls report.
    ///
    /// # Errors
    /// The first of a call.
    pub fn collect(budget: Budget, mut call: impl FnMut() -> Result<Duration>) -> Result<Self> {
        let mut durations = Vec::new();
        budget.repeat(|| {
            durations.push(call()?);
            Ok(())
        })?;
        Ok(Self::of(durations))
    }

    /// Sums up at least one duration.
    #[must_use]
    pub fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let micros = |i: usize| durations.get(i).map_or(0.0, |&d| micros(d));
        let (low, high) = (durations.len().saturating_sub(1) / 2, durations.len() / 2);
        Self { median_us: (micros(low) + micros(high)) / 2.0, min_us: micros(0), runs: durations.len() }
    }
}

/// A duration in microseconds.
#[must_use]
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_minimum_of_durations() {
        let timing = |us: &[u64]| Timing::of(us.iter().map(|&us| Duration::from_micros(us)).collect());
        assert_eq!(timing(&[5, 1, 9]), Timing { median_us: 5.0, min_us: 1.0, runs: 3 });
        assert_eq!(timing(&[4, 2]), Timing { median_us: 3.0, min_us: 2.0, runs: 2 });
    }

    #[test]
    fn calls_end_with_the_time_or_their_number_but_there_is_one() {
        let runs = |time, most_runs| {
            let budget = Budget { time, most_runs, turn: Duration::ZERO };
            Timing::collect(budget, || Ok(Duration::from_micros(7))).unwrap()
        };
        assert_eq!(runs(Duration::ZERO, 100), Timing { median_us: 7.0, min_us: 7.0, runs: 1 });
        assert_eq!(runs(Duration::MAX, 100).runs, 100);
    }
}
