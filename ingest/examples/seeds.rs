//! Writes the fuzzers' seeds: `cargo run --release -p ingest --example seeds -- fuzz/seeds`.
//!
//! Archives of every kind that is read, and a picture of every format that can be written.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat, RgbImage};
use ingest::container::Kind;

#[path = "../tests/archives/mod.rs"]
mod archives;

fn main() -> anyhow::Result<()> {
    let out = std::env::args().nth(1).unwrap_or_else(|| "fuzz/seeds".to_owned());
    let out = Path::new(&out);
    for (number, (kind, bytes)) in archives::all().into_iter().enumerate() {
        let target = match kind {
            Kind::Tar | Kind::TarGz => "tar",
            Kind::Warc | Kind::WarcGz => "warc",
            Kind::Parquet => "parquet",
        };
        write(out, target, &format!("{number}-{kind:?}").to_lowercase(), &bytes)?;
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
    Ok(())
}

fn write(out: &Path, target: &str, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    fs::create_dir_all(out.join(target))?;
    Ok(fs::write(out.join(target).join(name), bytes)?)
}
