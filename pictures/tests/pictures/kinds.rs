//! Every kind of pixel that a file may hold becomes upright RGB of 8 bits.

use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use jpeg_encoder::{ColorType, SamplingFactor};
use pictures::DecodeOptions;

use super::make::{self, encoded, inks, jpeg, jpeg_of, slopes};
use super::{assert_near, decode, exact, near, options};

#[test]
fn jpegs_of_every_kind() {
    let rgb = slopes();
    let size = rgb.dimensions();
    let of = |kind, samples: &[u8]| jpeg_of(samples, size, kind, |_| {});
    near(&jpeg(&rgb), &rgb, 6, "baseline");
    near(&make::progressive(&rgb), &rgb, 6, "progressive");
    let halved = jpeg_of(rgb.as_raw(), size, ColorType::Rgb, |encoder| {
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
    });
    near(&halved, &rgb, 12, "chroma halved");
    let restarts = jpeg_of(rgb.as_raw(), size, ColorType::Rgb, |encoder| {
        encoder.set_restart_interval(2);
    });
    near(&restarts, &rgb, 6, "restart markers");
    let grey = DynamicImage::from(rgb.clone()).into_luma8();
    let wanted = DynamicImage::from(grey.clone()).into_rgb8();
    near(&of(ColorType::Luma, grey.as_raw()), &wanted, 6, "grey");
    near(&of(ColorType::Cmyk, &inks(&rgb)), &rgb, 10, "CMYK, inverted by Adobe");
    near(&of(ColorType::CmykAsYcck, &inks(&rgb)), &rgb, 10, "YCCK, inverted by Adobe");
    // Ink is stored as its absence whoever wrote it.
    let plain = make::without_segment(&of(ColorType::Cmyk, &inks(&rgb)), 0xee);
    near(&plain, &rgb, 10, "CMYK without Adobe's segment");
}

#[test]
fn pngs_of_every_kind() {
    let rgb = slopes();
    let size = rgb.dimensions();
    let png = |colour, depth, samples: &[u8], palette: Option<(&[u8], &[u8])>| {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, size.0, size.1);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if let Some((colours, alphas)) = palette {
            encoder.set_palette(colours.to_vec());
            encoder.set_trns(alphas.to_vec());
        }
        encoder.write_header().unwrap().write_image_data(samples).unwrap();
        file
    };
    exact(&make::interlaced(&rgb), &rgb, "interlaced");
    let deep = DynamicImage::from(rgb.clone()).into_rgb16();
    exact(&encoded(deep, ImageFormat::Png), &rgb, "16 bits");
    let grey = DynamicImage::from(rgb.clone()).into_luma8();
    let wanted = DynamicImage::from(grey.clone()).into_rgb8();
    exact(&encoded(grey.clone(), ImageFormat::Png), &wanted, "grey");
    exact(
        &encoded(DynamicImage::from(grey).into_luma16(), ImageFormat::Png),
        &wanted,
        "grey of 16",
    );

    // A palette of red, green and nothing at all; grey and alpha; each in stripes.
    let stripes = |colours: [[u8; 3]; 3]| {
        RgbImage::from_fn(size.0, size.1, |x, _| Rgb(colours[(x % 3) as usize]))
    };
    let columns: Vec<u8> = (0..size.0 * size.1).map(|at| (at % size.0 % 3) as u8).collect();
    let palette: &[u8] = &[255, 0, 0, 0, 255, 0, 9, 9, 9];
    let found = png(
        png::ColorType::Indexed,
        png::BitDepth::Eight,
        &columns,
        Some((palette, &[255, 255, 0])),
    );
    exact(&found, &stripes([[255, 0, 0], [0, 255, 0], [255; 3]]), "palette with transparency");
    let pairs: Vec<u8> = columns
        .iter()
        .flat_map(|&column| [[50, 255], [100, 0], [200, 51]][column as usize])
        .collect();
    let found = png(png::ColorType::GrayscaleAlpha, png::BitDepth::Eight, &pairs, None);
    exact(&found, &stripes([[50; 3], [255; 3], [244; 3]]), "grey and alpha");
    let bits: Vec<u8> = vec![0b1010_0101; (size.0 / 8 * size.1) as usize];
    let found = png(png::ColorType::Grayscale, png::BitDepth::One, &bits, None);
    let wanted = RgbImage::from_fn(size.0, size.1, |x, _| {
        Rgb([if bits[0] >> (7 - x % 8) & 1 == 1 { 255 } else { 0 }; 3])
    });
    exact(&found, &wanted, "one bit");
}

