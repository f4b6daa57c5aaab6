//! Which orientation bin a gradient lies in, decided without rounding.
//!
//! A gradient (gx, gy) of bytes has whole numbers in −1020..=1020, and its angle θ = atan2(gx, gy)
//! counts mod π; its ratio gy/gx is cot θ, which falls from ∞ at 0 to −∞ at π. So it is before the
//! edge at angle t when its ratio is larger than cot t.
//!
//! Two different ratios differ by more than one part in 1020², and f32 keeps 24 bits of them, so
//! they differ in f32 too and in the same sense. An edge that is a multiple of 45° has one of the
//! ratios ∞, 1, 0 and −1, which f32 has exactly. Any other has an irrational one (Niven), so no
//! gradient lies on it; it is replaced by a fraction with terms up to 2040 and no gradient's ratio
//! between the two, which therefore parts all gradients alike.

use std::f64::consts::PI;

/// The largest gradient of bytes under the Sobel kernels: 4 · 255.
pub(crate) const MAX_GRADIENT: u32 = 1020;

/// The edges on which gradients of whole numbers can lie: those at 0°, 45°, 90°, 135°.
pub fn tie_edges(bins: usize) -> Vec<usize> {
    (0..bins).filter(|edge| (edge * 4).is_multiple_of(bins)).collect()
}

/// A bin's edge at angle t, by a number that parts the ratios gy/gx in f32 as cot t parts angles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Edge(f32);

impl Edge {
    /// The edge at 0, which no gradient is before.
    pub const FIRST: Self = Self(f32::INFINITY);

    /// The edge at π, which every gradient with a ratio is before.
    pub const LAST: Self = Self(f32::NEG_INFINITY);

    /// The edge at edge·π/bins.
    pub fn new(edge: usize, bins: usize) -> Self {
        if (edge * 4).is_multiple_of(bins) {
            return Self([f32::INFINITY, 1.0, 0.0, -1.0][edge * 4 / bins]);
        }
        let (sin, cos) = (edge as f64 * PI / bins as f64).sin_cos();
        let (up, down) = mediant((cos / sin).abs());
        Self((f64::from(up) / f64::from(down)).copysign(cos) as f32)
    }

    /// Whether a gradient of this ratio is before the edge.
    #[inline(always)]
    pub fn is_after(self, ratio: f32) -> bool {
        ratio > self.0
    }

    /// The contrary.
    #[inline(always)]
    pub fn is_not_after(self, ratio: f32) -> bool {
        ratio <= self.0
    }

    /// Whether a gradient of this ratio lies on the edge.
    #[inline(always)]
    pub fn is_at(self, ratio: f32) -> bool {
        ratio == self.0
    }
}

/// A fraction on the same side of every fraction of terms up to [`MAX_GRADIENT`] as the irrational
/// `ratio`: the first on the way down the Stern–Brocot tree with a larger term. Between its two
/// parents lie only fractions with terms at least as large as its own.
fn mediant(ratio: f64) -> (u32, u32) {
    let (mut low, mut high) = ((0, 1), (1, 0));
    loop {
        let (up, down) = (low.0 + high.0, low.1 + high.1);
        if up.max(down) > MAX_GRADIENT {
            return (up, down);
        }
        *(if f64::from(up) < ratio * f64::from(down) { &mut low } else { &mut high }) = (up, down);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a line of equal gx, the gradients before an edge are those with gy above gx · cot t. The
    /// ratio grows with gy, so the two gradients beside it stand for every one.
    #[test]
    fn every_edge_parts_all_gradients_as_its_angle_does() {
        for bins in 1..=64 {
            for number in 1..bins {
                let edge = Edge::new(number, bins);
                let (sin, cos) = (number as f64 * PI / bins as f64).sin_cos();
                for gx in 1..=MAX_GRADIENT {
                    let exact = f64::from(gx) * (cos / sin);
                    let at = format!("edge {number} of {bins}, gx {gx}");
                    let ratio = |gy: f64| gy as f32 / gx as f32;
                    if tie_edges(bins).contains(&number) {
                        assert!((exact - exact.round()).abs() < 1e-9, "{at}");
                        let gy = exact.round();
                        assert!(edge.is_at(ratio(gy)) && !edge.is_after(ratio(gy)), "{at}");
                        assert!(edge.is_after(ratio(gy + 1.0)), "{at}");
                    } else {
                        assert!((exact - exact.round()).abs() > 1e-9, "{at}: an unforeseen tie");
                        let last = f64::from(MAX_GRADIENT);
                        let past = exact.floor().clamp(-last, last);
                        let before = exact.ceil().clamp(-last, last);
                        assert!(past > exact || !edge.is_after(ratio(past)), "{at}");
                        assert!(before < exact || edge.is_after(ratio(before)), "{at}");
                    }
                }
            }
        }
    }

    #[test]
    fn ties_lie_at_multiples_of_45_degrees() {
        assert_eq!(tie_edges(9), [0]);
        assert_eq!(tie_edges(18), [0, 9]);
        assert_eq!(tie_edges(8), [0, 2, 4, 6]);
    }
}
