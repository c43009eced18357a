//! The comparison as a picture: one line per workload, time along a logarithmic axis, a dot per backend.

use image::RgbImage;

use super::text::{Align, Weight};
use super::{Area, Canvas, Colour, FAINT, INK, RULE};
use crate::record::{Present, Record, Row};
use crate::workloads::position;

/// A backend's colour, the same in every plot.
const COLOURS: [(&str, Colour); 5] = [
    ("reference", [95, 99, 104]),
    ("simd-portable", [244, 160, 0]),
    ("simd-avx2", [15, 157, 88]),
    ("simd-avx512", [66, 133, 244]),
    ("wgpu", [171, 71, 188]),
];
/// For a backend that runs with several thread counts, and for others.
const MORE_COLOURS: [Colour; 4] = [[219, 68, 55], [0, 172, 193], [121, 85, 72], [233, 30, 140]];

const LABELS: i32 = 290;
const PLOT: i32 = 840;
const LINE: i32 = 34;
const TOP: i32 = 118;
const MARGIN: i32 = 24;
const LIGHT: (Weight, Colour) = (Weight::Light, INK);

/// One line of the plot.
type Key<'a> = (usize, &'a str, usize, u8);

fn key(row: &Row) -> Key<'_> {
    (position(row.workload), row.workload, row.batch, row.layout as u8)
}

/// Draws the comparison: filled dots dynamic, hollow ones static.
#[must_use]
pub fn comparison_plot(record: &Record) -> RgbImage {
    let Record { rows, backends, .. } = record;
    let mut lines: Vec<Key<'_>> = rows.iter().map(key).collect();
    lines.sort_unstable();
    lines.dedup();
    let height = TOP + LINE * lines.len() as i32 + 64;
    let mut canvas = Canvas::new(MARGIN + LABELS + PLOT + MARGIN, height);
    let title = "Time of one call: the dynamic layer, and the same layer made static";
    canvas.text([MARGIN, 28], Align::Left, 24.0, (Weight::Bold, INK), title);
    canvas.text([MARGIN, 56], Align::Left, 16.0, (Weight::Light, FAINT), &record.machine.title());
    legend(&mut canvas, backends);
    let axis = Axis::new(rows, MARGIN + LABELS, PLOT);
    axis.draw(&mut canvas, TOP, height - 56);
    for (i, line) in lines.iter().enumerate() {
        let y = TOP + LINE * i as i32 + LINE / 2;
        let on_line: Vec<&Row> = rows.iter().filter(|row| key(row) == *line).collect();
        let Some(first) = on_line.first() else { continue };
        canvas.text([MARGIN, y], Align::Left, 16.0, LIGHT, &label(first, rows));
        draw_line(&mut canvas, &axis, y, &on_line, backends);
    }
    canvas.into_picture()
}

fn label(row: &Row, rows: &[Row]) -> String {
    let mut label = row.workload.to_string();
    if row.batch != 1 {
        label += &format!(" × {}", row.batch);
    }
    if rows.iter().any(|other| other.layout != row.layout) {
        label += &format!(" {}", row.layout);
    }
    label
}

fn legend(canvas: &mut Canvas, backends: &[Present]) {
    let y = 88;
    let mut x = MARGIN;
    for (i, present) in backends.iter().enumerate() {
        let name = legend_name(present);
        canvas.dot([x as f32 + 6.0, y as f32], 6.0, colour(backends, i), false);
        canvas.text([x + 18, y], Align::Left, 16.0, LIGHT, &name);
        x += 18 + Canvas::text_width(&name, 16.0) + 22;
    }
    for (hollow, name) in [(false, "dynamic"), (true, "static")] {
        canvas.dot([x as f32 + 6.0, y as f32], 5.0, FAINT, hollow);
        canvas.text([x + 18, y], Align::Left, 16.0, (Weight::Light, FAINT), name);
        x += 18 + Canvas::text_width(name, 16.0) + 18;
    }
}

fn colour(backends: &[Present], i: usize) -> Colour {
    let more = MORE_COLOURS[i % MORE_COLOURS.len()];
    let Some(id) = backends.get(i).map(|present| present.backend.as_str()) else { return more };
    if backends[..i].iter().any(|earlier| earlier.backend == id) {
        return more;
    }
    COLOURS.iter().find(|(name, _)| id.starts_with(name)).map_or(more, |(_, colour)| *colour)
}

/// A backend with its threads; a GPU's with its device, since that may be a program on the CPU.
fn legend_name(present: &Present) -> String {
    let Present { backend, device, threads } = present;
    match threads {
        1 if backend.starts_with("wgpu") => {
            format!("{backend} on {}", device.split([' ', ',']).next().unwrap_or(device))
        }
        1 => backend.clone(),
        _ => format!("{backend}, {threads} threads"),
    }
}

