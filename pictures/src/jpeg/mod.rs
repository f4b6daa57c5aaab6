//! JPEG: baseline, progressive and lossless, grey, YCbCr, RGB, CMYK and YCCK, whole or cut short.

mod scans;
mod uneven;

use image::metadata::Orientation;
use image::{GrayImage, RgbImage};
use libjpeg_turbo_rs::{DecodeLimits, DecodeWarning, Decoder, FrameHeader, JpegError, PixelFormat};
use schemas::{Fault, Reason};

use self::scans::Scans;
use super::still::orientation;
use super::{Decoded, Job, canvas, colour};

/// Most scans of a file. Encoders make a dozen, twenty at most; each costs a pass over all blocks.
const MOST_SCANS: usize = 100;

pub(super) fn decode(job: &Job<'_>) -> Result<Decoded, Fault> {
    let limits = DecodeLimits {
        max_width: usize::from(u16::MAX),
        max_height: usize::from(u16::MAX),
        max_pixels: job.options.max_pixels,
        max_scans: MOST_SCANS,
        max_memory: None,
    };
    let scans = Scans::find(job.bytes);
    let bytes = scans.with_an_end(job.bytes);
    let mut decoder = Decoder::new_with_limits(&bytes, limits).map_err(fault)?;
    let frame = decoder.header();
    let size = (u32::from(frame.width), u32::from(frame.height));
    let pixels = job.check_sides(size)?;
    let components = checked_components(frame)?;
    scans.check_entropy(decoder.is_arithmetic())?;
    uneven::check_ratios(frame)?;
    let uneven = !frame.is_lossless && uneven::is_uneven(frame);

    // A broken EXIF block says nothing about the picture.
    let orientation = decoder.exif_data().map_or(Orientation::NoTransforms, orientation);

    // The picture and its copy while it is converted or turned, planes as stored and as spread out,
    // and, where several scans make up a block, its coefficients.
    let mut needed = (pixels + 1) * (8 + 2 * components as u64);
    if decoder.has_multiple_scans() {
        needed += pixels * 2 * components as u64;
    }
    let memory = job.reserve(needed + (1 << 20))?;

    decoder.set_output_format(match components {
        1 => PixelFormat::Grayscale,
        4 => PixelFormat::Cmyk,
        _ => PixelFormat::Rgb,
    });
    decoder.set_lenient(true);
    let profile = decoder.icc_profile().ok().flatten();
    let (size, samples, warnings) = if uneven {
        let (samples, warnings) = uneven::decode(decoder)?;
        (size, samples, warnings)
    } else {
        let picture = decoder.decode_image().map_err(fault)?;
        ((picture.width as u32, picture.height as u32), picture.data, picture.warnings)
    };
    let cut_short = check_share(&warnings, &scans, job)?;
    let rgb = to_rgb(components, size, samples, profile.as_deref(), job.options.background)?;
    Ok(Decoded { rgb, orientation, cut_short, memory })
}

/// How many components a picture has, if such are read.
fn checked_components(frame: &FrameHeader) -> Result<usize, Fault> {
    let components = frame.components.len();
    if frame.precision != 8 || !matches!(components, 1 | 3 | 4) {
        return Err(Fault::new(
            Reason::Unsupported,
            format!(
                "a JPEG of {components} components and {} bits; 1, 3 or 4 of 8 bits are read",
                frame.precision,
            ),
        ));
    }
    Ok(components)
}

/// Samples of so many components a pixel → RGB.
fn to_rgb(
    components: usize,
    (width, height): (u32, u32),
    samples: Vec<u8>,
    profile: Option<&[u8]>,
    background: [u8; 3],
) -> Result<RgbImage, Fault> {
    let mismatch = || Fault::corrupt("the decoder gave another number of pixels than it said");
    Ok(match components {
        1 => {
            let grey = GrayImage::from_raw(width, height, samples).ok_or_else(mismatch)?;
            canvas::flatten(grey.into(), profile, background)
        }
        4 => {
            // Ink is stored as its absence, as Adobe's programs began to do it; so do those that
            // leave out the segment with Adobe's name.
            let mut cmyk = samples;
            cmyk.iter_mut().for_each(|value| *value = 255 - *value);
            let rgb = colour::from_cmyk(&cmyk, profile);
            RgbImage::from_raw(width, height, rgb).ok_or_else(mismatch)?
        }
        _ => {
            let rgb = RgbImage::from_raw(width, height, samples).ok_or_else(mismatch)?;
            canvas::flatten(rgb.into(), profile, background)
        }
    })
}

/// Whether the picture is cut short; a fault if too little of it is there.
///
/// The share is that of the coefficients of all blocks that the file holds, a refinement of bits
/// not counted: for a picture in one scan, that of its blocks.
fn check_share(warnings: &[DecodeWarning], scans: &Scans, job: &Job<'_>) -> Result<bool, Fault> {
    let (mut reached, mut damaged, mut short) = (1.0, 0, false);
    for warning in warnings {
        match warning {
            DecodeWarning::TruncatedData { decoded_mcus, total_mcus } => {
                reached = *decoded_mcus as f64 / (*total_mcus).max(1) as f64;
                short = true;
            }
            DecodeWarning::HuffmanError { .. } => damaged += 1,
            DecodeWarning::WarningsSuppressed { count } => damaged += count,
            DecodeWarning::UnsupportedRecovered { detail } => {
                return Err(Fault::new(Reason::Unsupported, detail.clone()));
            }
            _ => {}
        }
    }
    // Without an end, scans may be missing of which nothing else tells.
    let cut_short = short || !scans.ended && scans.share(1.0) < 1.0;
    let share = if cut_short { scans.share(reached) } else { 1.0 };
    let share = share * (1.0 - damaged as f64 / scans.units().max(1) as f64).max(0.0);
    let least = f64::from(job.options.min_decoded) / 100.0;
    if share < least {
        return Err(Fault::new(
            Reason::Corrupt,
            format!(
                "{:.0} % of the JPEG decodes, less than --min-decoded {} %",
                (share * 100.0).floor(),
                job.options.min_decoded
            ),
        ));
    }
    if cut_short && job.options.strict {
        return Err(Fault::new(
            Reason::Corrupt,
            format!(
                "the JPEG is cut short at {:.1} %, which --strict refuses",
                (share * 1000.0).floor() / 10.0
            ),
        ));
    }
    Ok(cut_short)
}

fn fault(error: JpegError) -> Fault {
    let reason = match &error {
        JpegError::Unsupported(_) => Reason::Unsupported,
        JpegError::LimitExceeded { what, .. } if what.contains("scan") => {
            let message = format!("more than {MOST_SCANS} scans");
            return Fault::new(Reason::OverTime, message);
        }
        JpegError::LimitExceeded { .. } | JpegError::AllocationFailed { .. } => Reason::TooLarge,
        _ => Reason::Corrupt,
    };
    Fault::new(reason, error.to_string())
}
