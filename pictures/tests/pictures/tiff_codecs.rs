//! TIFF strips and tiles in every codec that is read, made here.

use std::io::Write;

use fax::maps::{Mode, black, mode, white};
use fax::{BitWriter, Color, VecWriter};
use image::{ImageFormat, Rgb, RgbImage};
use jpeg_encoder::{ColorType, SamplingFactor};
use schemas::Reason;

use super::make::{HEIGHT, WIDTH, encoded, inks, jpeg, jpeg_of, slopes, without_segment};
use super::tiff_file::{FORMS, Form, PLAIN, Page, grey, rows, tag, tiles};
use super::{SIZE, decode, exact, near};

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Runs, copies, and the byte that means nothing.
fn pack_bits(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80];
    for part in bytes.chunk_by(|one, other| one == other) {
        for run in part.chunks(128) {
            match run.len() {
                1 => out.extend([0, run[0]]),
                length => out.extend([(257 - length) as u8, run[0]]),
            }
        }
    }
    out
}

/// XZ with one block, whose bytes are differences to the one `distance` before, stored as they are.
fn xz(bytes: &[u8], distance: usize) -> Vec<u8> {
    let difference = |at: usize| {
        let before = if at < distance { 0 } else { bytes[at - distance] };
        bytes[at].wrapping_sub(before)
    };
    // Two filters: differences, and LZMA2 with a dictionary of a MiB.
    let mut out = b"\xfd7zXZ\0\0\0----\x02\x01\x03\x01?\x21\x01\x10----".to_vec();
    out[16] = distance as u8 - 1;
    let differences: Vec<u8> = (0..bytes.len()).map(difference).collect();
    for (index, part) in differences.chunks(1000).enumerate() {
        out.push(if index == 0 { 1 } else { 2 });
        out.extend((part.len() as u16 - 1).to_be_bytes());
        out.extend(part);
    }
    out.push(0);
    out
}

/// Each sample as the difference to the same one of the pixel before.
fn predicted(form: Form, bits: usize, samples: &[u64], together: usize) -> Vec<u8> {
    let mask = u64::MAX >> (64 - bits);
    let row = WIDTH as usize * together;
    let difference = |(at, &sample): (usize, &u64)| {
        let before = if at % row < together { 0 } else { samples[at - together] };
        sample.wrapping_sub(before) & mask
    };
    let differences: Vec<u64> = samples.iter().enumerate().map(difference).collect();
    rows(form, bits, row, &differences)
}

/// Floating point: the bytes of a row by their weight, as differences.
fn sorted(samples: &[f32], together: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for row in samples.chunks(WIDTH as usize * together) {
        let byte = |weight: usize| row.iter().map(move |value| value.to_be_bytes()[weight]);
        let bytes: Vec<u8> = (0..4).flat_map(byte).collect();
        let before = |at: usize| if at < together { 0 } else { bytes[at - together] };
        out.extend((0..bytes.len()).map(|at| bytes[at].wrapping_sub(before(at))));
    }
    out
}

