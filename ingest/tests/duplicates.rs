//! Perceptual hashes of the sample pictures, stored again and among each other.

// The helpers unwrap as the tests do.
#![allow(clippy::unwrap_used)]

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use ingest::duplicates::{DuplicateIndex, Verdict, perceptual_hash};
use ingest::{Settings, decode, sample, source};
use pictures::Picture;

/// A radius that holds what is stored again and keeps others out.
const RADIUS: u32 = 4;

fn sample_pictures(count: usize) -> Vec<Picture> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    sample::write(&root.join("pictures"), count, 3).unwrap();
    let settings = Settings::new(root, "").ingest;
    let paths = source::pictures(root, 0).unwrap();
    paths.iter().filter_map(|path| decode::read(path, &settings).ok()).collect()
}

fn jpeg(picture: &RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(picture).unwrap();
    image::load_from_memory(&bytes).unwrap().into_rgb8()
}

#[test]
fn a_picture_stored_again_is_near_and_others_are_far() {
    let pictures = sample_pictures(48);
    let hashes: Vec<_> = pictures.iter().map(|picture| perceptual_hash(&picture.rgb)).collect();
    let known: Vec<_> = hashes.iter().flatten().copied().collect();
    assert!(known.len() * 10 > pictures.len() * 9, "{} of {}", known.len(), pictures.len());

    for (at, hash) in known.iter().enumerate() {
        for other in &known[..at] {
            assert!((hash ^ other).count_ones() > RADIUS, "{hash:#x} and {other:#x}");
        }
    }
    let (mut tried, mut lost) = (0, Vec::new());
    for (picture, hash) in pictures.iter().zip(&hashes) {
        let Some(hash) = hash else { continue };
        let (width, height) = picture.rgb.dimensions();
        let half = imageops::resize(&picture.rgb, width / 2, height / 2, FilterType::Lanczos3);
        // As far as nothing runs over: there another picture would come out.
        let dimmed = RgbImage::from_fn(width, height, |x, y| {
            image::Rgb(picture.rgb.get_pixel(x, y).0.map(|value| (f32::from(value) * 0.9) as u8))
        });
        for (name, again) in [("JPEG", jpeg(&picture.rgb, 60)), ("half", half), ("dimmed", dimmed)]
        {
            let moved = (perceptual_hash(&again).unwrap_or(!hash) ^ hash).count_ones();
            tried += 1;
            if moved > RADIUS {
                lost.push((name, moved));
            }
        }
    }
    // Drawn pictures have even shades, where a few bits hang on rounding alone.
    assert!(lost.len() * 10 <= tried, "{lost:?} of {tried}");
}

#[test]
fn a_crawl_with_copies_keeps_one_of_each() {
    let pictures = sample_pictures(30);
    let mut index = DuplicateIndex::new(Some(RADIUS));
    for (id, picture) in (0..).zip(&pictures) {
        let verdict = index.insert(id, picture.content_hash, perceptual_hash(&picture.rgb));
        assert_eq!(verdict, Verdict::New, "picture {id}");
    }
    for (id, picture) in (0..).zip(&pictures) {
        let again = index.insert(100, picture.content_hash, None);
        assert_eq!(again, Verdict::Exact { of: id });
        let Some(hash) = perceptual_hash(&jpeg(&picture.rgb, 80)) else { continue };
        let stored_again = index.insert(100, [id as u8; 32], Some(hash));
        assert!(matches!(stored_again, Verdict::Near { of, .. } if of == id), "{stored_again:?}");
    }
    assert_eq!(index.len(), pictures.len());
}
