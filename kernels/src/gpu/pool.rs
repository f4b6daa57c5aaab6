//! Means over the squares of a grid.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::frame::{array, client, dims, empty, flat, vector};
use crate::Pool;

/// A grid and its squares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Form {
    /// Vectors of a token.
    vectors: usize,
    /// The grid's side.
    side: usize,
    /// A square's side.
    by: usize,
}

/// The operation's output; it keeps nothing.
pub fn run<R: CubeRuntime>(
    op: &Pool,
    inputs: &[CubeTensor<R>],
) -> (CubeTensor<R>, Vec<CubeTensor<R>>) {
    let [x] = inputs else { unreachable!("there is one input") };
    let [views, _, width] = dims(x);
    let by = vector(width);
    let form = Form { vectors: width / by, side: op.side, by: op.by };
    let output = empty(x, [views, (op.side / op.by).pow(2), width], DType::F32);
    let count = output.meta.num_elements() / by;
    let (cubes, dim) = flat(x, count);
    // SAFETY: the kernel leaves out what is beyond the given number of vectors, which the output is of.
    unsafe {
        pool_kernel::launch_unchecked::<R>(
            client(x),
            cubes,
            dim,
            by,
            array(x),
            array(&output),
            count,
            form,
        );
    }
    (output, vec![])
}

/// The operation's gradient.
pub fn gradients<R: CubeRuntime>(op: &Pool, upward: &CubeTensor<R>) -> Vec<Option<CubeTensor<R>>> {
    let [views, _, width] = dims(upward);
    let by = vector(width);
    let form = Form { vectors: width / by, side: op.side, by: op.by };
    let dx = empty(upward, [views, op.side * op.side, width], DType::F32);
    let count = dx.meta.num_elements() / by;
    let (cubes, dim) = flat(upward, count);
    // SAFETY: the kernel leaves out what is beyond the given number of vectors, which the output is of.
    unsafe {
        spread_kernel::launch_unchecked::<R>(
            client(upward),
            cubes,
            dim,
            by,
            array(upward),
            array(&dx),
            count,
            form,
        );
    }
    vec![Some(dx)]
}

#[cube(launch_unchecked)]
fn pool_kernel<N: Size>(
    x: &Array<Vector<f32, N>>,
    output: &mut Array<Vector<f32, N>>,
    count: usize,
    #[comptime] form: Form,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let coarse = comptime!(form.side / form.by);
    let (row, at) = (ABSOLUTE_POS / form.vectors, ABSOLUTE_POS % form.vectors);
    let (view, cell) = (row / (coarse * coarse), row % (coarse * coarse));
    let (top, left) = (cell / coarse * form.by, cell % coarse * form.by);
    let first = (view * form.side + top) * form.side + left;
    let mut sum = Vector::<f32, N>::new(0.0);
    #[unroll]
    for down in 0..form.by {
        #[unroll]
        for across in 0..form.by {
            sum += x[(first + down * form.side + across) * form.vectors + at];
        }
    }
    let share = comptime!(1.0 / (form.by * form.by) as f32);
    output[ABSOLUTE_POS] = sum * Vector::new(share);
}

#[cube(launch_unchecked)]
fn spread_kernel<N: Size>(
    upward: &Array<Vector<f32, N>>,
    dx: &mut Array<Vector<f32, N>>,
    count: usize,
    #[comptime] form: Form,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let coarse = comptime!(form.side / form.by);
    let (row, at) = (ABSOLUTE_POS / form.vectors, ABSOLUTE_POS % form.vectors);
    // Of all views' lines one after the other.
    let (line, across) = (row / form.side, row % form.side);
    let (view, down) = (line / form.side, line % form.side);
    let cell = (view * coarse + down / form.by) * coarse + across / form.by;
    let share = comptime!(1.0 / (form.by * form.by) as f32);
    dx[ABSOLUTE_POS] = upward[cell * form.vectors + at] * Vector::new(share);
}
