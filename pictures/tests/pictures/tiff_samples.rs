//! TIFF samples of every kind: the right values are computed here.

use image::{Rgb, RgbImage};
use moxcms::ColorProfile;
use schemas::Reason;

use super::make::{HEIGHT, WIDTH, inks, slopes};
use super::tiff_file::{FORMS, Form, PLAIN, Page, channel, file, grey, rows, tag, tiles};
use super::{SIZE, decode, exact, near};

const PIXELS: usize = (WIDTH * HEIGHT) as usize;

#[track_caller]
fn refused(file: &[u8], reason: Reason, word: &str) {
    let fault = decode(file).unwrap_err();
    assert_eq!(fault.reason, reason, "{}", fault.message);
    assert!(fault.message.contains(word), "{}", fault.message);
}

/// Samples from zero to the most that so many bits hold, in waves.
fn ramp(bits: usize) -> Vec<u64> {
    let most = u128::from(u64::MAX >> (64 - bits));
    (0..PIXELS as u128).map(|at| ((most + 1) * (at * 7 % 1536) / 1536) as u64).collect()
}

fn share(value: f64, most: f64) -> u8 {
    (value / most * 255.0).round() as u8
}

#[test]
fn grey_of_any_bits_in_either_order_of_bytes_and_in_files_of_either_size() {
    for form in FORMS {
        for bits in [1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64] {
            let samples = ramp(bits);
            let most = (u64::MAX >> (64 - bits)) as f64;
            let level = |at: usize| share(samples[at] as f64, most);
            let row = rows(form, bits, WIDTH as usize, &samples);
            let page = Page::new(form, SIZE, 1, &[bits as u16]).strip(row);
            near(&page.file(), &grey(SIZE, level), 1, &format!("{bits} bits, {form:?}"));
            let inverse = grey(SIZE, |at| 255 - level(at));
            let page = page.short(tag::PHOTOMETRIC, &[0]);
            near(&page.file(), &inverse, 1, &format!("{bits} bits, white is zero, {form:?}"));
        }
    }
}

#[test]
fn bits_in_the_other_order_within_bytes() {
    for bits in [1, 4, 8, 12, 16] {
        let samples = ramp(bits);
        let most = ((1u64 << bits) - 1) as f64;
        let mut row = rows(PLAIN, bits, WIDTH as usize, &samples);
        row.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
        let page =
            Page::new(PLAIN, SIZE, 1, &[bits as u16]).short(tag::FILL_ORDER, &[2]).strip(row);
        let wanted = grey(SIZE, |at| share(samples[at] as f64, most));
        near(&page.file(), &wanted, 1, &format!("{bits} bits"));
    }
}

#[test]
fn of_signed_numbers_zero_is_black_and_the_largest_white() {
    for form in FORMS {
        for bits in [12u32, 16, 32] {
            let most = (1i64 << (bits - 1)) - 1;
            let values: Vec<i64> =
                (0..PIXELS as i64).map(|at| most * (at % 97 - 16) / 80).collect();
            let mask = (1u64 << bits) - 1;
            let samples: Vec<u64> = values.iter().map(|&value| value as u64 & mask).collect();
            let row = rows(form, bits as usize, WIDTH as usize, &samples);
            let page = Page::new(form, SIZE, 1, &[bits as u16]).short(tag::FORMAT, &[2]).strip(row);
            let wanted = grey(SIZE, |at| share(values[at].max(0) as f64, most as f64));
            near(&page.file(), &wanted, 1, &format!("{bits} bits, {form:?}"));
        }
    }
    // Of 8 bits they are taken as unsigned, as libtiff and Pillow take them.
    let levels = channel(&slopes(), 0);
    let page = Page::new(PLAIN, SIZE, 1, &[8]).short(tag::FORMAT, &[2]).strip(levels.clone());
    exact(&page.file(), &grey(SIZE, |at| levels[at]), "8 bits");
}

