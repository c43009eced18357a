// exp as an own polynomial: within 2 ulp on every device (WGSL allows 3 + 2·|x| ulp, and drivers use it),
// and finite for every finite argument, since WGSL lets a compiler assume that infinities don't occur.

// e^x; below the least normal number 0, above 88.7 the largest power.
fn exponential(x: f32) -> f32 {
    // Comparisons, not clamp(), so that NaN stays NaN.
    let bounded = select(select(x, 88.7, x > 88.7), -87.3, x < -87.3);
    let power = floor(bounded * 1.44269504 + 0.5);
    // ln 2 in two parts, the first with few enough bits that its product is exact.
    let r = (bounded - power * 0.693359375) + power * 2.12194440e-4;
    let tail = ((((1.38888889e-3 * r + 8.33333333e-3) * r + 4.16666667e-2) * r + 1.66666667e-1) * r + 0.5) * r * r;
    // 2^power in two factors: power may be 128.
    let half = floor(power * 0.5);
    let scaled = ((tail + r) + 1.0) * power_of_two(half) * power_of_two(power - half);
    return select(scaled, 0.0, x < -87.3);
}

// 2^n for an integral n within ±126.
fn power_of_two(n: f32) -> f32 {
    return bitcast<f32>(u32(i32(n) + 127) << 23u);
}
