//! What attention's kernels are made of: blocks of rows in shared memory, and products of them.
//!
//! A cube is of 8×8 units. A block has rows of its own, the cube's, and goes through others: a unit
//! holds the scores of own rows `y + 8·i` with other rows `x + 8·j`, i < [`Tile::own`] and
//! j < [`Tile::other`].

use cubecl::prelude::*;

use crate::gpu::frame::Maybe;

/// Units along each side of a cube.
pub const UNITS: usize = 8;

/// What is taken for the score of what isn't there. Its exponential is 0.
pub const APART: f32 = -1e30;

/// Sizes that a kernel is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// A head's width in vectors.
    pub vectors: usize,
    /// Own rows of a unit; the lanes of a vector of scores.
    pub own: usize,
    /// Other rows of a unit.
    pub other: usize,
    /// A full window's side in tokens, 0 without windows.
    pub side: usize,
}

impl Tile {
    /// Of a row in shared memory, in vectors. It is odd, so that eight rows are in banks of their own.
    pub const fn stride(&self) -> usize {
        self.vectors | 1
    }

    /// Vectors of a row that a unit sums.
    pub const fn parts(&self) -> usize {
        self.vectors.div_ceil(UNITS)
    }

    /// A block's own rows.
    pub const fn own_rows(&self) -> usize {
        UNITS * self.own
    }

    /// The other rows that a block takes at a time.
    pub const fn other_rows(&self) -> usize {
        UNITS * self.other
    }

    /// Differences of rows, or columns, that tokens of a window may have.
    pub const fn span(&self) -> usize {
        (2 * self.side).saturating_sub(1)
    }

    /// Relative positions that tokens of a window may have.
    pub const fn relative(&self) -> usize {
        self.span() * self.span()
    }

    /// Of these, the most that fall to a unit.
    pub const fn positions(&self) -> usize {
        self.relative().div_ceil(UNITS * UNITS)
    }
}

/// Which window each token is in and where ([`crate::Windows`]), and the table of relative
/// positions `[span², heads]`.
#[derive(CubeType, CubeLaunch)]
pub struct Tables {
    pub tokens: Array<i32>,
    pub first: Array<i32>,
    pub bias: Array<f32>,
}

/// The tokens that attend to each other, those of a window or all of a view, of one head.
#[derive(CubeType, Clone, Copy)]
pub struct Sequence {
    /// Of the view's first token.
    pub row: usize,
    /// Tokens of a view.
    pub tokens: usize,
    /// Where the sequence begins in the tokens' order.
    pub first: usize,
    /// Tokens of the sequence.
    pub count: usize,
    /// The head's first vector in a row of the width.
    pub column: usize,
    /// Vectors of the width.
    pub width: usize,
    /// The view's and head's first place in what is kept for each view, head and token.
    pub kept: usize,
}

/// Where a head's rows are in a matrix, and what they are multiplied by.
#[derive(CubeType, Clone, Copy)]
pub struct Rows {
    /// Vectors of a row of the matrix.
    pub line: usize,
    /// The head's first vector in it.
    pub column: usize,
    /// The factor.
    pub scale: f32,
}

/// A head's queries, keys and values in qkv, and what is mixed of them in a matrix of its own.
#[derive(CubeType, Clone, Copy)]
pub struct Thirds {
    pub queries: Rows,
    pub keys: Rows,
    pub values: Rows,
    pub mixed: Rows,
}

/// Those of a sequence's head, queries times `scale`.
#[cube]
pub fn thirds(of: &Sequence, scale: f32) -> Thirds {
    let (line, column) = (3 * of.width, of.column);
    Thirds {
        queries: Rows { line, column, scale },
        keys: Rows { line, column: of.width + column, scale: 1.0f32 },
        values: Rows { line, column: 2 * of.width + column, scale: 1.0f32 },
        mixed: Rows { line: of.width, column, scale: 1.0f32 },
    }
}

/// The cube's: x is its head, z its view, and y its window where there are any.
#[cube]
pub fn sequence(tables: &Maybe<Tables>, tokens: usize, #[comptime] tile: Tile) -> Sequence {
    let (head, view) = (CUBE_POS_X as usize, CUBE_POS_Z as usize);
    let heads = CUBE_COUNT_X as usize;
    let (first, count) = bounds(tables, tokens);
    Sequence {
        row: view * tokens,
        tokens,
        first,
        count,
        column: head * comptime!(tile.vectors),
        width: heads * comptime!(tile.vectors),
        kept: (view * heads + head) * tokens,
    }
}

/// Where the cube's sequence begins in the tokens' order, and how long it is.
#[cube]
fn bounds(tables: &Maybe<Tables>, tokens: usize) -> (usize, usize) {
    #[comptime]
    match &tables.given {
        ComptimeOption::Some(tables) => {
            let window = CUBE_POS_Y as usize;
            let first = tables.first[window] as usize;
            (first, tables.first[window + 1] as usize - first)
        }
        ComptimeOption::None => (0usize.runtime(), tokens),
    }
}

