//! A directory → what its picture is and how its chunks are stored, checked once.

use image::metadata::Orientation;
use schemas::{Fault, Reason};

use super::codec::{self, Compression};
use super::ifd::{Directory, Endian, File, Values, tag};

/// Most samples of a pixel that are looked at.
const MOST_SAMPLES: usize = 64;

/// What a directory says of its picture.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub file: File<'a>,
    pub directory: Directory<'a>,
    pub size: (u32, u32),
    pub compression: Compression,
    pub colour: Colour<'a>,
    /// The first sample past the colours that tells transparency.
    pub alpha: Option<Alpha>,
    /// Samples of a pixel, needed or not.
    pub samples: usize,
    pub bits: usize,
    pub number: Number,
    /// The range of numbers that are neither fractions nor whole numbers of at most 16 bits.
    pub range: Option<(f64, f64)>,
    pub predictor: Predictor,
    /// Each sample has chunks of its own.
    pub planar: bool,
    /// Bytes hold their bits in the other order.
    pub reversed: bool,
    pub chunks: Chunks<'a>,
    /// What Zstandard may keep while it unpacks a chunk.
    pub window: u64,
    /// JPEGs among the chunks hold luma and chroma.
    pub jpeg_is_ycbcr: bool,
    pub orientation: Orientation,
    pub profile: Option<&'a [u8]>,
}

/// What the samples of a pixel mean.
#[derive(Debug, Clone, Copy)]
pub(super) enum Colour<'a> {
    Grey { white_is_zero: bool },
    Rgb,
    Palette(Palette<'a>),
    Cmyk,
    YCbCr(YCbCr),
    Lab(Lab),
}

impl Colour<'_> {
    /// How many samples it takes.
    pub fn samples(&self) -> usize {
        match self {
            Self::Grey { .. } | Self::Palette(_) => 1,
            Self::Rgb | Self::YCbCr(_) | Self::Lab(_) => 3,
            Self::Cmyk => 4,
        }
    }

    /// How many values of 8 bits come of it.
    pub fn channels(&self) -> usize {
        match self {
            Self::Grey { .. } => 1,
            Self::Cmyk => 4,
            _ => 3,
        }
    }
}

/// A colour map: all reds, all greens, all blues.
#[derive(Debug, Clone, Copy)]
pub(super) struct Palette<'a> {
    values: Values<'a>,
    colours: usize,
    /// Values of 8 bits, where 16 belong.
    short: bool,
}

impl Palette<'_> {
    /// The colour of an index; black past the last one.
    pub fn colour(&self, index: usize) -> [u8; 3] {
        let level = |channel: usize| {
            let value = self.values.uint(channel * self.colours + index).unwrap_or(0);
            if self.short { value as u8 } else { (value >> 8) as u8 }
        };
        if index < self.colours { [level(0), level(1), level(2)] } else { [0; 3] }
    }
}

