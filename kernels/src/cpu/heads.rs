//! Attention of one view, head by head, straight from queries, keys and values as the product left
//! them. Scores are never kept: of each row the logarithm of its softmax' denominator is.

use std::ops::Range;

use multiversion::multiversion;

use super::math::{exp, largest, padded, sum};
use super::matrix::{Matrix, Target, product};
use super::tensor::Scratch;
use super::windows::Span;
use crate::Precision;

/// What the heads of a view are.
pub struct Heads<'a> {
    pub precision: Precision,
    pub tokens: usize,
    pub width: usize,
    pub heads: usize,
    /// Which tokens attend to one another.
    pub spans: &'a [Span],
    /// Of each head what is added to the scores of its pairs; or empty.
    pub bias: &'a [f32],
}

/// What heads mixed for those tokens of a view that have a gradient.
pub struct Mixed<'a> {
    /// The tokens, in order.
    pub queries: &'a [usize],
    /// Of each what was mixed.
    pub mixed: &'a [f32],
    /// And its gradient.
    pub upward: &'a [f32],
}

/// What there is to know of a span's rows of scores.
struct Rows<'a> {
    /// Of all tokens of the span.
    logarithms: &'a [f32],
    /// Of the rows, the sum of shares times gradients.
    dots: &'a [f32],
    /// The tokens whose rows they are.
    queries: &'a [usize],
    /// The span's first token.
    first: usize,
}

/// Which third of qkv.
const QUERY: usize = 0;
const KEY: usize = 1;
const VALUE: usize = 2;

impl Heads<'_> {
    fn head(&self) -> usize {
        self.width / self.heads
    }

    fn scale(&self) -> f32 {
        (self.head() as f32).powf(-0.5)
    }

    /// Where a head's part begins in queries, keys or values of a span's tokens.
    fn at(&self, span: &Span, third: usize, head: usize) -> usize {
        span.tokens.start * 3 * self.width + third * self.width + head * self.head()
    }

    /// Where a head's part begins in what is mixed.
    fn mixed_at(&self, span: &Span, head: usize) -> usize {
        span.tokens.start * self.width + head * self.head()
    }

    fn matrix<'a>(&self, qkv: &'a [f32], span: &Span, third: usize, head: usize) -> Matrix<'a> {
        let (count, row) = (span.tokens.len(), 3 * self.width);
        Matrix::part(&qkv[self.at(span, third, head)..], count, self.head(), row)
    }

    /// The rows of a head's logarithms.
    fn rows(&self, span: &Span, head: usize) -> Range<usize> {
        head * self.tokens + span.tokens.start..head * self.tokens + span.tokens.end
    }

    fn pairs(&self, span: &Span, head: usize) -> Range<usize> {
        if self.bias.is_empty() {
            return 0..0;
        }
        let before = head * self.bias.len() / self.heads;
        before + span.pairs.start..before + span.pairs.end
    }

    /// The longest span's pairs.
    fn most(&self) -> usize {
        self.spans.iter().map(|span| span.pairs.len()).max().unwrap_or(0)
    }

    /// `queries` times keys, not yet scaled.
    fn scores(
        &self,
        queries: Matrix<'_>,
        qkv: &[f32],
        span: &Span,
        head: usize,
        scores: &mut [f32],
    ) {
        let keys = self.matrix(qkv, span, KEY, head).transposed();
        let target = Target { values: scores, row: padded(span.tokens.len()) };
        product(self.precision, queries, keys, target, false);
    }

    /// The values of a view's tokens mixed, `[tokens, width]`, of qkv, `[tokens, 3·width]`; and
    /// `[heads, tokens]` logarithms.
    pub fn mix(&self, qkv: &[f32], mixed: &mut [f32], logarithms: &mut [f32]) {
        let mut scores = Scratch::of(self.most());
        let mut inverse = Scratch::of(self.tokens);
        for head in 0..self.heads {
            for span in self.spans {
                let (count, row) = (span.tokens.len(), padded(span.tokens.len()));
                let scores = &mut scores[..count * row];
                let inverse = &mut inverse[..count];
                self.scores(self.matrix(qkv, span, QUERY, head), qkv, span, head, scores);
                let bias = &self.bias[self.pairs(span, head)];
                let logarithms = &mut logarithms[self.rows(span, head)];
                exponentials(scores, bias, self.scale(), logarithms, inverse);
                let mixed = &mut mixed[self.mixed_at(span, head)..];
                let target = Target { values: &mut *mixed, row: self.width };
                let values = self.matrix(qkv, span, VALUE, head);
                let shares = Matrix::part(scores, count, count, row);
                product(self.precision, shares, values, target, false);
                multiply_rows(mixed, self.width, self.head(), inverse);
            }
        }
    }

    /// The gradient of a view's qkv into `out`, from that of what is mixed; that of the bias is
    /// added to `of_bias`.
    pub fn gradient(
        &self,
        qkv: &[f32],
        logarithms: &[f32],
        known: &Mixed<'_>,
        of_bias: &mut [f32],
        out: &mut [f32],
    ) {
        let (width, row) = (self.width, 3 * self.width);
        let (mut shares, mut slopes) = (Scratch::of(self.most()), Scratch::of(self.most()));
        let mut dots = Scratch::of(self.tokens);
        let mut queries = Scratch::of(known.queries.len() * width);
        let mut of_queries = Scratch::of(queries.len());
        for (query, &token) in queries.chunks_exact_mut(width).zip(known.queries) {
            query.copy_from_slice(&qkv[token * row..token * row + width]);
        }
        if known.queries.len() < self.tokens {
            out.fill(0.0);
        }
        for span in self.spans {
            let before = |end| known.queries.partition_point(|&query| query < end);
            let active = before(span.tokens.start)..before(span.tokens.end);
            let tokens = &known.queries[active.clone()];
            let (count, row) = (active.len(), padded(span.tokens.len()));
            if count == 0 {
                continue;
            }
            let (shares, slopes) = (&mut shares[..count * row], &mut slopes[..count * row]);
            let dots = &mut dots[..count];
            for head in 0..self.heads {
                let at = active.start * width + head * self.head();
                let (mixed, upward) = (&known.mixed[at..], &known.upward[at..]);
                row_dots(mixed, upward, width, self.head(), dots);
                let of_head = |values| Matrix::part(values, count, self.head(), width);
                let (upward, query) = (of_head(upward), of_head(&queries[at..]));
                self.scores(query, qkv, span, head, shares);
                let values = self.matrix(qkv, span, VALUE, head).transposed();
                let target = Target { values: &mut *slopes, row };
                product(self.precision, upward, values, target, false);
                let pairs = self.pairs(span, head);
                let rows = Rows {
                    logarithms: &logarithms[self.rows(span, head)],
                    dots,
                    queries: tokens,
                    first: span.tokens.start,
                };
                let bias = (&self.bias[pairs.clone()], &mut of_bias[pairs]);
                softmax_gradient(shares, slopes, bias, self.scale(), &rows);
                let of_pairs = |values| Matrix::part(values, count, span.tokens.len(), row);
                let (shares, slopes) = (of_pairs(shares), of_pairs(slopes));
                self.third(shares.transposed(), upward, span, VALUE, head, out);
                self.third(slopes.transposed(), query, span, KEY, head, out);
                let target = Target { values: &mut of_queries[at..], row: width };
                let keys = self.matrix(qkv, span, KEY, head);
                product(self.precision, slopes, keys, target, false);
            }
        }
        for (query, &token) in of_queries.chunks_exact(width).zip(known.queries) {
            out[token * row..token * row + width].copy_from_slice(query);
        }
    }

    fn third(
        &self,
        lhs: Matrix<'_>,
        rhs: Matrix<'_>,
        span: &Span,
        third: usize,
        head: usize,
        out: &mut [f32],
    ) {
        let at = self.at(span, third, head);
        let target = Target { values: &mut out[at..], row: 3 * self.width };
        product(self.precision, lhs, rhs, target, false);
    }
}