/// A number of 16 bits with a fraction (IEEE 754), of the few that need no rounding.
fn half(eighths: u32) -> u64 {
    let value = eighths as f32 / 8.0;
    let bits = value.to_bits();
    let exponent = (bits >> 23) as i32 - 127 + 15;
    if value == 0.0 { 0 } else { (exponent as u64) << 10 | u64::from(bits >> 13 & 0x3ff) }
}

#[test]
fn fractions_go_from_black_at_zero_to_white_at_one() {
    for form in FORMS {
        let eighths: Vec<u32> = (0..PIXELS as u32).map(|at| at % 11).collect();
        let wanted = grey(SIZE, |at| share(f64::from(eighths[at]).min(8.0), 8.0));
        for bits in [16usize, 32, 64] {
            let number = |&eighths: &u32| match bits {
                16 => half(eighths),
                32 => u64::from((eighths as f32 / 8.0).to_bits()),
                _ => (f64::from(eighths) / 8.0).to_bits(),
            };
            let mut samples: Vec<u64> = eighths.iter().map(number).collect();
            let page = |samples: &[u64]| {
                Page::new(form, SIZE, 1, &[bits as u16]).short(tag::FORMAT, &[3]).strip(rows(
                    form,
                    bits,
                    WIDTH as usize,
                    samples,
                ))
            };
            exact(&page(&samples).file(), &wanted, &format!("{bits} bits, {form:?}"));
            if bits == 32 {
                // What is below black or no number is black.
                samples[0] = f32::NAN.to_bits().into();
                samples[11] = (-1f32).to_bits().into();
                samples[22] = f32::NEG_INFINITY.to_bits().into();
                exact(&page(&samples).file(), &wanted, "no numbers");
            }
        }
    }
    // A range of whole numbers, where the file tells one.
    let levels = channel(&slopes(), 1);
    let samples: Vec<u64> = levels.iter().map(|&it| f32::from(it).to_bits().into()).collect();
    let page = Page::new(PLAIN, SIZE, 1, &[32])
        .short(tag::FORMAT, &[3])
        .floats(tag::MOST_SAMPLE, &[255.0])
        .strip(rows(PLAIN, 32, WIDTH as usize, &samples));
    exact(&page.file(), &grey(SIZE, |at| levels[at]), "up to 255");
}

#[test]
fn rgb_of_16_bits_of_fractions_and_with_bits_of_its_own() {
    let rgb = slopes();
    for form in FORMS {
        let deep: Vec<u64> = rgb.as_raw().iter().map(|&value| u64::from(value) * 257).collect();
        let page =
            Page::new(form, SIZE, 2, &[16; 3]).strip(rows(form, 16, 3 * WIDTH as usize, &deep));
        exact(&page.file(), &rgb, "16 bits");
        let fractions: Vec<u64> =
            rgb.as_raw().iter().map(|&value| (f32::from(value) / 255.0).to_bits().into()).collect();
        let page = Page::new(form, SIZE, 2, &[32; 3]).short(tag::FORMAT, &[3; 3]).strip(rows(
            form,
            32,
            3 * WIDTH as usize,
            &fractions,
        ));
        exact(&page.file(), &rgb, "fractions");
    }
    // One number of bits for all samples, and more of them than there are samples.
    let page = Page::new(PLAIN, SIZE, 2, &[8; 3]).strip(rgb.as_raw().clone());
    exact(&page.clone().short(tag::BITS, &[8]).file(), &rgb, "bits told once");
    exact(&page.clone().short(tag::BITS, &[8, 8, 8, 1]).file(), &rgb, "bits told too often");
    exact(&page.clone().without(tag::SAMPLES).file(), &rgb, "samples not told");
    refused(&page.short(tag::BITS, &[5, 6, 5]).file(), Reason::Unsupported, "[5, 6, 5] bits");
}

/// A colour map of so many bits: red up, green down, blue in waves.
fn colours(bits: usize) -> Vec<[u8; 3]> {
    let most = (1usize << bits) - 1;
    let colour =
        |at: usize| [(at * 255 / most) as u8, 255 - (at * 200 / most) as u8, (at * 37) as u8];
    (0..=most).map(colour).collect()
}

