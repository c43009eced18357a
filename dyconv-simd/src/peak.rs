//! The multiply-add peak: what one thread does when it does nothing else. Benchmarks time it, in the process that they
//! measure in, and read every other figure against it.

use dyconv_core::Result;

use crate::Isa;
use crate::isa::OnLanes;
use crate::lanes::{Lanes, Task};

/// Sums that wait for nothing but their own last value. Two units with a latency of four need eight; without fused
/// multiply-adds, on registers of half a vector, seven are as many as fit the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Chains {
    /// For registers of half a vector.
    Seven,
    /// For registers of a whole one.
    Twelve,
}

/// Does `rounds` multiply-adds in every chain, on this thread. Gives how many multiply-adds that were, and a number
/// that depends on all of them.
///
/// # Errors
/// Where the machine lacks the instructions.
#[doc(hidden)]
pub fn multiply_adds(isa: Isa, chains: Chains, rounds: u64) -> Result<(u64, f32)> {
    Ok(isa.require()?.dispatch(Loop { chains, rounds }))
}

struct Loop {
    chains: Chains,
    rounds: u64,
}

impl OnLanes for Loop {
    type Output = (u64, f32);

    fn run<L: Lanes>(self, lanes: L) -> (u64, f32) {
        let rounds = self.rounds;
        match self.chains {
            Chains::Seven => lanes.vectorize(Rounds::<7> { rounds }),
            Chains::Twelve => lanes.vectorize(Rounds::<12> { rounds }),
        }
    }
}

struct Rounds<const CHAINS: usize> {
    rounds: u64,
}

impl<const CHAINS: usize> Task for Rounds<CHAINS> {
    type Output = (u64, f32);

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> (u64, f32) {
        // x → 0.75·x + 0.5 stays between 1 and 2 for ever: no subnormals, no infinities.
        let (factor, addend) = (lanes.splat(0.75), lanes.splat(0.5));
        let mut sums = [lanes.splat(1.0); CHAINS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = lanes.mul_add(*sum, factor, addend);
            }
        }
        let total = sums.into_iter().fold(lanes.splat(0.0), |total, sum| lanes.add(total, sum));
        (self.rounds * (CHAINS * L::WIDTH) as u64, lanes.reduce_add(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chain_does_every_round() {
        for isa in Isa::available() {
            for (chains, count) in [(Chains::Seven, 7), (Chains::Twelve, 12)] {
                let (first, sum) = multiply_adds(isa, chains, 1).unwrap();
                assert_eq!(sum, 1.25 * first as f32, "{isa}");
                let (many, _) = multiply_adds(isa, chains, 1000).unwrap();
                assert_eq!((many, first % count), (1000 * first, 0), "{isa}");
            }
        }
    }
}
