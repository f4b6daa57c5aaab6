//! JPEGs decoded at a reduced size give nearly the views of the whole ones.

use image::{Rgb, RgbImage};
use ingest::picture;
use ingest::view::{Cutter, random_crop};
use jpeg_encoder::ColorType;
use schemas::IngestSettings;

use super::kinds::{exif, stored};
use super::make::{encoded, jpeg_of};
use super::settings;

const SIZE: u32 = 32;

fn of_size(views: u32, scaled_decode: bool) -> IngestSettings {
    let mut settings = IngestSettings { views, scaled_decode, ..settings() };
    settings.layout.size = SIZE;
    settings
}

/// Slopes with a hard edge here and there, whose sides are no multiples of eight.
fn scene() -> RgbImage {
    RgbImage::from_fn(701, 603, |x, y| {
        let edge = if (x / 97 + y / 61) % 2 == 0 { 60 } else { 0 };
        Rgb([(x / 4) as u8 + edge, (y / 4) as u8 + edge, 200 - (x / 8) as u8])
    })
}

fn views(file: &[u8], settings: &IngestSettings) -> (u32, Vec<Vec<u8>>) {
    let picture = picture::decode(file, settings).unwrap();
    let mut cutter = Cutter::new(SIZE);
    let views = (0..settings.views)
        .map(|view| random_crop(&picture.content_hash, view, settings.seed, picture.size))
        .map(|crop| cutter.cut_from(&picture, crop).unwrap())
        .collect();
    (picture.reduced.scale, views)
}

#[test]
fn views_of_a_reduced_picture_are_nearly_those_of_the_whole_in_every_orientation() {
    for orientation in 1..=8 {
        let stored = stored(&scene(), orientation);
        let file = jpeg_of(stored.as_raw(), stored.dimensions(), ColorType::Rgb, |encoder| {
            encoder.add_exif_metadata(&exif(orientation)).unwrap();
        });
        let (scale, reduced) = views(&file, &of_size(1, true));
        assert!(scale > 1, "orientation {orientation}");
        let (one, whole) = views(&file, &of_size(1, false));
        assert_eq!(one, 1);
        let difference = |(a, b): (&u8, &u8)| u32::from(a.abs_diff(*b));
        let sum: u32 = whole[0].iter().zip(&reduced[0]).map(difference).sum();
        let most = whole[0].iter().zip(&reduced[0]).map(difference).max().unwrap();
        let mean = f64::from(sum) / f64::from(SIZE * SIZE * 3);
        // A view that is off by one of its pixels' eighths shows it at the edges.
        assert!(mean < 0.6 && most <= 12, "orientation {orientation}: {mean} mean, {most} most");
    }
}

#[test]
fn the_scale_serves_the_smallest_crop_of_all_views() {
    let scene = scene();
    let file = encoded(scene.clone(), image::ImageFormat::Jpeg);
    for count in [1, 2, 5, 20] {
        let settings = of_size(count, true);
        let picture = picture::decode(&file, &settings).unwrap();
        assert_eq!(picture.size, scene.dimensions());
        let least = (0..count)
            .map(|view| random_crop(&picture.content_hash, view, 0, picture.size))
            .map(|crop| crop.width.min(crop.height))
            .min()
            .unwrap();
        let scale = picture.reduced.scale;
        assert!(scale == 1 || least / scale >= 2 * SIZE, "{least} at 1/{scale}");
        assert!(scale == 8 || least / (2 * scale) < 2 * SIZE, "{least} at 1/{scale}");
        let side = |side: u32| side.div_ceil(scale);
        assert_eq!(picture.rgb.dimensions(), (side(701), side(603)));
    }
}

#[test]
fn the_same_bytes_give_the_same_pixels() {
    let file = encoded(scene(), image::ImageFormat::Jpeg);
    let settings = of_size(1, true);
    let first = picture::decode(&file, &settings).unwrap().rgb;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(picture::decode(&file, &settings).unwrap().rgb == first));
        }
    });
}