fn map(colours: &[[u8; 3]], value: impl Fn(u8) -> u16) -> Vec<u16> {
    (0..3).flat_map(|channel| colours.iter().map(move |it| it[channel])).map(value).collect()
}

#[test]
fn palettes_of_any_bits_and_their_maps_as_programs_write_them() {
    for form in FORMS {
        for bits in [1, 2, 4, 8] {
            let colours = colours(bits);
            let indices: Vec<u64> = (0..PIXELS).map(|at| (at * 5 % colours.len()) as u64).collect();
            let wanted = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
                Rgb(colours[indices[(y * WIDTH + x) as usize] as usize])
            });
            let row = rows(form, bits, WIDTH as usize, &indices);
            let page = Page::new(form, SIZE, 3, &[bits as u16]).strip(row);
            let maps = [
                ("times 257", map(&colours, |value| u16::from(value) * 257)),
                ("times 256", map(&colours, |value| u16::from(value) << 8)),
                ("8 bits", map(&colours, u16::from)),
            ];
            for (name, map) in maps {
                let page = page.clone().short(tag::COLOR_MAP, &map);
                exact(&page.file(), &wanted, &format!("{bits} bits, {name}, {form:?}"));
            }
        }
    }
    let page = Page::new(PLAIN, SIZE, 3, &[8]).strip(vec![3; PIXELS]);
    refused(&page.short(tag::COLOR_MAP, &[0; 700]).file(), Reason::Corrupt, "colour map");
}

#[test]
fn transparency_of_grey_palettes_and_rgb_over_white() {
    let rgb = slopes();
    let alpha: Vec<u8> = (0..PIXELS).map(|at| (at * 13 % 256) as u8).collect();
    let over = |value: u8, alpha: u8| {
        ((u32::from(value) * u32::from(alpha) + 255 * u32::from(255 - alpha) + 127) / 255) as u8
    };
    let wanted = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let alpha = alpha[(y * WIDTH + x) as usize];
        Rgb(rgb.get_pixel(x, y).0.map(|value| over(value, alpha)))
    });
    let level = channel(&rgb, 0);
    let wanted_grey = grey(SIZE, |at| over(level[at], alpha[at]));
    let with = |colours: &[u8], samples: usize, change: fn(u8, u8) -> u8, after: &[u8]| {
        let pixels = colours.chunks(samples).zip(&alpha);
        let pixel = |(colour, &alpha): (&[u8], &u8)| {
            let mut out: Vec<u8> = colour.iter().map(|&value| change(value, alpha)).collect();
            out.push(alpha);
            out.extend(after);
            out
        };
        pixels.flat_map(pixel).collect::<Vec<u8>>()
    };
    let straight = |value, _| value;
    let times = |value: u8, alpha: u8| ((u32::from(value) * u32::from(alpha) + 127) / 255) as u8;
    for form in FORMS {
        for (kind, change, most) in [(2, straight as fn(u8, u8) -> u8, 0), (1, times, 1)] {
            for (extra, after) in [(vec![kind], vec![]), (vec![kind, 0, 0], vec![7, 9])] {
                let name = format!("extra samples {extra:?}, {form:?}");
                let page = |photometric, colours: usize, bytes| {
                    let bits = vec![8; colours + extra.len()];
                    Page::new(form, SIZE, photometric, &bits).short(tag::EXTRA, &extra).strip(bytes)
                };
                let file = page(2, 3, with(rgb.as_raw(), 3, change, &after)).file();
                near(&file, &wanted, most, &format!("RGB, {name}"));
                let file = page(1, 1, with(&level, 1, change, &after)).file();
                near(&file, &wanted_grey, most, &format!("grey, {name}"));
            }
        }
    }
    let page =
        |photometric, bits: &[u16], bytes| Page::new(PLAIN, SIZE, photometric, bits).strip(bytes);
    let rgba = with(rgb.as_raw(), 3, straight, &[]);
    exact(&page(2, &[8; 4], rgba.clone()).file(), &wanted, "not said to be transparency");
    let unknown = page(2, &[8; 4], rgba).short(tag::EXTRA, &[0]);
    exact(&unknown.file(), &rgb, "a sample that nobody knows");
    // A palette's colours are not multiplied.
    let greys: Vec<[u8; 3]> = (0..=255).map(|value| [value; 3]).collect();
    let map = map(&greys, |value| u16::from(value) * 257);
    let page = page(3, &[8; 2], with(&level, 1, straight, &[])).short(tag::COLOR_MAP, &map);
    exact(&page.clone().short(tag::EXTRA, &[2]).file(), &wanted_grey, "palette");
    exact(&page.short(tag::EXTRA, &[0]).file(), &grey(SIZE, |at| level[at]), "palette, unknown");
}

