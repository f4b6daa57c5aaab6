//! The bytes of a file → an upright RGB picture of 8 bits, or the reason why not.
//!
//! The format is told by content, never by name. EXIF orientation is applied, transparency is
//! laid over white, 16 bits become 8, grey becomes RGB; of an animation the first frame is taken.
//! Colour profiles are passed over: values are taken as sRGB.
//!
//! A JPEG cut short decodes as far as it goes, the rest grey, as in a browser; it is then marked
//! as such, or refused if asked for. The other formats' decoders give no picture at all from a
//! file cut short.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Mutex, Once, PoisonError};

use image::error::ImageError;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use schemas::{IngestSettings, Reason};

/// Bytes that tell every known format.
const HEAD: u64 = 4096;
/// A picture that takes more bytes than this decoded waits until no other such one is in work, so
/// that many threads at many large pictures don't exhaust the memory.
const LARGE: u64 = 256 << 20;
static ONE_LARGE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A decoded picture.
#[derive(Debug)]
pub struct Picture {
    /// BLAKE3 of the file.
    pub content_hash: [u8; 32],
    /// The upright picture.
    pub rgb: RgbImage,
    /// The file ends before the picture does.
    pub cut_short: bool,
}

/// Why a file gave no picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The stable code.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
}

impl Fault {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Reads and decodes the file at `path`.
///
/// # Errors
/// The [`Fault`] of the file; no content makes this panic.
pub fn read(path: &Path, settings: &IngestSettings) -> Result<Picture, Fault> {
    let (bytes, format) = load(path, settings.max_pixels)?;
    let content_hash = *blake3::hash(&bytes).as_bytes();
    let cut_short = format == ImageFormat::Jpeg && !jpeg_has_an_end(&bytes);
    if cut_short && settings.strict {
        return Err(Fault::new(Reason::Corrupt, "the JPEG is cut short, which --strict refuses"));
    }
    let rgb = without_panic(|| decode(&bytes, format, settings)).unwrap_or_else(|panic| {
        Err(Fault::new(Reason::DecoderPanic, format!("the decoder gave up: {panic}")))
    })?;
    Ok(Picture { content_hash, rgb, cut_short })
}

/// The bytes of a file that begins like a picture.
fn load(path: &Path, max_pixels: u64) -> Result<(Vec<u8>, ImageFormat), Fault> {
    let unreadable = |error: io::Error| Fault::new(Reason::Unreadable, error.to_string());
    let mut file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.is_empty() {
        return Err(Fault::new(Reason::Empty, "the file has no bytes"));
    }
    let format = format(&bytes)?;
    // No uncompressed picture that is allowed takes more; a film with a picture's first bytes does.
    let most = max_pixels.saturating_mul(8).saturating_add(1 << 20);
    let size = file.metadata().map_err(unreadable)?.len();
    if size > most {
        return Err(Fault::new(
            Reason::TooLarge,
            format!("the file has {size} bytes; no picture of {max_pixels} pixels needs {most}"),
        ));
    }
    bytes.reserve_exact(usize::try_from(size).unwrap_or(0).saturating_sub(bytes.len()));
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok((bytes, format))
}

/// Tells the format by the first bytes.
fn format(head: &[u8]) -> Result<ImageFormat, Fault> {
    const READ: [ImageFormat; 6] = [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ];
    let unsupported = |name: &str| {
        let message = format!("a {name} file; JPEG, PNG, WebP, GIF, BMP and TIFF are read");
        Err(Fault::new(Reason::Unsupported, message))
    };
    match image::guess_format(head) {
        Ok(format) if READ.contains(&format) => Ok(format),
        Ok(format) => unsupported(&format!("{format:?}")),
        Err(_) if matches!(head.get(4..12), Some(b"ftypheic" | b"ftypheix" | b"ftypmif1")) => {
            unsupported("HEIC")
        }
        Err(_) if head.starts_with(b"\xff\x0a") || head.starts_with(b"\0\0\0\x0cJXL ") => {
            unsupported("JPEG XL")
        }
        Err(_) => {
            let start = head[..head.len().min(24)].escape_ascii();
            Err(Fault::new(Reason::NotAPicture, format!("the file begins with \"{start}\"")))
        }
    }
}

fn decode(bytes: &[u8], format: ImageFormat, settings: &IngestSettings) -> Result<RgbImage, Fault> {
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format)
        .into_decoder()
        .map_err(|error| fault(&error))?;
    let (width, height) = decoder.dimensions();
    check_sides(width, height, settings)?;

    let needed = decoder.total_bytes();
    let _turn = (needed > LARGE)
        .then(|| ONE_LARGE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner));
    let mut limits = Limits::no_limits();
    // What the decoder may take for itself: a second copy of the picture and some room.
    limits.max_alloc = Some(needed.saturating_mul(2).saturating_add(64 << 20));
    decoder.set_limits(limits).map_err(|error| fault(&error))?;
    // A broken EXIF block says nothing about the picture.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| fault(&error))?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(opaque(picture))
}

fn check_sides(width: u32, height: u32, settings: &IngestSettings) -> Result<(), Fault> {
    let IngestSettings { min_side, max_pixels, .. } = *settings;
    if width.min(height) < min_side {
        return Err(Fault::new(
            Reason::TooSmall,
            format!("{width}×{height} pixels, a side under --min-side {min_side}"),
        ));
    }
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(Fault::new(
            Reason::TooLarge,
            format!("{width}×{height} pixels, more than --max-pixels {max_pixels}"),
        ));
    }
    Ok(())
}

fn fault(error: &ImageError) -> Fault {
    let reason = match error {
        ImageError::Unsupported(_) => Reason::Unsupported,
        ImageError::Limits(_) => Reason::TooLarge,
        _ => Reason::Corrupt,
    };
    Fault::new(reason, error.to_string())
}

/// RGB of 8 bits, with transparency laid over white.
fn opaque(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    let over_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (to, from) in rgb.pixels_mut().zip(rgba.pixels()) {
        let [r, g, b, alpha] = from.0;
        to.0 = [r, g, b].map(|value| over_white(value, alpha));
    }
    rgb
}

/// Whether a JPEG's segments and scans lead to an end-of-image marker (ITU T.81, annex B).
fn jpeg_has_an_end(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END: u8 = 0xd9;
    let mut at = 2;
    let mut in_scan = false;
    loop {
        let Some(step) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xff))
        else {
            return false;
        };
        at += step + 1;
        match bytes.get(at) {
            None => return false,
            // Fill bytes before a marker.
            Some(0xff) => {}
            // A stuffed byte or a restart marker belongs to the scan.
            Some(0x00 | 0x01 | 0xd0..=0xd8) => at += 1,
            Some(&END) => return true,
            // Damage inside a scan, over which decoders read.
            Some(0x02..=0xc3 | 0xc5..=0xcf | 0xde | 0xdf | 0xf0..=0xfd) if in_scan => at += 1,
            Some(&marker) => {
                let Some(&[high, low]) = bytes.get(at + 1..at + 3) else { return false };
                at += 1 + usize::from(u16::from_be_bytes([high, low])).max(2);
                in_scan |= marker == START_OF_SCAN;
            }
        }
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic becomes its message, and prints nothing.
///
/// The first call installs a panic hook that keeps quiet for this thread while it is in here and
/// else does what the hook before it did.
fn without_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
    })
}