#[test]
fn every_codec_of_bytes_with_prediction_and_without() {
    let rgb = slopes();
    let samples: Vec<u64> = rgb.as_raw().iter().map(|&value| value.into()).collect();
    let deep: Vec<u64> = samples.iter().map(|value| value * 257).collect();
    let wide: Vec<u64> = samples.iter().map(|value| value * 0x0101_0101).collect();
    let fractions: Vec<f32> = samples.iter().map(|&value| value as f32 / 255.0).collect();
    let lzw = |bytes: &[u8]| {
        weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
            .encode(bytes)
            .unwrap()
    };
    let old_lzw =
        |bytes: &[u8]| weezl::encode::Encoder::new(weezl::BitOrder::Lsb, 8).encode(bytes).unwrap();
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let lzma = |bytes: &[u8]| xz(bytes, 3);
    type Codec<'a> = (&'a str, u16, &'a dyn Fn(&[u8]) -> Vec<u8>);
    let codecs: [Codec<'_>; 7] = [
        ("LZW", 5, &lzw),
        ("LZW of old", 5, &old_lzw),
        ("deflate", 8, &deflated),
        ("deflate of old", 32946, &deflated),
        ("PackBits", 32773, &pack_bits),
        ("Zstandard", 50000, &zstd),
        ("LZMA", 34925, &lzma),
    ];
    for form in FORMS {
        for (name, code, codec) in codecs {
            let page =
                |bits: u16| Page::new(form, SIZE, 2, &[bits; 3]).short(tag::COMPRESSION, &[code]);
            let strips = rgb.as_raw().chunks(3 * 7 * WIDTH as usize).map(codec).collect();
            exact(&page(8).strips(7, strips).file(), &rgb, name);
            let cut = tiles(rgb.as_raw(), 3, SIZE, (32, 16));
            let cut = cut.iter().map(|tile| codec(tile)).collect();
            exact(&page(8).tiles((32, 16), cut).file(), &rgb, name);
            if code == 32773 {
                continue;
            }
            for (bits, samples) in [(8, &samples), (16, &deep), (32, &wide)] {
                let bytes = predicted(form, bits, samples, 3);
                let page = page(bits as u16).short(tag::PREDICTOR, &[2]).strip(codec(&bytes));
                exact(&page.file(), &rgb, &format!("{name}, {bits} bits, prediction, {form:?}"));
            }
            let page = page(32)
                .short(tag::FORMAT, &[3; 3])
                .short(tag::PREDICTOR, &[3])
                .strip(codec(&sorted(&fractions, 3)));
            exact(&page.file(), &rgb, &format!("{name}, fractions, {form:?}"));
        }
    }
}

#[test]
fn lzma_as_libtiff_writes_it() {
    // Made of these slopes by Pillow 13.0 (`compression="lzma"`).
    exact(include_bytes!("lzma.tif"), &slopes(), "LZMA");
}

#[test]
fn webp_in_strips_and_tiles() {
    let rgb = slopes();
    for form in FORMS {
        let page = Page::new(form, SIZE, 2, &[8; 3]).short(tag::COMPRESSION, &[50001]);
        let strip = encoded(rgb.clone(), ImageFormat::WebP);
        exact(&page.clone().strip(strip.clone()).file(), &rgb, "strip");
        let clear = page.clone().short(tag::SAMPLES, &[4]).short(tag::EXTRA, &[2]).strip(strip);
        exact(&clear.file(), &rgb, "nowhere clear");
        let tile = |bytes: &Vec<u8>| {
            encoded(RgbImage::from_raw(32, 32, bytes.clone()).unwrap(), ImageFormat::WebP)
        };
        let cut = tiles(rgb.as_raw(), 3, SIZE, (32, 32)).iter().map(tile).collect();
        exact(&page.tiles((32, 32), cut).file(), &rgb, "tiles");
    }
}

/// A JPEG's tables, and what is left without them.
fn without_tables(jpeg: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut tables, mut rest) = (vec![0xff, 0xd8], vec![0xff, 0xd8]);
    let mut at = 2;
    while jpeg[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        let to = if matches!(jpeg[at + 1], 0xdb | 0xc4) { &mut tables } else { &mut rest };
        to.extend(&jpeg[at..end]);
        at = end;
    }
    tables.extend([0xff, 0xd9]);
    rest.extend(&jpeg[at..]);
    (tables, rest)
}

