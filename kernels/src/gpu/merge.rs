//! 2×2 tokens side by side.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::frame::{array, client, dims, empty, flat, vector};
use crate::Merge;

/// The grids of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Form {
    /// Vectors of a token.
    vectors: usize,
    /// A grid's side.
    side: usize,
}

/// The operation's output; it keeps nothing.
pub fn run<R: CubeRuntime>(
    op: Merge,
    inputs: &[CubeTensor<R>],
) -> (CubeTensor<R>, Vec<CubeTensor<R>>) {
    let [x] = inputs else { unreachable!("there is one input") };
    let [views, tokens, width] = dims(x);
    (moved(op, x, [views, tokens / 4, 4 * width], width, true), vec![])
}

/// The operation's gradient.
pub fn gradients<R: CubeRuntime>(op: Merge, upward: &CubeTensor<R>) -> Vec<Option<CubeTensor<R>>> {
    let [views, tokens, width] = dims(upward);
    vec![Some(moved(op, upward, [views, 4 * tokens, width / 4], width / 4, false))]
}

/// All tokens, each of `width`, in the order in which they are merged, or back from it.
fn moved<R: CubeRuntime>(
    op: Merge,
    from: &CubeTensor<R>,
    shape: [usize; 3],
    width: usize,
    merged: bool,
) -> CubeTensor<R> {
    let by = vector(width);
    let form = Form { vectors: width / by, side: op.side };
    let to = empty(from, shape, DType::F32);
    let count = to.meta.num_elements() / by;
    let (cubes, dim) = flat(from, count);
    // SAFETY: the kernel leaves out what is beyond the given number of vectors, which both are of.
    unsafe {
        merge_kernel::launch_unchecked::<R>(
            client(from),
            cubes,
            dim,
            by,
            array(from),
            array(&to),
            count,
            form,
            merged,
        );
    }
    to
}

#[cube(launch_unchecked)]
fn merge_kernel<N: Size>(
    from: &Array<Vector<f32, N>>,
    to: &mut Array<Vector<f32, N>>,
    count: usize,
    #[comptime] form: Form,
    #[comptime] merged: bool,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let half = comptime!(form.side / 2);
    let (token, at) = (ABSOLUTE_POS / form.vectors, ABSOLUTE_POS % form.vectors);
    // Of the tokens as they are merged, four in rows for each.
    let (of, part) = (token / 4, token % 4);
    let row = 2 * (of / half) + part / 2;
    let column = 2 * (of % half) + part % 2;
    let other = (row * form.side + column) * form.vectors + at;
    if comptime!(merged) {
        to[ABSOLUTE_POS] = from[other];
    } else {
        to[other] = from[ABSOLUTE_POS];
    }
}
