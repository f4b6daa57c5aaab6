//! A picture → its views: a random crop, resized.

use std::fmt::Display;

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::{Crop, IngestSettings};

use crate::IngestError;

/// The share of a picture's area that a crop takes.
const AREA: (f64, f64) = (0.2, 1.0);
/// The range of a crop's width over its height.
const ASPECT: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);

/// The crop of a view by the settings: drawn, or the largest central square.
pub fn crop(
    settings: &IngestSettings,
    content_hash: &[u8; 32],
    view: u32,
    (width, height): (u32, u32),
) -> Crop {
    if !settings.central {
        return random_crop(content_hash, view, settings.seed, (width, height));
    }
    let side = width.min(height);
    Crop { x: (width - side) / 2, y: (height - side) / 2, width: side, height: side }
}

/// The crop that content, view and seed fix: torchvision's `RandomResizedCrop.get_params` with
/// area 0.2–1 and aspect 3/4–4/3.
pub fn random_crop(
    content_hash: &[u8; 32],
    view: u32,
    seed: u64,
    (width, height): (u32, u32),
) -> Crop {
    let mut hasher = blake3::Hasher::new_derive_key("ingest: crop of a view");
    hasher.update(content_hash);
    hasher.update(&view.to_le_bytes());
    hasher.update(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());

    let (w, h) = (f64::from(width), f64::from(height));
    for _ in 0..10 {
        let area = w * h * rng.random_range(AREA.0..=AREA.1);
        let aspect = rng.random_range(ASPECT.0.ln()..=ASPECT.1.ln()).exp();
        let crop_w = (area * aspect).sqrt().round_ties_even() as u32;
        let crop_h = (area / aspect).sqrt().round_ties_even() as u32;
        if (1..=width).contains(&crop_w) && (1..=height).contains(&crop_h) {
            let y = rng.random_range(0..=height - crop_h);
            let x = rng.random_range(0..=width - crop_w);
            return Crop { x, y, width: crop_w, height: crop_h };
        }
    }
    central_crop(width, height)
}

/// The largest central crop whose aspect is in range.
fn central_crop(width: u32, height: u32) -> Crop {
    let (w, h) = (f64::from(width), f64::from(height));
    let (crop_w, crop_h) = if w / h < ASPECT.0 {
        (width, (w / ASPECT.0).round_ties_even() as u32)
    } else if w / h > ASPECT.1 {
        ((h * ASPECT.1).round_ties_even() as u32, height)
    } else {
        (width, height)
    };
    Crop { x: (width - crop_w) / 2, y: (height - crop_h) / 2, width: crop_w, height: crop_h }
}

/// Cuts and resizes; keeps its buffers between pictures.
#[derive(Debug)]
pub struct Cutter {
    size: u32,
    resizer: Resizer,
}

impl Cutter {
    /// A cutter of views of `size`×`size` pixels.
    pub fn new(size: u32) -> Self {
        Self { size, resizer: Resizer::new() }
    }