#[test]
fn jpeg_in_strips_and_tiles_with_chroma_whole_and_shared() {
    let rgb = slopes();
    let factors = [SamplingFactor::F_1_1, SamplingFactor::F_2_1, SamplingFactor::F_2_2];
    let part = |bytes: &[u8], size: (u32, u32), factor: SamplingFactor| {
        jpeg_of(bytes, size, ColorType::Rgb, |encoder| encoder.set_sampling_factor(factor))
    };
    for form in FORMS {
        for factor in factors {
            let name = format!("{factor:?}, {form:?}");
            // What the tag tells of chroma may be wrong: the JPEGs know better.
            let page = Page::new(form, SIZE, 6, &[8; 3]).short(tag::COMPRESSION, &[7]);
            let strips = rgb.as_raw().chunks(3 * 16 * WIDTH as usize);
            let strips: Vec<_> = strips.map(|it| part(it, (WIDTH, 16), factor)).collect();
            near(&page.clone().strips(16, strips.clone()).file(), &rgb, 12, &name);
            let (tables, _) = without_tables(&strips[0]);
            let bare = strips.iter().map(|strip| without_tables(strip).1).collect();
            let shared = page.clone().bytes(tag::JPEG_TABLES, &tables).strips(16, bare);
            near(&shared.file(), &rgb, 12, &format!("tables apart, {name}"));
            // The last strip may have the rows of the others.
            let whole = tiles(rgb.as_raw(), 3, SIZE, (WIDTH, 24));
            let whole = whole.iter().map(|it| part(it, (WIDTH, 24), factor)).collect();
            // Rubbish below the picture has rung into it.
            near(&page.clone().strips(24, whole).file(), &rgb, 48, &format!("high, {name}"));
            let cut = tiles(rgb.as_raw(), 3, SIZE, (16, 16));
            let cut = cut.iter().map(|it| part(it, (16, 16), factor)).collect();
            near(&page.tiles((16, 16), cut).file(), &rgb, 24, &format!("tiles, {name}"));
        }
    }
}

#[test]
fn jpegs_of_other_colours_are_what_the_directory_says() {
    let rgb = slopes();
    // Adobe's segment is not looked at: the samples are RGB here, and ink there.
    let plain = jpeg_of(rgb.as_raw(), SIZE, ColorType::Ycbcr, |_| {});
    let page = Page::new(PLAIN, SIZE, 2, &[8; 3]).short(tag::COMPRESSION, &[7]);
    near(&page.strip(plain).file(), &rgb, 6, "RGB");
    let cmyk = jpeg_of(&inks(&rgb), SIZE, ColorType::Cmyk, |_| {});
    // That encoder stores ink as its absence, as Adobe does in a file of its own.
    let negative: Vec<u8> = inks(&rgb).iter().map(|ink| 255 - ink).collect();
    for (samples, wanted) in [(negative, true), (inks(&rgb), false)] {
        let file = jpeg_of(&samples, SIZE, ColorType::Cmyk, |_| {});
        let page = Page::new(PLAIN, SIZE, 5, &[8; 4]).short(tag::COMPRESSION, &[7]);
        let found = decode(&page.strip(file).file()).unwrap().rgb;
        let off = super::distance(&found, &rgb).1;
        assert_eq!(off < 6.0, wanted, "{off}");
    }
    let bare = without_segment(&cmyk, 0xee);
    let page = Page::new(PLAIN, SIZE, 5, &[8; 4]).short(tag::COMPRESSION, &[7]);
    let with = decode(&page.clone().strip(cmyk).file()).unwrap().rgb;
    exact(&page.strip(bare).file(), &with, "Adobe's segment");
    let luma = image::DynamicImage::from(rgb.clone()).into_luma8();
    let level = luma.as_raw().clone();
    let luma = jpeg_of(luma.as_raw(), SIZE, ColorType::Luma, |_| {});
    for photometric in [1, 6] {
        let page = Page::new(PLAIN, SIZE, photometric, &[8]).short(tag::COMPRESSION, &[7]);
        near(&page.strip(luma.clone()).file(), &grey(SIZE, |at| level[at]), 6, "grey");
    }
}

#[test]
fn a_whole_jpeg_of_the_old_kind() {
    let rgb = slopes();
    let file = jpeg(&rgb);
    // The tag names the same place as the strip does, or another one, or is not there.
    let page = Page::new(PLAIN, SIZE, 6, &[8; 3]).short(tag::COMPRESSION, &[6]);
    near(&page.clone().strip(file.clone()).file(), &rgb, 6, "strip");
    near(&page.clone().long(tag::JPEG_FILE, 8).strip(file.clone()).file(), &rgb, 6, "one place");
    let bare = page.without(tag::SAMPLES).without(tag::BITS);
    near(&bare.long(tag::JPEG_FILE, 8).strip(file).file(), &rgb, 6, "little told");
}

