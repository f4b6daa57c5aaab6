//! Archives of every kind read from any place, cut, damaged and hostile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use archives::{ArchiveError, Cursor, Kind, Limits, Packing};
use bytes::Bytes;
use parquet::basic::Compression as Codec;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::Reason;

use crate::counted::Counted;
use crate::make::{self, binary, columns, gzip, picture, record, response, tar};
use crate::{names, read, read_from, reason, sound};

#[test]
fn going_on_from_any_cursor_gives_the_members_that_reading_on_gives() {
    for (kind, bytes) in make::all() {
        let members = sound(kind, bytes.clone());
        assert!(!members.is_empty());
        for (place, member) in members.iter().enumerate() {
            assert_eq!(member.next.members, place as u64 + 1);
            let (rest, error) =
                read_from(kind, Arc::new(bytes.clone()), member.next, &Limits::default());
            assert!(error.is_none(), "{error:?}");
            assert_eq!(rest, members[place + 1..], "{kind:?} from {:?}", member.next);
        }
    }
}

#[test]
fn damage_that_a_fuzzer_found_is_met_alike_from_any_row() {
    // The library's way to skip rows looks at the page behind them, which is damaged here.
    let damaged = Bytes::from_static(include_bytes!("../../../fuzz/seeds/parquet/found-1"));
    let (members, error) = read(Kind::Parquet, damaged.clone(), &Limits::default());
    assert!(error.is_none() && members.iter().any(|member| member.body.is_err()), "{error:?}");
    for (place, member) in members.iter().enumerate() {
        let origin = Arc::new(damaged.clone());
        let (rest, _) = read_from(Kind::Parquet, origin, member.next, &Limits::default());
        assert_eq!(rest, members[place + 1..], "from {:?}", member.next);
    }
}

#[test]
fn reading_goes_on_at_a_gzip_member_not_at_the_start() {
    let (kind, bytes) = make::all().swap_remove(4);
    assert_eq!(kind, Kind::Warc(Packing::Gzip));
    for member in sound(kind, bytes) {
        assert!(member.next.offset > 0);
        assert_eq!(member.next.skip, 0);
    }
}

#[test]
fn a_cursor_of_another_archive_is_refused() {
    for (kind, bytes) in make::all() {
        let beyond = Cursor { members: 1, offset: 1 << 40, skip: 0 };
        let (members, error) = read_from(kind, Arc::new(bytes), beyond, &Limits::default());
        assert!(members.is_empty());
        assert!(matches!(error, Some(ArchiveError::Cursor { .. })), "{error:?}");
    }
}

#[test]
fn an_archive_cut_anywhere_gives_the_members_before_and_one_error() {
    for (kind, bytes) in make::all() {
        let whole = sound(kind, bytes.clone());
        for cut in 0..bytes.len() {
            let (members, error) = read(kind, bytes.slice(..cut), &Limits::default());
            let before = members.len();
            assert!(before <= whole.len());
            for (found, expected) in members.iter().zip(&whole) {
                // Without what followed, a label or the place to go on may be another.
                assert_eq!((&found.name, &found.body), (&expected.name, &expected.body), "{cut}");
            }
            // Records and the end mark's second half may be missing without a sign.
            assert!(error.is_some() || before == whole.len() || matches!(kind, Kind::Warc(_)));
            if let (Kind::Tar(Packing::Plain), Some(error)) = (kind, &error) {
                assert!(matches!(error, ArchiveError::Cut { .. }), "{error}");
            }
        }
    }
}

