//! Makes a small collection of pictures to try the programs with: drawn procedurally, so that it
//! needs no download and no licence, and with structure at several scales, so that there is
//! something to learn.
//!
//! A class a folder. Sizes and file formats vary, and a few files are broken in the ways in which
//! crawled files are.

use std::f32::consts::PI;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{
    DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat, ImageResult, Rgb, RgbImage,
    RgbaImage,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::IngestError;

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Whole pictures.
    pub pictures: usize,
    /// Files that are broken on purpose.
    pub broken: usize,
}

/// Writes `pictures` whole pictures, and some broken files, under `root`.
///
/// # Errors
/// [`IngestError`] if the folder is not empty or can't be written to.
pub fn write(root: &Path, pictures: usize, seed: u64) -> Result<Sample, IngestError> {
    fs::create_dir_all(root).map_err(IngestError::io("create the folder", root))?;
    let mut entries = fs::read_dir(root).map_err(IngestError::io("read the folder", root))?;
    if entries.next().is_some() {
        return Err(IngestError::NotEmpty(root.to_owned()));
    }
    for kind in Kind::ALL {
        let folder = root.join(kind.name());
        fs::create_dir(&folder).map_err(IngestError::io("create the folder", &folder))?;
    }
    let save =
        |path: &Path, bytes: &[u8]| fs::write(path, bytes).map_err(IngestError::io("write", path));
    (0..pictures).into_par_iter().try_for_each(|index| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64);
        let kind = Kind::ALL[index % Kind::ALL.len()];
        let picture = Scene::draw(kind, &mut rng).render();
        let format = FORMATS[index / Kind::ALL.len() % FORMATS.len()];
        let path = root.join(kind.name()).join(format!("{index:05}.{}", format.extension()));
        let bytes = format
            .encode(picture, &mut rng)
            .map_err(|error| IngestError::io("write", &path)(std::io::Error::other(error)))?;
        save(&path, &bytes)
    })?;
    let broken = broken(seed)
        .map_err(|error| IngestError::io("write", root)(std::io::Error::other(error)))?;
    for (index, (name, bytes)) in broken.iter().enumerate() {
        save(&root.join(Kind::ALL[index % Kind::ALL.len()].name()).join(name), bytes)?;
    }
    Ok(Sample { pictures, broken: broken.len() })
}

/// What a scene shows, which is its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blobs,
    Boxes,
    Checkers,
    Disks,
    Rings,
    Stripes,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Blobs, Self::Boxes, Self::Checkers, Self::Disks, Self::Rings, Self::Stripes];

    fn name(self) -> &'static str {
        match self {
            Self::Blobs => "blobs",
            Self::Boxes => "boxes",
            Self::Checkers => "checkers",
            Self::Disks => "disks",
            Self::Rings => "rings",
            Self::Stripes => "stripes",
        }
    }
}

type Colour = [f32; 3];

/// A shape with a pattern on it, in coordinates where the picture's shorter side is 1.
#[derive(Debug, Clone)]
struct Shape {
    kind: Kind,
    centre: (f32, f32),
    size: f32,
    /// Height over width.
    flat: f32,
    turn: f32,
    /// Periods of the pattern over the shape.
    periods: f32,
    colours: [Colour; 2],
}

impl Shape {
    fn draw(kind: Kind, size: f32, turn: f32, aspect: f32, rng: &mut impl Rng) -> Self {
        Self {
            kind,
            centre: (rng.random_range(0.0..aspect.max(1.0)), rng.random_range(0.0..1.0)),
            size,
            flat: rng.random_range(0.5..1.0),
            turn: turn + rng.random_range(-0.1..0.1),
            periods: rng.random_range(6.0..14.0) * size,
            colours: [colour(rng), colour(rng)],
        }
    }