#[test]
fn planes_in_strips_and_in_tiles() {
    let rgb = slopes();
    let planes: Vec<Vec<u8>> = (0..3).map(|at| channel(&rgb, at)).collect();
    for form in FORMS {
        let page = || Page::new(form, SIZE, 2, &[8; 3]).short(tag::PLANAR, &[2]);
        // Strips of 10 rows: the last ones have fewer.
        let strips = planes.iter().flat_map(|plane| plane.chunks(10 * WIDTH as usize));
        let page_of_strips = page().strips(10, strips.map(<[u8]>::to_vec).collect());
        exact(&page_of_strips.file(), &rgb, "strips");
        // Tiles that reach over the right and lower edges.
        let cut = |plane: &Vec<u8>| tiles(plane, 1, SIZE, (32, 48));
        let page_of_tiles = page().tiles((32, 48), planes.iter().flat_map(cut).collect());
        exact(&page_of_tiles.file(), &rgb, "tiles");
        let deep = planes.iter().map(|plane| {
            let samples: Vec<u64> = plane.iter().map(|&value| u64::from(value) * 257).collect();
            rows(form, 16, WIDTH as usize, &samples)
        });
        let page = page().short(tag::BITS, &[16; 3]).strips(HEIGHT, deep.collect());
        exact(&page.file(), &rgb, "16 bits");
        let together = tiles(rgb.as_raw(), 3, SIZE, (64, 16));
        let page = Page::new(form, SIZE, 2, &[8; 3]).tiles((64, 16), together);
        exact(&page.file(), &rgb, "tiles, samples together");
    }
    // The planes of samples that nobody needs are not even there.
    let page = Page::new(PLAIN, SIZE, 2, &[8; 5])
        .short(tag::PLANAR, &[2])
        .short(tag::EXTRA, &[0, 0])
        .strips(HEIGHT, planes.clone());
    exact(&page.file(), &rgb, "planes missing");
    let page = Page::new(PLAIN, SIZE, 2, &[8; 3]).short(tag::PLANAR, &[2]);
    refused(&page.strips(HEIGHT, planes[..2].to_vec()).file(), Reason::Corrupt, "tile 2");
}

#[test]
fn profiles_larger_than_the_pixels_are_applied() {
    let p3 = ColorProfile::new_display_p3().encode().unwrap();
    let red = RgbImage::from_fn(20, 20, |x, _| Rgb(if x < 10 { [234, 51, 35] } else { [40; 3] }));
    // What its programs pad a profile with changes nothing.
    for padding in [0, 40_000] {
        let profile = [&p3[..], &vec![0; padding]].concat();
        let page = Page::new(PLAIN, (20, 20), 2, &[8; 3])
            .bytes(tag::PROFILE, &profile)
            .strip(red.as_raw().clone());
        let Rgb([r, g, b]) = *decode(&page.file()).unwrap().rgb.get_pixel(5, 5);
        assert!(r >= 252 && g <= 12 && b <= 12, "{r} {g} {b}");
    }
    let profile = ColorProfile::new_gray_with_gamma(1.0).encode().unwrap();
    let light: Vec<u8> = (0..=255).chain(0..144).collect();
    let page =
        Page::new(PLAIN, (20, 20), 1, &[8]).bytes(tag::PROFILE, &profile).strip(light.clone());
    for (found, light) in decode(&page.file()).unwrap().rgb.pixels().zip(light) {
        let light = f64::from(light) / 255.0;
        let srgb = if light <= 0.003_130_8 {
            12.92 * light
        } else {
            1.055 * light.powf(1.0 / 2.4) - 0.055
        };
        assert!((f64::from(found.0[0]) - srgb * 255.0).abs() <= 2.0, "{light} {found:?}");
    }
}