/// The first of the cube's blocks, and the one after its last: all of a window's, or one.
#[cube]
pub fn blocks(of: &Sequence, #[comptime] tile: Tile) -> (usize, usize) {
    if comptime!(tile.side > 0) {
        let rows = comptime!(tile.own_rows());
        (0usize.runtime(), (of.count + rows - 1) / rows)
    } else {
        let block = CUBE_POS_Y as usize;
        (block, block + 1)
    }
}

/// The token in its view of a sequence's `at`th, or of its last.
#[cube]
pub fn token(tables: &Maybe<Tables>, of: &Sequence, at: usize) -> usize {
    let at = min(at, of.count - 1);
    #[comptime]
    match &tables.given {
        ComptimeOption::Some(tables) => tables.tokens[of.first + at] as usize,
        ComptimeOption::None => at,
    }
}

/// A number for the place of a token of a view, whose differences are the relative positions.
#[cube]
pub fn place(tables: &Maybe<Tables>, of: &Sequence, token: usize, #[comptime] tile: Tile) -> i32 {
    #[comptime]
    match &tables.given {
        ComptimeOption::Some(tables) => {
            let row = tables.tokens[2 * of.tokens + token];
            let column = tables.tokens[3 * of.tokens + token];
            row * comptime!(tile.span() as i32) + column
        }
        ComptimeOption::None => 0i32.runtime(),
    }
}

/// Those of the unit's own rows.
#[cube]
pub fn own_places(
    tables: &Maybe<Tables>,
    of: &Sequence,
    start: usize,
    #[comptime] tile: Tile,
) -> Array<i32> {
    let mut places = Array::<i32>::new(comptime!(tile.own));
    #[unroll]
    for i in 0..comptime!(tile.own) {
        let at = start + UNIT_POS_Y as usize + comptime!(UNITS * i);
        places[i] = place(tables, of, token(tables, of, at), tile);
    }
    places
}

/// The head's column of the table of relative positions.
#[cube]
pub fn load_bias(tables: &Maybe<Tables>, bias: &mut SharedMemory<f32>, #[comptime] tile: Tile) {
    #[comptime]
    match &tables.given {
        ComptimeOption::Some(tables) => {
            let mut at = UNIT_POS as usize;
            while at < comptime!(tile.relative()) {
                bias[at] = tables.bias[at * CUBE_COUNT_X as usize + CUBE_POS_X as usize];
                at += comptime!(UNITS * UNITS);
            }
        }
        ComptimeOption::None => {}
    }
}

/// Adds to the unit's scores with its other row `j` what is added by relative position; `own` and
/// `other` are places, and the query is the own one, or else the other.
#[cube]
pub fn add_bias(
    scores: &mut Array<f32>,
    bias: &SharedMemory<f32>,
    own: &Array<i32>,
    other: i32,
    #[comptime] j: usize,
    #[comptime] own_is_query: bool,
    #[comptime] tile: Tile,
) {
    if comptime!(tile.side > 0) {
        let last = comptime!(tile.relative() as i32 - 1);
        #[unroll]
        for i in 0..comptime!(tile.own) {
            let apart = if comptime!(own_is_query) { own[i] - other } else { other - own[i] };
            // Tables that are not of a network could lead out of the bias.
            let at = min(max(apart + comptime!(last / 2), 0), last);
            scores[i * tile.other + j] += bias[at as usize];
        }
    }
}

/// `count` of a sequence's rows, from `start` on; zeros after its end.
#[cube]
pub fn load<E: Float, N: Size>(
    from: &Array<Vector<E, N>>,
    to: &mut SharedMemory<Vector<f32, N>>,
    tables: &Maybe<Tables>,
    of: &Sequence,
    rows: Rows,
    start: usize,
    #[comptime] count: usize,
    #[comptime] tile: Tile,
) {
    let mut at = UNIT_POS as usize;
    while at < comptime!(count * tile.vectors) {
        let row = at / comptime!(tile.vectors);
        let vector = at % comptime!(tile.vectors);
        let mut value = Vector::<f32, N>::new(0.0);
        if start + row < of.count {
            let token = of.row + token(tables, of, start + row);
            value = Vector::cast_from(from[token * rows.line + rows.column + vector]);
        }
        to[row * comptime!(tile.stride()) + vector] = value * Vector::new(rows.scale);
        at += comptime!(UNITS * UNITS);
    }
}

