//! Windows of tokens: the order in which they lie side by side, and what is added to the scores of
//! two tokens of one.

use std::ops::Range;

use burn::backend::Flex;

use super::math::padded;
use super::tensor::{Scratch, ints};
use crate::Windows;

/// Tokens that attend to one another.
pub struct Span {
    /// Where they lie.
    pub tokens: Range<usize>,
    /// Where their pairs lie, a row of them for each token, filled up to whole lanes.
    pub pairs: Range<usize>,
}

impl Span {
    fn of(tokens: Range<usize>, pairs: usize) -> Self {
        let count = tokens.len();
        Self { tokens, pairs: pairs..pairs + count * padded(count) }
    }

    /// All tokens of a view, which no table adds to.
    pub fn whole(tokens: usize) -> Self {
        Self::of(0..tokens, 0)
    }
}

/// The windows of a view.
pub struct Plan {
    /// None of them empty.
    pub spans: Vec<Span>,
    /// The token at each place, window by window.
    order: Vec<usize>,
    /// The place of each token.
    places: Vec<usize>,
    /// The table's row of each pair.
    relative: Vec<usize>,
}

impl Plan {
    /// As `windows` say.
    pub fn of(windows: &Windows<Flex>) -> Self {
        let [_, count] = windows.tokens.dims();
        let table: Vec<usize> = ints(&windows.tokens).into_iter().map(|at| at as usize).collect();
        let first: Vec<usize> = ints(&windows.first).into_iter().map(|at| at as usize).collect();
        let (order, rows, columns) =
            (&table[..count], &table[2 * count..3 * count], &table[3 * count..]);
        let (reach, across) = (windows.side - 1, 2 * windows.side - 1);
        let mut places = vec![0; count];
        for (place, &token) in order.iter().enumerate() {
            places[token] = place;
        }
        let (mut spans, mut relative) = (vec![], vec![]);
        for ends in first.windows(2).filter(|ends| ends[0] < ends[1]) {
            let span = Span::of(ends[0]..ends[1], relative.len());
            for &query in &order[span.tokens.clone()] {
                relative.extend(order[span.tokens.clone()].iter().map(|&key| {
                    (rows[query] + reach - rows[key]) * across + columns[query] + reach
                        - columns[key]
                }));
                relative.resize(relative.len().next_multiple_of(padded(1)), 0);
            }
            spans.push(span);
        }
        Self { spans, order: order.to_vec(), places, relative }
    }

    /// Pairs of a head.
    pub fn pairs(&self) -> usize {
        self.relative.len()
    }

    /// Each view's rows in the windows' order.
    pub fn gathered(&self, x: &[f32], width: usize) -> Scratch {
        let mut out = Scratch::of(x.len());
        let rows = out.chunks_exact_mut(width).enumerate();
        let tokens = self.order.len();
        for (at, row) in rows {
            let from = (at / tokens * tokens + self.order[at % tokens]) * width;
            row.copy_from_slice(&x[from..from + width]);
        }
        out
    }

    /// Each view's rows in the tokens' order, of rows in the windows'.
    pub fn scattered(&self, x: &[f32], width: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(x.len());
        for view in x.chunks_exact(self.order.len() * width) {
            for &place in &self.places {
                out.extend_from_slice(&view[place * width..(place + 1) * width]);
            }
        }
        out
    }

    /// What `table`, `[rows, heads]`, adds to the scores: of each head its pairs.
    pub fn bias(&self, table: &[f32], heads: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(heads * self.pairs());
        for head in 0..heads {
            out.extend(self.relative.iter().map(|&row| table[row * heads + head]));
        }
        out
    }

    /// The table's gradient, from that of [`bias`](Self::bias).
    pub fn table_gradient(&self, gradient: &[f32], rows: usize, heads: usize) -> Vec<f32> {
        let mut out = vec![0.0; rows * heads];
        for head in 0..heads {
            let gradient = &gradient[head * self.pairs()..(head + 1) * self.pairs()];
            for span in &self.spans {
                let (relative, gradient) =
                    (&self.relative[span.pairs.clone()], &gradient[span.pairs.clone()]);
                let (count, row) = (span.tokens.len(), padded(span.tokens.len()));
                for query in 0..count {
                    for at in query * row..query * row + count {
                        out[relative[at] * heads + head] += gradient[at];
                    }
                }
            }
        }
        out
    }
}