#[test]
fn luma_and_chroma_that_are_not_jpeg() {
    let rgb = slopes();
    let ycbcr = |Rgb(rgb): &Rgb<u8>| {
        let [r, g, b] = rgb.map(f32::from);
        let y = 0.299 * r + 0.587 * g + 0.114 * b;
        [y, (b - y) / 1.772 + 128.0, (r - y) / 1.402 + 128.0]
    };
    let byte = |value: f32| value.round().clamp(0.0, 255.0) as u8;
    // Units of some pixels that share chroma: that of the first of them.
    let units = |across: u32, down: u32| -> Vec<u8> {
        let mut out = Vec::new();
        for top in (0..HEIGHT).step_by(down as usize) {
            for left in (0..WIDTH).step_by(across as usize) {
                for y in top..top + down {
                    for x in left..left + across {
                        let inside = (x.min(WIDTH - 1), y.min(HEIGHT - 1));
                        out.push(byte(ycbcr(rgb.get_pixel(inside.0, inside.1))[0]));
                    }
                }
                let [_, cb, cr] = ycbcr(rgb.get_pixel(left, top));
                out.extend([byte(cb), byte(cr)]);
            }
        }
        out
    };
    let page = Page::new(PLAIN, SIZE, 6, &[8; 3]);
    for (across, down, most) in [(1, 1, 2), (2, 1, 12), (2, 2, 24), (4, 2, 40), (4, 4, 60)] {
        let page = page
            .clone()
            .short(tag::SUBSAMPLING, &[across as u16, down as u16])
            .strip(units(across, down));
        near(&page.file(), &rgb, most, &format!("{across}×{down}"));
    }
    near(&page.clone().strip(units(2, 2)).file(), &rgb, 24, "two by two unless told");
    let packed = weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
        .encode(&units(2, 2))
        .unwrap();
    near(&page.clone().short(tag::COMPRESSION, &[5]).strip(packed).file(), &rgb, 24, "LZW");
    // Black at 16 and white at 235, as in video.
    let narrow = units(1, 1)
        .chunks(3)
        .flat_map(|it| {
            let chroma = |value: u8| 128.0 + (f32::from(value) - 128.0) * 112.0 / 127.0;
            [
                byte(16.0 + f32::from(it[0]) * 219.0 / 255.0),
                byte(chroma(it[1])),
                byte(chroma(it[2])),
            ]
        })
        .collect();
    let page = page
        .short(tag::SUBSAMPLING, &[1, 1])
        .floats(tag::REFERENCE, &[16.0, 235.0, 128.0, 240.0, 128.0, 240.0])
        .strip(narrow);
    near(&page.file(), &rgb, 5, "video's range");
}

/// A drawing in black and white, with rows that are alike, plain ones, and thin lines.
pub fn drawing(width: usize, height: usize) -> Vec<Vec<bool>> {
    let pixel = |x: usize, y: usize| match y % 13 {
        0 => false,
        1 => true,
        2..=4 => x.is_multiple_of(7),
        5 => (x + y).is_multiple_of(2),
        _ => (x * x + y * y / 3) % 91 < 40 || x + 1 == width && y.is_multiple_of(2),
    };
    (0..height).map(|y| (0..width).map(|x| pixel(x, y)).collect()).collect()
}

fn run_lengths(row: &[bool]) -> Vec<usize> {
    // White comes first, even if there is none of it.
    let first = row.first() == Some(&true);
    let runs = row.chunk_by(|one, other| one == other).map(<[bool]>::len);
    first.then_some(0).into_iter().chain(runs).collect()
}

fn write_line(row: &[bool], to: &mut VecWriter) {
    for (index, mut length) in run_lengths(row).into_iter().enumerate() {
        let code =
            |part: u16| if index % 2 == 0 { white::encode(part) } else { black::encode(part) };
        while length >= 2560 {
            to.write(code(2560).unwrap()).unwrap();
            length -= 2560;
        }
        if length >= 64 {
            to.write(code(length as u16 / 64 * 64).unwrap()).unwrap();
        }
        to.write(code(length as u16 % 64).unwrap()).unwrap();
    }
}

pub fn fax4(drawing: &[Vec<bool>]) -> Vec<u8> {
    let mut encoder = fax::encoder::Encoder::new(VecWriter::new());
    for row in drawing {
        let colour = |&is_black: &bool| if is_black { Color::Black } else { Color::White };
        encoder.encode_line(row.iter().map(colour), row.len() as u16).unwrap();
    }
    encoder.finish().unwrap().finish()
}