/// How luma and chroma become RGB (TIFF 6.0, section 21).
#[derive(Debug, Clone, Copy)]
pub(super) struct YCbCr {
    /// Shares of red, green and blue in luma.
    pub luma: [f32; 3],
    /// Black and white of each sample.
    pub reference: [(f32, f32); 3],
    /// Pixels that share a chroma sample, across and down.
    pub shared: (usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lab {
    /// a and b are signed.
    Cie,
    /// They are stored 128 higher.
    Icc,
    /// They have ranges of their own.
    Itu,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Alpha {
    pub sample: usize,
    /// Colours are multiplied by it already.
    pub associated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Uint,
    Int,
    Float,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Predictor {
    None,
    Horizontal,
    Float,
}

/// The strips or tiles: all alike in size, but the last ones of strips.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunks<'a> {
    pub width: u32,
    pub height: u32,
    pub across: u32,
    pub down: u32,
    pub offsets: Values<'a>,
    pub counts: Option<Values<'a>>,
}

fn unsupported(what: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Unsupported, format!("a TIFF {what}, which is not read"))
}

impl<'a> Page<'a> {
    pub fn read(file: File<'a>, directory: Directory<'a>) -> Result<Self, Fault> {
        let side = |tag, name| {
            let value = directory.uint(tag).and_then(|side| u32::try_from(side).ok());
            value
                .filter(|&side| side > 0)
                .ok_or_else(|| Fault::corrupt(format!("the TIFF's directory tells no {name}")))
        };
        let size = (side(tag::IMAGE_WIDTH, "width")?, side(tag::IMAGE_LENGTH, "height")?);
        let compression = Compression::of(directory.uint(tag::COMPRESSION).unwrap_or(1))?;
        let bits = bits(&directory, compression)?;
        let samples = samples(&directory)?;
        let planar = samples > 1 && directory.uint(tag::PLANAR_CONFIGURATION) == Some(2);
        let number = match directory.uint(tag::SAMPLE_FORMAT) {
            Some(2) => Number::Int,
            Some(3) => Number::Float,
            Some(5 | 6) => return Err(unsupported("of complex numbers")),
            _ => Number::Uint,
        };
        let fits = match number {
            Number::Float => matches!(bits, 16 | 24 | 32 | 64),
            _ => matches!(bits, 1..=16 | 24 | 32 | 64),
        };
        if !fits {
            let kind = if number == Number::Float { " floating point" } else { "" };
            return Err(unsupported(format!("of {bits} bits a sample{kind}")));
        }
        let mut colour = colour(&directory, compression, samples, bits)?;
        // The decoders of whole pictures spread chroma out and give RGB. JPEGs of the old kind have
        // luma and chroma even where RGB is told.
        let is_old = compression == Compression::OldJpeg && samples == 3;
        let jpeg_is_ycbcr = compression.holds_pictures()
            && !planar
            && (matches!(colour, Colour::YCbCr(_)) || is_old);
        if jpeg_is_ycbcr {
            colour = Colour::Rgb;
        }
        if let Colour::YCbCr(YCbCr { shared, .. }) = colour
            && shared != (1, 1)
            && (planar || bits != 8 || samples != 3)
        {
            return Err(unsupported("of YCbCr with fewer chroma samples, planar or not of 8 bits"));
        }
        let mut chunks = Chunks::of(&directory, size)?;
        if compression == Compression::OldJpeg {
            // One JPEG for all strips.
            (chunks.width, chunks.height, chunks.across, chunks.down) = (size.0, size.1, 1, 1);
        }
        // Chunks are all of one make.
        let window = match compression {
            Compression::Zstd => {
                let head = file.part(chunks.offsets.uint(0).unwrap_or(u64::MAX), 20);
                codec::zstd_window(head)
            }
            _ => 0,
        };
        let predictor = predictor(&directory, compression, bits, number)?;
        Ok(Self {
            file,
            directory,
            size,
            compression,
            alpha: alpha(&directory, samples, &colour),
            colour,
            samples,
            bits,
            number,
            range: range(&directory),
            predictor,
            planar,
            reversed: directory.uint(tag::FILL_ORDER) == Some(2),
            window,
            chunks,
            jpeg_is_ycbcr,
            orientation: directory
                .uint(tag::ORIENTATION)
                .and_then(|value| Orientation::from_exif(u8::try_from(value).ok()?))
                .unwrap_or(Orientation::NoTransforms),
            profile: directory.get(tag::ICC_PROFILE).map(|profile| profile.bytes),
        })
    }

    /// Samples of a pixel in one chunk.
    pub fn samples_together(&self) -> usize {
        if self.planar { 1 } else { self.samples }
    }

    /// Bytes of so many pixels side by side in one chunk, where chroma is whole.
    pub fn row_bytes(&self, pixels: u64) -> u64 {
        pixels.saturating_mul((self.samples_together() * self.bits) as u64).div_ceil(8)
    }

    /// Bytes of so many rows of a chunk as they come out of its codec.
    pub fn chunk_bytes(&self, rows: u64) -> u64 {
        let width = u64::from(self.chunks.width);
        match self.colour {
            Colour::YCbCr(YCbCr { shared: (across, down), .. }) if (across, down) != (1, 1) => {
                let units = width.div_ceil(across as u64) * rows.div_ceil(down as u64);
                units.saturating_mul((across * down + 2) as u64)
            }
            _ => self.row_bytes(width).saturating_mul(rows),
        }
    }

    /// The order of bytes in numbers as they come out of a chunk.
    pub fn endian(&self) -> Endian {
        // This predictor sorts bytes by their weight.
        if self.predictor == Predictor::Float { Endian::Big } else { self.file.endian }
    }
}

fn bits(directory: &Directory<'_>, compression: Compression) -> Result<usize, Fault> {
    if compression.holds_pictures() {
        // They tell it themselves.
        return Ok(8);
    }
    let Some(values) = directory.get(tag::BITS_PER_SAMPLE) else { return Ok(1) };
    let samples = directory.uint(tag::SAMPLES_PER_PIXEL).unwrap_or(values.len() as u64);
    let told: Vec<u64> = (0..values.len().min(samples.min(MOST_SAMPLES as u64) as usize))
        .filter_map(|index| values.uint(index))
        .collect();
    let first = told.first().copied().unwrap_or(1);
    if told.iter().any(|&bits| bits != first) {
        return Err(unsupported(format!("whose samples have {told:?} bits")));
    }
    Ok(usize::try_from(first).unwrap_or(usize::MAX))
}

fn samples(directory: &Directory<'_>) -> Result<usize, Fault> {
    let samples = directory.uint(tag::SAMPLES_PER_PIXEL).unwrap_or_else(|| {
        let told = directory.get(tag::BITS_PER_SAMPLE).map_or(1, |bits| bits.len() as u64);
        let least = match directory.uint(tag::PHOTOMETRIC) {
            Some(2 | 6 | 8..=10) => 3,
            Some(5) => 4,
            _ => 1,
        };
        told.max(least)
    });
    match usize::try_from(samples) {
        Ok(samples @ 1..=MOST_SAMPLES) => Ok(samples),
        _ => Err(unsupported(format!("of {samples} samples a pixel"))),
    }
}

fn colour<'a>(
    directory: &Directory<'a>,
    compression: Compression,
    samples: usize,
    bits: usize,
) -> Result<Colour<'a>, Fault> {
    let photometric = directory.uint(tag::PHOTOMETRIC).unwrap_or(match samples {
        3.. => 2,
        _ if compression.is_fax() => 0,
        _ => 1,
    });
    let colour = match photometric {
        0 => Colour::Grey { white_is_zero: true },
        1 => Colour::Grey { white_is_zero: false },
        // Luma alone.
        6 if samples == 1 => Colour::Grey { white_is_zero: false },
        2 => Colour::Rgb,
        3 => Colour::Palette(palette(directory, bits)?),
        5 => match directory.uint(tag::INK_SET) {
            None | Some(1) => Colour::Cmyk,
            Some(_) => return Err(unsupported("of other inks than CMYK")),
        },
        6 => Colour::YCbCr(ycbcr(directory)?),
        8 => Colour::Lab(Lab::Cie),
        9 => Colour::Lab(Lab::Icc),
        10 => Colour::Lab(Lab::Itu),
        4 => return Err(unsupported("that is a mask")),
        32803 | 34892 => return Err(unsupported("of a camera's raw data")),
        32844 | 32845 => return Err(unsupported("of logarithmic light (SGI)")),
        other => return Err(unsupported(format!("of photometric interpretation {other}"))),
    };
    if samples < colour.samples() {
        let needed = colour.samples();
        return Err(Fault::corrupt(format!(
            "{samples} samples a pixel; the colours need {needed}"
        )));
    }
    if matches!(colour, Colour::Lab(_)) && !matches!(bits, 8 | 16) {
        return Err(unsupported(format!("of CIELab in {bits} bits")));
    }
    Ok(colour)
}

