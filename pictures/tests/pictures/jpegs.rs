//! JPEGs as no camera writes them: inks, components sampled in odd ways, segments left out.

use image::{Rgb, RgbImage};
use jpeg_encoder::ColorType;
use libjpeg_turbo_rs::{ColorSpace, Encoder, PixelFormat};
use schemas::Reason;

use super::make::{inks, jpeg_of, slopes, textured, without_segment};
use super::{assert_near, decode};

/// Adobe's segment with this transform.
fn adobe(transform: u8) -> Vec<u8> {
    [b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0", &[transform][..]].concat()
}

/// The file with a segment put first.
fn with_segment(file: &[u8], segment: &[u8]) -> Vec<u8> {
    [&file[..2], segment, &file[2..]].concat()
}

/// Neither JFIF's segment nor Adobe's.
fn bare(file: &[u8]) -> Vec<u8> {
    without_segment(&without_segment(file, 0xe0), 0xee)
}

fn encoder(picture: &RgbImage) -> Encoder<'_> {
    let (width, height) = picture.dimensions();
    Encoder::new(picture.as_raw(), width as usize, height as usize, PixelFormat::Rgb).quality(95)
}

pub fn finer_chroma(picture: &RgbImage) -> Vec<u8> {
    encoder(picture).sampling_factors(vec![(1, 1), (2, 2), (2, 2)]).encode().unwrap()
}

pub fn lossless(picture: &RgbImage) -> Vec<u8> {
    encoder(picture).lossless(true).colorspace(ColorSpace::Rgb).encode().unwrap()
}

#[track_caller]
fn near(file: &[u8], wanted: &RgbImage, most: u8, name: &str) {
    let found = decode(file).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
    assert_near(&found.rgb, wanted, most, f64::from(most) / 3.0, name);
    assert!(!found.cut_short, "{name}");
}

#[test]
fn inks_are_stored_as_their_absence_whoever_wrote_them() {
    let rgb = slopes();
    let of = |kind, change: fn(&mut jpeg_encoder::Encoder<&mut Vec<u8>>)| {
        jpeg_of(&inks(&rgb), rgb.dimensions(), kind, change)
    };
    let plain = bare(&of(ColorType::Cmyk, |_| {}));
    let jfif = b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
    near(&plain, &rgb, 10, "no segment");
    near(&with_segment(&plain, jfif), &rgb, 10, "JFIF");
    near(&with_segment(&plain, &adobe(0)), &rgb, 10, "Adobe");
    near(&bare(&of(ColorType::Cmyk, |it| it.set_progressive(true))), &rgb, 10, "progressive");
    let ycck = bare(&of(ColorType::CmykAsYcck, |_| {}));
    near(&with_segment(&ycck, &adobe(2)), &rgb, 10, "YCCK");
    // Of four components, one is taken for luma only if Adobe's segment says so.
    let found = decode(&ycck).unwrap().rgb;
    assert!(super::distance(&found, &rgb).1 > 20.0);
}

#[test]
fn segments_and_names_of_components_tell_their_coding() {
    let picture = slopes();
    let ycc = bare(&encoder(&picture).encode().unwrap());
    let rgb = bare(&encoder(&picture).colorspace(ColorSpace::Rgb).encode().unwrap());
    let jfif = b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
    near(&ycc, &picture, 12, "YCbCr without segments");
    near(&with_segment(&ycc, &adobe(1)), &picture, 12, "YCbCr by Adobe");
    near(&with_segment(&ycc, jfif), &picture, 12, "YCbCr by JFIF");
    near(&rgb, &picture, 12, "RGB by its components' names");
    near(&with_segment(&rgb, &adobe(0)), &picture, 12, "RGB by Adobe");
}

#[test]
fn components_may_be_sampled_in_any_way() {
    // So smooth that what sampling takes away is little.
    let picture = RgbImage::from_fn(77, 53, |x, y| {
        Rgb([(60 + x * 2) as u8, (40 + y * 3) as u8, (200 - x - y) as u8])
    });
    for factors in [
        [(1, 1), (1, 1), (1, 1)],
        [(2, 1), (1, 1), (1, 1)],
        [(1, 2), (1, 1), (1, 1)],
        [(4, 1), (1, 1), (1, 1)],
        [(4, 2), (1, 1), (1, 1)],
        [(2, 2), (2, 1), (1, 2)],
        // Chroma finer than luma.
        [(1, 1), (2, 2), (2, 2)],
        [(1, 1), (2, 1), (2, 1)],
        [(1, 1), (1, 1), (2, 2)],
        [(2, 1), (1, 2), (1, 2)],
        [(2, 1), (1, 2), (1, 1)],
        [(1, 1), (4, 1), (1, 1)],
    ] {
        for (progressive, arithmetic) in [(false, false), (true, false), (false, true)] {
            let file = encoder(&picture)
                .sampling_factors(factors.to_vec())
                .progressive(progressive)
                .arithmetic(arithmetic)
                .encode()
                .unwrap();
            near(&file, &picture, 14, &format!("{factors:?}, {progressive}, {arithmetic}"));
        }
    }
}

#[test]
fn finer_chroma_that_is_cut_short_is_told_so() {
    let file = finer_chroma(&textured(200, 160));
    assert!(decode(&file[..file.len() - 40]).unwrap().cut_short);
    let fault = decode(&file[..file.len() / 2]).unwrap_err();
    assert_eq!(fault.reason, Reason::Corrupt, "{}", fault.message);
    assert!(fault.message.contains("--min-decoded"), "{}", fault.message);
}

#[test]
fn samples_of_no_whole_number_of_pixels_and_of_more_bits_are_told() {
    let picture = slopes();
    let mut file =
        encoder(&picture).sampling_factors(vec![(2, 1), (1, 1), (1, 1)]).encode().unwrap();
    let frame = file.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    let fault = |file: &[u8]| decode(file).unwrap_err();
    // Past marker, length, depth and sides: each component's name, factors and table.
    file[frame + 11] = 0x31;
    file[frame + 14] = 0x21;
    let told = fault(&file);
    assert_eq!(told.reason, Reason::Unsupported, "{}", told.message);
    assert!(told.message.contains("fractions"), "{}", told.message);
    file[frame + 4] = 12;
    assert!(fault(&file).message.contains("12 bits"), "{}", fault(&file).message);
}

#[test]
fn lossless_ones_are_read() {
    let picture = slopes();
    let found = decode(&lossless(&picture)).unwrap();
    assert!(found.rgb == picture);
    assert!(!found.cut_short);
}

#[test]
fn the_same_bytes_give_the_same_pixels_on_every_thread() {
    let file = jpeg_of(slopes().as_raw(), slopes().dimensions(), ColorType::Rgb, |_| {});
    let first = decode(&file).unwrap().rgb;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(decode(&file).unwrap().rgb == first));
        }
    });
}