#[test]
fn damage_never_panics_and_always_ends() {
    let rounds = std::env::var("CONTAINER_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: u32 = rounds.unwrap_or(4000);
    let limits = Limits { member_bytes: 1 << 20, page_bytes: 1 << 22, ..Limits::default() };
    let archives = make::all();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for round in 0..rounds {
        let (kind, bytes) = &archives[round as usize % archives.len()];
        let mut bytes = bytes.to_vec();
        for _ in 0..rng.random_range(1..=6) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..4) {
                0 => bytes[at] = rng.random(),
                1 => bytes[at] ^= 1 << rng.random_range(0..8),
                2 => {
                    let end = (at + rng.random_range(1..64)).min(bytes.len());
                    bytes[at..end].fill(if rng.random() { 0xff } else { 0 });
                }
                _ => {
                    let from = rng.random_range(0..bytes.len());
                    let length = rng.random_range(1..64).min(bytes.len() - at.max(from));
                    bytes.copy_within(from..from + length, at);
                }
            }
        }
        if rng.random_range(0..8) == 0 {
            bytes.truncate(rng.random_range(0..bytes.len()));
        }
        // A tar's checksums would end nearly every round at the damage.
        if *kind == Kind::Tar(Packing::Plain) && rng.random() {
            for at in (0..bytes.len() / 512).map(|block| block * 512) {
                let block = &mut bytes[at..at + 512];
                if block[257..].starts_with(b"ustar") {
                    let mut header = tar::Header::from_byte_slice(block).clone();
                    header.set_cksum();
                    block.copy_from_slice(header.as_bytes());
                }
            }
        }
        let (members, error) = read(*kind, bytes.clone(), &limits);
        assert!(
            members
                .iter()
                .all(|m| m.body.as_ref().is_ok_and(|b| b.len() <= 1 << 20) || m.body.is_err())
        );
        let Some(member) = members.get(rng.random_range(0..members.len().max(1))) else { continue };
        let place = member.next.members as usize;
        let (rest, again) = read_from(*kind, Arc::new(Bytes::from(bytes)), member.next, &limits);
        assert_eq!(rest, members[place..], "round {round}, {kind:?}");
        assert_eq!(again.is_some(), error.is_some(), "round {round}, {kind:?}: {error:?}");
    }
}

#[test]
fn a_storage_that_fails_is_told_from_a_damaged_archive() {
    for (kind, bytes) in make::all() {
        let whole = sound(kind, bytes.clone());
        let mut origin = Counted::new(bytes.clone());
        origin.fails_at = bytes.len() as u64 / 2;
        let (members, error) =
            read_from(kind, Arc::new(origin), Cursor::default(), &Limits::default());
        assert!(matches!(error, Some(ArchiveError::Io { .. })), "{kind:?}: {error:?}");
        assert!(members.len() < whole.len());
        assert!(members.iter().zip(&whole).all(|(found, expected)| found.body == expected.body));
    }
}

#[test]
fn a_member_over_the_limit_is_rejected_and_the_rest_is_read() {
    let limits = Limits { member_bytes: 60, ..Limits::default() };
    for (kind, bytes) in make::all() {
        let all = sound(kind, bytes.clone());
        let (members, error) = read(kind, bytes, &limits);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(names(&members), names(&all));
        for (limited, member) in members.iter().zip(&all) {
            match &member.body {
                Ok(bytes) if bytes.len() > 60 => {
                    assert_eq!(reason(limited), Some(Reason::TooLarge));
                }
                body => assert_eq!(&limited.body, body),
            }
        }
    }
}

#[test]
fn a_tar_that_claims_exabytes_is_cut_short_without_being_read() {
    let mut header = tar::Header::new_gnu();
    header.set_path("b.jpg").unwrap();
    header.set_size(1 << 62);
    header.set_cksum();
    let mut bytes = tar(&[("a.jpg", picture(1))]);
    bytes.truncate(1024);
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + (8 << 20), 1);
    let origin = Counted::new(bytes.clone());
    let read_of_it = Arc::clone(&origin.read);
    let (members, error) = read_from(
        Kind::Tar(Packing::Plain),
        Arc::new(origin),
        Cursor::default(),
        &Limits::default(),
    );
    assert_eq!(names(&members), ["a.jpg"]);
    assert!(matches!(error, Some(ArchiveError::Cut { .. })), "{error:?}");
    assert!(read_of_it.load(Ordering::Relaxed) < 1 << 20);

    let (members, error) = read(Kind::Tar(Packing::Gzip), gzip(&bytes), &Limits::default());
    assert_eq!(names(&members), ["a.jpg"]);
    assert!(matches!(error, Some(ArchiveError::Cut { .. })), "{error:?}");
}

