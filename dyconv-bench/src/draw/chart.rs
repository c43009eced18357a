//! Lines over a horizontal axis: what curves of all kinds have in common.

use super::text::{Align, Weight};
use super::{Area, Canvas, Colour, FAINT, INK, RULE};

const LABEL: (Weight, Colour) = (Weight::Light, FAINT);

/// How values become heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// As they are.
    Linear,
    /// By their logarithm.
    Log,
    /// Shares from 0 to 1, by the logarithm of what is missing to 1: 90, 99 and 99.9 % stand apart.
    NearOne,
}

/// A rectangle with two axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chart {
    pub(super) area: Area,
    pub(super) x: [f64; 2],
    pub(super) y: [f64; 2],
    pub(super) scale: Scale,
}

impl Scale {
    fn height(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.max(1e-9).log10(),
            // One in a thousand more, so that a share of 1 has a place.
            Self::NearOne => -(1.001 - value.clamp(0.0, 1.0)).log10(),
        }
    }

    /// Values that are worth a line, and what they are called.
    fn ticks(self, [low, high]: [f64; 2]) -> Vec<(f64, String)> {
        let within = |value: &f64| (low..=high).contains(value);
        match self {
            Self::Linear => {
                let step = round_step((high - low) / 4.0);
                let first = (low / step).ceil() as i64;
                let last = (high / step).floor() as i64;
                (first..=last).map(|i| i as f64 * step).map(|value| (value, plain(value))).collect()
            }
            Self::Log => {
                let decades = low.max(1e-9).log10().floor() as i32..=high.max(1e-9).log10().ceil() as i32;
                let all = decades.flat_map(|d| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(d)));
                all.filter(within).map(|value| (value, plain(value))).collect()
            }
            Self::NearOne => {
                let all = [0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0];
                all.into_iter()
                    .filter(within)
                    .map(|value| (value, format!("{} %", plain(100.0 * value))))
                    .collect()
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least this.
fn round_step(step: f64) -> f64 {
    let unit = 10f64.powf(step.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * unit).find(|round| *round >= step).unwrap_or(unit)
}

/// Without the noise of binary fractions.
fn plain(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

impl Chart {
    /// Where a point is.
    pub(super) fn at(&self, [x, y]: [f64; 2]) -> [f32; 2] {
        let share =
            |value: f64, [low, high]: [f64; 2]| if high > low { (value - low) / (high - low) } else { 0.5 };
        let heights = self.y.map(|y| self.scale.height(y));
        let up = share(self.scale.height(y), heights).clamp(0.0, 1.0);
        let Area { x: left, y: top, width, height } = self.area;
        let across = f64::from(left) + share(x, self.x) * f64::from(width);
        [across as f32, (f64::from(top) + (1.0 - up) * f64::from(height)) as f32]
    }

    /// Lines across with their figures at the left.
    pub(super) fn rows(&self, canvas: &mut Canvas) {
        let Area { x, y, width, height } = self.area;
        for (value, name) in self.scale.ticks(self.y) {
            let line = self.at([self.x[0], value])[1].round() as i32;
            canvas.fill(Area { x, y: line, width, height: 1 }, RULE);
            canvas.text([x - 8, line], Align::Right, 14.0, LABEL, &name);
        }
        canvas.fill(Area { x, y: y + height, width, height: 1 }, FAINT);
    }

    /// Whole numbers below, the first of them always, and what they count.
    pub(super) fn columns(&self, canvas: &mut Canvas, what: &str) {
        let Area { x, y, width, height } = self.area;
        let first = [(self.x[0], plain(self.x[0]))];
        for (value, name) in first.into_iter().chain(Scale::Linear.ticks(self.x)) {
            if value.fract() == 0.0 {
                let column = self.at([value, self.y[0]])[0].round() as i32;
                canvas.fill(Area { x: column, y: y + height, width: 1, height: 5 }, FAINT);
                canvas.text([column, y + height + 15], Align::Middle, 14.0, LABEL, &name);
            }
        }
        canvas.text([x + width / 2, y + height + 36], Align::Middle, 15.0, LABEL, what);
    }

    /// A title above.
    pub(super) fn title(&self, canvas: &mut Canvas, title: &str) {
        canvas.text([self.area.x, self.area.y - 18], Align::Left, 17.0, (Weight::Bold, INK), title);
    }

    /// A line through points.
    pub(super) fn line(&self, canvas: &mut Canvas, points: &[[f64; 2]], width: f32, colour: Colour) {
        for pair in points.windows(2) {
            canvas.line(self.at(pair[0]), self.at(pair[1]), width, colour);
        }
        if let [point] = points {
            canvas.dot(self.at(*point), width + 1.0, colour, false);
        }
    }

    /// A pale band around a line, from its `[value, low, high]` at 1, 2, 3 …
    pub(super) fn band(&self, canvas: &mut Canvas, points: &[[f64; 3]], colour: Colour) {
        for (i, pair) in points.windows(2).enumerate() {
            let from = self.at([i as f64 + 1.0, 0.0])[0].round() as i32;
            let to = self.at([i as f64 + 2.0, 0.0])[0].round() as i32;
            for x in from..to {
                let share = f64::from(x - from) / f64::from(to - from);
                let between = |which: usize| pair[0][which] + share * (pair[1][which] - pair[0][which]);
                let [low, high] = [1, 2].map(|which| self.at([0.0, between(which)])[1].round() as i32);
                canvas.tint(Area { x, y: high, width: 1, height: low - high }, colour, 0.14);
            }
        }
    }
}

/// The epochs of an axis: two at least, so that it has an extent.
pub(super) fn epochs(count: usize) -> [f64; 2] {
    [1.0, count.max(2) as f64]
}

/// Coloured lines with their names, from `x` on.
pub(super) fn legend(canvas: &mut Canvas, [mut x, y]: [i32; 2], entries: &[(Colour, &str)]) {
    for &(colour, name) in entries {
        canvas.fill(Area { x, y: y - 2, width: 26, height: 4 }, colour);
        canvas.text([x + 34, y], Align::Left, 16.0, (Weight::Light, INK), name);
        x += 34 + Canvas::text_width(name, 16.0) + 28;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(scale: Scale, range: [f64; 2]) -> Vec<String> {
        scale.ticks(range).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(names(Scale::Linear, [1.0, 30.0]), ["10", "20", "30"]);
        assert_eq!(names(Scale::Linear, [0.0, 0.1]), ["0", "0.05", "0.1"]);
        assert_eq!(names(Scale::Log, [0.02, 2.3]), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]);
        assert_eq!(
            names(Scale::NearOne, [0.8, 1.0]),
            ["80 %", "90 %", "95 %", "98 %", "99 %", "99.5 %", "100 %"]
        );
    }

    #[test]
    fn points_lie_between_the_axes() {
        let area = Area { x: 10, y: 20, width: 100, height: 50 };
        let chart = |scale, y| Chart { area, x: [1.0, 3.0], y, scale };
        assert_eq!(chart(Scale::Linear, [0.0, 4.0]).at([2.0, 1.0]), [60.0, 57.5]);
        assert_eq!(chart(Scale::Log, [0.01, 1.0]).at([1.0, 0.1]), [10.0, 45.0]);
        // What is beyond stays at the edge, and an axis without an extent is no division by zero.
        assert_eq!(chart(Scale::Linear, [0.0, 4.0]).at([3.0, 9.0]), [110.0, 20.0]);
        assert_eq!(chart(Scale::Linear, [1.0, 1.0]).at([1.0, 1.0]), [10.0, 45.0]);
        let near = chart(Scale::NearOne, [0.0, 1.0]);
        let heights = [0.0, 0.9, 0.99, 1.0].map(|share| near.at([1.0, share])[1]);
        assert!(heights.is_sorted_by(|a, b| a > b) && heights[3] == 20.0, "{heights:?}");
    }
}