fn draw_line(canvas: &mut Canvas, axis: &Axis, y: i32, rows: &[&Row], backends: &[Present]) {
    canvas.fill(Area { x: MARGIN + LABELS, y, width: PLOT, height: 1 }, RULE);
    for row in rows {
        let backend = backends
            .iter()
            .position(|present| (&present.backend, present.threads) == (&row.backend, row.threads));
        let backend = backend.unwrap_or(0);
        let colour = colour(backends, backend);
        let (from, to) = (axis.at(row.static_median_us), axis.at(row.median_us));
        let (left, right) = (from.min(to) as i32, from.max(to) as i32);
        canvas.fill(Area { x: left, y: y - 1, width: right - left, height: 2 }, colour);
        canvas.dot([from, y as f32], 5.0, colour, true);
        canvas.dot([to, y as f32], 6.0, colour, false);
    }
}

/// A logarithmic axis of microseconds.
struct Axis {
    decades: [i32; 2],
    x: i32,
    width: i32,
}

impl Axis {
    fn new(rows: &[Row], x: i32, width: i32) -> Self {
        let times = rows.iter().flat_map(|row| [row.median_us, row.static_median_us]);
        let decades = times.map(|us| us.max(1e-3).log10());
        let (low, high) = decades.fold((f64::MAX, f64::MIN), |(low, high), d| (low.min(d), high.max(d)));
        if low > high {
            return Self { decades: [0, 1], x, width };
        }
        let (low, high) = (low.floor() as i32, high.ceil() as i32);
        Self { decades: [low, high.max(low + 1)], x, width }
    }

    fn at(&self, us: f64) -> f32 {
        let [low, high] = self.decades.map(f64::from);
        let share = (us.max(1e-3).log10() - low) / (high - low);
        (f64::from(self.x) + share * f64::from(self.width)) as f32
    }

    fn draw(&self, canvas: &mut Canvas, top: i32, bottom: i32) {
        for decade in self.decades[0]..=self.decades[1] {
            let unit = 10f64.powi(decade);
            let x = self.at(unit) as i32;
            canvas.fill(Area { x, y: top, width: 2, height: bottom - top }, RULE);
            canvas.text([x, bottom + 16], Align::Middle, 16.0, LIGHT, &time(unit));
            if decade < self.decades[1] {
                for tick in 2..10 {
                    let x = self.at(unit * f64::from(tick)) as i32;
                    canvas.fill(Area { x, y: bottom - 5, width: 1, height: 5 }, FAINT);
                }
            }
        }
        let middle = self.x + self.width / 2;
        let caption = "median time of one call (logarithmic; further left is faster)";
        canvas.text([middle, bottom + 40], Align::Middle, 16.0, (Weight::Light, FAINT), caption);
    }
}

fn time(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", us / 1e6),
        us if us >= 1e3 => format!("{} ms", us / 1e3),
        us => format!("{us} µs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::WORKLOADS;

    fn row(median_us: f64, static_median_us: f64) -> Row {
        Row { workload: WORKLOADS[0].name, median_us, static_median_us, ..Row::default() }
    }

    #[test]
    fn the_axis_covers_all_times_and_slower_is_further_right() {
        let axis = Axis::new(&[row(30.0, 20.0), row(4000.0, 900.0)], 100, 300);
        assert_eq!(axis.decades, [1, 4]);
        assert_eq!([axis.at(10.0), axis.at(100.0), axis.at(10_000.0)], [100.0, 200.0, 400.0]);
    }

    #[test]
    fn an_axis_of_one_time_or_none_has_an_extent() {
        assert_eq!(Axis::new(&[row(10.0, 10.0)], 0, 100).decades, [1, 2]);
        assert_eq!(Axis::new(&[], 0, 100).decades, [0, 1]);
    }

    #[test]
    fn a_backend_keeps_its_colour_whoever_else_is_there() {
        let present =
            |backend: &str, threads| Present { backend: backend.into(), device: String::new(), threads };
        let alone = [present("simd-avx2", 1)];
        let many = [present("reference", 1), present("simd-avx2", 1), present("simd-avx2", 2)];
        assert_eq!(colour(&alone, 0), colour(&many, 1));
        assert_ne!(colour(&many, 1), colour(&many, 2));
    }

    #[test]
    fn times_are_named_in_their_unit() {
        assert_eq!([1.0, 1000.0, 1e7].map(time), ["1 µs", "1 ms", "10 s"]);
    }
}
