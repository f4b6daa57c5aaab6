//! What the machine can do at best, measured: products of large matrices, and a sweep over memory.

use std::time::{Duration, Instant};

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Tensor};
use kernels::{Kernels, asked};

use super::work::Work;
use crate::model::Precision;
use crate::model::layers::Linear;

/// A product that takes this long says enough.
const LONG: Duration = Duration::from_millis(40);
/// Sides of the matrices that are tried, until one takes long.
const SIDES: [usize; 4] = [1024, 2048, 4096, 8192];
/// How often each is tried; the best counts.
const TRIES: usize = 4;
/// Numbers of the sweep over memory, that no cache holds, but a small device does.
const SWEPT: usize = 48 << 20;

/// The most that was seen a second, in floating-point operations and in bytes.
pub fn measure<B: Kernels>(precision: Precision, device: &B::Device) -> Work {
    let mut flop = 0.0f64;
    for side in SIDES {
        let values = Distribution::Uniform(-1.0, 1.0);
        let x = Tensor::<B, 3>::random([1, side, side], values, device);
        // As the network has them, so that both take the same way.
        let mut layer = Linear::<B>::without_bias(side, side, precision, device);
        layer.weight = Param::from_tensor(Tensor::random([side, side], values, device));
        let best = best::<B>(device, || {
            let _ = layer.forward(x.clone());
        });
        flop = flop.max(2.0 * (side as f64).powi(3) / best.as_secs_f64());
        if best > LONG {
            break;
        }
    }
    let swept = Tensor::<B, 1>::zeros([SWEPT], device);
    let best = best::<B>(device, || {
        let _ = swept.clone() + 1.0;
    });
    Work { flop, bytes: 2.0 * 4.0 * SWEPT as f64 / best.as_secs_f64() }
}

/// The shortest time that `work` took of some tries. The first, which compiles and tunes, is left
/// out.
fn best<B: Backend>(device: &B::Device, work: impl Fn()) -> Duration {
    let wait = || asked::sync::<B>(device);
    work();
    let once = || {
        wait();
        let start = Instant::now();
        work();
        wait();
        start.elapsed()
    };
    let best = (0..TRIES).map(|_| once()).min();
    best.unwrap_or_default().max(Duration::from_nanos(1))
}