#[test]
fn inks_with_a_profile_and_without() {
    let rgb = slopes();
    for form in FORMS {
        let deep: Vec<u64> = inks(&rgb).iter().map(|&value| u64::from(value) * 257).collect();
        let deep = rows(form, 16, 4 * WIDTH as usize, &deep);
        for (bits, bytes) in [(8, inks(&rgb)), (16, deep)] {
            let page = Page::new(form, SIZE, 5, &[bits; 4]).strip(bytes);
            near(&page.file(), &rgb, 4, &format!("{bits} bits"));
        }
    }
    let bars: Vec<u8> = (0..32 * 32u32)
        .flat_map(|at| match at % 32 / 8 {
            0 => [0, 0, 0, 0],
            1 => [255, 0, 0, 0],
            2 => [0, 0, 255, 0],
            _ => [0, 0, 0, 255],
        })
        .collect();
    let page = Page::new(PLAIN, (32, 32), 5, &[8; 4]).strip(bars);
    let press = page.clone().bytes(tag::PROFILE, &super::profiles::press());
    let found = decode(&press.file()).unwrap().rgb;
    // L = 50 is 119 in sRGB.
    for (x, wanted) in [(4, 255u8), (12, 119), (20, 119), (28, 0)] {
        let Rgb(pixel) = *found.get_pixel(x, 16);
        assert!(pixel.iter().all(|value| value.abs_diff(wanted) <= 6), "{x}: {pixel:?}");
    }
    refused(&page.short(332, &[2]).file(), Reason::Unsupported, "inks");
}

#[test]
fn cielab_in_its_three_forms() {
    // White, black, the grey of L = 53.39, and the red and blue of sRGB, as seen by D50.
    let known: [([f32; 3], [u8; 3]); 5] = [
        ([100.0, 0.0, 0.0], [255; 3]),
        ([0.0, 0.0, 0.0], [0; 3]),
        ([53.39, 0.0, 0.0], [127; 3]),
        ([54.29, 80.81, 69.89], [255, 0, 0]),
        ([29.57, 68.30, -112.03], [0, 0, 255]),
    ];
    let stripes = RgbImage::from_fn(50, 20, |x, _| Rgb(known[(x % 5) as usize].1));
    let stored = |photometric: u16, wide: bool, [l, a, b]: [f32; 3]| -> [u64; 3] {
        let step = if wide { 256.0 } else { 1.0 };
        let mask = if wide { 0xffff } else { 0xff };
        let whole = |value: f32| (value * step).round() as i64 as u64 & mask;
        match (photometric, wide) {
            (8, true) => [(l * 655.35).round() as u64, whole(a), whole(b)],
            (8, false) => [(l * 2.55).round() as u64, whole(a), whole(b)],
            (9, _) => [whole(l * 2.55), whole(a + 128.0), whole(b + 128.0)],
            _ => [
                whole(l * 2.55),
                whole(a * 255.0 / 170.0 + 128.0),
                whole((b * 255.0 / 200.0 + 96.0).clamp(0.0, 255.0)),
            ],
        }
    };
    for form in FORMS {
        for photometric in [8, 9, 10] {
            for wide in [false, true] {
                let samples: Vec<u64> =
                    (0..1000).flat_map(|at| stored(photometric, wide, known[at % 5].0)).collect();
                let bits = if wide { 16 } else { 8 };
                let page = Page::new(form, (50, 20), photometric, &[bits; 3]).strip(rows(
                    form,
                    bits.into(),
                    150,
                    &samples,
                ));
                let found = decode(&page.file()).unwrap().rgb;
                // That form has no room for so blue a blue.
                let kept = if photometric == 10 { 4 } else { 5 };
                for (x, (_, wanted)) in known.iter().enumerate().take(kept) {
                    let Rgb(pixel) = *found.get_pixel(x as u32, 3);
                    let off = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 6;
                    assert!(
                        pixel.iter().zip(wanted).all(off),
                        "{photometric}, {bits} bits: {pixel:?} {wanted:?}"
                    );
                }
                assert_eq!(found.dimensions(), stripes.dimensions());
            }
        }
    }
}

