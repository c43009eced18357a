// Winograd's F(2×2, 3×3): along an axis 2 outputs from 4 inputs, with 4 products instead of 6.

const TILE: u32 = 2u;
const POINTS: u32 = 4u;

fn kernel_points(g: array<vec4<f32>, 3>) -> array<vec4<f32>, POINTS> {
    let even = 0.5 * (g[0] + g[2]);
    let odd = 0.5 * g[1];
    return array(g[0], even + odd, even - odd, g[2]);
}

fn input_points(d: array<f32, POINTS>) -> array<f32, POINTS> {
    return array(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]);
}

fn outputs(m: array<f32, POINTS>) -> array<f32, TILE> {
    return array(m[0] + m[1] + m[2], m[1] - m[2] - m[3]);
}
