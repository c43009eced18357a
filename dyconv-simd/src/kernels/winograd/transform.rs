//! The three transforms along one axis, for tiles of `M` outputs: at the first `M + 2` of the points 0, 1, −1, ∞, 2, −2.
//!
//! With w, x and y seen as polynomials, G is w's value at each point (∞: its highest coefficient), left unscaled: it
//! costs six additions for six points, and serves tiles of all sizes. B, the input's, holds for each point the
//! coefficients of the polynomial that is 1 there and 0 at the other finite ones (∞: of the one that is 0 at all of them),
//! and A the powers of each point, so that y\[i\] = Σ A\[i,p\]·(G·w)\[p\]·(B·x)\[p\] is Σ w\[k\]·x\[i+k\].

use crate::lanes::Lanes;

/// Points along an axis, at most.
pub(super) const POINTS: usize = 6;

/// G·w, at the first `P` points.
#[inline(always)]
pub(super) fn weights<L: Lanes, const P: usize>(lanes: L, [w0, w1, w2]: [L::V; 3]) -> [L::V; POINTS] {
    let even = lanes.add(w0, w2);
    let (one, minus_one) = (lanes.add(even, w1), lanes.sub(even, w1));
    if P <= 4 {
        return [w0, one, minus_one, w2, w0, w0];
    }
    let even = lanes.mul_add(lanes.splat(4.0), w2, w0);
    let two = lanes.splat(2.0);
    [w0, one, minus_one, w2, lanes.mul_add(two, w1, even), lanes.mul_add(lanes.splat(-2.0), w1, even)]
}

/// B·x, of the first `M + 2` values.
#[inline(always)]
pub(super) fn input<L: Lanes, const M: usize>(lanes: L, x: [L::V; POINTS]) -> [L::V; POINTS] {
    let [x0, x1, x2, x3, x4, x5] = x;
    let times = |factor: f32, v: L::V| lanes.mul(lanes.splat(factor), v);
    let plus = |factor: f32, v: L::V, sum: L::V| lanes.mul_add(lanes.splat(factor), v, sum);
    let mut v = x;
    match M {
        1 => {
            let (odd, even) = (times(0.5, x1), times(0.5, x2));
            v[0] = lanes.sub(x0, x2);
            v[1] = lanes.add(even, odd);
            v[2] = lanes.sub(even, odd);
        }
        2 => {
            let (odd, even) = (times(0.5, x1), times(0.5, x2));
            v[0] = lanes.sub(x0, x2);
            v[1] = lanes.add(even, odd);
            v[2] = lanes.sub(even, odd);
            v[3] = lanes.sub(x3, x1);
        }
        3 => {
            // (x1 − x3) / 2, a third of which is minus the value at 2.
            let odd = lanes.mul(lanes.splat(0.5), lanes.sub(x1, x3));
            v[0] = lanes.sub(lanes.sub(x0, x2), odd);
            v[1] = plus(0.5, lanes.add(x1, x2), odd);
            v[2] = plus(0.5, x2, plus(-1.0 / 3.0, x1, times(-1.0 / 6.0, x3)));
            v[3] = plus(4.0, odd, lanes.sub(x4, x2));
            v[4] = times(-1.0 / 3.0, odd);
        }
        _ => {
            let even = plus(4.0 / 6.0, x2, times(-1.0 / 6.0, x4));
            let odd = plus(4.0 / 6.0, x1, times(-1.0 / 6.0, x3));
            v[0] = plus(0.25, x4, plus(-1.25, x2, x0));
            v[1] = lanes.add(even, odd);
            v[2] = lanes.sub(even, odd);
            v[3] = plus(4.0, x1, plus(-5.0, x3, x5));
            let even = times(1.0 / 24.0, lanes.sub(x4, x2));
            let odd = times(1.0 / 12.0, lanes.sub(x3, x1));
            v[4] = lanes.add(even, odd);
            v[5] = lanes.sub(even, odd);
        }
    }
    v
}