#[test]
fn of_several_pages_the_first_in_full_size_is_taken() {
    let rgb = slopes();
    let whole = |form: Form| Page::new(form, SIZE, 2, &[8; 3]).strip(rgb.as_raw().clone());
    for form in FORMS {
        let small = |width: u32| {
            let pixels = vec![77; 3 * (width * 20) as usize];
            Page::new(form, (width, 20), 2, &[8; 3]).long(tag::SUBFILE, 1).strip(pixels)
        };
        let mask = Page::new(form, SIZE, 4, &[1]).long(tag::SUBFILE, 4).strip(vec![0; PIXELS / 8]);
        let other = Page::new(form, SIZE, 1, &[8]).strip(vec![0; PIXELS]);
        let pages = [small(20), mask, whole(form), other];
        exact(&file(&pages), &rgb, "a thumbnail and a mask first");
        exact(&small(30).below(small(20)).below(whole(form)).file(), &rgb, "below a thumbnail");
        let old = small(20).without(tag::SUBFILE).short(255, &[2]);
        exact(&file(&[old, whole(form)]), &rgb, "as it was told of old");
        let raw = Page::new(form, (90, 90), 32803, &[16]).strip(vec![0; 16200]);
        let preview = whole(form).long(tag::SUBFILE, 1);
        exact(&small(20).below(raw).below(preview).file(), &rgb, "a camera's raw data");
        // A chain that leads back to where it began, and one that leads nowhere.
        let mut bytes = file(&[small(20), whole(form).long(tag::SUBFILE, 1)]);
        let place = if form.big { 8 } else { 4 };
        let end = bytes.len();
        let first = bytes[place..2 * place].to_vec();
        bytes[end - place..].copy_from_slice(&first);
        exact(&bytes, &rgb, "round and round");
        bytes[end - place..].fill(0xee);
        exact(&bytes, &rgb, "into the void");
    }
}

#[test]
fn what_is_not_read_says_so() {
    let page = Page::new(PLAIN, SIZE, 2, &[8; 3]).strip(slopes().into_raw());
    let with = |tag, value: u16| page.clone().short(tag, &[value]).file();
    refused(&with(tag::COMPRESSION, 34887), Reason::Unsupported, "LERC");
    refused(&with(tag::COMPRESSION, 34712), Reason::Unsupported, "JPEG 2000");
    refused(&with(tag::COMPRESSION, 6), Reason::Unsupported, "old-style JPEG");
    refused(&with(tag::PHOTOMETRIC, 32803), Reason::Unsupported, "raw data");
    refused(&with(tag::PHOTOMETRIC, 32845), Reason::Unsupported, "logarithmic");
    refused(&with(tag::FORMAT, 6), Reason::Unsupported, "complex");
    refused(&with(tag::FORMAT, 3), Reason::Unsupported, "8 bits a sample floating");
    refused(&with(tag::SAMPLES, 2), Reason::Corrupt, "samples");
    refused(&page.clone().without(tag::WIDTH).file(), Reason::Corrupt, "no width");
    let whole = page.file();
    refused(&whole[..200], Reason::Corrupt, "ends");
    let short = page.clone().strip(vec![1; 100]).file();
    assert_eq!(decode(&short).unwrap_err().reason, Reason::Corrupt);
}
