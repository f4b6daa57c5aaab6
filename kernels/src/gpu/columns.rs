//! Sums over a matrix's rows in two passes, in an order that follows from its size alone: first each
//! chunk of rows is summed up, by the kernel that reads them anyway; then the chunks' sums of all
//! matrices of an operation at once.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::frame::{Maybe, UNITS, array, client, empty, maybe, vector, view};
use super::rows::{Rows, down};

/// The most chunks: enough to keep a large device busy.
const CHUNKS: usize = 512;

/// A chunk is of a multiple of so many rows.
const ROWS: usize = 16;

/// Columns of a cube, in vectors.
const LANES: usize = 32;

/// Sums over the rows of several matrices that are of as many rows.
pub struct Sums<R: CubeRuntime> {
    rows: usize,
    /// Rows of a chunk.
    chunk: usize,
    /// `[chunks, total]`.
    partials: CubeTensor<R>,
    /// Where each matrix's columns begin in `partials`, and their number.
    columns: Vec<(usize, usize)>,
    total: usize,
}

impl<R: CubeRuntime> Sums<R> {
    /// For matrices of `rows` rows and of `widths` columns, where `like` is.
    pub fn new(like: &CubeTensor<R>, rows: usize, widths: &[usize]) -> Self {
        let chunk = rows.div_ceil(CHUNKS).max(1).next_multiple_of(ROWS);
        Self::chunked(like, rows, chunk, widths)
    }

    /// For matrices that a kernel sums up in so many `chunks` of its own.
    pub fn new_of(like: &CubeTensor<R>, chunks: usize, widths: &[usize]) -> Self {
        Self::chunked(like, chunks, 1, widths)
    }

    fn chunked(like: &CubeTensor<R>, rows: usize, chunk: usize, widths: &[usize]) -> Self {
        // Each sum is a tensor that begins where one may.
        let aligned = (like.client.properties().memory.alignment as usize).max(64) / 4;
        let mut total = 0;
        let columns = widths.iter().map(|&width| {
            let start = total;
            total = (start + width).next_multiple_of(aligned);
            (start, width)
        });
        let columns = columns.collect();
        let partials = empty(like, [rows.div_ceil(chunk), total], DType::F32);
        Self { rows, chunk, partials, columns, total }
    }

    /// Rows of a chunk.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// The number of chunks.
    pub fn chunks(&self) -> usize {
        self.rows.div_ceil(self.chunk)
    }

    /// Each chunk's sums, `[chunks, total]` and contiguous: to be written by the kernels that read the
    /// chunks.
    pub fn partials(&self) -> &CubeTensor<R> {
        &self.partials
    }

    /// Columns of the partial sums. A multiple of 16.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Where a matrix's columns begin in the partial sums. A multiple of 16.
    pub fn column(&self, matrix: usize) -> usize {
        self.columns[matrix].0
    }

    /// The sums, of each matrix `[width]`, once its partial sums are written.
    pub fn finish(self) -> Vec<CubeTensor<R>> {
        let all = empty(&self.partials, [self.total], DType::F32);
        let blocks = self.total.div_ceil(LANES) as u32;
        // SAFETY: the kernel reads the given number of chunks, which the array is of, and leaves out
        // columns beyond the last.
        unsafe {
            finish_kernel::launch_unchecked::<R>(
                client(&all),
                CubeCount::new_1d(blocks),
                CubeDim::new_2d(LANES as u32, (UNITS / LANES) as u32),
                array(&self.partials),
                array(&all),
                self.chunks(),
                self.total,
            );
        }
        let part = |&(start, width): &(usize, usize)| view(&all, 4 * start, [width], DType::F32);
        self.columns.iter().map(part).collect()
    }
}

/// A matrix whose columns are summed up, contiguous.
pub struct Matrix<'a, R: CubeRuntime> {
    /// `[rows, width]` of any rank, f32 or bf16.
    pub x: &'a CubeTensor<R>,
    /// `[views]`: what each view's rows are multiplied by first; f32.
    pub scale: Option<&'a CubeTensor<R>>,
    /// What is summed up is written as this, too, f32 or bf16.
    pub copy: Option<DType>,
    /// Rows are a grid's of this even side, and the copy has them square of 2×2 by square.
    pub squares: Option<usize>,
}

impl<'a, R: CubeRuntime> Matrix<'a, R> {
    /// `x` as it is.
    pub fn plain(x: &'a CubeTensor<R>) -> Self {
        Self { x, scale: None, copy: None, squares: None }
    }
}