#[test]
fn of_an_animation_the_first_frame_is_taken() {
    let rgb = slopes();
    let other = RgbImage::from_pixel(rgb.width(), rgb.height(), Rgb([1, 2, 3]));
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, rgb.width(), rgb.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_animated(2, 0).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(rgb.as_raw()).unwrap();
    writer.write_image_data(other.as_raw()).unwrap();
    writer.finish().unwrap();
    exact(&file, &rgb, "APNG");

    let colours = [[200, 0, 0], [0, 90, 0], [0, 0, 250]];
    let stripes =
        |shift: u32| RgbImage::from_fn(30, 30, |x, _| Rgb(colours[((x + shift) % 3) as usize]));
    let mut file = Vec::new();
    let palette: Vec<u8> = colours.concat();
    let mut encoder = gif::Encoder::new(&mut file, 30, 30, &palette).unwrap();
    for shift in 0..3u32 {
        let indices: Vec<u8> = (0..900u32).map(|at| ((at % 30 + shift) % 3) as u8).collect();
        let frame = gif::Frame::from_indexed_pixels(30, 30, indices, None);
        encoder.write_frame(&frame).unwrap();
    }
    drop(encoder);
    exact(&file, &stripes(0), "animated GIF");

    let frame = |picture: &RgbImage| {
        let still = encoded(picture.clone(), ImageFormat::WebP);
        let mut content = vec![0; 6];
        content.extend(&(picture.width() - 1).to_le_bytes()[..3]);
        content.extend(&(picture.height() - 1).to_le_bytes()[..3]);
        content.extend([100, 0, 0, 2]);
        // The still file's only chunk, past RIFF, size and WEBP.
        content.extend(&still[12..]);
        content
    };
    let mut extended = vec![0b10, 0, 0, 0];
    extended.extend(&(rgb.width() - 1).to_le_bytes()[..3]);
    extended.extend(&(rgb.height() - 1).to_le_bytes()[..3]);
    let file = make::riff(&[
        (b"VP8X", extended),
        (b"ANIM", vec![0; 6]),
        (b"ANMF", frame(&rgb)),
        (b"ANMF", frame(&other)),
    ]);
    exact(&file, &rgb, "animated WebP");
}

#[test]
fn webp_bmp_and_tiff() {
    let rgb = slopes();
    for format in [ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff] {
        exact(&encoded(rgb.clone(), format), &rgb, &format!("{format:?}"));
    }
    near(include_bytes!("lossy.webp"), &rgb, 16, "lossy WebP");
    exact(&super::tiff_file::tiled(&rgb), &rgb, "tiled TIFF");
    let deep = DynamicImage::from(rgb.clone()).into_rgb16();
    exact(&encoded(deep, ImageFormat::Tiff), &rgb, "TIFF of 16 bits");
    let mut file = std::io::Cursor::new(Vec::new());
    tiff::encoder::TiffEncoder::new(&mut file)
        .unwrap()
        .write_image::<tiff::encoder::colortype::CMYK8>(rgb.width(), rgb.height(), &inks(&rgb))
        .unwrap();
    near(&file.into_inner(), &rgb, 4, "CMYK TIFF");
}

#[test]
fn headers_of_os2_are_read() {
    let rgb = slopes();
    let file = encoded(rgb.clone(), ImageFormat::Bmp);
    let (offset, size) = (file[10], file[14]);
    assert_eq!((usize::from(offset), size), (14 + 40, 40));
    for length in [16u8, 64] {
        let mut header = file[14..54].to_vec();
        header.resize(length.into(), 0);
        header[0] = length;
        let mut os2 = [&file[..14], &header, &file[54..]].concat();
        os2[10] = 14 + length;
        exact(&os2, &rgb, &format!("a header of {length} bytes"));
    }
    let mut planes = file;
    planes[26] = 0;
    exact(&planes, &rgb, "no plane");
}

