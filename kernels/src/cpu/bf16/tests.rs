use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::Precision;
use crate::cpu::matrix::{self, Matrix, Target};

/// How a factor lies in memory.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// Row by row.
    Rows,
    /// Column by column.
    Columns,
    /// With values between any two.
    Apart,
}

/// A product to be taken: how large, and how its factors lie.
#[derive(Debug, Clone, Copy)]
struct Case {
    size: [usize; 3],
    lie: [Lie; 2],
    accumulate: bool,
}

fn draw(count: usize, rng: &mut StdRng) -> Vec<f32> {
    (0..count).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect()
}

/// With 3 values between rows or columns.
fn matrix(values: &[f32], rows: usize, columns: usize, lie: Lie) -> Matrix<'_> {
    match lie {
        Lie::Rows => Matrix::part(values, rows, columns, columns + 3),
        Lie::Columns => Matrix::part(values, columns, rows, rows + 3).transposed(),
        Lie::Apart => Matrix { values, rows, columns, row: 2 * columns + 3, column: 2 },
    }
}

fn product(lhs: Matrix<'_>, rhs: Matrix<'_>, values: &mut [f32], row: usize, accumulate: bool) {
    matrix::product(Precision::Bf16, lhs, rhs, Target { values, row }, accumulate);
}

type Product = fn(Matrix<'_>, Matrix<'_>, &mut [f32], usize, bool);

/// Holds a product against that of the rounded factors in f64.
fn check(case: Case, rng: &mut StdRng, product: Product) {
    let ([m, n, k], stride) = (case.size, case.size[1] + 2);
    let a = draw((m + 3) * (2 * k + 3), rng);
    let b = draw((k + 3) * (2 * n + 3), rng);
    let before = draw(m * stride, rng);
    let mut out = before.clone();
    let (lhs, rhs) = (matrix(&a, m, k, case.lie[0]), matrix(&b, k, n, case.lie[1]));
    product(lhs, rhs, &mut out, stride, case.accumulate);
    let rounded = |matrix: Matrix<'_>, i: usize, j: usize| {
        let value = matrix.values[i * matrix.row + j * matrix.column];
        f64::from(half::bf16::from_f32(value).to_f32())
    };
    for (at, (&found, &before)) in out.iter().zip(&before).enumerate() {
        let (row, column) = (at / stride, at % stride);
        if column >= n {
            assert_eq!(found, before, "{case:?}: between rows, {row}, {column}");
            continue;
        }
        let before = if case.accumulate { f64::from(before) } else { 0.0 };
        let terms = (0..k).map(|i| rounded(lhs, row, i) * rounded(rhs, i, column));
        let (sum, size) =
            terms.fold((before, before.abs()), |(sum, size), x| (sum + x, size + x.abs()));
        let error = (f64::from(found) - sum).abs();
        assert!(error <= 1e-6 * size, "{case:?}: {found} for {sum} in {row}, {column}");
    }
}

fn cases(sizes: [&[usize]; 3]) -> Vec<Case> {
    let [ms, ns, ks] = sizes;
    let mut cases = vec![];
    for (&m, (&n, &k)) in
        ms.iter().flat_map(|m| ns.iter().flat_map(move |n| ks.iter().map(move |k| (m, (n, k)))))
    {
        for left in [Lie::Rows, Lie::Columns, Lie::Apart] {
            for right in [Lie::Rows, Lie::Columns, Lie::Apart] {
                for accumulate in [false, true] {
                    cases.push(Case { size: [m, n, k], lie: [left, right], accumulate });
                }
            }
        }
    }
    cases
}

/// Whether there is anything to test beside [`matrix::in_software`]; says so if not.
fn fast() -> bool {
    if !supported() {
        eprintln!("not tested: this processor lacks {}", missing().join(", "));
    }
    supported()
}

#[test]
fn a_product_is_that_of_the_rounded_factors() {
    let mut rng = StdRng::seed_from_u64(1);
    // Around the sizes of vectors, tiles, panels and blocks.
    let all: [&[usize]; 3] =
        [&[1, 5, 6, 13, 97], &[1, 15, 16, 27, 48, 65, 130], &[1, 2, 3, 32, 33, 193]];
    for case in cases(all) {
        check(case, &mut rng, product);
    }
    // More than one block of columns; and many along k.
    for case in cases([&[3], &[1030], &[2]]).into_iter().chain(cases([&[7], &[9], &[2001]])) {
        check(case, &mut rng, product);
    }
}

