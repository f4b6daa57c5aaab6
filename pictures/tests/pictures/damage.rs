//! Damaged files: whatever is changed in a file, the outcome is a picture or a reason.
//!
//! `PICTURE_ROUNDS` sets how many damaged files are made of each whole one; the default takes a few
//! seconds.

use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use jpeg_encoder::ColorType;
use pictures::{Decoder, MemoryBudget};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::make::{self, encoded, inks, jpeg_of, slopes};
use super::options;
use super::tiff_file::{FORMS, PLAIN, Page, channel, tag};

/// A whole file of every kind.
fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let rgb = slopes();
    let faded = RgbaImage::from_fn(40, 40, |x, y| {
        Rgba([(x * 6) as u8, (y * 6) as u8, 90, (x * 5 + y) as u8])
    });
    let deep = DynamicImage::from(rgb.clone()).into_rgb16();
    let p3 = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let profiled = jpeg_of(rgb.as_raw(), rgb.dimensions(), ColorType::Rgb, |encoder| {
        encoder.add_icc_profile(&p3).unwrap();
        encoder.set_restart_interval(3);
    });
    let size = rgb.dimensions();
    let of = |code| Page::new(PLAIN, size, 2, &[8; 3]).short(tag::COMPRESSION, &[code]);
    let tables = of(7).short(tag::PHOTOMETRIC, &[6]).strip(make::jpeg(&rgb));
    let planes = (0..3).map(|at| channel(&rgb, at)).collect();
    let map: Vec<u16> = (0..768).map(|at| at * 80).collect();
    let pages = [
        of(1).short(tag::PLANAR, &[2]).strips(100, planes),
        of(5).short(tag::PREDICTOR, &[2]).strip(
            weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
                .encode(rgb.as_raw())
                .unwrap(),
        ),
        tables,
        of(50000).strip(zstd::encode_all(&rgb.as_raw()[..], 3).unwrap()),
        of(50001).strip(encoded(rgb.clone(), ImageFormat::WebP)),
        of(1).short(tag::PHOTOMETRIC, &[6]).strip(rgb.as_raw().clone()),
        of(1).short(tag::PHOTOMETRIC, &[8]).strip(rgb.as_raw().clone()),
        Page::new(PLAIN, size, 3, &[8]).short(tag::COLOR_MAP, &map).strip(channel(&rgb, 0)),
        Page::new(FORMS[3], (300, 100), 0, &[1])
            .short(tag::COMPRESSION, &[4])
            .strip(super::tiff_codecs::fax4(&super::tiff_codecs::drawing(300, 100))),
        Page::new(FORMS[1], (300, 100), 0, &[1])
            .short(tag::COMPRESSION, &[3])
            .long(tag::T4_OPTIONS, 1)
            .strip(super::tiff_codecs::fax3(&super::tiff_codecs::drawing(300, 100), true, false)),
    ];
    let names = [
        "planar tiff",
        "lzw tiff",
        "jpeg tiff",
        "zstd tiff",
        "webp tiff",
        "ycbcr tiff",
        "lab tiff",
        "palette tiff",
        "fax4 tiff",
        "fax3 tiff",
    ];
    let tiffs = names.into_iter().zip(pages.iter().map(Page::file));
    let others = vec![
        ("jpeg", make::jpeg(&rgb)),
        ("progressive jpeg", make::progressive(&rgb)),
        ("profiled jpeg", profiled),
        ("ycck jpeg", jpeg_of(&inks(&rgb), rgb.dimensions(), ColorType::CmykAsYcck, |_| {})),
        ("png", encoded(faded.clone(), ImageFormat::Png)),
        ("deep png", encoded(deep, ImageFormat::Png)),
        ("interlaced png", make::interlaced(&rgb)),
        ("lossless webp", encoded(faded.clone(), ImageFormat::WebP)),
        ("lossy webp", include_bytes!("lossy.webp").to_vec()),
        ("gif", encoded(faded, ImageFormat::Gif)),
        ("bmp", encoded(rgb.clone(), ImageFormat::Bmp)),
        ("tiff", encoded(rgb.clone(), ImageFormat::Tiff)),
        ("tiled tiff", super::tiff_file::tiled(&rgb)),
        ("avif", include_bytes!("eight.avif").to_vec()),
        ("deep avif", include_bytes!("ten.avif").to_vec()),
        ("avif with transparency", include_bytes!("alpha.avif").to_vec()),
        ("avif in cells", super::heif::cells_of_every_kind()),
        ("webp with transparency", super::webp::half_clear_picture()),
        ("animated webp", super::webp::animation()),
        ("jpeg of finer chroma", super::jpegs::finer_chroma(&rgb)),
        ("lossless jpeg", super::jpegs::lossless(&rgb)),
        ("lzma tiff", include_bytes!("lzma.tif").to_vec()),
    ];
    others.into_iter().chain(tiffs).collect()
}

#[test]
fn no_damage_does_harm() {
    let rounds = std::env::var("PICTURE_ROUNDS").map_or(150, |rounds| rounds.parse().unwrap());
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let options = pictures::DecodeOptions { max_pixels: 1 << 20, ..options() };
    let budget = MemoryBudget::new(128 << 20);
    let decoder = Decoder::new(options).with_memory(budget.clone());
    for (name, whole) in corpus() {
        decoder.decode(&whole).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        for round in 0..rounds {
            let mut bytes = whole.clone();
            match round % 4 {
                0 => bytes.truncate(rng.random_range(1..bytes.len())),
                1 => {
                    let at = rng.random_range(0..bytes.len());
                    let end = (at + rng.random_range(1..40)).min(bytes.len());
                    bytes[at..end].fill(if rng.random() { 0 } else { 0xff });
                }
                _ => {}
            }
            // Headers decide more than pixels do.
            let reach = if round % 2 == 0 { bytes.len() } else { bytes.len().min(200) };
            for _ in 0..rng.random_range(1..6) {
                let at = rng.random_range(0..reach);
                bytes[at] = if rng.random() { rng.random() } else { bytes[at] ^ 1 << (round % 8) };
            }
            match decoder.decode(&bytes) {
                Ok(picture) => {
                    let (width, height) = picture.rgb.dimensions();
                    assert!(width >= 16 && height >= 16 && width * height <= 1 << 20, "{name}");
                }
                Err(fault) => assert!(!fault.message.is_empty(), "{name}"),
            }
            assert_eq!(budget.used(), 0, "{name}");
        }
    }
}