fn palette<'a>(directory: &Directory<'a>, bits: usize) -> Result<Palette<'a>, Fault> {
    if bits > 16 {
        return Err(unsupported(format!("of {bits} bits an index")));
    }
    let colours = 1 << bits;
    let map = directory.get(tag::COLOR_MAP).filter(|map| map.len() >= 3 * colours);
    let values = map.ok_or_else(|| Fault::corrupt("the TIFF's colour map is not whole"))?;
    let short = (0..3 * colours).all(|index| values.uint(index).is_some_and(|value| value < 256));
    Ok(Palette { values, colours, short })
}

fn ycbcr(directory: &Directory<'_>) -> Result<YCbCr, Fault> {
    let numbers = |tag, count| {
        let values = directory.get(tag)?;
        let all = (0..count).map(|index| values.number(index).map(|value| value as f32));
        all.collect::<Option<Vec<f32>>>().filter(|all| all.iter().all(|value| value.is_finite()))
    };
    let luma = numbers(tag::YCBCR_COEFFICIENTS, 3)
        .map(|all| [all[0], all[1], all[2]])
        .filter(|luma| luma[1] > 0.0)
        .unwrap_or([0.299, 0.587, 0.114]);
    let reference = numbers(tag::REFERENCE_BLACK_WHITE, 6)
        .map(|all| [(all[0], all[1]), (all[2], all[3]), (all[4], all[5])])
        .filter(|pairs| pairs.iter().all(|(black, white)| white > black))
        .unwrap_or([(0.0, 255.0), (128.0, 255.0), (128.0, 255.0)]);
    let shared = |index| {
        let values = directory.get(tag::YCBCR_SUBSAMPLING);
        match values.map_or(Some(2), |values| values.uint(index)) {
            Some(pixels @ (1 | 2 | 4)) => Ok(pixels as usize),
            _ => Err(Fault::corrupt("the TIFF's chroma is shared by neither 1, 2 nor 4 pixels")),
        }
    };
    Ok(YCbCr { luma, reference, shared: (shared(0)?, shared(1)?) })
}

