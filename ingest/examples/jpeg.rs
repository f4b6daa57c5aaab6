//! What decides how JPEGs are decoded, measured over a folder of photos: the decoders' rates on one
//! core, and how far the views of reduced pictures lie from those of whole ones.
//!
//! ```console
//! $ cargo run --release -p ingest --example jpeg -- ./photos
//! ```

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use image::{ImageFormat, RgbImage};
use ingest::picture::{MemoryBudget, Picture, Reduced};
use ingest::view::{Cutter, random_crop};
use ingest::{Settings, source};
use libjpeg_turbo_rs::{Decoder, PixelFormat, ScalingFactor};

/// How many times larger than the view a reduced crop is.
const SPARE: [f64; 4] = [1.0, 1.5, 2.0, 3.0];

fn main() -> anyhow::Result<()> {
    let root = std::env::args().nth(1).context("give the folder of the pictures")?;
    let mut files = Vec::new();
    for path in source::pictures(Path::new(&root), 0)? {
        let bytes = fs::read(path)?;
        if image::guess_format(&bytes).is_ok_and(|format| format == ImageFormat::Jpeg) {
            files.push(bytes);
        }
    }
    println!("{} JPEGs\n\ndecoder                      pictures/s  million pixels/s", files.len());
    rate("image (zune-jpeg)", &files, |bytes| {
        Some(image::load_from_memory_with_format(bytes, ImageFormat::Jpeg).ok()?.into_rgb8())
    });
    for scale in [1, 2, 4, 8] {
        let name = format!("libjpeg-turbo-rs, 1/{scale}");
        rate(&name, &files, |bytes| whole_or_reduced(bytes, scale).ok());
    }
    errors(&files)
}

fn rate(name: &str, files: &[Vec<u8>], decode: impl Fn(&[u8]) -> Option<RgbImage>) {
    let start = Instant::now();
    let mut pixels = 0;
    for bytes in files {
        pixels += decode(bytes).map_or(0, |picture| picture.as_raw().len() / 3);
    }
    let time = start.elapsed().as_secs_f64();
    println!("{name:28} {:>10.0} {:>17.0}", files.len() as f64 / time, pixels as f64 / time / 1e6);
}

fn whole_or_reduced(bytes: &[u8], scale: u32) -> anyhow::Result<RgbImage> {
    let mut decoder = Decoder::new(bytes)?;
    decoder.set_output_format(PixelFormat::Rgb);
    decoder.set_scale(ScalingFactor::try_new(1, scale)?);
    let picture = decoder.decode_image()?;
    RgbImage::from_raw(picture.width as u32, picture.height as u32, picture.data)
        .context("another number of pixels")
}

/// Differences between views, over all pictures.
#[derive(Default)]
struct Errors {
    views: f64,
    absolute: f64,
    square: f64,
    worst_psnr: f64,
}

fn errors(files: &[Vec<u8>]) -> anyhow::Result<()> {
    let seed = Settings::new("", "").ingest.seed;
    let mut table: Vec<((u32, f64), Errors)> = [2, 4, 8]
        .into_iter()
        .flat_map(|scale| SPARE.map(|spare| ((scale, spare), Errors::default())))
        .collect();
    for bytes in files {
        let Ok(whole) = whole_or_reduced(bytes, 1) else { continue };
        let content_hash = *blake3::hash(bytes).as_bytes();
        let whole = picture(content_hash, whole, None)?;
        let crop = random_crop(&content_hash, 0, seed, whole.size);
        for scale in [2, 4, 8] {
            let reduced = whole_or_reduced(bytes, scale)?;
            let reduced = picture(content_hash, reduced, Some((scale, whole.size)))?;
            for ((_, spare), errors) in table.iter_mut().filter(|((found, _), _)| *found == scale) {
                let side = f64::from(crop.width.min(crop.height));
                let size = (side / f64::from(scale) / *spare) as u32;
                let mut cutter = Cutter::new(size.max(8));
                errors.add(&cutter.cut_from(&whole, crop)?, &cutter.cut_from(&reduced, crop)?);
            }
        }
    }
    println!("\nscale  crop / view  mean error  RMS error  PSNR of all  of the worst view");
    for ((scale, spare), errors) in &table {
        let square = errors.square / errors.views;
        println!(
            "  1/{scale}  {spare:>11.1}  {:>10.3}  {:>9.3}  {:>8.1} dB  {:>14.1} dB",
            errors.absolute / errors.views,
            square.sqrt(),
            psnr(square),
            errors.worst_psnr
        );
    }
    Ok(())
}

fn picture(
    content_hash: [u8; 32],
    rgb: RgbImage,
    reduced: Option<(u32, (u32, u32))>,
) -> anyhow::Result<Picture> {
    let (scale, size) = reduced.unwrap_or((1, rgb.dimensions()));
    let memory = MemoryBudget::unlimited().acquire(0).context("no memory")?;
    let reduced = Reduced { scale, ..Reduced::NOT };
    Ok(Picture { content_hash, rgb, size, reduced, cut_short: false, memory })
}

impl Errors {
    fn add(&mut self, whole: &[u8], reduced: &[u8]) {
        let differences = || whole.iter().zip(reduced).map(|(a, b)| f64::from(a.abs_diff(*b)));
        let square = differences().map(|error| error * error).sum::<f64>() / whole.len() as f64;
        let worst = if self.views == 0.0 { f64::INFINITY } else { self.worst_psnr };
        self.worst_psnr = worst.min(psnr(square));
        self.views += 1.0;
        self.absolute += differences().sum::<f64>() / whole.len() as f64;
        self.square += square;
    }
}

fn psnr(square: f64) -> f64 {
    20.0 * 255f64.log10() - 10.0 * square.log10()
}
