//! AV1 data → decoded frames.

use avif_parse::{AV1Metadata, Error};
use re_rav1d::dav1d;
use schemas::{Fault, Reason};

/// Most frames in the data of a picture: one, or one a layer. Each is decoded in full.
const MOST_FRAMES: usize = 8;

/// What the first sequence header tells.
#[derive(Debug)]
pub(super) struct Header {
    pub size: (u32, u32),
    pub monochrome: bool,
    pub deep: bool,
}

impl Header {
    pub fn read(data: &[u8]) -> Result<Self, Fault> {
        let found = AV1Metadata::parse_av1_bitstream(data).map_err(fault)?;
        Ok(Self {
            size: (found.max_frame_width.get(), found.max_frame_height.get()),
            monochrome: found.monochrome,
            deep: found.bit_depth > 8,
        })
    }

    /// The bytes of one frame.
    pub fn frame_bytes(&self) -> u64 {
        self.bytes_of(u64::from(self.size.0) * u64::from(self.size.1))
    }

    /// The bytes of so many pixels of a frame.
    pub fn bytes_of(&self, pixels: u64) -> u64 {
        let planes = if self.monochrome { 1 } else { 3 };
        pixels.saturating_mul(planes * if self.deep { 2 } else { 1 })
    }
}

fn fault(error: Error) -> Fault {
    let reason = match error {
        Error::Unsupported(_) => Reason::Unsupported,
        Error::OutOfMemory => Reason::TooLarge,
        _ => Reason::Corrupt,
    };
    Fault::new(reason, error.to_string())
}

/// Decodes a picture, no frame of which may have more than `max_pixels`.
pub(super) fn decode(data: &[u8], max_pixels: u64) -> Result<dav1d::Picture, Fault> {
    let frames = count_frames(data)?;
    if frames > MOST_FRAMES {
        return Err(Fault::new(
            Reason::OverTime,
            format!("{frames} frames in an AVIF picture; up to {MOST_FRAMES} are decoded"),
        ));
    }
    let mut settings = dav1d::Settings::new();
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    settings.set_all_layers(false);
    settings.set_frame_size_limit(u32::try_from(max_pixels).unwrap_or(u32::MAX));
    let broken = |error: dav1d::Error| match error {
        dav1d::Error::Again => Fault::corrupt("the AV1 data holds no whole frame"),
        dav1d::Error::UnsupportedBitstream => Fault::new(Reason::Unsupported, error.to_string()),
        dav1d::Error::NotEnoughMemory => Fault::new(Reason::TooLarge, error.to_string()),
        error => Fault::corrupt(format!("AV1: {error}")),
    };
    let mut decoder = dav1d::Decoder::with_settings(&settings).map_err(broken)?;
    match decoder.send_data(data.to_vec(), None, None, None) {
        // A picture is ready before all data is taken.
        Ok(()) | Err(dav1d::Error::Again) => {}
        Err(error) => return Err(broken(error)),
    }
    decoder.get_picture().map_err(broken)
}

/// Frames in a sequence of open bitstream units (AV1 specification, 5.3).
fn count_frames(data: &[u8]) -> Result<usize, Fault> {
    const FRAME_HEADER: u8 = 3;
    const FRAME: u8 = 6;
    let cut = || Fault::corrupt("the AV1 data ends inside a unit");
    let mut frames = 0;
    let mut rest = data;
    while let Some((&head, tail)) = rest.split_first() {
        rest = tail.get(usize::from(head >> 2 & 1)..).ok_or_else(cut)?;
        frames += usize::from(matches!(head >> 3 & 15, FRAME_HEADER | FRAME));
        if head & 2 == 0 {
            break;
        }
        let mut size = 0u64;
        for place in 0..8 {
            let (&byte, tail) = rest.split_first().ok_or_else(cut)?;
            rest = tail;
            size |= u64::from(byte & 127) << (7 * place);
            if byte & 128 == 0 {
                break;
            }
        }
        rest = usize::try_from(size).ok().and_then(|size| rest.get(size..)).ok_or_else(cut)?;
    }
    Ok(frames)
}