/// The first pass over a matrix, the `index`th of `sums`: its chunks' sums are written there. What is
/// summed up, where a copy is asked for, of x's shape.
pub fn first<R: CubeRuntime>(
    matrix: &Matrix<'_, R>,
    sums: &Sums<R>,
    index: usize,
) -> Option<CubeTensor<R>> {
    let x = matrix.x;
    let width = sums.columns[index].1;
    let by = vector(width);
    let views = matrix.scale.map_or(1, |scale| scale.meta.num_elements());
    let copy = matrix.copy.map(|dtype| empty(x, x.meta.shape().clone(), dtype));
    let vectors = width / by;
    let form = Form {
        rows: Rows { width, vectors, lanes: LANES, slots: 1, rows: UNITS / LANES, plane: false },
        total: sums.total / by,
        column: sums.column(index) / by,
        squares: matrix.squares.unwrap_or(0),
    };
    let copied = matrix.copy.unwrap_or(DType::F32);
    let blocks = vectors.div_ceil(LANES) as u32;
    // SAFETY: the kernel reads and writes the given number of rows, which the arrays are of, and the
    // columns of the partial sums that are this matrix's.
    unsafe {
        first_kernel::launch_unchecked::<R>(
            client(x),
            CubeCount::new_2d(blocks, sums.chunks() as u32),
            form.rows.dim(),
            by,
            array(x),
            maybe(matrix.scale),
            maybe(copy.as_ref()),
            array(&sums.partials),
            sums.rows,
            sums.rows / views,
            sums.chunk,
            form,
            [x.dtype.into(), copied.into()],
        );
    }
    copy
}

/// Where a matrix's partial sums are, in vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Form {
    rows: Rows,
    total: usize,
    column: usize,
    /// The grid's side, or none.
    squares: usize,
}

/// Where a pixel of a grid of an even side is when its squares of 2×2 follow one another, row by row:
/// views, rows of squares, squares, rows of a square, pixels.
#[cube]
pub fn squared(pixel: usize, #[comptime] side: usize) -> usize {
    let (line, across) = (pixel / side, pixel % side);
    let square = line / 2 * comptime!(side / 2) + across / 2;
    4 * square + 2 * (line % 2) + across % 2
}

#[cube(launch_unchecked)]
fn first_kernel<Read: Float, Copied: Float, N: Size>(
    x: &Array<Vector<Read, N>>,
    scale: &Maybe<Array<f32>>,
    copy: &mut Maybe<Array<Vector<Copied, N>>>,
    partials: &mut Array<Vector<f32, N>>,
    rows: usize,
    tokens: usize,
    chunk: usize,
    #[comptime] form: Form,
    #[define(Read, Copied)] _dtypes: [StorageType; 2],
) {
    let by = comptime!(form.rows);
    let lane = UNIT_POS_X as usize;
    let line = UNIT_POS_Y as usize;
    let at = CUBE_POS_X as usize * by.lanes + lane;
    let first = CUBE_POS_Y as usize * chunk;
    let end = min(first + chunk, rows);
    let mut sum = Vector::<f32, N>::new(0.0);
    if at < by.vectors {
        let mut row = first + line;
        while row < end {
            let mut value = Vector::<f32, N>::cast_from(x[row * by.vectors + at]);
            #[comptime]
            if let ComptimeOption::Some(scale) = &scale.given {
                value *= Vector::new(scale[row / tokens]);
            }
            #[comptime]
            if let ComptimeOption::Some(copy) = &mut copy.given {
                let row =
                    if comptime!(form.squares > 0) { squared(row, form.squares) } else { row };
                copy[row * by.vectors + at] = Vector::cast_from(value);
            }
            sum += value;
            row += by.rows;
        }
    }
    let mut shared = SharedMemory::<Vector<f32, N>>::new(by.lanes * by.rows);
    shared[line * by.lanes + lane] = sum;
    sync_cube();
    if line == 0 && at < by.vectors {
        let begin = CUBE_POS_Y as usize * form.total + form.column;
        partials[begin + at] = down(&shared, lane, by);
    }
}

#[cube(launch_unchecked)]
fn finish_kernel(partials: &Array<f32>, sums: &mut Array<f32>, chunks: usize, total: usize) {
    let lane = UNIT_POS_X as usize;
    let line = UNIT_POS_Y as usize;
    let lines = comptime!(UNITS / LANES);
    let column = CUBE_POS_X as usize * LANES + lane;
    let mut sum = f32::new(0.0);
    if column < total {
        let mut chunk = line;
        while chunk < chunks {
            sum += partials[chunk * total + column];
            chunk += lines;
        }
    }
    let mut shared = SharedMemory::<f32>::new(UNITS);
    shared[line * LANES + lane] = sum;
    sync_cube();
    if line == 0 && column < total {
        let mut sum = shared[lane];
        #[unroll]
        for line in 1..lines {
            sum += shared[line * LANES + lane];
        }
        sums[column] = sum;
    }
}
