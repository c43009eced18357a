// The bits of the f16 nearest to a float, halves to even; infinity beyond the range, NaN for NaN. In integers, since
// WGSL leaves open which way its own conversions round, and what becomes of numbers beyond the range. As `round::half`
// of dyconv-core.

fn half(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let magnitude = bits & 0x7fffffffu;
    var half = 0u;
    if magnitude > 0x7f800000u {
        half = 0x7e00u;
    } else if magnitude >= 0x477ff000u {
        half = 0x7c00u;
    } else if magnitude >= 0x38800000u {
        half = rounded(magnitude - (112u << 23u), 13u);
    } else if magnitude >= (102u << 23u) {
        // In units of 2⁻²⁴.
        half = rounded((magnitude & 0x007fffffu) | 0x00800000u, 126u - (magnitude >> 23u));
    }
    return ((bits >> 16u) & 0x8000u) | half;
}

// Without the lowest `gone` bits.
fn rounded(bits: u32, gone: u32) -> u32 {
    return (bits + (1u << (gone - 1u)) - 1u + ((bits >> gone) & 1u)) >> gone;
}