/// A·m: `M` outputs of `M + 2` products.
#[inline(always)]
pub(super) fn output<L: Lanes, const M: usize>(lanes: L, m: [L::V; POINTS]) -> [L::V; 4] {
    let [zero, one, minus_one, infinity, two, minus_two] = m;
    let plus = |factor: f32, v: L::V, sum: L::V| lanes.mul_add(lanes.splat(factor), v, sum);
    let (even, odd) = (lanes.add(one, minus_one), lanes.sub(one, minus_one));
    let mut y = [lanes.add(zero, even), odd, even, odd];
    match M {
        1 => {}
        2 => y[1] = lanes.add(odd, infinity),
        3 => {
            y[0] = lanes.add(y[0], two);
            y[1] = plus(2.0, two, odd);
            y[2] = plus(4.0, two, lanes.add(even, infinity));
        }
        _ => {
            let (even_twos, odd_twos) = (lanes.add(two, minus_two), lanes.sub(two, minus_two));
            y[0] = lanes.add(y[0], even_twos);
            y[1] = plus(2.0, odd_twos, odd);
            y[2] = plus(4.0, even_twos, even);
            y[3] = plus(8.0, odd_twos, lanes.add(odd, infinity));
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Portable;

    fn correlates<const M: usize>() {
        let lanes = Portable;
        let splat = |x: f32| lanes.splat(x);
        for seed in 0..50 {
            let number = |i: usize| ((seed * 37 + i * 101) % 23) as f32 - 11.0;
            let (w, x) = ([0, 1, 2].map(number), [3, 4, 5, 6, 7, 8].map(number));
            let u = weights::<_, POINTS>(lanes, w.map(splat));
            let v = input::<_, M>(lanes, x.map(splat));
            let mut products = [lanes.splat(f32::NAN); POINTS];
            for p in 0..M + 2 {
                products[p] = lanes.mul(u[p], v[p]);
            }
            let y = output::<_, M>(lanes, products);
            for i in 0..M {
                let want: f32 = (0..3).map(|k| w[k] * x[i + k]).sum();
                let mut got = [0.0; 8];
                lanes.store(y[i], &mut got);
                assert!((got[0] - want).abs() < 1e-3, "{M} outputs, {i}: {} for {want}", got[0]);
                assert!(M > 2 || got[0] == want);
            }
        }
    }

    #[test]
    fn tiles_of_every_size_correlate_with_the_same_weights() {
        correlates::<1>();
        correlates::<2>();
        correlates::<3>();
        correlates::<4>();
    }

    /// The growth that `Accuracy` states: max over i, k of Σ|A\[i,p\]|·|G\[p,k\]|·Σ|B\[p,l\]|, squared.
    #[test]
    fn roundings_grow_as_stated() {
        fn growth<const M: usize>() -> f32 {
            let lanes = Portable;
            let unit = |n: usize, i: usize| lanes.splat(if n == i { 1.0 } else { 0.0 });
            let first = |v| {
                let mut lane = [0.0; 8];
                lanes.store(v, &mut lane);
                lane[0].abs()
            };
            let column = |n: usize| std::array::from_fn::<_, POINTS, _>(|i| unit(n, i));
            let mut norms = [0.0; POINTS];
            for l in 0..M + 2 {
                let b = input::<_, M>(lanes, column(l));
                (0..M + 2).for_each(|p| norms[p] += first(b[p]));
            }
            let mut most = 0f32;
            for k in 0..3 {
                let g = weights::<_, POINTS>(lanes, std::array::from_fn(|i| unit(k, i)));
                let mut sums = [0.0; M];
                for p in 0..M + 2 {
                    let a = output::<_, M>(lanes, column(p));
                    (0..M).for_each(|i| sums[i] += first(a[i]) * first(g[p]) * norms[p]);
                }
                most = sums.into_iter().fold(most, f32::max);
            }
            most * most
        }
        let stated = |accuracy: dyconv_core::Accuracy| accuracy.spread().unwrap().growth as f32;
        let (two, four) =
            (stated(dyconv_core::Accuracy::WinogradF2), stated(dyconv_core::Accuracy::WinogradF4));
        assert!(growth::<1>() <= two && growth::<2>() == two);
        assert!(growth::<3>() <= four && growth::<4>() <= four && growth::<4>() > 0.999 * four);
    }
}
