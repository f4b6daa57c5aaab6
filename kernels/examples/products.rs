//! Products in bfloat16 beside products in f32, of a network's sizes: `cargo run --release -p kernels
//! --example products`. One thread; both are taken in turns, and the median of each is told.

use std::time::Instant;

use kernels::Precision;
use kernels::cpu::bf16;
use kernels::cpu::matrix::{Matrix, Target, product};

/// Rows, width in and width out of a layer, of 8 views a slice; then of attention's products.
const LAYERS: [(&str, usize, usize, usize); 19] = [
    ("vit-tiny, qkv", 400, 192, 576),
    ("vit-tiny, projection", 400, 192, 192),
    ("vit-tiny, first", 400, 192, 768),
    ("vit-tiny, second", 400, 768, 192),
    ("decoder, qkv", 1576, 256, 768),
    ("decoder, projection", 1576, 256, 256),
    ("decoder, first", 1576, 256, 1024),
    ("decoder, second", 1576, 1024, 256),
    ("deconvolution, 14²", 1568, 256, 512),
    ("deconvolution, 28²", 6272, 128, 256),
    ("prediction, 56²", 25088, 64, 27),
    ("vit-base, qkv", 400, 768, 2304),
    ("vit-base, projection", 400, 768, 768),
    ("vit-base, first", 400, 768, 3072),
    ("vit-base, second", 400, 3072, 768),
    ("scores of 197", 197, 32, 197),
    ("mixed of 197", 197, 197, 32),
    ("scores of 50", 50, 64, 50),
    ("mixed of 50", 50, 50, 64),
];

const TURNS: usize = 31;

/// GFLOP a turn, at least: enough for the clock, and so few that other programs seldom come between.
const WORK: f64 = 0.05;

fn main() {
    if !bf16::supported() {
        println!("this processor lacks {}", bf16::missing().join(", "));
    }
    println!("GFLOP/s, bf16 / f32 / ratio: x·w, the gradient of x, that of w");
    for (name, rows, input, output) in LAYERS {
        let x = fill(rows * input);
        let w = fill(input * output);
        let y = fill(rows * output);
        let x = Matrix::part(&x, rows, input, input);
        let w = Matrix::part(&w, input, output, output);
        let y = Matrix::part(&y, rows, output, output);
        let told = [(x, w, output), (y, w.transposed(), input), (x.transposed(), y, output)].map(
            |(lhs, rhs, columns)| {
                let work = 2e-9 * (rows * input * output) as f64;
                let mut out = vec![0.0; rows.max(input) * columns];
                let [bf16, f32] = rates(lhs, rhs, &mut out, columns, work);
                format!("{bf16:4.0} {f32:4.0} {:4.2}", bf16 / f32)
            },
        );
        println!("{name:20} {rows:5}·{input:4}·{output:4}:  {}", told.join("  |  "));
    }
}

/// GFLOP/s of each product.
fn rates(lhs: Matrix<'_>, rhs: Matrix<'_>, out: &mut [f32], stride: usize, work: f64) -> [f64; 2] {
    let times = (WORK / work).ceil();
    let mut taken = [[0.0; TURNS]; 2];
    for turn in 0..TURNS {
        for (precision, taken) in [Precision::Bf16, Precision::F32].into_iter().zip(&mut taken) {
            let begun = Instant::now();
            for _ in 0..times as usize {
                let target = Target { values: out, row: stride };
                product(precision, lhs, rhs, target, false);
            }
            taken[turn] = begun.elapsed().as_secs_f64();
        }
    }
    taken.map(|mut taken| {
        taken.sort_by(f64::total_cmp);
        work * times / taken[TURNS / 2]
    })
}

/// Numbers in −1..1, without pattern.
fn fill(count: usize) -> Vec<f32> {
    let mut state = count as u64 * 2 + 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}
