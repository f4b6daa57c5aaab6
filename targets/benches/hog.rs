//! Views a second on one core: HOG of four cells of a 224×224 view, its patch statistics,
//! normalised pixels of one patch size, and codes of a codebook as image tokenizers have them.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use targets::{
    Codebook, HogExtractor, PatchInput, Projection, View, normalised_pixels_into, patch_stats,
};

const SIZE: usize = 224;
const CELLS: [usize; 4] = [4, 8, 16, 32];

/// Smooth shading, edges, texture and noise, as in a photo.
fn picture() -> Vec<u8> {
    let mut noise = 1u32;
    (0..SIZE * SIZE * 3)
        .map(|i| {
            let (x, y, c) = ((i / 3 % SIZE) as f32, (i / 3 / SIZE) as f32, i % 3);
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let shade = 90.0 + 50.0 * (x / 61.0 + c as f32).sin() + 40.0 * (y / 37.0).cos();
            let edge = if (x - 110.0).hypot(y - 90.0) < 60.0 { 45.0 } else { 0.0 };
            let texture = 12.0 * ((x + 2.0 * y) / 3.0).sin();
            (shade + edge + texture + (noise >> 28) as f32) as u8
        })
        .collect()
}

fn benches(c: &mut Criterion) {
    let picture = picture();
    let view = View::new(&picture, SIZE).expect("the picture has this size");
    let mut group = c.benchmark_group("view of 224x224");
    group.throughput(Throughput::Elements(1));
    for bins in [9, 18] {
        let mut extractor = HogExtractor::new(SIZE, bins, &CELLS).expect("the cells tile a view");
        group.bench_function(format!("hog, 4 cells, {bins} bins"), |b| {
            b.iter(|| extractor.compute(black_box(view)).map(|hogs| hogs.len()));
        });
    }
    group.bench_function("patch statistics, 4 patches", |b| {
        b.iter(|| CELLS.map(|patch| patch_stats(black_box(view), patch).map(|stats| stats.grid)));
    });
    let stats = patch_stats(view, 16).expect("the patches tile a view");
    let mut out = vec![0.0; picture.len()];
    group.bench_function("normalised pixels, 1 patch", |b| {
        b.iter(|| {
            let view = black_box(view);
            normalised_pixels_into(view, 16, &stats.mean, &stats.inv_std, &mut out)
        });
    });
    let numbers =
        |count: usize| (0..count).map(|i| (i * 7919 % 1009) as f32 / 504.0 - 1.0).collect();
    let projection = Projection { weight: numbers(32 * 16 * 16 * 3), bias: numbers(32) };
    let codebook = Codebook::new(16, PatchInput::Imagenet, Some(projection), numbers(8192 * 32));
    let codebook = codebook.expect("the sizes fit");
    group.bench_function("codes of 16x16 patches, 8192 of 32 values", |b| {
        b.iter(|| codebook.nearest(black_box(view)));
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
