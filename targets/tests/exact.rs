//! HOG and its mirror image against the definition, pixel by pixel in f64 and whole numbers.

#![allow(clippy::unwrap_used)]

use std::f64::consts::PI;

use targets::{Hog, HogExtractor, TargetError, View, mirror_hog, mirror_picture, tie_edges};

/// Flat areas, edges at every multiple of 45°, slopes and noise, by number.
fn picture(kind: usize, size: usize) -> Vec<u8> {
    let draw = |pixel: &dyn Fn(usize, usize, usize) -> usize| {
        (0..size * size * 3).map(|i| pixel(i / 3 % size, i / 3 / size, i % 3) as u8).collect()
    };
    match kind {
        0 => draw(&|_, y, _| if y % 6 < 3 { 200 } else { 10 }),
        1 => draw(&|x, _, _| if x % 10 < 5 { 200 } else { 10 }),
        2 => draw(&|x, y, c| if (x + y) % 14 < 7 { 40 * (c + 1) } else { 0 }),
        3 => draw(&|x, y, _| if (x + 3 * size - y) % 14 < 7 { 250 } else { 90 }),
        4 => draw(&|x, y, _| if x > size / 3 && y > size / 2 { 255 } else { 128 }),
        5 => draw(&|x, y, c| (x * 5 + y * y * (c + 1) / 3) % 256),
        _ => draw(&|x, y, c| (x * 7919 + y * 104_729 + c * 1_299_709) % 9973 * 31 % 256),
    }
}

const KINDS: usize = 7;

/// The HOG of one cell size by the definition: values and ties.
fn definition(rgb: &[u8], size: usize, bins: usize, cell: usize) -> (Vec<f64>, Vec<f64>) {
    let (edges, grid) = (tie_edges(bins), size / cell);
    let reflect = |i: isize| match i {
        -1 => 1,
        i if i as usize == size => size - 2,
        i => i as usize,
    };
    let mut values = vec![0.0; grid * grid * 3 * bins];
    let mut ties = vec![0.0; grid * grid * 3 * edges.len()];
    for (y, x) in (0..size * size).map(|i| (i / size, i % size)) {
        for channel in 0..3 {
            let at = |dx: isize, dy: isize| {
                let (x, y) = (reflect(x as isize + dx), reflect(y as isize + dy));
                i32::from(rgb[(y * size + x) * 3 + channel])
            };
            let gx = at(-1, -1) - at(1, -1) + 2 * (at(-1, 0) - at(1, 0)) + at(-1, 1) - at(1, 1);
            let gy = at(-1, -1) - at(-1, 1) + 2 * (at(0, -1) - at(0, 1)) + at(1, -1) - at(1, 1);
            let eighth = match (gx, gy) {
                (0, _) => Some(0),
                (_, 0) => Some(2),
                _ if gx == gy => Some(1),
                _ if gx == -gy => Some(3),
                _ => None,
            };
            let tie = eighth.and_then(|of| edges.iter().position(|edge| edge * 4 == of * bins));
            let angle = f64::from(gx).atan2(f64::from(gy)) / PI * bins as f64;
            let bin = (angle.floor() as i64).rem_euclid(bins as i64) as usize;
            let magnitude = f64::from(gx).hypot(f64::from(gy));
            let histogram = (y / cell * grid + x / cell) * 3 + channel;
            values[histogram * bins + tie.map_or(bin, |tie| edges[tie])] += magnitude;
            if let Some(tie) = tie {
                ties[histogram * edges.len() + tie] += magnitude;
            }
        }
    }
    for (values, ties) in values.chunks_mut(bins).zip(ties.chunks_mut(edges.len())) {
        let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-12);
        values.iter_mut().chain(ties).for_each(|value| *value /= norm);
    }
    (values, ties)
}

fn hogs(rgb: &[u8], size: usize, bins: usize, cells: &[usize]) -> Vec<Hog> {
    let mut extractor = HogExtractor::new(size, bins, cells).unwrap();
    extractor.compute(View::new(rgb, size).unwrap()).unwrap()
}

#[test]
fn targets_follow_the_definition_whatever_the_sizes() {
    for (size, bins, cells) in [
        (32, 9, vec![4, 8, 16, 32]),
        (112, 18, vec![14, 16]),
        (224, 8, vec![28, 32]),
        (42, 11, vec![21, 3, 14]),
        (33, 22, vec![11]),
        (2, 9, vec![2]),
        (70, 1, vec![10, 35]),
        (12, 64, vec![6, 4]),
    ] {
        for kind in 0..KINDS {
            let rgb = picture(kind, size);
            for hog in hogs(&rgb, size, bins, &cells) {
                let what = format!("picture {kind}, size {size}, {bins} bins, cell {}", hog.cell);
                let (values, ties) = definition(&rgb, size, bins, hog.cell);
                assert_eq!((hog.values.len(), hog.ties.len()), (values.len(), ties.len()));
                for (found, expected) in
                    hog.values.iter().zip(values).chain(hog.ties.iter().zip(ties))
                {
                    let error = (f64::from(*found) - expected).abs();
                    assert!(error < 1e-6, "{what}: {found}, should be {expected}");
                    assert_eq!(*found == 0.0, expected == 0.0, "{what}: zeros are exact");
                }
            }
        }
    }
}

