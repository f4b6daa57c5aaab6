//! WebP whose chunks are other than its header says.

use image::{ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use pictures::DecodeOptions;
use schemas::Reason;

use super::kinds::exif;
use super::make::{HEIGHT, WIDTH, encoded, riff, slopes};
use super::{decode, options};

type Chunk = (&'static [u8; 4], Vec<u8>);

const ALPHA: u8 = 0x10;
const EXIF: u8 = 0x08;
const XMP: u8 = 0x04;
const ANIMATION: u8 = 0x02;

/// The header of a file with more than a picture in it.
fn extended(flags: u8, width: u32, height: u32) -> Chunk {
    let mut header = vec![flags, 0, 0, 0];
    header.extend(&(width - 1).to_le_bytes()[..3]);
    header.extend(&(height - 1).to_le_bytes()[..3]);
    (b"VP8X", header)
}

fn lossless() -> Chunk {
    (b"VP8L", content(&encoded(slopes(), ImageFormat::WebP)))
}

fn lossy() -> Chunk {
    (b"VP8 ", content(include_bytes!("lossy.webp")))
}

/// What the only chunk of a file holds.
fn content(file: &[u8]) -> Vec<u8> {
    let length = u32::from_le_bytes(file[16..20].try_into().unwrap()) as usize;
    file[20..20 + length].to_vec()
}

/// Transparency, neither packed nor filtered: all there in the left half, none in the right one.
fn half_clear() -> Chunk {
    let alpha = (0..WIDTH * HEIGHT).map(|at| if at % WIDTH < WIDTH / 2 { 255 } else { 0 });
    (b"ALPH", [0].into_iter().chain(alpha).collect())
}

fn first_of_an_animation(chunks: &[Chunk], left: u32, top: u32) -> Chunk {
    let mut frame = Vec::new();
    for number in [left / 2, top / 2, WIDTH - 1, HEIGHT - 1, 100] {
        frame.extend(&number.to_le_bytes()[..3]);
    }
    frame.push(0);
    frame.extend(&riff(chunks)[12..]);
    (b"ANMF", frame)
}

/// A lossy picture with transparency.
pub fn half_clear_picture() -> Vec<u8> {
    riff(&[extended(ALPHA, WIDTH, HEIGHT), half_clear(), lossy()])
}

/// One that does not cover the whole, and another.
pub fn animation() -> Vec<u8> {
    riff(&[
        extended(ALPHA | ANIMATION, WIDTH + 30, HEIGHT + 20),
        (b"ANIM", vec![9; 6]),
        first_of_an_animation(&[half_clear(), lossy()], 10, 6),
        first_of_an_animation(&[lossless()], 0, 0),
    ])
}

#[track_caller]
fn same(file: &[u8], wanted: &RgbImage, name: &str) {
    let found = decode(file).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
    assert!(found.rgb == *wanted, "{name}");
    assert_eq!(found.size(), wanted.dimensions());
}

#[test]
fn flags_may_announce_what_is_not_there() {
    for chunk in [lossless(), lossy()] {
        let wanted = decode(&riff(std::slice::from_ref(&chunk))).unwrap().rgb;
        for flags in 0..=255 {
            let file = riff(&[extended(flags, WIDTH, HEIGHT), chunk.clone()]);
            same(&file, &wanted, &format!("flags {flags}"));
        }
    }
}

#[test]
fn chunks_may_come_in_any_order_and_unknown_ones_between_them() {
    let header = || extended(ALPHA | EXIF | XMP, WIDTH, HEIGHT);
    let unknown = || -> Chunk { (b"odd!", vec![7; 13]) };
    let wanted = decode(&riff(&[header(), half_clear(), lossy()])).unwrap().rgb;
    assert_eq!(wanted.get_pixel(WIDTH - 1, 3).0, [255; 3]);
    assert_ne!(wanted.get_pixel(3, 3).0, [255; 3]);
    for chunks in [
        vec![header(), lossy(), half_clear()],
        vec![lossy(), half_clear(), header()],
        vec![unknown(), header(), unknown(), half_clear(), unknown(), lossy(), unknown()],
        vec![header(), (b"XMP ", b"<x/>".to_vec()), half_clear(), lossy(), header(), lossless()],
    ] {
        same(&riff(&chunks), &wanted, &format!("{:?}", chunks.iter().map(|it| it.0)));
    }
    // A block of EXIF counts wherever it is, if it is announced.
    let turned = image::imageops::rotate90(&wanted);
    let block = || -> Chunk { (b"EXIF", exif(6)) };
    same(&riff(&[header(), block(), half_clear(), lossy()]), &turned, "EXIF first");
    same(&riff(&[header(), half_clear(), lossy(), block()]), &turned, "EXIF last");
    let silent = extended(ALPHA, WIDTH, HEIGHT);
    same(&riff(&[silent, half_clear(), lossy(), block()]), &wanted, "EXIF not announced");
}

#[test]
fn sizes_may_be_wrong_and_bytes_may_follow() {
    for chunks in [vec![lossless()], vec![extended(0, WIDTH, HEIGHT), lossy()]] {
        let whole = riff(&chunks);
        let wanted = decode(&whole).unwrap().rgb;
        let length = whole.len() as u32 - 8;
        for size in [0, 1, length / 2, length - 2, length + 1, length + 1000, u32::MAX] {
            let mut file = whole.clone();
            file[4..8].copy_from_slice(&size.to_le_bytes());
            same(&file, &wanted, &format!("size {size} for {length}"));
        }
        for tail in [&b"\r\n"[..], &[0; 100], b"<!-- cached -->", &riff(&[lossy()])] {
            same(&[&whole, tail].concat(), &wanted, "bytes that follow");
        }
        // An end that is missing is one of the picture.
        for cut in [1, 2, 30] {
            let even = whole.len() - usize::from(chunks[chunks.len() - 1].1.len() % 2 == 1);
            let fault = decode(&whole[..even - cut]).unwrap_err();
            assert_eq!(fault.reason, Reason::Corrupt, "{}", fault.message);
        }
    }
    // The byte that makes a chunk's length even may be missing, at the end and before.
    let odd: Chunk = (b"XMP ", b"<x/>1".to_vec());
    let whole = riff(&[extended(XMP, WIDTH, HEIGHT), odd, lossy()]);
    let at = whole.windows(5).position(|part| part == b"<x/>1").unwrap() + 5;
    let wanted = decode(&whole).unwrap().rgb;
    same(&[&whole[..at], &whole[at + 1..]].concat(), &wanted, "no fill byte");
}

#[test]
fn transparency_is_there_if_it_is_announced() {
    let opaque = decode(&riff(&[lossy()])).unwrap().rgb;
    let file = |flags| riff(&[extended(flags, WIDTH, HEIGHT), half_clear(), lossy()]);
    same(&file(0), &opaque, "not announced");
    let options = DecodeOptions { background: [1, 2, 3], ..options() };
    let found = pictures::decode(&file(ALPHA), &options).unwrap().rgb;
    for (x, _, pixel) in found.enumerate_pixels() {
        assert!((x < WIDTH / 2) != (*pixel == Rgb([1, 2, 3])), "{x}");
    }
    // A lossless picture says it itself.
    let clear = RgbaImage::from_fn(WIDTH, HEIGHT, |x, y| Rgba([x as u8, y as u8, 9, 5 * x as u8]));
    let still = encoded(clear, ImageFormat::WebP);
    let wanted = decode(&still).unwrap().rgb;
    let file = riff(&[extended(0, WIDTH, HEIGHT), (b"VP8L", content(&still))]);
    same(&file, &wanted, "lossless");
}

#[test]
fn the_first_picture_of_an_animation_lies_where_it_says() {
    let (width, height) = (WIDTH + 30, HEIGHT + 20);
    let picture = first_of_an_animation(&[half_clear(), lossy()], 10, 6);
    let single = decode(&half_clear_picture()).unwrap();
    let mut wanted = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    image::imageops::replace(&mut wanted, &single.rgb, 10, 6);
    let header = || extended(ALPHA | ANIMATION, width, height);
    let control = || -> Chunk { (b"ANIM", vec![9; 6]) };
    let second = first_of_an_animation(&[lossless()], 0, 0);
    same(&animation(), &wanted, "an animation");
    // Without what says how it is shown, or that it is one.
    same(&riff(&[header(), picture.clone(), second]), &wanted, "no control chunk");
    same(&riff(&[extended(ALPHA, width, height), picture.clone()]), &wanted, "not announced");
    // Outside of the whole it can't be.
    let small = extended(ALPHA | ANIMATION, WIDTH + 9, HEIGHT + 20);
    let fault = decode(&riff(&[small, control(), picture])).unwrap_err();
    assert_eq!(fault.reason, Reason::Corrupt, "{}", fault.message);
}

#[test]
fn a_still_picture_of_another_size_than_its_header_says_is_refused() {
    for (width, height) in [(WIDTH + 1, HEIGHT), (WIDTH, HEIGHT - 1), (2 * WIDTH, 2 * HEIGHT)] {
        for chunk in [lossless(), lossy()] {
            let fault = decode(&riff(&[extended(0, width, height), chunk])).unwrap_err();
            assert_eq!(fault.reason, Reason::Corrupt, "{}", fault.message);
        }
    }
    let fault = decode(&riff(&[extended(0, WIDTH, HEIGHT)])).unwrap_err();
    assert!(fault.message.contains("no chunk that holds a picture"), "{}", fault.message);
}
