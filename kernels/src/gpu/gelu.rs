//! GELU by the error function, as Burn's `gelu`, and its slope.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use cubecl::prelude::*;

/// x·Φ(x).
#[cube]
pub fn gelu<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    x * below(x)
}

/// Φ(x) + x·φ(x).
#[cube]
pub fn slope<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let half = Vector::new(f32::new(-0.5));
    let scale = Vector::new(f32::new(comptime!(1.0 / (2.0 * PI).sqrt())));
    below(x) + x * scale * Vector::exp(half * x * x)
}

/// Φ, the normal distribution's share below x.
#[cube]
fn below<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::new(f32::new(1.0));
    let half = Vector::new(f32::new(0.5));
    (Vector::erf(x * Vector::new(f32::new(FRAC_1_SQRT_2))) + one) * half
}