    /// The colour at a point and how much it covers there; `pixel` is a pixel's size.
    fn at(&self, x: f32, y: f32, pixel: f32) -> (Colour, f32) {
        let (dx, dy) = (x - self.centre.0, y - self.centre.1);
        let (sin, cos) = self.turn.sin_cos();
        let (u, v) = ((dx * cos + dy * sin) / self.size, (dy * cos - dx * sin) / self.size);
        let edge = pixel / self.size;
        let inside = |distance: f32| (0.5 - distance / edge).clamp(0.0, 1.0);
        let square = u.abs().max(v.abs() / self.flat) - 1.0;
        let radius = u.hypot(v);
        // How far the pattern has turned from the first colour to the second, 0..=1.
        let wave = |at: f32| {
            let sharp = (1.0 / (edge * self.periods * PI)).max(1.0);
            ((at * self.periods * PI).sin() * sharp).clamp(-1.0, 1.0) * 0.5 + 0.5
        };
        let (cover, mix) = match self.kind {
            Kind::Disks => (inside(radius - 1.0), (0.5 + u * 0.5).clamp(0.0, 1.0)),
            Kind::Boxes => (inside(square), (0.5 + u * 0.5).clamp(0.0, 1.0)),
            Kind::Stripes => (inside(square), wave(u)),
            Kind::Rings => (inside(radius - 1.0), wave(radius)),
            Kind::Checkers => {
                let (a, b) = (wave(u), wave(v));
                (inside(square), a * (1.0 - b) + b * (1.0 - a))
            }
            Kind::Blobs => {
                let bumps = (v.atan2(u) * self.periods.floor()).cos();
                (inside(radius - 0.75 - 0.25 * bumps), (0.5 + u * 0.5).clamp(0.0, 1.0))
            }
        };
        (blend(self.colours[0], self.colours[1], mix), cover)
    }
}

/// A picture before it has pixels: shapes of one kind before a shaded ground. All are turned alike,
/// and the largest reaches beyond the picture, so that a few patches tell what the others look like.
/// Colours tell nothing, for each is drawn by itself: what there is to learn is the shapes.
#[derive(Debug, Clone)]
struct Scene {
    width: u32,
    height: u32,
    ground: [Colour; 2],
    turn: f32,
    shapes: Vec<Shape>,
}

impl Scene {
    fn draw(kind: Kind, rng: &mut impl Rng) -> Self {
        let (width, height) = (rng.random_range(160..=416u32), rng.random_range(160..=416u32));
        let aspect = width as f32 / width.min(height) as f32;
        let turn = rng.random_range(0.0..PI);
        let count = rng.random_range(2..=5);
        // From large to small, so that none is hidden whole.
        let shapes = (0..count)
            .map(|index| {
                let size = 1.6 * 0.45f32.powi(index) * rng.random_range(0.8..1.2);
                Shape::draw(kind, size, turn, aspect, rng)
            })
            .collect();
        let ground = [colour(rng), colour(rng)];
        Self { width, height, ground, turn: rng.random_range(0.0..2.0 * PI), shapes }
    }

    fn render(&self) -> RgbImage {
        let pixel = 1.0 / self.width.min(self.height) as f32;
        let (sin, cos) = self.turn.sin_cos();
        RgbImage::from_fn(self.width, self.height, |px, py| {
            let (x, y) = ((px as f32 + 0.5) * pixel, (py as f32 + 0.5) * pixel);
            let slope = ((x - 0.5) * cos + (y - 0.5) * sin + 0.5).clamp(0.0, 1.0);
            let mut colour = blend(self.ground[0], self.ground[1], slope);
            for shape in &self.shapes {
                let (ink, cover) = shape.at(x, y, pixel);
                colour = blend(colour, ink, cover);
            }
            Rgb(colour.map(|value| (value * 255.0 + 0.5) as u8))
        })
    }
}

/// A colour of any hue, dull or rich, dark or light.
fn colour(rng: &mut impl Rng) -> Colour {
    let hue = rng.random_range(0.0..1.0f32);
    let (rich, light) = (rng.random_range(0.2..1.0f32), rng.random_range(0.15..1.0f32));
    // Hue, saturation, value to RGB: each channel is full for a third of the hues.
    [5.0, 3.0, 1.0].map(|channel| {
        let at = (channel + hue * 6.0).rem_euclid(6.0);
        light * (1.0 - rich * at.min(4.0 - at).clamp(0.0, 1.0))
    })
}

fn blend(from: Colour, to: Colour, share: f32) -> Colour {
    std::array::from_fn(|i| from[i] + (to[i] - from[i]) * share)
}

/// In what file a picture is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Jpeg,
    /// JPEG whose pixels lie in another orientation, which its EXIF block tells.
    TurnedJpeg,
    GreyJpeg,
    Png,
    /// PNG that fades out towards one side.
    FadingPng,
    DeepPng,
    Gif,
    Bmp,
    WebP,
    Tiff,
}

