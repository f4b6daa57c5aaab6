//! Archives that are packed, whatever with.

use std::io::Write;

use archives::{ArchiveError, Kind, Limits, Packing};
use bytes::Bytes;

use crate::make::{packed, picture, records, small_tar, tar, warc_zst};
use crate::{names, read, sound, told};

const ALL: [Packing; 4] = [Packing::Gzip, Packing::Zstd, Packing::Xz, Packing::Bzip2];

#[test]
fn what_is_packed_gives_what_it_was_made_of() {
    let plain = sound(Kind::Tar(Packing::Plain), small_tar());
    let crawl = sound(Kind::Warc(Packing::Plain), records().concat());
    for packing in ALL {
        let members = sound(Kind::Tar(packing), packed(packing, &small_tar()));
        assert_eq!(told(&members), told(&plain), "{packing:?}");
        // One stream a record, with the zeros between that tools let stand there.
        let each: Vec<u8> = records()
            .iter()
            .flat_map(|record| [packed(packing, record), vec![0; 8]].concat())
            .collect();
        let members = sound(Kind::Warc(packing), each);
        assert_eq!(told(&members), told(&crawl), "{packing:?}");
        assert!(members.iter().all(|member| member.next.skip == 0), "{packing:?}");
    }
}

#[test]
fn the_older_forms_of_xz_are_unpacked_too() {
    let plain = sound(Kind::Tar(Packing::Plain), small_tar());
    let options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
    let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(&small_tar()).unwrap();
    let lzma = encoder.finish().unwrap();
    assert_eq!(Kind::of(&lzma, "a.tar.lzma"), Some(Kind::Tar(Packing::Xz)));
    assert_eq!(told(&sound(Kind::Tar(Packing::Xz), lzma)), told(&plain));
}

#[test]
fn frames_of_a_crawl_are_unpacked_with_the_dictionary_before_them() {
    let plain = sound(Kind::Warc(Packing::Plain), records().concat());
    for packs_dictionary in [false, true] {
        let bytes = warc_zst(&records(), packs_dictionary);
        assert_eq!(told(&sound(Kind::Warc(Packing::Zstd), bytes)), told(&plain));
    }
}

#[test]
fn what_asks_for_too_much_memory_is_told_with_a_way_out() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.window_log(30).unwrap();
    encoder.write_all(&small_tar()).unwrap();
    let wide = encoder.finish().unwrap();

    let mut options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
    options.dict_size(1 << 30);
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(&options);
    let check = liblzma::stream::Check::Crc32;
    let stream = liblzma::stream::Stream::new_stream_encoder(&filters, check).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(&small_tar()).unwrap();
    let deep = encoder.finish().unwrap();

    for (packing, bytes) in [(Packing::Zstd, wide), (Packing::Xz, deep)] {
        let (members, error) = read(Kind::Tar(packing), bytes, &Limits::default());
        assert!(members.is_empty());
        let error = error.unwrap();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{error:?}");
        let error = error.to_string();
        assert!(error.contains("128 MiB") && error.contains("pack it"), "{error}");
    }
}

#[test]
fn what_inflates_without_end_is_given_up_whatever_it_is_packed_with() {
    let zeros = vec![0; 70 << 20];
    let tarred = tar(&[("a.jpg", picture(1)), (".zeros", zeros), ("b.jpg", picture(2))]);
    for packing in ALL {
        let bytes = packed(packing, &tarred);
        let (members, error) = read(Kind::Tar(packing), bytes, &Limits::default());
        assert_eq!(names(&members), ["a.jpg"]);
        assert!(matches!(error, Some(ArchiveError::Bomb { .. })), "{error:?}");
    }
}

#[test]
fn what_stands_behind_a_stream_and_is_none_is_told() {
    for packing in ALL {
        // Behind the end of the tar nothing is looked at; here it has none.
        let half = &small_tar()[..8 * 512];
        let bytes = [packed(packing, half), b"?".to_vec()].concat();
        let (members, error) = read(Kind::Tar(packing), Bytes::from(bytes), &Limits::default());
        assert!(!members.is_empty());
        assert!(matches!(error, Some(ArchiveError::Damaged { .. })), "{error:?}");
    }
}