#[test]
fn large_files_of_a_plain_archive_are_sought_past() {
    let film = vec![1; 16 << 20];
    let block = [b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\n", &film[..]].concat();
    let archives = [
        (
            Kind::Tar(Packing::Plain),
            tar(&[("a.jpg", picture(1)), (".film.mp4", film), ("b.jpg", picture(2))]),
        ),
        (
            Kind::Warc(Packing::Plain),
            [
                record("response", "http://a/film", "", &block),
                response("http://a/1", "200 OK\r\nContent-Type: image/gif", &picture(1)),
                response("http://a/2", "200 OK\r\nContent-Type: image/gif", &picture(2)),
            ]
            .concat(),
        ),
    ];
    for (kind, bytes) in archives {
        let origin = Counted::new(bytes);
        let read_of_it = Arc::clone(&origin.read);
        let (members, error) =
            read_from(kind, Arc::new(origin), Cursor::default(), &Limits::default());
        assert!(error.is_none(), "{error:?}");
        assert_eq!(members.len(), 2);
        assert!(read_of_it.load(Ordering::Relaxed) < 1 << 20, "{kind:?}");
    }
}

#[test]
fn what_inflates_without_end_and_holds_no_picture_is_given_up() {
    let zeros = vec![0; 100 << 20];
    let tarred = tar(&[("a.jpg", picture(1)), (".zeros", zeros.clone()), ("b.jpg", picture(2))]);
    let (members, error) = read(Kind::Tar(Packing::Gzip), gzip(&tarred), &Limits::default());
    assert_eq!(names(&members), ["a.jpg"]);
    assert!(matches!(error, Some(ArchiveError::Bomb { .. })), "{error:?}");

    let records = [
        response("http://a/1", "200 OK\r\nContent-Type: image/gif", &picture(1)),
        response("http://a/2", "200 OK\r\nContent-Type: text/html", &zeros),
    ];
    let records: Vec<u8> = records.iter().flat_map(|record| gzip(record)).collect();
    let (members, error) = read(Kind::Warc(Packing::Gzip), records, &Limits::default());
    assert_eq!(members.len(), 1);
    assert!(matches!(error, Some(ArchiveError::Bomb { .. })), "{error:?}");
}

#[test]
fn a_page_over_the_limit_is_rejected_before_it_is_inflated() {
    let properties = |codec| {
        WriterProperties::builder()
            .set_compression(codec)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .build()
    };
    let flat = |codec| {
        let mut flat = picture(1);
        flat.resize(4 << 20, 0);
        columns(vec![("jpg", binary([Some(flat)]))], properties(codec))
    };
    let limits = Limits { page_bytes: 1 << 20, ..Limits::default() };
    for codec in [Codec::ZSTD(Default::default()), Codec::GZIP(Default::default()), Codec::SNAPPY] {
        let (members, error) = read(Kind::Parquet, flat(codec), &limits);
        assert!(error.is_none());
        assert_eq!(reason(&members[0]), Some(Reason::TooLarge));
    }

    // A page that claims less than it inflates to: the header's third and fourth bytes, behind the
    // kind of page, are the first of the claim's four.
    let mut liar = flat(Codec::GZIP(Default::default()));
    assert_eq!(liar[4..7], [0x15, 0, 0x15]);
    assert!(liar[7..10].iter().all(|byte| byte & 0x80 != 0));
    liar[9] = 0x80;
    liar[10] = 1;
    let (members, error) = read(Kind::Parquet, liar, &Limits::default());
    assert!(error.is_none());
    assert_eq!(reason(&members[0]), Some(Reason::TooLarge), "{:?}", members[0].body);
}
