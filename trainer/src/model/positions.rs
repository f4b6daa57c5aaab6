//! Fixed 2-D sine-cosine positions (as in MAE, which LocalMIM follows).

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// [`sin_cos`] on a device.
pub fn on_device<B: Backend>(dim: usize, grid: usize, device: &B::Device) -> Tensor<B, 2> {
    // In one line on its way, for a device may part the rows of a table.
    let values = Tensor::<B, 1>::from_floats(sin_cos(dim, grid).as_slice(), device);
    values.reshape([1 + grid * grid, dim])
}

/// Positions of a class token (zeros) and a `grid`×`grid` of patches: `[1 + grid², dim]`.
///
/// The first half of a patch's vector encodes its column, the second its row; each half is sines,
/// then cosines, of position / 10000^(i / (dim/4)). `dim` must be a multiple of 4.
pub fn sin_cos(dim: usize, grid: usize) -> Vec<f32> {
    let quarter = dim / 4;
    let mut out = vec![0.0; (1 + grid * grid) * dim];
    for row in 0..grid {
        for column in 0..grid {
            let start = (1 + row * grid + column) * dim;
            for (half, position) in [column, row].into_iter().enumerate() {
                for i in 0..quarter {
                    let omega = 10_000f64.powf(-(i as f64) / quarter as f64);
                    let (sin, cos) = (position as f64 * omega).sin_cos();
                    let at = start + half * 2 * quarter + i;
                    out[at] = sin as f32;
                    out[at + quarter] = cos as f32;
                }
            }
        }
    }
    out
}
