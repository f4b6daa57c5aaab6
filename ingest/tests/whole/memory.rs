//! How much memory a run comes to take.

use std::fs;
use std::io::{BufWriter, Write};
use std::process::Stdio;
use std::time::Duration;

use image::{DynamicImage, ImageFormat, RgbImage};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::case::{Case, told};

const FEW: u64 = 1_000;
/// Pictures of the long run by default; `INGEST_MEMORY_PICTURES` sets another number.
const MANY: u64 = 8_000;
/// Side of a picture and of its view, in pixels.
const SIDE: u32 = 32;

/// Of all that the program holds of a picture while it works on it (the file, its pixels, the view,
/// the row), each has at least the bytes of the view. A run that kept one of these of each picture
/// would take twice the bound more. What may be kept is far below it: the index of duplicates has
/// less than a hundred bytes a picture. Both runs have many times the pictures that are held at
/// once, 256 ahead and a few blocks of 128, so that only what an allocator does not give back can
/// differ, which is a few megabytes.
#[test]
fn a_long_run_takes_no_more_memory_than_a_short_one_but_for_the_index() {
    let many = std::env::var("INGEST_MEMORY_PICTURES").map_or(MANY, |text| text.parse().unwrap());
    let (short, long) = (peak(FEW), peak(many));
    let bound = (many - FEW) * u64::from(SIDE * SIDE * 3) / 2;
    assert!(long < short + bound, "{FEW} pictures took {short} bytes, {many} took {long}");
}

/// The most memory that the program had at once over a tar of so many pictures, in bytes.
fn peak(pictures: u64) -> u64 {
    let case = Case::empty();
    write(&case, pictures);
    let args = "noise.tar --out out --size 32 --cells 8 --shard-pictures 256 --rows-per-group 16 --threads 2";
    let mut command = case.command(&args.split(' ').collect::<Vec<_>>());
    let mut program = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", program.id());
    let mut peak = 0;
    // It only rises, and an ended program has none: the last that is seen counts.
    while program.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kilobytes) = line.and_then(|line| line.split_whitespace().next()) {
            peak = kilobytes.parse::<u64>().unwrap() * 1024;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let (success, said) = told(program.wait_with_output().unwrap());
    assert!(success && said.contains(&format!("{pictures} accepted, 0 rejected")), "{said}");
    assert!(peak > 0, "the program ended before its memory could be seen");
    peak
}

/// Writes a tar of pictures of noise, one after the other.
fn write(case: &Case, pictures: u64) {
    let file = BufWriter::new(fs::File::create(case.path("noise.tar")).unwrap());
    let mut tar = tar::Builder::new(file);
    for number in 0..pictures {
        let mut picture = RgbImage::new(SIDE, SIDE);
        ChaCha8Rng::seed_from_u64(number).fill_bytes(&mut picture);
        let mut bytes = std::io::Cursor::new(Vec::new());
        DynamicImage::from(picture).write_to(&mut bytes, ImageFormat::Bmp).unwrap();
        let bytes = bytes.into_inner();
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("{number}.bmp"), &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap().flush().unwrap();
}
