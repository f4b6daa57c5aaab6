//! Which orientation bin a gradient lies in, decided in whole numbers.
//!
//! A gradient (gx, gy) of bytes has whole numbers in −1020..=1020, and its angle θ = atan2(gx, gy)
//! counts mod π. It is at or past the edge at angle t when sin(θ − t) ≥ 0, that is when
//! gx · cos t − gy · sin t ≥ 0, for gx > 0.
//!
//! An edge that is a multiple of 45° has a direction of small whole numbers. Any other has an
//! irrational tangent (Niven), so no gradient lies on it; it is replaced by a direction of whole
//! numbers with no gradient between the two, which therefore parts all gradients alike. Its terms
//! are at most 2040, so the products above are whole numbers below 2²⁴ and exact even in f32.

use std::f64::consts::PI;

/// The largest gradient of bytes under the Sobel kernels: 4 · 255.
pub(crate) const MAX_GRADIENT: u32 = 1020;

/// The edges on which gradients of whole numbers can lie: those at 0°, 45°, 90°, 135°.
pub fn tie_edges(bins: usize) -> Vec<usize> {
    (0..bins).filter(|edge| (edge * 4).is_multiple_of(bins)).collect()
}

/// The direction of a bin's edge at angle t, in whole numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Edge {
    /// In the place of cos t.
    pub cos: f32,
    /// In the place of sin t; not negative.
    pub sin: f32,
}

impl Edge {
    /// The edge at π, which every gradient with gx > 0 is before.
    pub const LAST: Self = Self { cos: -1.0, sin: 0.0 };

    /// The edge at edge·π/bins.
    pub fn new(edge: usize, bins: usize) -> Self {
        if (edge * 4).is_multiple_of(bins) {
            let (cos, sin) = [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (-1.0, 1.0)][edge * 4 / bins];
            return Self { cos, sin };
        }
        let (sin, cos) = (edge as f64 * PI / bins as f64).sin_cos();
        let (up, down) = mediant((cos / sin).abs());
        Self { cos: f64::from(up).copysign(cos) as f32, sin: down as f32 }
    }

    /// Whether a gradient with gx > 0 is before this edge.
    #[inline(always)]
    pub fn is_after(self, gx: f32, gy: f32) -> bool {
        gx * self.cos < gy * self.sin
    }

    /// Whether a gradient lies on this edge.
    #[inline(always)]
    pub fn is_at(self, gx: f32, gy: f32) -> bool {
        gx * self.cos == gy * self.sin
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

    /// On a line of equal gx, the gradients past an edge are those with gy below gx · cot t; so
    /// one comparison a line covers every gradient.
    #[test]
    fn every_edge_parts_all_gradients_as_its_angle_does() {
        for bins in 1..=64 {
            for number in 1..bins {
                let edge = Edge::new(number, bins);
                let (sin, cos) = (number as f64 * PI / bins as f64).sin_cos();
                for gx in 1..=MAX_GRADIENT {
                    let exact = f64::from(gx) * (cos / sin);
                    let whole = f64::from(gx) * f64::from(edge.cos) / f64::from(edge.sin);
                    let at = format!("edge {number} of {bins}, gx {gx}");
                    if tie_edges(bins).contains(&number) {
                        assert!((exact - whole).abs() < 1e-9, "{at}");
                    } else {
                        let last = f64::from(MAX_GRADIENT);
                        let last_past = |gy: f64| gy.floor().clamp(-last - 1.0, last);
                        assert!((exact - exact.round()).abs() > 1e-9, "{at}: an unforeseen tie");
                        assert_eq!(last_past(exact), last_past(whole), "{at}");
                    }
                }
            }
        }
    }

    #[test]
    fn comparisons_are_exact_in_f32() {
        let of = |bins| (0..bins).map(move |edge| Edge::new(edge, bins));
        for edge in (1..=64).flat_map(of) {
            assert_eq!((edge.cos.fract(), edge.sin.fract()), (0.0, 0.0));
            let largest = MAX_GRADIENT as f32 * (edge.cos.abs() + edge.sin);
            assert!(edge.sin >= 0.0 && largest < (1 << 24) as f32, "{edge:?}");
        }
    }

    #[test]
    fn ties_lie_at_multiples_of_45_degrees() {
        assert_eq!(tie_edges(9), [0]);
        assert_eq!(tie_edges(18), [0, 9]);
        assert_eq!(tie_edges(8), [0, 2, 4, 6]);
    }
}
