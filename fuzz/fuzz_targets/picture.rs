#![no_main]

use std::cell::RefCell;

use ingest::picture;
use ingest::view::{Crop, Cutter};
use libfuzzer_sys::fuzz_target;
use schemas::IngestSettings;
use targets::{HogExtractor, View, patch_stats};

const SIZE: u32 = 32;
const CELLS: [usize; 3] = [4, 8, 16];

/// What the command has by default, but for small pictures and views.
const SETTINGS: &str = r#"{
    "layout": {"size": 32, "cells": [4, 8, 16], "bins": 9},
    "views": 2, "seed": 0, "strict": false, "min_decoded": 90, "min_side": 1,
    "max_pixels": 1000000, "max_aspect": 0, "one_colour": 0, "background": [255, 255, 255],
    "scaled_decode": true, "pictures_per_shard": 8, "rows_per_group": 4, "zstd_level": 1
}"#;

thread_local! {
    static STATE: RefCell<(IngestSettings, Cutter, HogExtractor)> = RefCell::new((
        serde_json::from_str(SETTINGS).unwrap(),
        Cutter::new(SIZE),
        HogExtractor::new(SIZE as usize, 9, &CELLS).unwrap(),
    ));
}

// Bytes → picture → views → targets, all of which are finite.
fuzz_target!(|data: &[u8]| {
    STATE.with_borrow_mut(|(settings, cutter, hog)| {
        let Ok(picture) = picture::decode(data, settings) else { return };
        for view in 0..2 {
            let crop = Crop::draw(&picture.content_hash, view, 0, picture.size);
            let pixels = cutter.cut_from(&picture, crop).unwrap();
            let view = View::new(&pixels, SIZE as usize).unwrap();
            for hog in hog.compute(view).unwrap() {
                assert!(hog.values.iter().all(|value| (0.0..=1.0).contains(value)));
            }
            for cell in CELLS {
                let stats = patch_stats(view, cell).unwrap();
                assert!(stats.mean.iter().chain(&stats.inv_std).all(|value| value.is_finite()));
            }
        }
    });
});
