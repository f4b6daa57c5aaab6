//! Functions of single values that loops over many of them are made vectors of, and sums in lanes.
//!
//! What is always inlined takes on the instructions of the function around it.

use std::f32::consts::LOG2_E;

/// Sums are taken in so many lanes, whatever the processor's vectors are.
const LANES: usize = 16;

/// eˣ to about 1e-7 of itself, for x of at most 88. Below −87 it stays about 1e-38.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // What is added to a number so that the rest is its nearest integer, in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2: f32 = 0.693_359_4;
    const LN2_REST: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = whole.mul_add(-LN2_REST, whole.mul_add(-LN2, x));
    // Of e^rest less 1 and rest, over rest²: Cephes' polynomial.
    let mut p = 1.987_569_1e-4f32;
    p = p.mul_add(rest, 1.398_2e-3);
    p = p.mul_add(rest, 8.333_452e-3);
    p = p.mul_add(rest, 4.166_579_6e-2);
    p = p.mul_add(rest, 1.666_666_5e-1);
    p = p.mul_add(rest, 0.5);
    let p = p.mul_add(rest * rest, rest) + 1.0;
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// The normal distribution at x: how much lies below, and its density.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    const SHARE: f32 = 0.398_942_3;
    let bell = exp(-0.5 * x * x);
    // What lies above |x|, over the bell: fitted by us in t = 1 / (1 + 0.3·|x|), to 3e-9.
    let t = 1.0 / x.abs().mul_add(0.3, 1.0);
    let mut p = 0.038_832_98f32;
    p = p.mul_add(t, -0.251_752_61);
    p = p.mul_add(t, 0.536_503_2);
    p = p.mul_add(t, -0.324_214_55);
    p = p.mul_add(t, 0.306_793_03);
    p = p.mul_add(t, 0.068_617_03);
    p = p.mul_add(t, 0.125_220_95);
    let tail = p * t * bell;
    (if x < 0.0 { tail } else { 1.0 - tail }, SHARE * bell)
}

/// GELU, with the error function.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    x * normal(x).0
}

/// GELU and its slope.
#[inline(always)]
pub fn gelu_and_slope(x: f32) -> (f32, f32) {
    let (below, density) = normal(x);
    (x * below, x.mul_add(density, below))
}

/// Σ `of` the values.
#[inline(always)]
pub fn sum(a: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = a.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, &a) in lanes.iter_mut().zip(chunk) {
            *lane += of(a);
        }
    }
    let rest: f32 = rest.iter().map(|&a| of(a)).sum();
    folded(lanes, |a, b| a + b) + rest
}

/// Σ `of` pairs of values of two slices of one length.
#[inline(always)]
pub fn sum_of_two(a: &[f32], b: &[f32], of: impl Fn(f32, f32) -> f32) -> f32 {
    let ((chunks, rest), (others, other_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in chunks.iter().zip(others) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += of(a, b);
        }
    }
    let rest: f32 = rest.iter().zip(other_rest).map(|(&a, &b)| of(a, b)).sum();
    folded(lanes, |a, b| a + b) + rest
}

/// The largest of values whose number is a multiple of the lanes.
#[inline(always)]
pub fn largest(a: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let mut lanes = [f32::MIN; LANES];
    for chunk in a.as_chunks::<LANES>().0 {
        for (lane, &a) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, a);
        }
    }
    folded(lanes, larger)
}

/// `count` rounded up to whole lanes.
pub fn padded(count: usize) -> usize {
    count.next_multiple_of(LANES)
}

#[inline(always)]
fn folded(mut lanes: [f32; LANES], with: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = with(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error function in f64, by its series and by a continued fraction.
    fn erf(x: f64) -> f64 {
        if x.abs() < 2.5 {
            let (mut term, mut sum) = (x, x);
            for n in 1..80 {
                term *= -x * x / n as f64;
                sum += term / (2 * n + 1) as f64;
            }
            return sum * std::f64::consts::FRAC_2_SQRT_PI;
        }
        let fraction = (1..200).rev().fold(0.0, |below, n| n as f64 / 2.0 / (x.abs() + below));
        let above = (-x * x).exp() / std::f64::consts::PI.sqrt() / (x.abs() + fraction);
        (1.0 - above).copysign(x)
    }

    #[test]
    fn exponentials_to_a_bit_or_two() {
        for i in -87_000..88_000 {
            let x = i as f32 / 1000.0;
            let (found, expected) = (exp(x) as f64, (x as f64).exp());
            assert!((found / expected - 1.0).abs() < 2e-7, "{x}: {found}, not {expected}");
        }
        assert!(exp(-1e30) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn gelu_and_its_slope_by_the_error_function() {
        for i in -20_000..20_000 {
            let x = i as f32 / 2000.0;
            let wide = x as f64;
            let below = 0.5 * (1.0 + erf(wide * std::f64::consts::FRAC_1_SQRT_2));
            let density = (-0.5 * wide * wide).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let (found, slope) = gelu_and_slope(x);
            assert_eq!(found, gelu(x));
            let bound = 1.5e-7 * wide.abs().max(1.0);
            assert!((found as f64 - wide * below).abs() < bound, "{x}: {found}");
            assert!((slope as f64 - below - wide * density).abs() < 2.5e-7, "{x}: {slope}");
        }
        assert!(gelu(f32::NAN).is_nan());
        assert_eq!(gelu(-50.0), gelu(-50.0).min(0.0));
    }

    #[test]
    fn sums_and_the_largest_of_any_number() {
        let values: Vec<f32> = (0..77).map(|i| (i * 31 % 77) as f32).collect();
        assert_eq!(sum(&values, |a| a + 1.0), (76 * 77 / 2 + 77) as f32);
        assert_eq!(sum_of_two(&values, &values, |a, b| a - b), 0.0);
        assert_eq!(largest(&values[..64]), values[..64].iter().copied().fold(0.0, f32::max));
        assert_eq!(padded(17), 32);
    }
}
