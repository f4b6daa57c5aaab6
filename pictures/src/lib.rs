//! Bytes → an upright RGB picture of 8 bits, or the reason why not.
//!
//! The format is told by content, never by name. EXIF orientation is applied, colour profiles are
//! brought to sRGB, transparency is laid over a background, 16 bits become 8, grey and CMYK become
//! RGB; of an animation the first frame is taken.
//!
//! A JPEG cut short decodes as far as it goes, the rest grey, as in a browser; it is then marked as
//! such, or refused if too little is there. The other formats' decoders give no picture at all from
//! a file cut short.
//!
//! What a picture is costs nothing before its header has been checked: size, then the memory that
//! decoding takes, of which all threads share one [`MemoryBudget`].

#![forbid(unsafe_code)]

mod avif;
mod bmp;
mod canvas;
mod check;
mod colour;
mod fault;
mod format;
mod guard;
mod jpeg;
mod memory;
mod still;
mod tiff;
mod webp;

use std::time::Duration;

use formats::caught;
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use schemas::{Fault, Reason, Reject};

use self::guard::Deadline;
pub use self::memory::{MemoryBudget, Reserved};
use self::still::Still;

/// The time that a picture may take unless another is given.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The flag that bounds the memory of all pictures in work, as messages name it.
const MEMORY_FLAG: &str = "--memory-limit";

/// Whether a picture was rejected for want of memory, so that another run may take it.
pub fn is_for_memory(reject: &Reject) -> bool {
    reject.reason == Reason::TooLarge && reject.message.contains(MEMORY_FLAG)
}

/// A decoded picture.
#[derive(Debug)]
pub struct Picture {
    /// BLAKE3 of the file.
    pub content_hash: [u8; 32],
    /// The upright picture.
    pub rgb: RgbImage,
    /// The file ends before the picture does.
    pub cut_short: bool,
    /// What its pixels take of the budget, until it is dropped.
    pub memory: Reserved,
}

impl Picture {
    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.rgb.dimensions()
    }
}

/// What is asked of a picture, and over what it is laid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// The shortest side it may have, in pixels.
    pub min_side: u32,
    /// The most pixels it may have.
    pub max_pixels: u64,
    /// The most bytes that its file may have; none allows what so many pixels can need.
    pub max_bytes: Option<u64>,
    /// The most times that its longer side may be its shorter; 0 allows any.
    pub max_aspect: u32,
    /// It is of one colour if, in each channel, nearly all pixels lie within so many neighbouring
    /// levels of 256; 0 keeps such pictures.
    pub one_colour: u8,
    /// The least share of a JPEG that must decode, in per cent.
    pub min_decoded: u8,
    /// Every JPEG that is cut short is refused, however little is missing.
    pub strict: bool,
    /// The colour (RGB) over which transparent pictures are laid.
    pub background: [u8; 3],
}

/// Decodes a picture without limits of memory.
///
/// # Errors
/// The [`Fault`] of the picture; no content makes this panic.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Fault> {
    Decoder::new(*options).decode(bytes)
}

/// Decodes pictures within a budget of memory and of time. Many threads may share it.
#[derive(Debug, Clone)]
pub struct Decoder {
    options: DecodeOptions,
    memory: MemoryBudget,
    time_limit: Duration,
}

impl Decoder {
    /// A decoder without limits of memory; a picture may take [`TIME_LIMIT`].
    pub fn new(options: DecodeOptions) -> Self {
        Self { options, memory: MemoryBudget::unlimited(), time_limit: TIME_LIMIT }
    }

    /// Takes the memory of its pictures from this budget.
    #[must_use]
    pub fn with_memory(mut self, memory: MemoryBudget) -> Self {
        self.memory = memory;
        self
    }

    /// Refuses a picture after this time, looked at whenever its decoder asks for more bytes.
    ///
    /// JPEG and AVIF are not timed, but for an AVIF's grid between its cells: the work that they may
    /// ask for is bounded by their header.
    #[must_use]
    pub fn with_time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// Decodes a picture. The same bytes and options give the same pixels, however many threads
    /// there are and whatever the limits, unless one is reached.
    ///
    /// Waits for memory, so that the caller must not hold on to a [`Picture`] meanwhile.
    ///
    /// # Errors
    /// The [`Fault`] of the picture; no content makes this panic.
    pub fn decode(&self, bytes: &[u8]) -> Result<Picture, Fault> {
        let format = format::tell(bytes)?;
        check::bytes(bytes.len() as u64, &self.options)?;
        let job = Job {
            bytes,
            options: &self.options,
            content_hash: *blake3::hash(bytes).as_bytes(),
            deadline: Deadline::after(self.time_limit),
            memory: &self.memory,
        };
        caught(|| job.picture(format)).unwrap_or_else(|panic| {
            Err(Fault::new(Reason::DecoderPanic, format!("the decoder gave up: {panic}")))
        })
    }
}

/// What the decoders of all formats are given.
struct Job<'a> {
    bytes: &'a [u8],
    options: &'a DecodeOptions,
    content_hash: [u8; 32],
    deadline: Deadline,
    memory: &'a MemoryBudget,
}

/// What they give back.
struct Decoded {
    rgb: RgbImage,
    /// How the picture is turned upright.
    orientation: Orientation,
    cut_short: bool,
    memory: Reserved,
}

impl Job<'_> {
    fn picture(&self, format: formats::Picture) -> Result<Picture, Fault> {
        let decoded = match format {
            formats::Picture::Jpeg => jpeg::decode(self)?,
            formats::Picture::Avif => avif::decode(self)?,
            formats::Picture::WebP => webp::decode(self)?,
            formats::Picture::Tiff => tiff::decode(self)?,
            formats::Picture::Png => still::decode(self, Still::Png)?,
            formats::Picture::Gif => still::decode(self, Still::Gif)?,
            formats::Picture::Bmp => still::decode(self, Still::Bmp)?,
        };
        let Decoded { rgb, orientation, cut_short, mut memory } = decoded;
        check::colours(&rgb, self.options.one_colour)?;
        let rgb = match orientation {
            Orientation::NoTransforms => rgb,
            turned => {
                let mut picture = DynamicImage::from(rgb);
                picture.apply_orientation(turned);
                picture.into_rgb8()
            }
        };
        memory.shrink(rgb.as_raw().len() as u64);
        Ok(Picture { content_hash: self.content_hash, rgb, cut_short, memory })
    }

    /// Checks the size that a header tells; the number of pixels.
    fn check_sides(&self, size: (u32, u32)) -> Result<u64, Fault> {
        check::sides(size, self.options)?;
        Ok(u64::from(size.0) * u64::from(size.1))
    }

    /// Takes the memory that decoding needs; waits until it is free.
    fn reserve(&self, bytes: u64) -> Result<Reserved, Fault> {
        self.memory.acquire(bytes).ok_or_else(|| {
            // Of the memory that a run may take, decoding has half.
            let given = self.memory.limit().saturating_mul(2);
            Fault::new(
                Reason::TooLarge,
                format!("decoding needs {bytes} bytes, more than half of {MEMORY_FLAG} {given}"),
            )
        })
    }
}
