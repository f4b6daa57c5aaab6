//! How much of a JPEG that is cut short must be there.

use pictures::DecodeOptions;
use schemas::Reason;

use super::make::{first_scan, jpeg, progressive, textured};
use super::options;

fn needing(min_decoded: u8) -> DecodeOptions {
    DecodeOptions { min_decoded, ..options() }
}

/// The file with this share of its scans' bytes.
fn cut(file: &[u8], share: f64) -> &[u8] {
    let start = first_scan(file);
    &file[..start + ((file.len() - start) as f64 * share) as usize]
}

#[test]
fn a_jpeg_is_kept_if_nine_tenths_decode() {
    let file = jpeg(&textured(400, 300));
    for (share, kept) in [(0.95, true), (0.92, true), (0.88, false), (0.5, false), (0.0, false)] {
        match pictures::decode(cut(&file, share), &needing(90)) {
            Ok(picture) => assert!(kept && picture.cut_short, "{share}"),
            Err(fault) => {
                assert!(!kept, "{share}: {}", fault.message);
                assert_eq!(fault.reason, Reason::Corrupt);
            }
        }
    }
    // What is there is what the whole picture has there.
    let whole = pictures::decode(&file, &needing(90)).unwrap();
    let part = pictures::decode(cut(&file, 0.95), &needing(90)).unwrap();
    let upper = 400 * 3 * 200;
    assert_eq!(whole.rgb.as_raw()[..upper], part.rgb.as_raw()[..upper]);
    pictures::decode(cut(&file, 0.5), &needing(40)).unwrap();
    assert!(pictures::decode(cut(&file, 0.5), &needing(60)).is_err());
}

#[test]
fn strict_refuses_whatever_is_cut() {
    let strict = DecodeOptions { strict: true, ..options() };
    let file = jpeg(&textured(400, 300));
    for share in [0.99, 0.9, 0.5] {
        let fault = pictures::decode(cut(&file, share), &strict).unwrap_err();
        assert_eq!(fault.reason, Reason::Corrupt, "{}", fault.message);
    }
    pictures::decode(&file, &strict).unwrap();
    // Bytes after the end are no fault of the picture, nor is an end that is not said.
    pictures::decode(&[&file[..], b"\xff\xd8 appended"].concat(), &strict).unwrap();
    pictures::decode(&file[..file.len() - 2], &strict).unwrap();
}

#[test]
fn of_a_progressive_jpeg_the_coefficients_count() {
    let file = progressive(&textured(400, 300));
    // A scan before the last is the end: it looks whole where it ends, but most detail is missing.
    let mut shares = Vec::new();
    for tenth in 1..=10 {
        let file = cut(&file, f64::from(tenth) / 10.0);
        let least = (0..=100).rev().find(|&least| pictures::decode(file, &needing(least)).is_ok());
        shares.push(least.unwrap_or(0));
    }
    assert!(shares.is_sorted(), "{shares:?}");
    assert!(shares[0] < 50 && shares[9] == 100, "{shares:?}");
    assert!(shares.iter().any(|share| (1..100).contains(share)), "{shares:?}");
}

#[test]
fn room_left_for_the_rest_of_a_file_is_not_taken_for_it() {
    let file = jpeg(&textured(400, 300));
    let mut bytes = cut(&file, 0.5).to_vec();
    bytes.resize(file.len(), 0);
    assert_eq!(pictures::decode(&bytes, &needing(90)).unwrap_err().reason, Reason::Corrupt);
    assert!(pictures::decode(&bytes, &needing(40)).unwrap().cut_short);
}

#[test]
fn a_jpeg_with_nothing_in_it_costs_no_decoding() {
    let file = jpeg(&textured(64, 64));
    let mut vast = file[..first_scan(&file)].to_vec();
    let frame = vast.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    vast[frame + 5..frame + 9].copy_from_slice(&[0x32, 0, 0x32, 0]);
    vast.extend([0xff, 0xd9]);
    let budget = pictures::MemoryBudget::new(1 << 20);
    let options = needing(0);
    let decoder = pictures::Decoder::new(options).with_memory(budget);
    // It is refused before it asks for the memory, of which there is not enough.
    let fault = decoder.decode(&vast).unwrap_err();
    assert_eq!(fault.reason, Reason::Corrupt, "{}", fault.message);
}
