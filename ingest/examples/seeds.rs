//! Writes the fuzzers' seeds: `cargo run --release -p ingest --example seeds -- fuzz/seeds`.
//!
//! Archives of every kind that is read, and pictures of every format.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Cursor;
use std::path::Path;

use archives::Kind;
use image::{DynamicImage, ImageFormat, RgbImage};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

#[allow(dead_code)]
#[path = "../../pictures/tests/pictures/heif.rs"]
mod heif;
#[allow(dead_code)]
#[path = "../../pictures/tests/pictures/make.rs"]
mod make;
#[allow(dead_code)]
#[path = "../../archives/tests/archives/make/mod.rs"]
mod make_archives;
#[allow(dead_code)]
#[path = "../../pictures/tests/pictures/tiff_file.rs"]
mod tiff_file;

fn main() -> anyhow::Result<()> {
    let out = std::env::args().nth(1).unwrap_or_else(|| "fuzz/seeds".to_owned());
    let out = Path::new(&out);
    for (number, (kind, bytes)) in make_archives::all().into_iter().enumerate() {
        let target = match kind {
            Kind::Tar(_) => "tar",
            Kind::Warc(_) => "warc",
            Kind::Parquet => "parquet",
            Kind::Zip => "zip",
            Kind::Unread(_) => continue,
        };
        let name = format!("{number}-{kind:?}").to_lowercase().replace(['(', ')'], "");
        let name = name.trim_end_matches("plain");
        write(out, target, name, &bytes)?;
    }
    let rgb = RgbImage::from_fn(24, 16, |x, y| image::Rgb([x as u8 * 10, y as u8 * 15, 128]));
    let rgb = DynamicImage::from(rgb);
    for (name, picture) in [
        ("rgb", rgb.clone()),
        ("rgba", rgb.to_rgba8().into()),
        ("grey", rgb.to_luma8().into()),
        ("rgb16", rgb.to_rgb16().into()),
    ] {
        for format in [
            ImageFormat::Jpeg,
            ImageFormat::Png,
            ImageFormat::WebP,
            ImageFormat::Gif,
            ImageFormat::Bmp,
            ImageFormat::Tiff,
        ] {
            let mut bytes = Vec::new();
            // Formats have only some of the colours.
            if picture.write_to(&mut Cursor::new(&mut bytes), format).is_ok() {
                let extension = format.extensions_str()[0];
                write(out, "picture", &format!("{name}.{extension}"), &bytes)?;
            }
        }
    }
    // What the encoders of `image` do not make.
    let rgb = make::slopes();
    let p3 = moxcms::ColorProfile::new_display_p3().encode()?;
    let of = |samples: &[u8], kind, change: &dyn Fn(&mut Encoder<&mut Vec<u8>>)| {
        make::jpeg_of(samples, rgb.dimensions(), kind, change)
    };
    for (name, bytes) in [
        ("progressive.jpg", make::progressive(&rgb)),
        ("optimized.jpg", of(&rgb, ColorType::Rgb, &|it| it.set_optimized_huffman_tables(true))),
        (
            "halved.jpg",
            of(&rgb, ColorType::Rgb, &|it| {
                it.set_sampling_factor(SamplingFactor::F_2_2);
                it.set_restart_interval(2);
            }),
        ),
        ("profiled.jpg", of(&rgb, ColorType::Rgb, &|it| it.add_icc_profile(&p3).unwrap())),
        ("ycck.jpg", of(&make::inks(&rgb), ColorType::CmykAsYcck, &|_| {})),
        ("cmyk.jpg", of(&make::inks(&rgb), ColorType::Cmyk, &|_| {})),
        ("interlaced.png", make::interlaced(&rgb)),
        ("tiled.tiff", tiff_file::tiled(&rgb)),
        ("lossy.webp", include_bytes!("../../pictures/tests/pictures/lossy.webp").to_vec()),
        ("eight.avif", include_bytes!("../../pictures/tests/pictures/eight.avif").to_vec()),
        ("ten.avif", include_bytes!("../../pictures/tests/pictures/ten.avif").to_vec()),
        ("alpha.avif", include_bytes!("../../pictures/tests/pictures/alpha.avif").to_vec()),
        ("identity.avif", include_bytes!("../../pictures/tests/pictures/identity.avif").to_vec()),
        ("cells.avif", heif::cells_of_every_kind()),
    ] {
        write(out, "picture", name, &bytes)?;
    }
    Ok(())
}

fn write(out: &Path, target: &str, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    fs::create_dir_all(out.join(target))?;
    Ok(fs::write(out.join(target).join(name), bytes)?)
}