#[test]
fn the_way_of_other_processors_gives_the_same() {
    let mut rng = StdRng::seed_from_u64(2);
    for case in cases([&[1, 13], &[1, 27], &[1, 33]]) {
        check(case, &mut rng, |lhs, rhs, out, row, accumulate| {
            // SAFETY: the test's `out` has room for the product.
            unsafe { matrix::in_software(lhs, rhs, out.as_mut_ptr(), row, accumulate) }
        });
    }
}

#[test]
fn factors_are_rounded_to_the_nearest_and_ties_to_even() {
    // 1 + 2⁻⁸ is between 1 and 1 + 2⁻⁷, 1 + 3·2⁻⁸ between that and 1 + 2⁻⁶.
    let step = |steps: f32| 1.0 + steps / 256.0;
    let values = [step(1.0), step(3.0), step(1.001), -step(1.0), 0.0, f32::MAX];
    let expected = [1.0, step(4.0), step(2.0), -1.0, 0.0, f32::INFINITY];
    let mut found = [7.0; 6];
    product(Matrix::part(&values, 6, 1, 1), Matrix::part(&[1.0], 1, 1, 1), &mut found, 1, false);
    assert_eq!(found, expected);
}

#[test]
fn what_is_no_number_stays_none() {
    let mut values = vec![1.0; 6 * 70];
    values[3 * 70 + 69] = f32::NAN;
    values[4 * 70] = f32::INFINITY;
    let ones = vec![1.0; 70 * 2];
    let mut out = vec![f32::NAN; 6 * 2];
    product(Matrix::part(&values, 6, 70, 70), Matrix::part(&ones, 70, 2, 2), &mut out, 2, false);
    assert_eq!(out[..6], [70.0; 6]);
    assert!(out[6..8].iter().all(|value| value.is_nan()));
    assert_eq!(out[8..10], [f32::INFINITY; 2]);
    assert_eq!(out[10..], [70.0; 2]);
}

#[test]
fn rows_have_the_same_bits_by_themselves() {
    let mut rng = StdRng::seed_from_u64(3);
    let (m, n, k) = (101, 70, 500);
    let (a, b) = (draw(m * k, &mut rng), draw(k * n, &mut rng));
    let rhs = Matrix::part(&b, k, n, n);
    let mut whole = vec![0.0; m * n];
    product(Matrix::part(&a, m, k, k), rhs, &mut whole, n, false);
    for from in [0, 1, 50, 100] {
        let mut rows = vec![0.0; (m - from) * n];
        product(Matrix::part(&a[from * k..], m - from, k, k), rhs, &mut rows, n, false);
        if fast() {
            assert_eq!(rows, whole[from * n..]);
        }
    }
}

#[test]
fn a_sum_of_nothing_is_0_and_nothing_is_written_of_no_rows() {
    let mut out = [1.0, 2.0, 3.0, 4.0, 5.0];
    let none = Matrix::part(&[], 2, 0, 0);
    product(none, none.transposed(), &mut out, 3, true);
    assert_eq!(out, [1.0, 2.0, 3.0, 4.0, 5.0]);
    product(none, none.transposed(), &mut out, 3, false);
    assert_eq!(out, [0.0, 0.0, 3.0, 0.0, 0.0]);
    product(none.transposed(), Matrix::part(&[1.0; 6], 2, 3, 3), &mut out[..0], 3, false);
}

#[test]
fn what_is_missing_is_what_the_processor_lacks() {
    assert_eq!(supported(), missing().is_empty());
    #[cfg(target_arch = "x86_64")]
    for name in NEEDED {
        let has = match name {
            "avx512f" => is_x86_feature_detected!("avx512f"),
            "avx512bw" => is_x86_feature_detected!("avx512bw"),
            "avx512vl" => is_x86_feature_detected!("avx512vl"),
            "avx512bf16" => is_x86_feature_detected!("avx512bf16"),
            other => panic!("{other} is not known here"),
        };
        assert_eq!(has, !missing().contains(&name), "{name}");
    }
    #[cfg(not(target_arch = "x86_64"))]
    assert_eq!(missing(), NEEDED);
}