/// Lines by themselves, each behind its end-of-line; with `likeness`, those that are like the one
/// above say no more than that. `aligned` ends end with a byte.
pub fn fax3(drawing: &[Vec<bool>], likeness: bool, aligned: bool) -> Vec<u8> {
    let mut to = VecWriter::new();
    let end_of_line = |to: &mut VecWriter, tag: Option<u16>| {
        if aligned {
            let bytes = std::mem::replace(to, VecWriter::new()).finish();
            for byte in bytes {
                to.write(fax::Bits { data: byte.into(), len: 8 }).unwrap();
            }
            to.write(fax::Bits { data: 0, len: 4 }).unwrap();
        }
        to.write(fax::maps::EOL).unwrap();
        if let Some(tag) = tag {
            to.write(fax::Bits { data: tag, len: 1 }).unwrap();
        }
    };
    for (index, row) in drawing.iter().enumerate() {
        let like = likeness && index > 0 && drawing[index - 1] == *row;
        end_of_line(&mut to, likeness.then_some(u16::from(!like)));
        if like {
            // Each change right below one, and the end of the row below the end.
            for _ in run_lengths(row) {
                to.write(mode::encode(Mode::Vertical(0)).unwrap()).unwrap();
            }
        } else {
            write_line(row, &mut to);
        }
    }
    for _ in 0..6 {
        end_of_line(&mut to, likeness.then_some(1));
    }
    to.finish()
}

#[test]
fn fax_of_all_four_kinds() {
    for (width, height) in [(48, 32), (101, 40), (2700, 20)] {
        let drawing = drawing(width, height);
        let wanted = RgbImage::from_fn(width as u32, height as u32, |x, y| {
            Rgb([if drawing[y as usize][x as usize] { 0 } else { 255 }; 3])
        });
        let lines = |unit: usize| {
            let mut out = Vec::new();
            for row in &drawing {
                let mut to = VecWriter::new();
                write_line(row, &mut to);
                out.extend(to.finish());
                out.resize(out.len().next_multiple_of(unit), 0);
            }
            out
        };
        let kinds = [
            ("rows", 2, 0, lines(1)),
            ("rows of words", 32771, 0, lines(2)),
            ("lines", 3, 0, fax3(&drawing, false, false)),
            ("lines that end with a byte", 3, 4, fax3(&drawing, false, true)),
            ("lines like others", 3, 1, fax3(&drawing, true, false)),
            ("planes", 4, 0, fax4(&drawing)),
        ];
        for form in [FORMS[0], FORMS[3]] {
            for (name, code, options, bytes) in &kinds {
                let name = format!("{name}, {width}×{height}");
                let page = Page::new(form, (width as u32, height as u32), 0, &[1])
                    .short(tag::COMPRESSION, &[*code])
                    .long(tag::T4_OPTIONS, *options);
                exact(&page.clone().strip(bytes.clone()).file(), &wanted, &name);
                let turned = bytes.iter().map(|byte| byte.reverse_bits()).collect();
                let page = page.short(tag::FILL_ORDER, &[2]).strip(turned);
                exact(&page.file(), &wanted, &format!("bits the other way, {name}"));
            }
        }
    }
}

#[test]
fn a_fax_with_a_damaged_line_is_taken_and_one_with_many_is_not() {
    let drawing = drawing(101, 40);
    let page = |bytes| {
        Page::new(PLAIN, (101, 40), 0, &[1]).short(tag::COMPRESSION, &[3]).strip(bytes).file()
    };
    let whole = fax3(&drawing, false, true);
    let ends: Vec<usize> =
        (1..whole.len()).filter(|&at| whole[at] == 1 && whole[at - 1] & 0xf == 0).collect();
    let mut damaged = whole.clone();
    // A code that there is not, where a line begins.
    damaged[ends[9] + 1..ends[9] + 3].copy_from_slice(&[0x00, 0xff]);
    decode(&page(damaged)).unwrap();
    let mut ruined = whole;
    for &end in &ends[5..15] {
        ruined[end + 1..end + 3].copy_from_slice(&[0x00, 0xff]);
    }
    assert_eq!(decode(&page(ruined)).unwrap_err().reason, Reason::Corrupt);
}
