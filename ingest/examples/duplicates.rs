//! What a radius calls duplicates, over the pictures of a folder, and how far a picture moves when
//! it is stored again: to choose the radius by. The nearest pairs are drawn side by side.
//!
//! ```text
//! cargo run --release -p ingest --example duplicates -- ./photos pairs.png
//! ```

use std::path::PathBuf;

use anyhow::Context;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use ingest::duplicates::{DuplicateIndex, Verdict, perceptual_hash};
use ingest::{Settings, decode, source};
use pictures::Picture;
use rayon::prelude::*;

/// The widest distance that is drawn, and the widest radius that is counted.
const WIDEST: (u32, u32) = (8, 12);
/// Pairs a row and rows of the sheet, and a picture's side in it.
const SHEET: (usize, usize, u32) = (6, 12, 128);

struct Hashed {
    path: PathBuf,
    content: [u8; 32],
    hash: Option<u64>,
    /// How far the hash moves in each of [`CHANGES`].
    moved: Option<[u32; CHANGES.len()]>,
}

type Change = (&'static str, fn(&RgbImage) -> anyhow::Result<RgbImage>);

const CHANGES: [Change; 6] = [
    ("JPEG of quality 60", |picture| jpeg(picture, 60)),
    ("JPEG of quality 30", |picture| jpeg(picture, 30)),
    ("half the size", |picture| Ok(resized(picture, 0.5))),
    ("a third, JPEG 75", |picture| jpeg(&resized(picture, 1.0 / 3.0), 75)),
    ("8 levels brighter", |picture| Ok(imageops::brighten(picture, 8))),
    ("1 % cut off each side", |picture| {
        let (width, height) = picture.dimensions();
        let (x, y) = (width / 100, height / 100);
        Ok(imageops::crop_imm(picture, x, y, width - 2 * x, height - 2 * y).to_image())
    }),
];

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let root: PathBuf = arguments.next().context("give the folder of the pictures")?.into();
    let settings = Settings::new(&root, "").ingest;
    let mut paths = source::pictures(&root, settings.seed)?;
    paths.sort();
    let pictures: Vec<_> = paths
        .into_par_iter()
        .filter_map(|path| {
            let picture = decode::read(&path, &settings).ok()?;
            Some(hashed(path, &picture))
        })
        .collect::<anyhow::Result<_>>()?;
    let without = pictures.iter().filter(|picture| picture.hash.is_none()).count();
    println!("{} pictures, {without} without a perceptual hash", pictures.len());

    println!("\nstored again as          share that moves by more than so many bits");
    println!("                             0      2      4      6      8     12");
    for (at, (name, _)) in CHANGES.iter().enumerate() {
        print!("{name:22}");
        let moved: Vec<_> = pictures.iter().filter_map(|p| p.moved.map(|m| m[at])).collect();
        for bits in [0, 2, 4, 6, 8, 12] {
            let more = moved.iter().filter(|&&moved| moved > bits).count();
            print!(" {:>5.1}%", 100.0 * more as f64 / moved.len() as f64);
        }
        println!();
    }

    println!("\nradius  exact  near  kept");
    for radius in (0..=WIDEST.1).step_by(2) {
        let (mut exact, mut near) = (0, 0);
        let index = index(&pictures, radius, |_, verdict| match verdict {
            Verdict::New => {}
            Verdict::Exact { .. } => exact += 1,
            Verdict::Near { .. } => near += 1,
        });
        println!("{radius:>6}  {exact:>5}  {near:>4}  {:>4}", index.len());
    }

    let Some(sheet) = arguments.next() else { return Ok(()) };
    let mut pairs = Vec::new();
    index(&pictures, WIDEST.0, |id, verdict| {
        if let Verdict::Near { of, distance } = verdict {
            pairs.push((distance, id, of as usize));
        }
    });
    pairs.sort_unstable();
    draw(&pictures, &pairs).save(&sheet)?;
    Ok(())
}

fn hashed(path: PathBuf, picture: &Picture) -> anyhow::Result<Hashed> {
    let hash = perceptual_hash(&picture.rgb);
    let mut moved = [0; CHANGES.len()];
    if let Some(hash) = hash {
        for (moved, (_, change)) in moved.iter_mut().zip(CHANGES) {
            let other = perceptual_hash(&change(&picture.rgb)?);
            *moved = other.map_or(64, |other| (other ^ hash).count_ones());
        }
    }
    Ok(Hashed { path, content: picture.content_hash, hash, moved: hash.map(|_| moved) })
}

fn index(pictures: &[Hashed], radius: u32, mut tell: impl FnMut(usize, Verdict)) -> DuplicateIndex {
    let mut index = DuplicateIndex::new(Some(radius));
    for (id, picture) in pictures.iter().enumerate() {
        tell(id, index.insert(id as u64, picture.content, picture.hash));
    }
    index
}

/// Draws pairs in order of their distance; each distance starts a row.
fn draw(pictures: &[Hashed], pairs: &[(u32, usize, usize)]) -> RgbImage {
    let (columns, rows, side) = SHEET;
    let mut sheet = RgbImage::new(columns as u32 * (2 * side + 8), rows as u32 * (side + 4));
    let mut row = 0;
    for of_a_distance in pairs.chunk_by(|a, b| a.0 == b.0) {
        println!("distance {}: {} pairs", of_a_distance[0].0, of_a_distance.len());
        for line in of_a_distance.chunks(columns) {
            if row == rows {
                return sheet;
            }
            println!("row {row}: distance {}", line[0].0);
            for (column, &(_, id, of)) in line.iter().enumerate() {
                for (half, at) in [(0, of), (1, id)] {
                    let Ok(picture) = image::open(&pictures[at].path) else { continue };
                    let small = picture.thumbnail(side, side).into_rgb8();
                    let x = column as u32 * (2 * side + 8) + half * side;
                    imageops::replace(
                        &mut sheet,
                        &small,
                        x.into(),
                        (row as u32 * (side + 4)).into(),
                    );
                }
            }
            row += 1;
        }
    }
    sheet
}

fn resized(picture: &RgbImage, by: f64) -> RgbImage {
    let side = |side: u32| (f64::from(side) * by).round().max(1.0) as u32;
    let (width, height) = picture.dimensions();
    imageops::resize(picture, side(width), side(height), FilterType::Lanczos3)
}

fn jpeg(picture: &RgbImage, quality: u8) -> anyhow::Result<RgbImage> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(picture)?;
    Ok(image::load_from_memory(&bytes)?.into_rgb8())
}
