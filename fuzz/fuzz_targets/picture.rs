#![no_main]

use std::cell::RefCell;

use ingest::view::{Cutter, random_crop};
use libfuzzer_sys::fuzz_target;
use pictures::{DecodeOptions, Decoder, MemoryBudget};
use targets::{HogExtractor, View, patch_stats};

const SIZE: u32 = 32;
const CELLS: [usize; 3] = [4, 8, 16];
/// More than a picture of the most pixels needs in any format.
const MEMORY: u64 = 128 << 20;

/// What the command has by default, but for small pictures.
const OPTIONS: DecodeOptions = DecodeOptions {
    min_side: 1,
    max_pixels: 1_000_000,
    max_bytes: None,
    max_aspect: 0,
    one_colour: 0,
    min_decoded: 90,
    strict: false,
    background: [255; 3],
};

thread_local! {
    static STATE: RefCell<(Cutter, HogExtractor)> = RefCell::new((
        Cutter::new(SIZE),
        HogExtractor::new(SIZE as usize, 9, &CELLS).unwrap(),
    ));
}

// Bytes → picture → views → targets, all of which are finite.
fuzz_target!(|data: &[u8]| {
    STATE.with_borrow_mut(|(cutter, hog)| {
        let budget = MemoryBudget::new(MEMORY);
        let decoder = Decoder::new(OPTIONS).with_memory(budget.clone());
        let Ok(picture) = decoder.decode(data) else {
            assert_eq!(budget.used(), 0);
            return;
        };
        for view in 0..2 {
            let crop = random_crop(&picture.content_hash, view, 0, picture.size());
            let pixels = cutter.cut(&picture.rgb, crop).unwrap();
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