    /// The view in `crop`: size·size·3 bytes, ordered (row, column, channel). Bicubic (a = −0.5)
    /// with antialias, the filter of PIL; no pixel outside the crop has a part in it.
    ///
    /// # Errors
    /// [`IngestError::Crop`] if the crop does not lie inside the picture.
    pub fn cut(&mut self, picture: &RgbImage, crop: Crop) -> Result<Vec<u8>, IngestError> {
        let fault = |error: &dyn Display| IngestError::Crop { crop, problem: error.to_string() };
        let source =
            ImageRef::new(picture.width(), picture.height(), picture.as_raw(), PixelType::U8x3)
                .map_err(|error| fault(&error))?;
        let Crop { x, y, width, height } = crop;
        let source =
            CroppedImage::new(&source, x, y, width, height).map_err(|error| fault(&error))?;
        let mut view = Image::new(self.size, self.size, PixelType::U8x3);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
            .use_alpha(false);
        self.resizer.resize(&source, &mut view, &options).map_err(|error| fault(&error))?;
        Ok(view.into_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crops(size: (u32, u32), count: u32) -> impl Iterator<Item = Crop> {
        (0..count).map(move |view| random_crop(&[7; 32], view, 0, size))
    }

    #[test]
    fn crops_keep_to_torchvisions_ranges_and_fill_them() {
        let (width, height) = (640, 480);
        let (mut areas, mut aspects) = (Vec::new(), Vec::new());
        for crop in crops((width, height), 4000) {
            assert!(crop.x + crop.width <= width && crop.y + crop.height <= height, "{crop:?}");
            areas.push(f64::from(crop.width * crop.height) / f64::from(width * height));
            aspects.push(f64::from(crop.width) / f64::from(crop.height));
        }
        // Rounding to whole pixels moves a value by less than a hundredth here.
        assert!(areas.iter().all(|area| (0.19..=1.0).contains(area)));
        assert!(aspects.iter().all(|aspect| (0.74..=1.35).contains(aspect)));
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        // Uniform in area but for large crops that don't fit and are drawn again; log-uniform in
        // aspect, seen from the picture's own.
        assert!((0.45..0.6).contains(&mean(&areas)), "{}", mean(&areas));
        let logs: Vec<_> = aspects.iter().map(|aspect| aspect.ln()).collect();
        assert!((-0.05..0.1).contains(&mean(&logs)), "{}", mean(&logs));
    }

    #[test]
    fn a_crop_follows_from_content_view_and_seed() {
        let draw = |hash: u8, view, seed| random_crop(&[hash; 32], view, seed, (500, 300));
        assert_eq!(draw(1, 0, 0), draw(1, 0, 0));
        assert_ne!(draw(1, 0, 0), draw(2, 0, 0));
        assert_ne!(draw(1, 0, 0), draw(1, 1, 0));
        assert_ne!(draw(1, 0, 0), draw(1, 0, 1));
    }

    #[test]
    fn what_is_too_long_for_any_draw_gets_the_central_crop() {
        assert!(
            crops((2000, 16), 50).all(|crop| crop == Crop { x: 989, y: 0, width: 21, height: 16 })
        );
        assert_eq!(central_crop(30, 100), Crop { x: 0, y: 30, width: 30, height: 40 });
        assert_eq!(central_crop(100, 80), Crop { x: 0, y: 0, width: 100, height: 80 });
    }

    #[test]
    fn central_views_take_the_largest_square_whatever_the_content() {
        let mut settings = crate::Settings::new("a", "b").ingest;
        let crop = |settings: &IngestSettings, hash: u8| crop(settings, &[hash; 32], 0, (100, 31));
        assert_eq!(crop(&settings, 1), random_crop(&[1; 32], 0, 0, (100, 31)));
        settings.central = true;
        let square = Crop { x: 34, y: 0, width: 31, height: 31 };
        assert_eq!((crop(&settings, 1), crop(&settings, 2)), (square, square));
    }

    #[test]
    fn a_view_is_blind_to_what_lies_outside_its_crop() {
        let crop = Crop { x: 10, y: 10, width: 40, height: 40 };
        let inside = |x: u32, y: u32| (10..50).contains(&x) && (10..50).contains(&y);
        let picture = |outside: u8| {
            RgbImage::from_fn(60, 60, |x, y| {
                image::Rgb(if inside(x, y) {
                    [(x * y) as u8, x as u8, y as u8]
                } else {
                    [outside; 3]
                })
            })
        };
        let mut cutter = Cutter::new(16);
        let mut cut = |outside| cutter.cut(&picture(outside), crop).unwrap();
        assert_eq!(cut(0), cut(255));
    }

    #[test]
    fn a_crop_of_the_views_size_is_copied() {
        let picture = RgbImage::from_fn(40, 40, |x, y| image::Rgb([x as u8, y as u8, 3]));
        let view =
            Cutter::new(32).cut(&picture, Crop { x: 5, y: 8, width: 32, height: 32 }).unwrap();
        assert_eq!(view[..6], [5, 8, 3, 6, 8, 3]);
        assert_eq!(view.len(), 32 * 32 * 3);
    }
}
