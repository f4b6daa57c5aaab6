//! Encoders for pictures that no camera makes.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

pub const WIDTH: u32 = 48;
pub const HEIGHT: u32 = 32;

/// A picture of smooth slopes, which every encoder keeps well.
pub fn slopes() -> RgbImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        Rgb([(x * 5) as u8, (y * 7) as u8, (255 - x * 3) as u8])
    })
}

/// A larger picture with some texture, so that every part of a file has something in it.
pub fn textured(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |period: f32, at: u32| ((at as f32 / period).sin() * 40.0 + 128.0) as u32;
        let value = wave(9.0, x + y / 2) + wave(5.0, y + x / 3) / 2;
        Rgb([(value / 2) as u8, (wave(17.0, x) / 2 + y % 32) as u8, (value / 3 + x % 16) as u8])
    })
}

pub fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.into().write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// A JPEG of these samples; `change` sets what else is wanted.
pub fn jpeg_of(
    samples: &[u8],
    (width, height): (u32, u32),
    kind: ColorType,
    change: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 95);
    encoder.set_sampling_factor(SamplingFactor::F_1_1);
    change(&mut encoder);
    encoder.encode(samples, width as u16, height as u16, kind).unwrap();
    file
}

pub fn jpeg(picture: &RgbImage) -> Vec<u8> {
    jpeg_of(picture.as_raw(), picture.dimensions(), ColorType::Rgb, |_| {})
}

pub fn progressive(picture: &RgbImage) -> Vec<u8> {
    jpeg_of(picture.as_raw(), picture.dimensions(), ColorType::Rgb, |encoder| {
        encoder.set_progressive(true);
    })
}

/// RGB as ink: black where it can be, 255 all there is.
pub fn inks(picture: &RgbImage) -> Vec<u8> {
    let ink = |Rgb([r, g, b]): &Rgb<u8>| {
        let paper = *r.max(g).max(b);
        let of = |value: u8| 255 - (u32::from(value) * 255 / u32::from(paper.max(1))) as u8;
        [of(*r), of(*g), of(*b), 255 - paper]
    };
    picture.pixels().flat_map(ink).collect()
}

/// Takes out the segments of an application (0xee is Adobe's, 0xe1 EXIF's).
pub fn without_segment(jpeg: &[u8], marker: u8) -> Vec<u8> {
    let mut out = jpeg[..2].to_vec();
    let mut at = 2;
    while jpeg[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if jpeg[at + 1] != marker {
            out.extend(&jpeg[at..end]);
        }
        at = end;
    }
    out.extend(&jpeg[at..]);
    out
}

/// Where the first scan's data begin.
pub fn first_scan(jpeg: &[u8]) -> usize {
    let mut at = 2;
    loop {
        let marker = jpeg[at + 1];
        at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if marker == 0xda {
            return at;
        }
    }
}

/// A chunk of a PNG.
pub fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut out = (content.len() as u32).to_be_bytes().to_vec();
    out.extend(name);
    out.extend(content);
    out.extend(crc32(&out[4..]).to_be_bytes());
    out
}

/// The checksum of PNG chunks (ISO 3309), bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for &byte in bytes {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

/// A zlib stream that stores its content as it is (RFC 1950, 1951).
pub fn zlib(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = content.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        out.push(u8::from(blocks.peek().is_none()));
        out.extend((block.len() as u16).to_le_bytes());
        out.extend((!(block.len() as u16)).to_le_bytes());
        out.extend(block);
    }
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in content {
        a = (a + u32::from(byte)) % 65521;
        b = (b + a) % 65521;
    }
    out.extend((b << 16 | a).to_be_bytes());
    out
}

pub fn png_header(width: u32, height: u32, depth: u8, colour: u8, interlaced: bool) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = width.to_be_bytes().to_vec();
    header.extend(height.to_be_bytes());
    header.extend([depth, colour, 0, 0, u8::from(interlaced)]);
    out.extend(chunk(b"IHDR", &header));
    out
}

/// An interlaced PNG (its seven passes stored one after another).
pub fn interlaced(picture: &RgbImage) -> Vec<u8> {
    const PASSES: [(usize, usize, usize, usize); 7] = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ];
    let (width, height) = picture.dimensions();
    let mut rows = Vec::new();
    for (x0, y0, step_x, step_y) in PASSES {
        for y in (y0..height as usize).step_by(step_y) {
            rows.push(0);
            for x in (x0..width as usize).step_by(step_x) {
                rows.extend(picture.get_pixel(x as u32, y as u32).0);
            }
        }
    }
    let mut out = png_header(width, height, 8, 2, true);
    out.extend(chunk(b"IDAT", &zlib(&rows)));
    out.extend(chunk(b"IEND", b""));
    out
}

/// A lossy or animated WebP can't be made by `image`: chunks around a lossless one.
pub fn riff(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (name, content) in chunks {
        body.extend(*name);
        body.extend((content.len() as u32).to_le_bytes());
        body.extend(content);
        body.extend(vec![0; content.len() % 2]);
    }
    let mut out = b"RIFF".to_vec();
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
    out
}
