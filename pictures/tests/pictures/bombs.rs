//! Small files that ask for much. A bomb that went off would take gigabytes or minutes; the budget
//! and the limits of the tests' own options make that a failure.

use image::ImageFormat;
use pictures::{Decoder, MemoryBudget, Picture};
use schemas::{Fault, Reason};

use super::make::{
    self, chunk, encoded, first_scan, png_header, progressive, slopes, textured, zlib,
};
use super::options;
use super::tiff_file::{FORMS, Form, PLAIN, Page, file, tag};

/// Decodes with 256 MiB of memory.
fn decode(bytes: &[u8]) -> Result<Picture, Fault> {
    Decoder::new(options()).with_memory(MemoryBudget::new(256 << 20)).decode(bytes)
}

#[track_caller]
fn refused(bytes: &[u8], reason: Reason) {
    let fault = decode(bytes).unwrap_err();
    assert_eq!(fault.reason, reason, "{}", fault.message);
}

#[test]
fn vast_headers_are_refused_in_every_format() {
    let mut png = png_header(65_500, 65_500, 8, 2, false);
    png.extend(chunk(b"IDAT", &zlib(&[0; 1000])));
    png.extend(chunk(b"IEND", b""));
    refused(&png, Reason::TooLarge);

    let mut gif = encoded(slopes(), ImageFormat::Gif);
    gif[6..10].copy_from_slice(&[0xff; 4]);
    refused(&gif, Reason::TooLarge);

    let mut bmp = encoded(slopes(), ImageFormat::Bmp);
    bmp[18..26].copy_from_slice(&[0, 0xf0, 0, 0, 0, 0xf0, 0, 0]);
    refused(&bmp, Reason::TooLarge);

    let mut jpeg = make::jpeg(&slopes());
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    refused(&jpeg, Reason::TooLarge);

    let webp = make::riff(&[
        (b"VP8X", vec![0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0]),
        (b"VP8L", encoded(slopes(), ImageFormat::WebP)[20..].to_vec()),
    ]);
    assert!(matches!(decode(&webp).unwrap_err().reason, Reason::TooLarge | Reason::Corrupt));
}

#[test]
fn a_webp_frame_larger_than_its_picture_is_refused() {
    // Key frame, start code, then 16383×16383.
    let mut frame = vec![0x10, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f];
    frame.extend([0; 64]);
    let mut extended = vec![0, 0, 0, 0];
    extended.extend([31, 0, 0, 31, 0, 0]);
    let webp = make::riff(&[(b"VP8X", extended), (b"VP8 ", frame)]);
    let fault = decode(&webp).unwrap_err();
    assert_eq!(fault.reason, Reason::Corrupt);
    assert!(fault.message.contains("larger"), "{}", fault.message);
}

#[test]
fn of_a_million_gif_frames_one_is_decoded() {
    let palette = [0, 0, 0, 255, 255, 255, 9, 90, 200];
    let mut file = Vec::new();
    let mut encoder = gif::Encoder::new(&mut file, 40, 40, &palette).unwrap();
    let indices: Vec<u8> = (0..1600u32).map(|at| ((at + 1) % 3) as u8).collect();
    encoder.write_frame(&gif::Frame::from_indexed_pixels(40, 40, indices, None)).unwrap();
    drop(encoder);
    file.pop();
    let alone = decode(&[&file[..], &[0x3b]].concat()).unwrap().rgb;
    // A frame of one pixel in another colour: descriptor, code size, one block of data. The data of
    // the last one are no codes, as who reads that far would find.
    let frame = [&[0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0][..], &[2, 2, 0x44, 1, 0]].concat();
    let broken = [&[0x2c, 0, 0, 0, 0, 40, 0, 40, 0, 0][..], &[2, 2, 0xff, 0xff, 0]].concat();
    let by_itself = [&file[..frame_start(&file)], &broken].concat();
    assert_eq!(decode(&by_itself).unwrap_err().reason, Reason::Corrupt);
    file.extend(frame.repeat(1_000_000));
    file.extend(broken);
    file.push(0x3b);
    let options = pictures::DecodeOptions { max_pixels: 4 << 20, ..options() };
    let decoder = Decoder::new(options).with_memory(MemoryBudget::new(256 << 20));
    assert!(decoder.decode(&file).unwrap().rgb == alone, "later frames are drawn over the first");
}

/// Where the first frame of a GIF begins.
fn frame_start(gif: &[u8]) -> usize {
    // Behind the header and a palette of a power of two of colours.
    13 + (3 << ((gif[10] & 7) + 1))
}