/// Scores → their exponentials over that of the row's largest. `inverse` is 1 over their sum;
/// `logarithms` that by which a score is brought to its share. There is a row of `scores` for each
/// of `logarithms`; what fills rows up to whole lanes comes to nothing.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn exponentials(
    scores: &mut [f32],
    bias: &[f32],
    scale: f32,
    logarithms: &mut [f32],
    inverse: &mut [f32],
) {
    let count = logarithms.len();
    let width = scores.len() / count;
    for (i, row) in scores.chunks_exact_mut(width).enumerate() {
        let mut factor = scale;
        if !bias.is_empty() {
            for (score, bias) in row.iter_mut().zip(&bias[i * width..]) {
                *score = score.mul_add(scale, *bias);
            }
            factor = 1.0;
        }
        row[count..].fill(f32::MIN);
        let most = largest(row) * factor;
        for score in row.iter_mut() {
            *score = exp(score.mul_add(factor, -most));
        }
        let total = sum(row, |share| share);
        inverse[i] = 1.0 / total;
        logarithms[i] = most + total.ln();
    }
}

/// Scores → shares, and the shares' gradients → those of the scores before they were scaled. Adds to
/// the bias' gradient.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn softmax_gradient(
    shares: &mut [f32],
    slopes: &mut [f32],
    (bias, of_bias): (&[f32], &mut [f32]),
    scale: f32,
    known: &Rows,
) {
    let width = shares.len() / known.dots.len();
    let rows = shares.chunks_exact_mut(width).zip(slopes.chunks_exact_mut(width));
    for ((shares, slopes), (query, &dot)) in rows.zip(known.queries.iter().zip(known.dots)) {
        let at = query - known.first;
        let logarithm = known.logarithms[at];
        if bias.is_empty() {
            for (share, slope) in shares.iter_mut().zip(slopes) {
                *share = exp(share.mul_add(scale, -logarithm));
                *slope = *share * (*slope - dot) * scale;
            }
            continue;
        }
        let bias = bias[at * width..].iter().zip(&mut of_bias[at * width..]);
        for ((share, slope), (bias, of_bias)) in shares.iter_mut().zip(slopes).zip(bias) {
            *share = exp(share.mul_add(scale, *bias) - logarithm);
            let gradient = *share * (*slope - dot);
            *of_bias += gradient;
            *slope = gradient * scale;
        }
    }
}

/// Multiplies the first `columns` of each row, one every `row` values.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn multiply_rows(values: &mut [f32], row: usize, columns: usize, by: &[f32]) {
    for (values, by) in values.chunks_mut(row).zip(by) {
        for value in &mut values[..columns] {
            *value *= by;
        }
    }
}

/// Σ a·b over the first `columns` of each row, one every `row` values.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn row_dots(a: &[f32], b: &[f32], row: usize, columns: usize, out: &mut [f32]) {
    for ((a, b), out) in a.chunks(row).zip(b.chunks(row)).zip(out) {
        *out = super::math::sum_of_two(&a[..columns], &b[..columns], |a, b| a * b);
    }
}
