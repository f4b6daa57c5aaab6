//! How attention's kernels are launched.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::StorageType;
use cubecl::prelude::*;

use super::backward::{key_gradient, query_gradient};
use super::columns::Columns;
use super::forward::attend;
use super::tiles::{Tables, TablesLaunch, Tile, UNITS};
use crate::gpu::columns::Sums;
use crate::gpu::frame::{MaybeLaunch, array, client, dims, empty, reshape, vector};

/// The most shared memory that a cube takes: what every CUDA device has without being asked.
const SHARED: usize = 48 << 10;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    pub views: usize,
    pub tokens: usize,
    pub heads: usize,
    /// A head's width.
    pub head: usize,
}

/// [`crate::Windows`], contiguous and i32, with the table of relative positions.
pub struct Windows<R: CubeRuntime> {
    pub side: usize,
    pub tokens: CubeTensor<R>,
    pub first: CubeTensor<R>,
    pub table: CubeTensor<R>,
}

/// What a gradient is made from.
pub struct Upward<'a, R: CubeRuntime> {
    pub qkv: &'a CubeTensor<R>,
    pub mixed: &'a CubeTensor<R>,
    pub logsums: &'a CubeTensor<R>,
    /// The gradient of `mixed`.
    pub upward: &'a CubeTensor<R>,
}

/// Gradients of an attention.
pub struct Gradient<R: CubeRuntime> {
    /// `[views·tokens, 3·width]`, as qkv.
    pub qkv: CubeTensor<R>,
    /// Its sum over all rows.
    pub bias: CubeTensor<R>,
    /// Of the table of relative positions.
    pub table: Option<CubeTensor<R>>,
}

/// The kernels, by the shared memory that they need.
#[derive(Clone, Copy)]
enum Kernel {
    Forward,
    Queries,
    Keys,
}

impl Kernel {
    /// Bytes of shared memory.
    fn shared(self, tile: &Tile, vector: usize) -> usize {
        let row = 4 * vector * tile.stride();
        let shares = 4 * tile.own * tile.other_rows() * (UNITS + 1);
        let across = 4 * tile.own * UNITS * (UNITS + 1);
        let bias = 4 * tile.relative();
        let rows = 4 * vector * UNITS * UNITS;
        let grid = 8 * tile.side * tile.side + 12 * tile.own_rows();
        let (own, other) = (row * tile.own_rows(), row * tile.other_rows());
        match self {
            Self::Forward => own + other + shares + across + bias,
            Self::Queries => 2 * own + other + shares + across + bias + rows + grid,
            Self::Keys => 2 * own + 2 * other + 2 * shares + bias + rows,
        }
    }
}

impl Attention {
    /// The largest tile whose blocks are in shared memory, of at most so many own rows a unit.
    fn tile<R: CubeRuntime>(
        &self,
        kernel: Kernel,
        like: &CubeTensor<R>,
        side: usize,
        most: usize,
    ) -> Tile {
        let vector = vector(self.head);
        let limit = like.client.properties().hardware.max_shared_memory_size.min(SHARED);
        let tile = |(own, other)| Tile { vectors: self.head / vector, own, other, side };
        let mut tiles = [(4, 4), (4, 2), (4, 1), (2, 2), (2, 1), (1, 1)].into_iter().map(tile);
        let least = tile((1, 1));
        tiles.find(|tile| tile.own <= most && kernel.shared(tile, vector) <= limit).unwrap_or(least)
    }

    /// Those of both gradients: with the same own rows, so that they write parts of the same rows.
    fn gradient_tiles<R: CubeRuntime>(&self, like: &CubeTensor<R>, side: usize) -> (Tile, Tile) {
        let tile = |kernel, most| self.tile(kernel, like, side, most);
        let own = tile(Kernel::Queries, 4).own.min(tile(Kernel::Keys, 4).own);
        (tile(Kernel::Queries, own), tile(Kernel::Keys, own))
    }

    fn count<R: CubeRuntime>(&self, tile: &Tile, windows: Option<&Windows<R>>) -> CubeCount {
        CubeCount::new_3d(self.heads as u32, self.parts(tile, windows) as u32, self.views as u32)
    }

    /// Cubes of a view and head.
    fn parts<R: CubeRuntime>(&self, tile: &Tile, windows: Option<&Windows<R>>) -> usize {
        match windows {
            Some(windows) => {
                let [bounds] = dims(&windows.first);
                bounds - 1
            }
            None => self.tokens.div_ceil(tile.own_rows()),
        }
    }