/// The unit's products of own rows with other rows.
#[cube]
pub fn scores<N: Size>(
    own: &SharedMemory<Vector<f32, N>>,
    other: &SharedMemory<Vector<f32, N>>,
    scores: &mut Array<f32>,
    #[comptime] tile: Tile,
) {
    let stride = comptime!(tile.stride());
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    #[unroll]
    for i in 0..comptime!(tile.own * tile.other) {
        scores[i] = 0.0f32;
    }
    for vector in 0..comptime!(tile.vectors) {
        let mut right = Array::<Vector<f32, N>>::new(comptime!(tile.other));
        #[unroll]
        for j in 0..comptime!(tile.other) {
            right[j] = other[(x + UNITS * j) * stride + vector];
        }
        #[unroll]
        for i in 0..comptime!(tile.own) {
            let left = own[(y + UNITS * i) * stride + vector];
            #[unroll]
            for j in 0..comptime!(tile.other) {
                let right = right[j];
                let mut sum = scores[i * tile.other + j];
                #[unroll]
                for lane in 0..N::value() {
                    sum = fma(left[lane], right[lane], sum);
                }
                scores[i * tile.other + j] = sum;
            }
        }
    }
}

/// The unit's own rows' values with other row `j`, as one vector.
#[cube]
pub fn lanes<M: Size>(
    values: &Array<f32>,
    #[comptime] j: usize,
    #[comptime] tile: Tile,
) -> Vector<f32, M> {
    let mut vector = Vector::<f32, M>::empty();
    #[unroll]
    for i in 0..comptime!(tile.own) {
        vector[i] = values[i * tile.other + j];
    }
    vector
}

/// Where shares of own rows in other row `row` are: own rows `y + 8·i` are lanes.
#[cube]
pub fn share(row: usize, y: usize) -> usize {
    row * comptime!(UNITS + 1) + y
}

/// Adds other rows, each by its share, to the unit's own rows: their vectors `x + 8·part`.
#[cube]
pub fn add_shares<N: Size, M: Size>(
    shares: &SharedMemory<Vector<f32, M>>,
    other: &SharedMemory<Vector<f32, N>>,
    sums: &mut Array<Vector<f32, N>>,
    #[comptime] tile: Tile,
) {
    for row in 0..comptime!(tile.other_rows()) {
        let share = shares[share(row, UNIT_POS_Y as usize)];
        #[unroll]
        for part in 0..comptime!(tile.parts()) {
            let value = other[row * comptime!(tile.stride()) + part_of(part, tile)];
            #[unroll]
            for i in 0..comptime!(tile.own) {
                sums[i * tile.parts() + part] += value * Vector::new(share[i]);
            }
        }
    }
}

/// The unit's vector of a row, or the last one where the row has none for it.
#[cube]
pub fn part_of(#[comptime] part: usize, #[comptime] tile: Tile) -> usize {
    let vector = UNIT_POS_X as usize + comptime!(UNITS * part);
    if comptime!(UNITS * (part + 1) > tile.vectors) {
        min(vector, comptime!(tile.vectors - 1))
    } else {
        vector
    }
}

/// Zeros for the unit's own rows.
#[cube]
pub fn no_sums<N: Size>(sums: &mut Array<Vector<f32, N>>, #[comptime] tile: Tile) {
    #[unroll]
    for i in 0..comptime!(tile.own * tile.parts()) {
        sums[i] = Vector::new(0.0f32);
    }
}

/// Writes the unit's own rows, of a block that begins at `start`.
#[cube]
pub fn store<E: Float, N: Size>(
    sums: &Array<Vector<f32, N>>,
    to: &mut Array<Vector<E, N>>,
    tables: &Maybe<Tables>,
    of: &Sequence,
    rows: Rows,
    start: usize,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for i in 0..comptime!(tile.own) {
        let at = start + UNIT_POS_Y as usize + comptime!(UNITS * i);
        if at < of.count {
            let row = (of.row + token(tables, of, at)) * rows.line + rows.column;
            #[unroll]
            for part in 0..comptime!(tile.parts()) {
                let vector = UNIT_POS_X as usize + comptime!(UNITS * part);
                if vector < comptime!(tile.vectors) {
                    let value = sums[i * tile.parts() + part] * Vector::new(rows.scale);
                    to[row + vector] = Vector::cast_from(value);
                }
            }
        }
    }
}

/// The sum over the units of a row of the cube, the same for all of them, in a fixed order.
#[cube]
pub fn sum_across<M: Size>(
    value: Vector<f32, M>,
    row: &mut SharedMemory<Vector<f32, M>>,
) -> Vector<f32, M> {
    let y = UNIT_POS_Y as usize;
    sync_cube();
    row[share(y, UNIT_POS_X as usize)] = value;
    sync_cube();
    let mut sum = row[share(y, 0)];
    #[unroll]
    for x in 1..UNITS {
        sum += row[share(y, x)];
    }
    sum
}
