//! Embedded colour profiles are brought to sRGB.

use image::{ImageEncoder, Rgb, RgbImage};
use jpeg_encoder::ColorType;
use moxcms::ColorProfile;

use super::make::{jpeg_of, slopes};
use super::{assert_near, decode};

fn png(picture: &RgbImage, profile: Vec<u8>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
    encoder.set_icc_profile(profile).unwrap();
    let (width, height) = picture.dimensions();
    let kind = image::ExtendedColorType::Rgb8;
    encoder.write_image(picture.as_raw(), width, height, kind).unwrap();
    file
}

fn jpeg(picture: &RgbImage, profile: &[u8]) -> Vec<u8> {
    jpeg_of(picture.as_raw(), picture.dimensions(), ColorType::Rgb, |encoder| {
        encoder.add_icc_profile(profile).unwrap();
    })
}

#[test]
fn wide_colours_become_those_of_srgb() {
    // Display P3's (234, 51, 35) is sRGB's pure red, as Apple's documents have it.
    let p3 = ColorProfile::new_display_p3().encode().unwrap();
    let red = RgbImage::from_fn(32, 32, |x, _| Rgb(if x < 16 { [234, 51, 35] } else { [40; 3] }));
    for file in [png(&red, p3.clone()), jpeg(&red, &p3)] {
        let found = decode(&file).unwrap().rgb;
        let Rgb([r, g, b]) = *found.get_pixel(5, 5);
        assert!(r >= 252 && g <= 12 && b <= 12, "{r} {g} {b}");
        let Rgb(grey) = *found.get_pixel(25, 5);
        assert!(grey.iter().all(|value| value.abs_diff(40) <= 1), "{grey:?}");
    }
}

#[test]
fn a_profile_of_srgb_changes_nothing() {
    let rgb = slopes();
    let file = png(&rgb, ColorProfile::new_srgb().encode().unwrap());
    assert!(decode(&file).unwrap().rgb == rgb);
}

#[test]
fn a_grey_profile_is_a_curve() {
    let grey = image::DynamicImage::from(slopes()).into_luma8();
    let mut file = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
    let profile = ColorProfile::new_gray_with_gamma(1.0);
    encoder.set_icc_profile(profile.encode().unwrap()).unwrap();
    let kind = image::ExtendedColorType::L8;
    encoder.write_image(grey.as_raw(), grey.width(), grey.height(), kind).unwrap();
    let found = decode(&file).unwrap().rgb;
    for (found, light) in found.pixels().zip(grey.pixels()) {
        let light = f64::from(light.0[0]) / 255.0;
        let srgb = if light <= 0.003_130_8 {
            12.92 * light
        } else {
            1.055 * light.powf(1.0 / 2.4) - 0.055
        };
        assert!((f64::from(found.0[0]) - srgb * 255.0).abs() <= 2.0, "{light} {found:?}");
        assert!(found.0.iter().all(|value| *value == found.0[0]));
    }
}

#[test]
fn a_broken_or_foreign_profile_is_passed_over() {
    let rgb = slopes();
    let p3 = ColorProfile::new_display_p3().encode().unwrap();
    let grey = ColorProfile::new_gray_with_gamma(1.0).encode().unwrap();
    let mut damaged = p3.clone();
    damaged[130..200].fill(0xff);
    for profile in [vec![7; 300], p3[..p3.len() / 3].to_vec(), grey, damaged] {
        assert!(decode(&png(&rgb, profile.clone())).unwrap().rgb == rgb);
        assert_near(&decode(&jpeg(&rgb, &profile)).unwrap().rgb, &rgb, 6, 3.0, "JPEG");
    }
}

/// The profile of a press: white paper, black where there is key ink, and a grey of L = 50 for
/// whatever other inks there are in full. A table of two steps an ink (ICC.1:2010, 10.10).
pub fn press() -> Vec<u8> {
    let mut table = b"mft1\0\0\0\0\x04\x03\x02\0".to_vec();
    for place in 0..9 {
        table.extend((if place % 4 == 0 { 0x1_0000u32 } else { 0 }).to_be_bytes());
    }
    let straight: Vec<u8> = (0..=255).collect();
    table.extend(straight.repeat(4));
    for corner in 0..16u8 {
        let light = match corner {
            0 => 255,
            inks if inks & 1 == 1 => 0,
            _ => 128,
        };
        table.extend([light, 128, 128]);
    }
    table.extend(straight.repeat(3));
    let mut profile = vec![0; 128];
    profile[8] = 2;
    profile[12..24].copy_from_slice(b"prtrCMYKLab ");
    profile[36..40].copy_from_slice(b"acsp");
    // The illuminant, D50.
    profile[68..80].copy_from_slice(&[0, 0, 0xf6, 0xd6, 0, 1, 0, 0, 0, 0, 0xd3, 0x2d]);
    profile.extend([0, 0, 0, 1]);
    profile.extend(b"A2B0");
    profile.extend(144u32.to_be_bytes());
    profile.extend((table.len() as u32).to_be_bytes());
    profile.extend(table);
    let length = profile.len() as u32;
    profile[..4].copy_from_slice(&length.to_be_bytes());
    profile
}

#[test]
fn a_press_profile_is_used_for_cmyk() {
    let inks: Vec<u8> = (0..32 * 32)
        .flat_map(|at| match at % 32 / 8 {
            0 => [0, 0, 0, 0],
            1 => [255, 0, 0, 0],
            2 => [0, 0, 255, 0],
            _ => [0, 0, 0, 255],
        })
        .collect();
    for kind in [ColorType::Cmyk, ColorType::CmykAsYcck] {
        let file = jpeg_of(&inks, (32, 32), kind, |encoder| {
            encoder.add_icc_profile(&press()).unwrap();
        });
        let found = decode(&file).unwrap().rgb;
        // L = 50 is 119 in sRGB.
        for (x, wanted) in [(4, 255u8), (12, 119), (20, 119), (28, 0)] {
            let Rgb(pixel) = *found.get_pixel(x, 16);
            assert!(pixel.iter().all(|value| value.abs_diff(wanted) <= 6), "{x}: {pixel:?}");
        }
        let plain = decode(&jpeg_of(&inks, (32, 32), kind, |_| {})).unwrap().rgb;
        let Rgb([r, g, b]) = *plain.get_pixel(12, 16);
        assert!(r <= 8 && g >= 247 && b >= 247, "cyan without a profile: {r} {g} {b}");
    }
}