#[test]
fn a_tie_is_a_part_of_its_bin() {
    for kind in 0..KINDS {
        for hog in hogs(&picture(kind, 48), 48, 8, &[4, 12, 48]) {
            let edges = tie_edges(8);
            for (values, ties) in hog.values.chunks(8).zip(hog.ties.chunks(edges.len())) {
                for (&edge, &tie) in edges.iter().zip(ties) {
                    assert!((0.0..=values[edge]).contains(&tie), "{tie} of {}", values[edge]);
                }
            }
        }
    }
}

#[test]
fn an_extractor_keeps_nothing_of_the_view_before() {
    let mut extractor = HogExtractor::new(32, 9, &[4, 8]).unwrap();
    for kind in 0..KINDS {
        let rgb = picture(kind, 32);
        let found = extractor.compute(View::new(&rgb, 32).unwrap()).unwrap();
        assert_eq!(found, hogs(&rgb, 32, 9, &[4, 8]), "picture {kind}");
    }
}

/// The largest error of mirrored targets against those of the mirrored picture.
fn worst_mirror(bins: usize, ties_of: impl Fn(&Hog) -> Vec<f32>) -> f32 {
    let (size, cells) = (48, [4, 8, 16, 12, 48]);
    let mut worst = 0f32;
    for kind in 0..KINDS {
        let rgb = picture(kind, size);
        let mut mirrored = vec![0; rgb.len()];
        mirror_picture(&rgb, size, &mut mirrored).unwrap();
        let expected = hogs(&mirrored, size, bins, &cells);
        for (mut hog, expected) in hogs(&rgb, size, bins, &cells).into_iter().zip(expected) {
            let ties = ties_of(&hog);
            mirror_hog(&mut hog.values, &ties, hog.grid, bins).unwrap();
            for (found, expected) in hog.values.iter().zip(expected.values) {
                worst = worst.max((found - expected).abs());
            }
        }
    }
    worst
}

#[test]
fn a_mirrored_target_is_the_target_of_the_mirrored_view() {
    for bins in [1, 2, 4, 7, 8, 9, 11, 18, 64] {
        let error = worst_mirror(bins, |hog| hog.ties.clone());
        assert!(error < 1e-6, "{bins} bins: {error}");
    }
}

#[test]
fn without_the_ties_it_would_not_be() {
    for bins in [8, 9, 18] {
        assert!(worst_mirror(bins, |hog| vec![0.0; hog.ties.len()]) > 0.5, "{bins} bins");
    }
}

#[test]
fn a_tie_rounded_above_its_bin_does_not_make_a_target_negative() {
    let mut values = [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.75].repeat(3);
    mirror_hog(&mut values, &[0.501; 3], 1, 9).unwrap();
    assert!(values.iter().all(|&value| value >= 0.0), "{values:?}");
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let rgb = picture(0, 8);
    assert_eq!(View::new(&rgb[1..], 8).unwrap_err(), length("a view", 192, 191));
    assert_eq!(View::new(&rgb[..3], 1).unwrap_err(), TargetError::Size(1));
    for (size, bins, cells, error) in [
        (8, 9, [3], TargetError::Cell { cell: 3, size: 8 }),
        (8, 9, [1], TargetError::Cell { cell: 1, size: 8 }),
        (8, 9, [0], TargetError::Cell { cell: 0, size: 8 }),
        (8, 0, [4], TargetError::Bins(0)),
        (8, 65, [4], TargetError::Bins(65)),
        (1, 9, [4], TargetError::Size(1)),
    ] {
        assert_eq!(HogExtractor::new(size, bins, &cells).unwrap_err(), error);
    }
    let view = View::new(&rgb, 8).unwrap();
    let error = HogExtractor::new(16, 9, &[4]).unwrap().compute(view).unwrap_err();
    assert_eq!(error, length("a view's side", 16, 8));
    let error = mirror_hog(&mut [0.0; 27], &[0.0; 2], 1, 9).unwrap_err();
    assert_eq!(error, length("a HOG's ties", 3, 2));
    assert_eq!(mirror_hog(&mut [], &[], 0, 9), Ok(()));
    assert_eq!(mirror_picture(&[], 0, &mut []), Ok(()));
}

fn length(what: &'static str, expected: usize, found: usize) -> TargetError {
    TargetError::Length { what, expected, found }
}
