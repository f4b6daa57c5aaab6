//! What is refused says why, by a stable code and a sentence.

use std::time::Duration;

use image::{ImageFormat, Rgb, RgbImage};
use pictures::{DecodeOptions, Decoder, MemoryBudget};
use schemas::Reason;

use super::make::{encoded, slopes, textured};
use super::{decode, options};

#[track_caller]
fn refused(bytes: &[u8], reason: Reason, word: &str) {
    let fault = decode(bytes).unwrap_err();
    assert_eq!(fault.reason, reason, "{}", fault.message);
    assert!(fault.message.contains(word), "{}", fault.message);
}

#[test]
fn what_is_no_picture_is_told_by_its_content() {
    refused(b"", Reason::Empty, "no bytes");
    for page in ["<!DOCTYPE html><title>404", " \r\n<HTML><body>", "<!-- x --><html>"] {
        refused(page.as_bytes(), Reason::NotAPicture, "web page");
    }
    refused(b"<?xml version='1.0'?><svg width='1'/>", Reason::NotAPicture, "SVG");
    refused(b"{\"error\": 404}", Reason::NotAPicture, "JSON");
    refused("Nicht gefunden: für immer".as_bytes(), Reason::NotAPicture, "text");
    refused(b"%PDF-1.7", Reason::NotAPicture, "PDF");
    refused(b"\0\0\0\x18ftypmp42\0\0\0\0", Reason::NotAPicture, "film");
    refused(&[0; 100], Reason::NotAPicture, "zeros");
    refused(b"\x03\x01\x02\x07", Reason::NotAPicture, "begins with");
    refused(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Reason::Unsupported, "HEIC");
    refused(b"\xff\x0a\x12\x34", Reason::Unsupported, "JPEG XL");
}

#[test]
fn size_and_shape_are_checked() {
    let of = |width, height| encoded(textured(width, height), ImageFormat::Png);
    refused(&of(60, 15), Reason::TooSmall, "--min-side 16");
    let narrow = DecodeOptions { max_aspect: 5, ..options() };
    pictures::decode(&of(100, 20), &narrow).unwrap();
    for (width, height) in [(101, 20), (20, 101)] {
        let fault = pictures::decode(&of(width, height), &narrow).unwrap_err();
        assert_eq!(fault.reason, Reason::BadAspect, "{}", fault.message);
    }
    let few = DecodeOptions { max_pixels: 1000, ..options() };
    assert_eq!(pictures::decode(&of(40, 26), &few).unwrap_err().reason, Reason::TooLarge);
    pictures::decode(&of(40, 25), &few).unwrap();
    // A file that no picture of so many pixels needs.
    let long = [of(20, 20), vec![0; 2 << 20]].concat();
    let fault = pictures::decode(&long, &few).unwrap_err();
    assert_eq!(fault.reason, Reason::TooLarge, "{}", fault.message);
}

#[test]
fn a_picture_of_one_colour_is_refused_unless_it_is_wanted() {
    let plain = RgbImage::from_pixel(90, 90, Rgb([200, 10, 30]));
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        refused(&encoded(plain.clone(), format), Reason::OneColour, "#c");
    }
    let file = encoded(plain, ImageFormat::Png);
    pictures::decode(&file, &DecodeOptions { one_colour: 0, ..options() }).unwrap();
    decode(&encoded(slopes(), ImageFormat::Png)).unwrap();
}

#[test]
fn what_needs_more_memory_than_there_is_is_too_large_and_the_rest_is_given_back() {
    let options = options();
    let budget = MemoryBudget::new(8 << 20);
    let decoder = Decoder::new(options).with_memory(budget.clone());
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Tiff] {
        let fault = decoder.decode(&encoded(textured(1000, 1000), format)).unwrap_err();
        assert_eq!(fault.reason, Reason::TooLarge, "{}", fault.message);
        // What a run gives to its decoders is half of the flag's value.
        let told = format!("half of --memory-limit {}", 16 << 20);
        assert!(fault.message.ends_with(&told), "{}", fault.message);
        let small = decoder.decode(&encoded(textured(100, 80), format)).unwrap();
        assert_eq!(budget.used(), 100 * 80 * 3);
        drop(small);
        assert_eq!(budget.used(), 0);
    }
}

#[test]
fn a_decoder_over_time_is_stopped() {
    let decoder = Decoder::new(options()).with_time_limit(Duration::ZERO);
    for format in [ImageFormat::Png, ImageFormat::Tiff, ImageFormat::Bmp, ImageFormat::WebP] {
        let fault = decoder.decode(&encoded(textured(100, 80), format)).unwrap_err();
        assert_eq!(fault.reason, Reason::OverTime, "{format:?}: {}", fault.message);
    }
}
