#![no_main]

use std::cell::RefCell;

use ingest::picture::{Decoder, MemoryBudget};
use ingest::view::{Cutter, random_crop};
use libfuzzer_sys::fuzz_target;
use schemas::{IngestSettings, ShardLayout};
use targets::{HogExtractor, View, patch_stats};

const SIZE: u32 = 32;
const CELLS: [usize; 3] = [4, 8, 16];
/// More than a picture of the most pixels needs in any format.
const MEMORY: u64 = 128 << 20;

/// What the command has by default, but for small pictures and views and reduced decodes.
fn settings() -> IngestSettings {
    IngestSettings {
        layout: ShardLayout::new(SIZE, CELLS.map(|cell| cell as u32).to_vec(), 9)
            .expect("the cells tile a view"),
        views: 2,
        seed: 0,
        central: false,
        strict: false,
        min_decoded: 90,
        min_side: 1,
        max_pixels: 1_000_000,
        max_bytes: None,
        max_aspect: 0,
        one_colour: 0,
        background: [255; 3],
        scaled_decode: true,
        pictures_per_shard: 8,
        rows_per_group: 4,
        zstd_level: 1,
        keep_duplicates: false,
        near_duplicates: None,
        classes: None,
    }
}

thread_local! {
    static STATE: RefCell<(IngestSettings, Cutter, HogExtractor)> = RefCell::new((
        settings(),
        Cutter::new(SIZE),
        HogExtractor::new(SIZE as usize, 9, &CELLS).unwrap(),
    ));
}

// Bytes → picture → views → targets, all of which are finite.
fuzz_target!(|data: &[u8]| {
    STATE.with_borrow_mut(|(settings, cutter, hog)| {
        let budget = MemoryBudget::new(MEMORY);
        let decoder = Decoder::new(settings).with_memory(budget.clone());
        let Ok(picture) = decoder.decode(data) else {
            assert_eq!(budget.used(), 0);
            return;
        };
        for view in 0..2 {
            let crop = random_crop(&picture.content_hash, view, 0, picture.size);
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