/// 32 MiB of zeros as a deflate stream of a few kilobytes, made by the encoder of `png`.
fn deflated_zeros() -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 4096, 8192);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_filter(png::Filter::NoFilter);
    encoder.write_header().unwrap().write_image_data(&vec![0; 4096 * 8192]).unwrap();
    let at = file.windows(4).position(|name| name == b"IDAT").unwrap();
    let mut out = Vec::new();
    let mut at = at - 4;
    while &file[at + 4..at + 8] == b"IDAT" {
        let length = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        out.extend(&file[at + 8..at + 8 + length]);
        at += 12 + length;
    }
    out
}

#[test]
fn a_deflate_bomb_in_a_tiff_gives_no_more_than_its_picture() {
    let bomb = deflated_zeros();
    assert!(bomb.len() < 100_000);
    let page = |size| {
        Page::new(PLAIN, size, 1, &[8])
            .short(tag::COMPRESSION, &[8])
            .strips(size.1, vec![bomb.clone()])
    };
    // 64×64 pixels, of which the strip holds eight thousand times as many; all are black.
    let reason = decode(&page((64, 64)).file()).unwrap_err().reason;
    assert!(matches!(reason, Reason::OneColour | Reason::Corrupt), "{reason:?}");
    refused(&page((65_500, 65_500)).file(), Reason::TooLarge);
    // Values without end: a million offsets that the file does not have.
    let mut endless = page((64, 64)).file();
    let entry = [273u16.to_le_bytes(), 4u16.to_le_bytes()].concat();
    let at = endless.windows(4).position(|bytes| bytes == entry).unwrap();
    endless[at + 4..at + 8].copy_from_slice(&(1u32 << 30).to_le_bytes());
    assert!(decode(&endless).is_err());
}

#[test]
fn tiffs_of_either_form_that_ask_for_much_are_refused() {
    for form in FORMS {
        let page = |size| Page::new(form, size, 1, &[8]).short(tag::COMPRESSION, &[8]);
        let strip = |size| page(size).strip(deflated_zeros());
        refused(&strip((65_500, 65_500)).file(), Reason::TooLarge);
        refused(&strip((u32::MAX, 16)).file(), Reason::TooLarge);
        refused(&strip((64, 64)).long(tag::WIDTH, 0).file(), Reason::Corrupt);
        // A small picture in vast tiles, of which only what is needed is unpacked.
        let tiles = page((64, 64)).tiles((1 << 20, 1 << 20), vec![deflated_zeros()]);
        refused(&tiles.file(), Reason::TooLarge);
        let tiles = page((64, 64)).tiles((u32::MAX, u32::MAX), vec![deflated_zeros()]);
        refused(&tiles.file(), Reason::Corrupt);
        let tiles = page((64, 64)).tiles((4096, 8192), vec![deflated_zeros()]);
        refused(&tiles.file(), Reason::OneColour);
        // More samples than memory, and values of which the file has a few.
        let many = Page::new(form, (8000, 8000), 1, &[64; 64]).strip(vec![0; 1000]);
        refused(&many.file(), Reason::TooLarge);
        refused(&strip((64, 64)).long(tag::SAMPLES, 1 << 31).file(), Reason::Unsupported);
        let mut few = strip((64, 64)).file();
        let counts =
            [&form.number(u64::from(tag::STRIP_COUNTS), 2)[..], &form.number(4, 2)].concat();
        if let Some(at) = few.windows(4).position(|bytes| bytes == counts) {
            few[at + 4..at + 8].fill(0xff);
            refused(&few, Reason::OneColour);
        }
    }
}

#[test]
fn a_tiff_whose_directories_go_round_ends() {
    let thumbnail = |form: Form| {
        let pixels = (0..400).map(|at| (at % 251) as u8).collect();
        Page::new(form, (20, 20), 1, &[8]).long(tag::SUBFILE, 1).strip(pixels)
    };
    for form in FORMS {
        let mut bytes = file(&[thumbnail(form), thumbnail(form)]);
        let place = if form.big { 8 } else { 4 };
        let (end, first) = (bytes.len(), bytes[place..2 * place].to_vec());
        bytes[end - place..].copy_from_slice(&first);
        assert_eq!(decode(&bytes).unwrap().size(), (20, 20));
        // A directory of as many entries as can be told.
        bytes.truncate(2 * place);
        bytes.extend([0xff; 30]);
        bytes[place..]
            .copy_from_slice(&[&form.number(2 * place as u64, place)[..], &[0xff; 30]].concat());
        refused(&bytes, Reason::Corrupt);
    }
}