#[test]
fn avifs_of_every_kind() {
    // Made of these slopes by ravif 0.13 at quality 95.
    let rgb = slopes();
    near(include_bytes!("eight.avif"), &rgb, 16, "8 bits");
    near(include_bytes!("ten.avif"), &rgb, 16, "10 bits");
    near(include_bytes!("identity.avif"), &rgb, 16, "RGB planes");
    let mut wanted = rgb;
    for (x, _, pixel) in wanted.enumerate_pixels_mut() {
        if x >= make::WIDTH / 2 {
            *pixel = Rgb([255; 3]);
        }
    }
    let found = decode(include_bytes!("alpha.avif")).unwrap().rgb;
    let half = |picture: &RgbImage| {
        image::imageops::crop_imm(picture, 0, 0, make::WIDTH / 2 - 2, make::HEIGHT).to_image()
    };
    assert_near(&half(&found), &half(&wanted), 16, 8.0, "with transparency");
    assert_near(
        &image::imageops::rotate180(&found),
        &image::imageops::rotate180(&wanted),
        40,
        8.0,
        "where it is clear",
    );
}

#[test]
fn transparency_is_laid_over_the_background() {
    let half = RgbaImage::from_fn(20, 20, |x, _| {
        if x < 10 { Rgba([0, 100, 255, 128]) } else { Rgba([7, 7, 7, 0]) }
    });
    for (background, mixed) in [([255; 3], [127, 177, 255]), ([0, 0, 0], [0, 50, 128])] {
        let options = DecodeOptions { background, ..options() };
        for format in [ImageFormat::Png, ImageFormat::WebP] {
            let found = pictures::decode(&encoded(half.clone(), format), &options).unwrap().rgb;
            assert_eq!(found.get_pixel(3, 3).0, mixed);
            assert_eq!(found.get_pixel(13, 3).0, background);
        }
    }
}

/// An EXIF block that tells this orientation and nothing else.
pub fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    block.extend([orientation, 0, 0, 0, 0, 0, 0]);
    block
}

/// The picture as it is stored where this orientation turns it upright.
pub fn stored(upright: &RgbImage, exif: u8) -> RgbImage {
    let mut stored = DynamicImage::from(upright.clone());
    stored.apply_orientation(match Orientation::from_exif(exif).unwrap() {
        Orientation::Rotate90 => Orientation::Rotate270,
        Orientation::Rotate270 => Orientation::Rotate90,
        other => other,
    });
    stored.into_rgb8()
}

#[test]
fn every_orientation_is_turned_upright_in_every_format_that_has_one() {
    let upright = slopes();
    for orientation in 1..=8 {
        let stored = stored(&upright, orientation);
        let name = format!("orientation {orientation}");
        let file = jpeg_of(stored.as_raw(), stored.dimensions(), ColorType::Rgb, |encoder| {
            encoder.add_exif_metadata(&exif(orientation)).unwrap();
        });
        near(&file, &upright, 6, &name);

        let file = encoded(stored.clone(), ImageFormat::Png);
        let tagged = [&file[..33], &make::chunk(b"eXIf", &exif(orientation)), &file[33..]].concat();
        exact(&tagged, &upright, &name);

        let still = encoded(stored.clone(), ImageFormat::WebP);
        let mut extended = vec![0b1000, 0, 0, 0];
        extended.extend(&(stored.width() - 1).to_le_bytes()[..3]);
        extended.extend(&(stored.height() - 1).to_le_bytes()[..3]);
        let file = make::riff(&[
            (b"VP8X", extended),
            (b"VP8L", still[20..].to_vec()),
            (b"EXIF", exif(orientation)),
        ]);
        exact(&file, &upright, &name);

        let mut file = std::io::Cursor::new(Vec::new());
        let mut encoder = tiff::encoder::TiffEncoder::new(&mut file).unwrap();
        let mut picture = encoder
            .new_image::<tiff::encoder::colortype::RGB8>(stored.width(), stored.height())
            .unwrap();
        let value = u16::from(orientation);
        picture.encoder().write_tag(tiff::tags::Tag::Orientation, value).unwrap();
        picture.write_data(stored.as_raw()).unwrap();
        exact(&file.into_inner(), &upright, &name);
    }
}
