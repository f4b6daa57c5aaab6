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

mod avif;
mod bmp;
mod brands;
mod canvas;
mod check;
mod colour;
mod fault;
mod format;
mod guard;
mod jpeg;
mod memory;
mod scale;
mod still;
mod tiff;
mod webp;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use schemas::{IngestSettings, Reason, Reject};

pub(crate) use self::brands::{Media, tell as tell_media};
pub use self::check::most_bytes;
pub use self::fault::Fault;
use self::format::Format;
use self::guard::Deadline;
pub use self::memory::{MemoryBudget, Reserved};
pub use self::scale::Reduced;
use crate::caught::caught;

/// Bytes that tell every known format.
const HEAD: u64 = 4096;
/// The time that a picture may take unless another is given.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The flag that bounds the memory of all pictures in work, as messages name it.
const MEMORY_FLAG: &str = "--memory-limit";

/// Whether a picture was rejected for want of memory, so that another run may take it.
pub(crate) fn is_for_memory(reject: &Reject) -> bool {
    reject.reason == Reason::TooLarge && reject.message.contains(MEMORY_FLAG)
}

/// A decoded picture.
#[derive(Debug)]
pub struct Picture {
    /// BLAKE3 of the file.
    pub content_hash: [u8; 32],
    /// The upright picture, in the size in which it was decoded.
    pub rgb: RgbImage,
    /// The whole picture's size when upright.
    pub size: (u32, u32),
    /// Where the decoded pixels lie in the whole picture.
    pub reduced: Reduced,
    /// The file ends before the picture does.
    pub cut_short: bool,
    /// What its pixels take of the budget, until it is dropped.
    pub memory: Reserved,
}

/// The bytes of the file at `path`, if it begins like a picture and is not too large to be one.
///
/// # Errors
/// The [`Fault`] of a file that can't be read or is no picture.
pub fn load(path: &Path, settings: &IngestSettings) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: io::Error| Fault::new(Reason::Unreadable, error.to_string());
    let mut file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut bytes).map_err(unreadable)?;
    format::tell(&bytes)?;
    let size = file.metadata().map_err(unreadable)?.len();
    check::bytes(size, settings)?;
    bytes.reserve_exact(usize::try_from(size).unwrap_or(0).saturating_sub(bytes.len()));
    // A file that grows meanwhile is read no further than is allowed.
    let rest = most_bytes(settings).saturating_add(1) - bytes.len() as u64;
    file.take(rest).read_to_end(&mut bytes).map_err(unreadable)?;
    check::bytes(bytes.len() as u64, settings)?;
    Ok(bytes)
}

/// Reads and decodes the file at `path`, without limits of memory.
///
/// # Errors
/// The [`Fault`] of the file; no content makes this panic.
pub fn read(path: &Path, settings: &IngestSettings) -> Result<Picture, Fault> {
    decode(&load(path, settings)?, settings)
}

/// Decodes a picture without limits of memory.
///
/// # Errors
/// The [`Fault`] of the picture; no content makes this panic.
pub fn decode(bytes: &[u8], settings: &IngestSettings) -> Result<Picture, Fault> {
    Decoder::new(settings).decode(bytes)
}

/// Decodes pictures by settings, within a budget of memory and of time. Many threads may share it.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    settings: &'a IngestSettings,
    memory: MemoryBudget,
    time_limit: Duration,
}

impl<'a> Decoder<'a> {
    /// A decoder without limits of memory; a picture may take [`TIME_LIMIT`].
    pub fn new(settings: &'a IngestSettings) -> Self {
        Self { settings, memory: MemoryBudget::unlimited(), time_limit: TIME_LIMIT }
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

    /// Decodes a picture. The same bytes and settings give the same pixels, however many threads
    /// there are and whatever the limits, unless one is reached.
    ///
    /// Waits for memory, so that the caller must not hold on to a [`Picture`] meanwhile.
    ///
    /// # Errors
    /// The [`Fault`] of the picture; no content makes this panic.
    pub fn decode(&self, bytes: &[u8]) -> Result<Picture, Fault> {
        let format = format::tell(bytes)?;
        check::bytes(bytes.len() as u64, self.settings)?;
        let job = Job {
            bytes,
            settings: self.settings,
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
    settings: &'a IngestSettings,
    content_hash: [u8; 32],
    deadline: Deadline,
    memory: &'a MemoryBudget,
}

/// What they give back.
struct Decoded {
    rgb: RgbImage,
    /// How the picture is turned upright.
    orientation: Orientation,
    /// The whole picture's size as it is stored.
    size: (u32, u32),
    reduced: Reduced,
    cut_short: bool,
    memory: Reserved,
}

impl Job<'_> {
    fn picture(&self, format: Format) -> Result<Picture, Fault> {
        let decoded = match format {
            Format::Jpeg => jpeg::decode(self)?,
            Format::Avif => avif::decode(self)?,
            Format::WebP => webp::decode(self)?,
            Format::Tiff => tiff::decode(self)?,
            Format::Other(format) => still::decode(self, format)?,
        };
        let Decoded { rgb, orientation, size, reduced, cut_short, mut memory } = decoded;
        check::colours(&rgb, self.settings.one_colour)?;
        let rgb = match orientation {
            Orientation::NoTransforms => rgb,
            turned => {
                let mut picture = DynamicImage::from(rgb);
                picture.apply_orientation(turned);
                picture.into_rgb8()
            }
        };
        memory.shrink(rgb.as_raw().len() as u64);
        Ok(Picture {
            content_hash: self.content_hash,
            rgb,
            size: self.upright(size, orientation),
            reduced,
            cut_short,
            memory,
        })
    }

    /// Checks the size that a header tells; the number of pixels.
    fn check_sides(&self, size: (u32, u32)) -> Result<u64, Fault> {
        check::sides(size, self.settings)?;
        Ok(u64::from(size.0) * u64::from(size.1))
    }

    /// The size of an upright picture that is stored in `size`.
    fn upright(&self, (width, height): (u32, u32), turned: Orientation) -> (u32, u32) {
        match turned.to_exif() {
            5..=8 => (height, width),
            _ => (width, height),
        }
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