fn alpha(directory: &Directory<'_>, samples: usize, colour: &Colour<'_>) -> Option<Alpha> {
    let first = colour.samples();
    let Some(extra) = directory.get(tag::EXTRA_SAMPLES) else {
        // Some programs leave the tag out.
        let told = samples == first + 1 && matches!(colour, Colour::Rgb | Colour::Grey { .. });
        return told.then_some(Alpha { sample: first, associated: false });
    };
    // What the rest past the first is, nobody says; 999 is a drawing program's.
    (0..extra.len().min(samples - first)).find_map(|index| match extra.uint(index) {
        Some(kind @ (1 | 2 | 999)) => Some(Alpha { sample: first + index, associated: kind == 1 }),
        _ => None,
    })
}

fn range(directory: &Directory<'_>) -> Option<(f64, f64)> {
    let least = directory.get(tag::LEAST_SAMPLE).and_then(|values| values.number(0));
    let most = directory.get(tag::MOST_SAMPLE)?.number(0)?;
    let least = least.unwrap_or(0.0);
    // Of fractions the tags tell which there are, not which there could be.
    (least.is_finite() && most.is_finite() && most > least && most >= 255.0)
        .then_some((least, most))
}

fn predictor(
    directory: &Directory<'_>,
    compression: Compression,
    bits: usize,
    number: Number,
) -> Result<Predictor, Fault> {
    // Other codecs have none, whatever the tag says.
    if !compression.has_predictor() {
        return Ok(Predictor::None);
    }
    match directory.uint(tag::PREDICTOR).unwrap_or(1) {
        1 => Ok(Predictor::None),
        2 if matches!(bits, 8 | 16 | 32 | 64) => Ok(Predictor::Horizontal),
        3 if number == Number::Float => Ok(Predictor::Float),
        other => Err(unsupported(format!("with predictor {other} for {bits} bits"))),
    }
}

impl<'a> Chunks<'a> {
    fn of(directory: &Directory<'a>, (width, height): (u32, u32)) -> Result<Self, Fault> {
        let side = |tag| directory.uint(tag).map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        let tile = side(tag::TILE_WIDTH).zip(side(tag::TILE_LENGTH));
        let (chunk_width, chunk_height) = match tile {
            Some(tile) => tile,
            None => (width, side(tag::ROWS_PER_STRIP).unwrap_or(u32::MAX).min(height)),
        };
        if chunk_width == 0 || chunk_height == 0 {
            return Err(Fault::corrupt("the TIFF's strips or tiles have no size"));
        }
        let either = |one, other| directory.get(one).or_else(|| directory.get(other));
        let offsets = either(tag::TILE_OFFSETS, tag::STRIP_OFFSETS);
        Ok(Self {
            width: chunk_width,
            height: chunk_height,
            across: width.div_ceil(chunk_width),
            down: height.div_ceil(chunk_height),
            offsets: offsets.ok_or_else(|| Fault::corrupt("the TIFF tells no strips or tiles"))?,
            counts: either(tag::TILE_BYTE_COUNTS, tag::STRIP_BYTE_COUNTS),
        })
    }
}