    fn scale(&self) -> f32 {
        (self.head as f32).powf(-0.5)
    }

    /// From qkv `[views·tokens, 3·width]` what is mixed, `[views·tokens, width]` of the same element;
    /// and the softmax's logarithms of sums, `[views, heads, tokens]`.
    pub fn forward<R: CubeRuntime>(
        &self,
        qkv: &CubeTensor<R>,
        windows: Option<&Windows<R>>,
    ) -> (CubeTensor<R>, CubeTensor<R>) {
        let Self { views, tokens, heads, head } = *self;
        let mixed = empty(qkv, [views * tokens, heads * head], qkv.dtype);
        let logsums = empty(qkv, [views, heads, tokens], DType::F32);
        let tile = self.tile(Kernel::Forward, qkv, side(windows), 4);
        // SAFETY: the arrays are of the sizes that the kernel says, and tokens in windows' tables are
        // below their number.
        unsafe {
            attend::launch_unchecked::<R>(
                client(qkv),
                self.count(&tile, windows),
                CubeDim::new_2d(UNITS as u32, UNITS as u32),
                vector(head),
                tile.own,
                array(qkv),
                tables(windows),
                array(&mixed),
                array(&logsums),
                tokens as u32,
                self.scale(),
                tile,
                storage(qkv),
            );
        }
        (mixed, logsums)
    }

    /// The gradients.
    pub fn backward<R: CubeRuntime>(
        &self,
        of: &Upward<'_, R>,
        windows: Option<&Windows<R>>,
    ) -> Gradient<R> {
        let Self { views, tokens, heads, head } = *self;
        let width = heads * head;
        let (query_tile, key_tile) = self.gradient_tiles(of.qkv, side(windows));
        let rows = views * self.parts(&query_tile, windows);
        let positions = windows.map(|_| query_tile.relative() * heads);
        let widths: Vec<_> = [3 * width].into_iter().chain(positions).collect();
        let sums = Sums::new_of(of.qkv, rows, &widths);
        let relative = positions.map_or(0, |_| sums.column(1));
        let columns = Columns { width, relative, total: sums.total() };
        let qkv = empty(of.qkv, [views * tokens, 3 * width], of.qkv.dtype);
        let dots = empty(of.qkv, [views, heads, tokens], DType::F32);
        let dim = CubeDim::new_2d(UNITS as u32, UNITS as u32);
        let dtypes = [storage(of.qkv), storage(of.upward)];
        // SAFETY: as for `forward`.
        unsafe {
            query_gradient::launch_unchecked::<R>(
                client(&qkv),
                self.count(&query_tile, windows),
                dim,
                vector(head),
                query_tile.own,
                array(of.qkv),
                array(of.mixed),
                array(of.upward),
                array(of.logsums),
                tables(windows),
                array(&qkv),
                array(&dots),
                array(sums.partials()),
                tokens as u32,
                self.scale(),
                query_tile,
                columns,
                dtypes,
            );
            key_gradient::launch_unchecked::<R>(
                client(&qkv),
                self.count(&key_tile, windows),
                dim,
                vector(head),
                key_tile.own,
                array(of.qkv),
                array(of.upward),
                array(of.logsums),
                array(&dots),
                tables(windows),
                array(&qkv),
                array(sums.partials()),
                tokens as u32,
                self.scale(),
                key_tile,
                columns,
                dtypes,
            );
        }
        let mut sums = sums.finish().into_iter();
        let bias = sums.next().expect("qkv's bias is summed up");
        let table = sums.next().map(|sum| reshape(sum, [query_tile.relative(), heads]));
        Gradient { qkv, bias, table }
    }
}

fn side<R: CubeRuntime>(windows: Option<&Windows<R>>) -> usize {
    windows.map_or(0, |windows| windows.side)
}

fn storage<R: CubeRuntime>(tensor: &CubeTensor<R>) -> StorageType {
    tensor.dtype.into()
}

fn tables<R: CubeRuntime>(windows: Option<&Windows<R>>) -> MaybeLaunch<Tables, R> {
    let tables = windows.map(|windows| {
        TablesLaunch::new(array(&windows.tokens), array(&windows.first), array(&windows.table))
    });
    tables.into()
}
