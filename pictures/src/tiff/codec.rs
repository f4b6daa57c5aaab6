//! What a chunk's bytes are compressed with → the bytes.

use schemas::{Fault, Reason};
use weezl::{BitOrder, LzwStatus};

use super::fill::fill;
use super::ifd::Endian;
use super::lzma;

/// How chunks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    /// Rows of CCITT's fax codes, each from a byte or two on.
    FaxRows {
        words: bool,
    },
    Fax3,
    Fax4,
    Lzw,
    OldJpeg,
    Jpeg,
    Deflate,
    PackBits,
    Lzma,
    Zstd,
    WebP,
}

impl Compression {
    pub fn of(code: u64) -> Result<Self, Fault> {
        let name = match code {
            0 | 1 => return Ok(Self::None),
            2 => return Ok(Self::FaxRows { words: false }),
            32771 => return Ok(Self::FaxRows { words: true }),
            3 => return Ok(Self::Fax3),
            4 => return Ok(Self::Fax4),
            5 => return Ok(Self::Lzw),
            6 => return Ok(Self::OldJpeg),
            // The latter is what DNG calls it.
            7 | 34892 => return Ok(Self::Jpeg),
            8 | 32946 => return Ok(Self::Deflate),
            32773 => return Ok(Self::PackBits),
            34925 => return Ok(Self::Lzma),
            50000 => return Ok(Self::Zstd),
            50001 => return Ok(Self::WebP),
            9 | 10 | 34661 => "JBIG",
            32766 => "NeXT's codec",
            32809 => "ThunderScan's codec",
            33003..=33005 | 34712 => "JPEG 2000",
            34676 | 34677 => "SGI's logarithmic codec",
            34887 => "LERC",
            50002 | 52546 => "JPEG XL",
            _ => "an unknown codec",
        };
        let message = format!("a TIFF compressed with {name} ({code}), which is not read");
        Err(Fault::new(Reason::Unsupported, message))
    }

    pub fn is_fax(self) -> bool {
        matches!(self, Self::FaxRows { .. } | Self::Fax3 | Self::Fax4)
    }

    /// Whether a chunk is a picture by itself, with sides and colours of its own.
    pub fn holds_pictures(self) -> bool {
        matches!(self, Self::OldJpeg | Self::Jpeg | Self::WebP)
    }

    pub fn has_predictor(self) -> bool {
        matches!(self, Self::Lzw | Self::Deflate | Self::Lzma | Self::Zstd)
    }
}

/// The largest window of Zstandard that is made room for: that of its highest level.
const MOST_WINDOW: u64 = 128 << 20;

/// The bytes of what it has given that a decoder of Zstandard keeps, told by a frame (RFC 8878,
/// 3.1.1.1).
pub(super) fn zstd_window(frame: &[u8]) -> u64 {
    let window = match *frame {
        // The content's size stands for it, as many bytes as two bits tell.
        [0x28, 0xb5, 0x2f, 0xfd, about, ..] if about & 0x20 != 0 => {
            let start = 5 + [0, 1, 2, 4][usize::from(about & 3)];
            let (length, more) = [(1, 0), (2, 256), (4, 0), (8, 0)][usize::from(about >> 6)];
            let size = frame.get(start..start + length).unwrap_or_default();
            Endian::Little.uint(size).saturating_add(more)
        }
        [0x28, 0xb5, 0x2f, 0xfd, _, window, ..] => {
            let base = 1u64 << (10 + (window >> 3));
            base + base / 8 * u64::from(window & 7)
        }
        _ => 0,
    };
    window.min(MOST_WINDOW)
}

/// Fills `to`; how many bytes of it there were. More than fit are not looked at. `window` is the
/// most that Zstandard may keep.
pub(super) fn unpack(
    compression: Compression,
    window: u64,
    from: &[u8],
    to: &mut [u8],
) -> Result<usize, Fault> {
    match compression {
        Compression::None => {
            let length = from.len().min(to.len());
            to[..length].copy_from_slice(&from[..length]);
            Ok(length)
        }
        Compression::PackBits => Ok(pack_bits(from, to)),
        Compression::Lzw => Ok(lzw(from, to)),
        Compression::Deflate => fill(flate2::read::ZlibDecoder::new(from), to),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(from).map_err(Fault::corrupt)?;
            let bits = window.next_power_of_two().ilog2().max(10);
            decoder.window_log_max(bits).map_err(Fault::corrupt)?;
            fill(decoder, to)
        }
        Compression::Lzma => lzma::unpack(from, to),
        // These need to know more of the page.
        _ => Ok(0),
    }
}

/// Runs and copies (TIFF 6.0, section 9).
fn pack_bits(mut from: &[u8], to: &mut [u8]) -> usize {
    let mut at = 0;
    while let [head, rest @ ..] = from
        && at < to.len()
    {
        let room = to.len() - at;
        let head = *head as i8;
        if head >= 0 {
            let length = rest.len().min(head as usize + 1);
            let copied = length.min(room);
            to[at..at + copied].copy_from_slice(&rest[..copied]);
            at += copied;
            from = &rest[length..];
        } else if head == i8::MIN {
            from = rest;
        } else {
            let [value, rest @ ..] = rest else { break };
            let length = (1 - isize::from(head)) as usize;
            let length = length.min(room);
            to[at..at + length].fill(*value);
            at += length;
            from = rest;
        }
    }
    at
}

fn lzw(mut from: &[u8], to: &mut [u8]) -> usize {
    // Files of before the standard begin with a clear code of the other order of bits.
    let mut decoder = match from {
        [0, second, ..] if second & 1 == 1 => weezl::decode::Decoder::new(BitOrder::Lsb, 8),
        _ => weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8),
    };
    let mut at = 0;
    while at < to.len() {
        let step = decoder.decode_bytes(from, &mut to[at..]);
        at += step.consumed_out;
        from = &from[step.consumed_in..];
        let stuck = step.consumed_in == 0 && step.consumed_out == 0;
        match step.status {
            Ok(LzwStatus::Ok) if !stuck => {}
            _ => break,
        }
    }
    at
}