/// JPEG comes most often, as it does in the wild.
const FORMATS: [Format; 14] = [
    Format::Jpeg,
    Format::Png,
    Format::TurnedJpeg,
    Format::Jpeg,
    Format::WebP,
    Format::Jpeg,
    Format::FadingPng,
    Format::Jpeg,
    Format::Gif,
    Format::TurnedJpeg,
    Format::Bmp,
    Format::GreyJpeg,
    Format::DeepPng,
    Format::Tiff,
];

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Jpeg | Self::TurnedJpeg | Self::GreyJpeg => "jpg",
            Self::Png | Self::FadingPng | Self::DeepPng => "png",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::WebP => "webp",
            Self::Tiff => "tiff",
        }
    }

    fn encode(self, picture: RgbImage, rng: &mut impl Rng) -> ImageResult<Vec<u8>> {
        let mut file = Cursor::new(Vec::new());
        let picture = DynamicImage::from(picture);
        match self {
            Self::Jpeg => jpeg(&picture, Orientation::NoTransforms, &mut file)?,
            Self::GreyJpeg => {
                jpeg(&picture.grayscale(), Orientation::NoTransforms, &mut file)?;
            }
            Self::TurnedJpeg => {
                let exif = rng.random_range(2..=8);
                let orientation = Orientation::from_exif(exif).unwrap_or(Orientation::NoTransforms);
                jpeg(&picture, orientation, &mut file)?;
            }
            Self::Png => picture.write_to(&mut file, ImageFormat::Png)?,
            Self::DeepPng => {
                DynamicImage::from(picture.into_rgb16()).write_to(&mut file, ImageFormat::Png)?;
            }
            Self::FadingPng => {
                let mut faded: RgbaImage = picture.into_rgba8();
                let width = faded.width();
                for (x, _, pixel) in faded.enumerate_pixels_mut() {
                    pixel.0[3] = (255 - x * 200 / width) as u8;
                }
                faded.write_to(&mut file, ImageFormat::Png)?;
            }
            Self::Gif => {
                let (width, height) = (picture.width(), picture.height());
                let rgb = picture.into_rgb8();
                GifEncoder::new_with_speed(&mut file, 30).encode(
                    rgb.as_raw(),
                    width,
                    height,
                    ExtendedColorType::Rgb8,
                )?;
            }
            Self::Bmp => picture.write_to(&mut file, ImageFormat::Bmp)?,
            Self::WebP => picture.write_to(&mut file, ImageFormat::WebP)?,
            Self::Tiff => picture.write_to(&mut file, ImageFormat::Tiff)?,
        }
        Ok(file.into_inner())
    }
}

/// Writes an upright picture as a JPEG that is stored in `orientation`.
fn jpeg(
    upright: &DynamicImage,
    orientation: Orientation,
    file: &mut Cursor<Vec<u8>>,
) -> ImageResult<()> {
    let mut stored = upright.clone();
    stored.apply_orientation(match orientation {
        Orientation::Rotate90 => Orientation::Rotate270,
        Orientation::Rotate270 => Orientation::Rotate90,
        // The others undo themselves.
        other => other,
    });
    let mut encoder = JpegEncoder::new_with_quality(file, 88);
    if orientation != Orientation::NoTransforms {
        // A little-endian TIFF of one entry: tag 0x112, type short, one value.
        let exif = [
            b"II*\0\x08\0\0\0\x01\0".as_slice(),
            b"\x12\x01\x03\0\x01\0\0\0",
            &[orientation.to_exif(), 0, 0, 0],
            &[0; 4],
        ];
        encoder.set_exif_metadata(exif.concat()).map_err(image::ImageError::Unsupported)?;
    }
    stored.write_with_encoder(encoder)
}

/// Files as a crawl brings them home too: by name and content.
fn broken(seed: u64) -> ImageResult<Vec<(&'static str, Vec<u8>)>> {
    let mut rng = ChaCha8Rng::seed_from_u64(!seed);
    let mut picture = |format: Format| {
        let picture = Scene::draw(Kind::Disks, &mut rng).render();
        format.encode(picture, &mut rng)
    };
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() * 2 / 3].to_vec();
    let mut damaged = picture(Format::Png)?;
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0);
    let mut tiny = Cursor::new(Vec::new());
    RgbImage::new(8, 8).write_to(&mut tiny, ImageFormat::Png)?;
    Ok(vec![
        ("empty.jpg", Vec::new()),
        ("cut-short.png", cut(picture(Format::Png)?)),
        ("cut-short.jpg", cut(picture(Format::Jpeg)?)),
        ("damaged.png", damaged),
        ("page.jpg", b"<!DOCTYPE html><title>404 Not Found</title>".to_vec()),
        ("notes.txt", b"Pictures for trying things out.\n".to_vec()),
        ("tiny.png", tiny.into_inner()),
    ])
}
