// Winograd's F(4×4, 3×3): along an axis 4 outputs from 6 inputs, with 6 products instead of 12. The points are 0, ±1,
// ±2 and infinity.

const TILE: u32 = 4u;
const POINTS: u32 = 6u;

fn kernel_points(g: array<vec4<f32>, 3>) -> array<vec4<f32>, POINTS> {
    let ones = (g[0] + g[2]) * (-1.0 / 6.0);
    let one = g[1] * (-1.0 / 6.0);
    let twos = g[0] * (1.0 / 24.0) + g[2] * (1.0 / 6.0);
    let two = g[1] * (1.0 / 12.0);
    return array(0.25 * g[0], ones + one, ones - one, twos + two, twos - two, g[2]);
}

fn input_points(d: array<f32, POINTS>) -> array<f32, POINTS> {
    let ones = d[4] - 4.0 * d[2];
    let one = d[3] - 4.0 * d[1];
    let twos = d[4] - d[2];
    let two = 2.0 * (d[3] - d[1]);
    return array(
        4.0 * d[0] - 5.0 * d[2] + d[4],
        ones + one,
        ones - one,
        twos + two,
        twos - two,
        4.0 * d[1] - 5.0 * d[3] + d[5],
    );
}

fn outputs(m: array<f32, POINTS>) -> array<f32, TILE> {
    let ones = m[1] + m[2];
    let one = m[1] - m[2];
    let twos = m[3] + m[4];
    let two = m[3] - m[4];
    return array(m[0] + ones + twos, one + 2.0 * two, ones + 4.0 * twos, one + 8.0 * two + m[5]);
}
