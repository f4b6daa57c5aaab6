//! Embedded colour profiles → sRGB.
//!
//! A profile that is broken, or meant for other pixels than those at hand, is passed over: the
//! values are then taken as sRGB, and CMYK is converted by the plain rule.

use std::sync::{Arc, Mutex, PoisonError};

use formats::caught;
use image::RgbImage;
use moxcms::{ColorProfile, DataColorSpace, Layout, Transform8BitExecutor, TransformOptions};

/// The largest profile that is looked at; those of presses have two or three million bytes.
const MOST_BYTES: usize = 8 << 20;
/// Profiles whose transforms are kept: a collection has few, and each takes some time to set up.
const KEPT: usize = 16;
/// Pixels that are converted at a time.
const STEP: usize = 4096;

/// What a profile does to pixels; none if there is nothing to do or nothing that can be done.
type Conversion = Option<Arc<Transform8BitExecutor>>;
static CONVERSIONS: Mutex<Vec<([u8; 32], Conversion)>> = Mutex::new(Vec::new());

/// Brings RGB, or grey spread to RGB, to sRGB.
pub(super) fn to_srgb(picture: &mut RgbImage, profile: Option<&[u8]>, grey: bool) {
    let space = if grey { DataColorSpace::Gray } else { DataColorSpace::Rgb };
    if let Some(conversion) = profile.and_then(|profile| conversion(profile, space)) {
        convert(picture, conversion.as_ref(), grey);
    }
}

/// Brings RGB of these primaries (code points of ITU-T H.273) to sRGB. The transfer curve is taken
/// as that of sRGB, as it is on screens; so are those of high dynamic range, for want of a rule.
pub(super) fn primaries_to_srgb(picture: &mut RgbImage, primaries: u8) {
    // Those of BT.709 are sRGB's own; others than these two are of old television sets.
    let profile = match primaries {
        9 => ColorProfile::new_bt2020(),
        12 => ColorProfile::new_display_p3(),
        _ => return,
    };
    let profile = with_srgb_curve(profile);
    if let Some(conversion) = profile.and_then(|profile| conversion(&profile, DataColorSpace::Rgb))
    {
        convert(picture, conversion.as_ref(), false);
    }
}

fn with_srgb_curve(mut profile: ColorProfile) -> Option<Vec<u8>> {
    let srgb = ColorProfile::new_srgb();
    profile.red_trc = srgb.red_trc;
    profile.green_trc = srgb.green_trc;
    profile.blue_trc = srgb.blue_trc;
    profile.cicp = None;
    profile.encode().ok()
}

fn convert(picture: &mut RgbImage, conversion: &Transform8BitExecutor, grey: bool) {
    let samples = picture.as_flat_samples_mut().samples;
    if grey {
        // A curve and no more: what becomes of the 256 levels says everything.
        let levels: Vec<u8> = (0..=255).collect();
        let mut table = [0; 3 * 256];
        if conversion.transform(&levels, &mut table).is_ok() {
            samples.iter_mut().for_each(|value| *value = table[3 * usize::from(*value)]);
        }
        return;
    }
    let mut converted = [0; 3 * STEP];
    for part in samples.chunks_mut(3 * STEP) {
        let converted = &mut converted[..part.len()];
        if conversion.transform(part, converted).is_ok() {
            part.copy_from_slice(converted);
        }
    }
}

/// CMYK, where 255 is all the ink there is, → sRGB.
pub(super) fn from_cmyk(cmyk: &[u8], profile: Option<&[u8]>) -> Vec<u8> {
    let mut rgb = vec![0; cmyk.len() / 4 * 3];
    let conversion = profile.and_then(|profile| conversion(profile, DataColorSpace::Cmyk));
    for (from, to) in cmyk.chunks(4 * STEP).zip(rgb.chunks_mut(3 * STEP)) {
        let done = conversion.as_ref().is_some_and(|known| known.transform(from, to).is_ok());
        if !done {
            plain_cmyk(from, to);
        }
    }
    rgb
}

fn plain_cmyk(cmyk: &[u8], rgb: &mut [u8]) {
    for (from, to) in cmyk.chunks_exact(4).zip(rgb.chunks_exact_mut(3)) {
        let paper = 255 - u32::from(from[3]);
        for (to, &ink) in to.iter_mut().zip(from) {
            *to = (((255 - u32::from(ink)) * paper + 127) / 255) as u8;
        }
    }
}

fn conversion(profile: &[u8], space: DataColorSpace) -> Conversion {
    if profile.len() > MOST_BYTES {
        return None;
    }
    let key = *blake3::Hasher::new().update(&[space as u8]).update(profile).finalize().as_bytes();
    let conversions = || CONVERSIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, known)) = conversions().iter().find(|(known, _)| *known == key) {
        return known.clone();
    }
    let made = caught(|| make(profile, space)).ok().flatten();
    let mut conversions = conversions();
    if conversions.len() >= KEPT {
        conversions.remove(0);
    }
    conversions.push((key, made.clone()));
    made
}

fn make(profile: &[u8], space: DataColorSpace) -> Conversion {
    let profile = ColorProfile::new_from_slice(profile).ok()?;
    if profile.color_space != space {
        return None;
    }
    let from = match space {
        DataColorSpace::Gray => Layout::Gray,
        // The library's name for four channels of any kind.
        DataColorSpace::Cmyk => Layout::Rgba,
        _ => Layout::Rgb,
    };
    let srgb = ColorProfile::new_srgb();
    let options = TransformOptions::default();
    let conversion = profile.create_transform_8bit(from, &srgb, Layout::Rgb, options).ok()?;
    (!is_nothing(&conversion, space)).then_some(conversion)
}

/// Whether the profile is sRGB itself, as most are: no colour moves by more than rounding does.
fn is_nothing(conversion: &Arc<Transform8BitExecutor>, space: DataColorSpace) -> bool {
    const LEVELS: [u8; 6] = [0, 51, 102, 153, 204, 255];
    let probes: Vec<u8> = match space {
        DataColorSpace::Gray => (0..=255).collect(),
        DataColorSpace::Rgb => {
            let pairs = || LEVELS.iter().flat_map(|&g| LEVELS.map(|b| (g, b)));
            LEVELS.iter().flat_map(|&r| pairs().flat_map(move |(g, b)| [r, g, b])).collect()
        }
        _ => return false,
    };
    let wanted: Vec<u8> = match space {
        DataColorSpace::Gray => probes.iter().flat_map(|&value| [value; 3]).collect(),
        _ => probes.clone(),
    };
    let mut found = vec![0; wanted.len()];
    conversion.transform(&probes, &mut found).is_ok()
        && found.iter().zip(&wanted).all(|(&found, &wanted)| found.abs_diff(wanted) <= 1)
}
