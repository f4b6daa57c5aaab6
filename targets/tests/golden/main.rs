//! The targets of reference pictures, to 1e-5: the project's own files, and those of the folder
//! named by `LOCALMIM_GOLDEN`.

#![allow(clippy::unwrap_used)]

mod biased;

use std::path::{Path, PathBuf};

use biased::hog_biased;
use safetensors::SafeTensors;
use targets::{
    Hog, HogExtractor, View, mirror_hog, mirror_picture, normalised_pixels, patch_stats,
};

const TOLERANCE: f32 = 1e-5;

fn files() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let folders = [Some(own), std::env::var_os("LOCALMIM_GOLDEN").map(PathBuf::from)];
    let mut files = vec![];
    for folder in folders.into_iter().flatten() {
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|path| path.extension().is_some_and(|ext| ext == "safetensors"));
    files.sort();
    files
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let view = tensors.tensor(name).unwrap();
    view.data().as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= TOLERANCE, "{what}[{i}] is {a}, should be {b}");
    }
}

/// `hog9_cell4` → (9, false, 4); `hog18bias_cell8` → (18, true, 8).
fn hog_name(name: &str) -> Option<(usize, bool, usize)> {
    let (bins, cell) = name.strip_prefix("hog")?.split_once("_cell")?;
    let biased = bins.ends_with("bias");
    Some((bins.trim_end_matches("bias").parse().ok()?, biased, cell.parse().ok()?))
}

/// Checks one file; gives how many targets it compared.
fn check(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let Ok(picture) = tensors.tensor("image_u8") else { return 0 };
    let [height, width, 3] = *picture.shape() else { panic!("{}: image_u8", path.display()) };
    assert_eq!(height, width, "{}: views are square", path.display());
    let view = View::new(picture.data(), height).unwrap();

    let mut compared = 0;
    for name in tensors.names() {
        let what = format!("{}: {name}", path.display());
        let found = if let Some((bins, biased, cell)) = hog_name(name) {
            if biased {
                let bias = floats(&tensors, &format!("hog{bins}_bias"));
                hog_biased(view, bins, cell, [bias[0], bias[1]])
            } else {
                // With a second size, so that pooling from a finer histogram is taken too.
                let mut extractor = HogExtractor::new(height, bins, &[cell, height]).unwrap();
                extractor.compute(view).unwrap()[0].values.clone()
            }
        } else if let Some(patch) = name.strip_prefix("pixel_patch") {
            let stats = patch_stats(view, patch.parse().unwrap()).unwrap();
            normalised_pixels(view, &stats).unwrap()
        } else {
            continue;
        };
        assert_close(&what, &found, &floats(&tensors, name));
        compared += 1;
    }
    assert!(compared > 0, "{} holds no target that is known", path.display());
    compared
}

#[test]
fn the_targets_of_reference_pictures() {
    let compared: usize = files().iter().map(|path| check(path)).sum();
    assert!(compared > 0, "no reference picture was found");
}

#[test]
fn the_mirrored_targets_of_reference_pictures() {
    let mut compared = 0;
    for path in files() {
        let bytes = std::fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let Ok(picture) = tensors.tensor("image_u8") else { continue };
        let (rgb, size) = (picture.data(), picture.shape()[0]);
        let mut mirrored = vec![0; rgb.len()];
        mirror_picture(rgb, size, &mut mirrored).unwrap();
        let cells: Vec<_> = (2..=size).filter(|cell| size.is_multiple_of(*cell)).collect();
        for bins in [8, 9, 18] {
            let mut extractor = HogExtractor::new(size, bins, &cells).unwrap();
            let mut hogs = |rgb| extractor.compute(View::new(rgb, size).unwrap()).unwrap();
            let expected: Vec<Hog> = hogs(&mirrored);
            for (mut hog, expected) in hogs(rgb).into_iter().zip(expected) {
                mirror_hog(&mut hog.values, &hog.ties, hog.grid, bins).unwrap();
                for (found, expected) in hog.values.iter().zip(&expected.values) {
                    assert!((found - expected).abs() < 1e-6, "{}: {bins} bins", path.display());
                }
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "no reference picture was found");
}
