//! AVIF: a still picture, or the still picture of an animation.

mod properties;
mod yuv;

use avif_parse::{AV1Metadata, AvifData, Error};
use image::{Rgb, RgbImage};
use re_rav1d::dav1d::{self, PlanarImageComponent};
use schemas::Reason;

use self::properties::Properties;
use super::{Decoded, Fault, Job, Reduced, canvas, colour};

/// Most frames in the data of a picture: one, or one a layer. Each is decoded in full.
const MOST_FRAMES: usize = 8;
/// What the decoder takes for itself besides the frames.
const ROOM: u64 = 16 << 20;

pub(super) fn decode(job: &Job<'_>) -> Result<Decoded, Fault> {
    let file = container(job.bytes)?;
    let size = sides(&file.primary_item)?;
    let pixels = job.check_sides(size)?;
    let deep = AV1Metadata::parse_av1_bitstream(&file.primary_item).map_err(fault)?.bit_depth > 8;
    // Frame and reference, then RGB and its copies.
    let planes = if file.alpha_item.is_some() { 4 } else { 3 };
    let needed = pixels * (2 * planes * if deep { 2 } else { 1 } + 9);
    let memory = job.reserve(needed + ROOM)?;

    let properties = Properties::find(job.bytes);
    let frame = decode_av1(&file.primary_item, job.settings.max_pixels)?;
    let size = (frame.width(), frame.height());
    job.check_sides(size)?;
    let mut rgb = yuv::to_rgb(&frame, properties.coding)?;
    match (&properties.profile, properties.coding) {
        (Some(profile), _) => colour::to_srgb(&mut rgb, Some(profile), false),
        (None, Some(coding)) => colour::primaries_to_srgb(&mut rgb, coding.primaries),
        (None, None) => {}
    }
    if let Some(item) = &file.alpha_item {
        let alpha = decode_av1(item, job.settings.max_pixels)?;
        if (alpha.width(), alpha.height()) != size {
            return Err(Fault::corrupt("the transparency has another size than the picture"));
        }
        let alpha = yuv::first_plane(&alpha)?;
        lay(&mut rgb, &alpha, file.premultiplied_alpha, job.settings.background);
    }
    let orientation = properties.orientation;
    Ok(Decoded { rgb, orientation, size, reduced: Reduced::NOT, cut_short: false, memory })
}

fn container(bytes: &[u8]) -> Result<AvifData, Fault> {
    // The parser wants a still picture's brand; an animation has a still picture too, which is what
    // we are after.
    if bytes.get(8..12) == Some(b"avis") {
        let mut still = bytes.to_vec();
        still[8..12].copy_from_slice(b"avif");
        return AvifData::from_reader(&mut still.as_slice()).map_err(fault);
    }
    AvifData::from_reader(&mut &*bytes).map_err(fault)
}

fn fault(error: Error) -> Fault {
    let reason = match error {
        Error::Unsupported(_) => Reason::Unsupported,
        Error::OutOfMemory => Reason::TooLarge,
        _ => Reason::Corrupt,
    };
    Fault::new(reason, error.to_string())
}

/// The sides that the first sequence header tells, once the data is known to hold few frames.
fn sides(data: &[u8]) -> Result<(u32, u32), Fault> {
    let metadata = AV1Metadata::parse_av1_bitstream(data).map_err(fault)?;
    Ok((metadata.max_frame_width.get(), metadata.max_frame_height.get()))
}

fn decode_av1(data: &[u8], max_pixels: u64) -> Result<dav1d::Picture, Fault> {
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

fn lay(rgb: &mut RgbImage, alpha: &[u8], premultiplied: bool, background: [u8; 3]) {
    for (pixel, &alpha) in rgb.pixels_mut().zip(alpha) {
        if premultiplied {
            let mut under = Rgb([0; 3]);
            canvas::lay_over(&mut under, alpha, background);
            for (value, under) in pixel.0.iter_mut().zip(under.0) {
                *value = value.saturating_add(under);
            }
        } else {
            canvas::lay_over(pixel, alpha, background);
        }
    }
}

/// A plane, by its place.
const PLANES: [PlanarImageComponent; 3] =
    [PlanarImageComponent::Y, PlanarImageComponent::U, PlanarImageComponent::V];