#[test]
fn a_picture_in_a_tiff_may_not_be_larger_than_its_strip() {
    let vast = make::jpeg(&textured(2000, 2000));
    let small = Page::new(PLAIN, (64, 64), 6, &[8; 3]).short(tag::COMPRESSION, &[7]);
    refused(&small.clone().strip(vast.clone()).file(), Reason::Corrupt);
    refused(&small.clone().short(tag::COMPRESSION, &[6]).strip(vast).file(), Reason::Corrupt);
    let mut empty = make::jpeg(&slopes());
    let frame = empty.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    empty[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    refused(&small.strip(empty).file(), Reason::Corrupt);
    let vast = encoded(textured(2000, 2000), ImageFormat::WebP);
    let small = Page::new(PLAIN, (64, 64), 2, &[8; 3]).short(tag::COMPRESSION, &[50001]);
    refused(&small.strip(vast).file(), Reason::Corrupt);
}

#[test]
fn dictionaries_and_windows_without_end_take_no_memory() {
    let page = |code, strip| {
        Page::new(PLAIN, (64, 64), 1, &[8]).short(tag::COMPRESSION, &[code]).strip(strip)
    };
    // XZ with a dictionary of almost 4 GiB, and Zstandard with a window of 2 GiB.
    let xz = b"\xfd7zXZ\0\0\0----\x02\0\x21\x01\x27----\0\0\0\x01\x0f\xff".to_vec();
    refused(&page(34925, [xz, vec![7; 5000]].concat()).file(), Reason::OneColour);
    let zstd = b"\x28\xb5\x2f\xfd\0\xa8".to_vec();
    refused(&page(50000, [zstd, vec![7; 5000]].concat()).file(), Reason::Corrupt);
}

#[test]
fn vast_chunks_of_a_png_are_not_inflated() {
    let file = encoded(slopes(), ImageFormat::Png);
    let bomb = deflated_zeros();
    let with = |name: &[u8; 4], head: &[u8]| {
        let content = [head, &bomb].concat();
        [&file[..33], &chunk(name, &content), &file[33..]].concat()
    };
    // Such a file may be kept without the chunk or refused, but not be held up by it.
    for bytes in [with(b"iCCP", b"name\0\0"), with(b"zTXt", b"name\0\0")] {
        if let Ok(picture) = decode(&bytes) {
            assert!(picture.rgb == slopes());
        }
    }
}

#[test]
fn a_jpeg_of_thousands_of_scans_is_refused() {
    let file = progressive(&textured(200, 200));
    let mut many = file[..file.len() - 2].to_vec();
    // A scan that refines the first component's second coefficient and has no data.
    let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 1, 1, 0x10];
    many.extend(scan.repeat(5_000));
    many.extend([0xff, 0xd9]);
    refused(&many, Reason::OverTime);
    assert!(first_scan(&file) > 0);
}

#[test]
fn an_exif_block_that_points_nowhere_or_at_itself_is_passed_over() {
    let rgb = slopes();
    for block in [
        b"MM\0*\xff\xff\xff\xff".to_vec(),
        // A directory of 65,535 entries.
        b"MM\0*\0\0\0\x08\xff\xff\x01\x12".to_vec(),
        // A directory that is its own successor.
        b"II*\0\x08\0\0\0\0\0\x08\0\0\0".to_vec(),
        vec![0; 65_000],
    ] {
        let file = make::jpeg_of(
            rgb.as_raw(),
            rgb.dimensions(),
            jpeg_encoder::ColorType::Rgb,
            |encoder| {
                encoder.add_exif_metadata(&block).unwrap();
            },
        );
        assert_eq!(decode(&file).unwrap().rgb.dimensions(), rgb.dimensions());
    }
}

#[test]
fn an_avif_of_many_frames_is_refused() {
    let still = include_bytes!("eight.avif");
    // The data lie at the end, in one box; its frame unit is repeated, and the places adjusted.
    let at = still.windows(4).position(|name| name == b"mdat").unwrap();
    let data = &still[at + 4..];
    let length = (data.len() as u32).to_be_bytes();
    let place = still[..at].windows(4).rposition(|bytes| bytes == length).unwrap();
    let many = data.repeat(20);
    let mut file = still[..at - 4].to_vec();
    file[place..place + 4].copy_from_slice(&(many.len() as u32).to_be_bytes());
    file.extend((many.len() as u32 + 8).to_be_bytes());
    file.extend(b"mdat");
    file.extend(many);
    refused(&file, Reason::OverTime);
}
