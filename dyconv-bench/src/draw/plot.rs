//! The comparison as a picture: one line per workload, time along a logarithmic axis, a dot per backend.

use image::RgbImage;

use super::text::{Align, Weight};
use super::{Area, Canvas, Colour, FAINT, INK, RULE};
use crate::record::Row;
use crate::workloads::WORKLOADS;

const PALETTE: [Colour; 8] = [
    [95, 99, 104],
    [244, 160, 0],
    [15, 157, 88],
    [66, 133, 244],
    [171, 71, 188],
    [219, 68, 55],
    [0, 172, 193],
    [121, 85, 72],
];

const LABELS: i32 = 290;
const PLOT: i32 = 840;
const LINE: i32 = 34;
const TOP: i32 = 118;
const MARGIN: i32 = 24;
const LIGHT: (Weight, Colour) = (Weight::Light, INK);

/// One line of the plot.
type Key<'a> = (usize, &'a str, usize, u8);

fn key(row: &Row) -> Key<'_> {
    let position = WORKLOADS.iter().position(|w| w.name == row.workload).unwrap_or(WORKLOADS.len());
    (position, row.workload, row.batch, row.layout as u8)
}

/// Draws the comparison: filled dots dynamic, hollow ones static.
#[must_use]
pub fn comparison_plot(rows: &[Row], machine: &str) -> RgbImage {
    let mut lines: Vec<Key<'_>> = rows.iter().map(key).collect();
    lines.sort_unstable();
    lines.dedup();
    let backends = backends(rows);
    let height = TOP + LINE * lines.len() as i32 + 64;
    let mut canvas = Canvas::new(MARGIN + LABELS + PLOT + MARGIN, height);
    let title = "Time of one call: the dynamic layer, and the same layer made static";
    canvas.text([MARGIN, 28], Align::Left, 24.0, (Weight::Bold, INK), title);
    canvas.text([MARGIN, 56], Align::Left, 16.0, (Weight::Light, FAINT), machine);
    legend(&mut canvas, &backends);
    let axis = Axis::new(rows, MARGIN + LABELS, PLOT);
    axis.draw(&mut canvas, TOP, height - 56);
    for (i, line) in lines.iter().enumerate() {
        let y = TOP + LINE * i as i32 + LINE / 2;
        let on_line: Vec<&Row> = rows.iter().filter(|row| key(row) == *line).collect();
        let Some(first) = on_line.first() else { continue };
        canvas.text([MARGIN, y], Align::Left, 16.0, LIGHT, &label(first, rows));
        draw_line(&mut canvas, &axis, y, &on_line, &backends);
    }
    canvas.into_picture()
}

/// Ids with thread counts where one id ran with several.
fn backends(rows: &[Row]) -> Vec<(&str, usize)> {
    let mut all = Vec::new();
    for row in rows {
        let backend = (row.backend.as_str(), row.threads);
        if !all.contains(&backend) {
            all.push(backend);
        }
    }
    all
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

fn legend(canvas: &mut Canvas, backends: &[(&str, usize)]) {
    let y = 88;
    let mut x = MARGIN;
    for (i, (backend, threads)) in backends.iter().enumerate() {
        let name = match threads {
            1 => format!("{backend} (1 thread)"),
            _ => format!("{backend} ({threads} threads)"),
        };
        canvas.dot([x as f32 + 6.0, y as f32], 6.0, PALETTE[i % PALETTE.len()], false);
        canvas.text([x + 18, y], Align::Left, 16.0, LIGHT, &name);
        x += 18 + Canvas::text_width(&name, 16.0) + 22;
    }
    for (hollow, name) in [(false, "dynamic"), (true, "static")] {
        canvas.dot([x as f32 + 6.0, y as f32], 5.0, FAINT, hollow);
        canvas.text([x + 18, y], Align::Left, 16.0, (Weight::Light, FAINT), name);
        x += 18 + Canvas::text_width(name, 16.0) + 18;
    }
}

fn draw_line(canvas: &mut Canvas, axis: &Axis, y: i32, rows: &[&Row], backends: &[(&str, usize)]) {
    canvas.fill(Area { x: MARGIN + LABELS, y, width: PLOT, height: 1 }, RULE);
    for row in rows {
        let backend = backends.iter().position(|b| *b == (row.backend.as_str(), row.threads)).unwrap_or(0);
        let colour = PALETTE[backend % PALETTE.len()];
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
