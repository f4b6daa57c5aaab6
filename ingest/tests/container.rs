//! Archives of every kind, sound, cut, damaged and hostile.

// The helpers unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod addresses;
mod archives;
#[path = "container/crawls.rs"]
mod crawls;
#[path = "container/packings.rs"]
mod packings;
mod rows;
#[path = "container/zips.rs"]
mod zips;

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use archives::{binary, columns, gzip, picture, record, response, tar};
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, StringArray, StructArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field};
use bytes::Bytes;
use ingest::container::{ContainerError, Cursor, Kind, Limits, Member, Origin, Packing, open};
use parquet::basic::Compression as Codec;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::Reason;

/// All members, and the error at the end if there is one.
fn read_from(
    kind: Kind,
    origin: Arc<dyn Origin>,
    from: Cursor,
    limits: &Limits,
) -> (Vec<Member>, Option<ContainerError>) {
    let members = match open(kind, origin, from, limits) {
        Ok(members) => members,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut found = Vec::new();
    for member in members {
        match member {
            Ok(member) => found.push(member),
            Err(error) => return (found, Some(error)),
        }
        assert!(found.len() < 100_000, "there is no end to the members");
    }
    (found, None)
}

fn read(
    kind: Kind,
    bytes: impl Into<Bytes>,
    limits: &Limits,
) -> (Vec<Member>, Option<ContainerError>) {
    read_from(kind, Arc::new(bytes.into()), Cursor::default(), limits)
}

fn sound(kind: Kind, bytes: impl Into<Bytes>) -> Vec<Member> {
    let (members, error) = read(kind, bytes, &Limits::default());
    assert!(error.is_none(), "{error:?}");
    members
}

/// Name, label and bytes of a member, or the reason why there are none.
type Told<'a> = (&'a str, Option<&'a str>, Result<&'a [u8], Reason>);

fn told(members: &[Member]) -> Vec<Told<'_>> {
    members
        .iter()
        .map(|member| {
            let body = member.body.as_deref().map_err(|fault| fault.reason);
            (&*member.name, member.label.as_deref(), body)
        })
        .collect()
}

fn names(members: &[Member]) -> Vec<&str> {
    members.iter().map(|member| &*member.name).collect()
}

fn reason(member: &Member) -> Option<Reason> {
    member.body.as_ref().err().map(|fault| fault.reason)
}

#[test]
fn every_kind_is_told_by_its_content_whatever_its_name() {
    for (kind, bytes) in archives::all() {
        let head = &bytes[..bytes.len().min(Kind::HEAD)];
        assert_eq!(Kind::of(head, "photo.jpg"), Some(kind));
    }
    for (begin, what) in [(&b"Rar!\x1a\x07\0"[..], "RAR"), (b"7z\xbc\xaf\x27\x1c", "7z")] {
        let kind = Kind::of(begin, "a.bin");
        assert!(matches!(kind, Some(Kind::Unread(name)) if name.contains(what)), "{kind:?}");
    }
    for other in [&b""[..], b"\xff\xd8\xff", b"<html>", &gzip(b"text"), &[0; 600]] {
        assert_eq!(Kind::of(other, "a.bin"), None);
    }
}

#[test]
fn the_name_tells_what_content_cannot() {
    assert_eq!(Kind::of(&[0; 1024], "empty.tar"), Some(Kind::Tar(Packing::Plain)));
    assert_eq!(Kind::of(&gzip(b""), "a.TAR.GZ"), Some(Kind::Tar(Packing::Gzip)));
    assert_eq!(Kind::of(&gzip(b""), "a.warc.gz"), Some(Kind::Warc(Packing::Gzip)));
    // Much of it must be unpacked before anything comes.
    let head = [&b"BZh91AY&SY"[..], &[7; 90]].concat();
    assert_eq!(Kind::of(&head, "a.tbz2"), Some(Kind::Tar(Packing::Bzip2)));
    assert_eq!(Kind::of(&head, "a.bz2"), None);
    // What stands before a ZIP does not make it another file, but a picture is one by any name.
    assert_eq!(Kind::of(b"#!/bin/sh\n", "a.zip"), Some(Kind::Zip));
    assert_eq!(Kind::of(&picture(1), "a.zip"), None);
    assert!(Kind::is_name("a.Tar.Zst") && Kind::is_name("a.7z"));
    assert!(!Kind::is_name("a.docx") && !Kind::is_name(".zip") && !Kind::is_name("a.zst"));
}

#[test]
fn files_of_one_key_are_one_sample_of_a_tar() {
    let (one, two, three) = (picture(1), picture(2), picture(3));
    let members = sound(Kind::Tar(Packing::Plain), archives::small_tar());
    let long = "a folder with a long name ".repeat(5);
    let long = long.trim();
    assert_eq!(
        told(&members),
        [
            ("train/cat/0001.jpg", Some("7"), Ok(&one[..])),
            ("train/cat/0002.jpg", Some("cat"), Ok(&two)),
            ("train/cat/0002.seg.png", Some("cat"), Ok(&three)),
            ("train/page.html", Some("train"), Ok(b"<!doctype html>")),
            (&format!("{long}/0004.jpg"), Some(long), Ok(&picture(4))),
            ("0005", None, Ok(&picture(5))),
        ]
    );
}

#[test]
fn the_label_comes_from_the_class_before_the_json_before_the_folder() {
    let json = br#"{"label": "in json"}"#.to_vec();
    let members = sound(
        Kind::Tar(Packing::Plain),
        tar(&[
            ("f/a.cls", b" in cls\n".to_vec()),
            ("f/a.jpg", picture(1)),
            ("f/a.json", json.clone()),
            ("f/b.json", json),
            ("f/b.png", picture(2)),
            ("f/c.jpg", picture(3)),
            ("f/c.txt", b"a caption is no label".to_vec()),
        ]),
    );
    let labels: Vec<_> = members.iter().map(|member| member.label.as_deref()).collect();
    assert_eq!(labels, [Some("in cls"), Some("in json"), Some("f")]);
}

#[test]
fn companions_alone_are_no_members_but_unknown_files_are() {
    let members = sound(
        Kind::Tar(Packing::Plain),
        tar(&[
            ("stats.json", b"{}".to_vec()),
            ("empty.cls", b"".to_vec()),
            ("a.txt", b"caption of a lost picture".to_vec()),
            ("film.mp4", b"\0\0\0\x20ftypisom".to_vec()),
            ("b.jpg", b"<html>no picture</html>".to_vec()),
            ("c.bin", picture(1)),
            ("d.mp4", b"beside a picture".to_vec()),
            ("d.jpg", picture(2)),
            (".hidden/e.jpg", picture(3)),
        ]),
    );
    assert_eq!(names(&members), ["film.mp4", "b.jpg", "c.bin", "d.jpg"]);
}

#[test]
fn a_label_that_does_not_stand_beside_its_picture_is_told() {
    let members = sound(
        Kind::Tar(Packing::Plain),
        tar(&[
            ("f/a.jpg", picture(1)),
            ("f/b.jpg", picture(2)),
            ("f/a.cls", b"cat".to_vec()),
            ("f/c.json", br#"{"label": "dog"}"#.to_vec()),
        ]),
    );
    assert_eq!(names(&members), ["f/a.jpg", "f/b.jpg", "f/a.cls", "f/c.json"]);
    for (member, label) in members[2..].iter().zip(["cat", "dog"]) {
        let fault = member.body.as_ref().unwrap_err();
        assert_eq!(fault.reason, Reason::StrayLabel);
        assert!(
            fault.message.contains(label) && fault.message.contains("--sort=name"),
            "{fault:?}"
        );
    }
}

#[test]
fn names_with_dots_keep_their_own_labels() {
    let cls = |label: &str| label.as_bytes().to_vec();
    let members = sound(
        Kind::Tar(Packing::Plain),
        tar(&[
            ("d/www.a.org.cls", cls("cat")),
            ("d/www.a.org.jpg", picture(1)),
            ("d/www.b.org.cls", cls("\u{feff}dog")),
            ("d/www.b.org.jpg", picture(2)),
            ("d/www.c.org.jpg", picture(3)),
            ("d/www.e.org.cls", cls("cow")),
            ("d/clip.1.jpg", picture(4)),
            ("d/clip.2.jpg", picture(5)),
            ("d/clip.cls", cls("run")),
        ]),
    );
    let labels: Vec<_> =
        members.iter().map(|member| (member.body.is_ok(), member.label.as_deref())).collect();
    let own = |label| (true, Some(label));
    let expected = [own("cat"), own("dog"), own("d"), (false, Some("d")), own("run"), own("run")];
    assert_eq!(labels, expected);
    assert_eq!(members[3].name, "d/www.e.org.cls");
}

#[test]
fn links_to_pictures_are_told() {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name) in [
        (tar::EntryType::Symlink, "a.jpg"),
        (tar::EntryType::Link, "b.jpg"),
        (tar::EntryType::Link, "notes.txt"),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        builder.append_link(&mut header, name, "elsewhere.jpg").unwrap();
    }
    let members = sound(Kind::Tar(Packing::Plain), builder.into_inner().unwrap());
    assert_eq!(names(&members), ["a.jpg", "b.jpg"]);
    for (member, way_out) in members.iter().zip([" `--dereference`", "--hard-dereference"]) {
        let fault = member.body.as_ref().unwrap_err();
        assert_eq!(fault.reason, Reason::Unsupported);
        assert!(fault.message.contains(way_out), "{fault:?}");
    }
}

#[test]
fn pax_names_and_sizes_hold_and_odd_entries_are_passed_over() {
    let name = format!("{}/ü.jpg", "x".repeat(300));
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    builder.append_data(&mut header, "folder/", io::empty()).unwrap();
    header.set_entry_type(tar::EntryType::Symlink);
    builder.append_link(&mut header, "link.jpg", "elsewhere.jpg").unwrap();
    let length = picture(9).len().to_string();
    let records = [("path", name.as_bytes()), ("size", length.as_bytes())];
    builder.append_pax_extensions(records).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("short.jpg").unwrap();
    header.set_size(picture(9).len() as u64);
    header.set_cksum();
    builder.append(&header, &picture(9)[..]).unwrap();
    let mut sparse = tar::Header::new_gnu();
    sparse.set_path("sparse.jpg").unwrap();
    sparse.set_entry_type(tar::EntryType::GNUSparse);
    sparse.set_size(600);
    sparse.set_cksum();
    builder.append(&sparse, &[0; 600][..]).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    builder.append_data(&mut header, "./last.jpg", &b"abc"[..]).unwrap();

    let members = sound(Kind::Tar(Packing::Plain), builder.into_inner().unwrap());
    assert_eq!(names(&members), ["link.jpg", &*name, "sparse.jpg", "last.jpg"]);
    assert_eq!(members[1].body.as_deref(), Ok(&picture(9)[..]));
    for told in [0, 2] {
        assert_eq!(reason(&members[told]), Some(Reason::Unsupported));
    }
}

#[test]
fn tars_put_one_behind_the_other_are_read_as_one() {
    let both = [tar(&[("a.jpg", picture(1))]), tar(&[("b.jpg", picture(2))])].concat();
    assert_eq!(names(&sound(Kind::Tar(Packing::Plain), both.clone())), ["a.jpg", "b.jpg"]);
    assert_eq!(names(&sound(Kind::Tar(Packing::Gzip), gzip(&both))), ["a.jpg", "b.jpg"]);
}

#[test]
fn names_with_many_dots_do_not_make_one_sample_of_the_whole_archive() {
    let files: Vec<_> = (0..300).map(|i| (format!("photo.{i}.jpg"), picture(i % 5))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (&**name, bytes.clone())).collect();
    let archive = Bytes::from(tar(&files));
    let members = sound(Kind::Tar(Packing::Plain), archive.clone());
    assert_eq!(members.len(), 300);
    let begun: Vec<_> = members.iter().filter(|member| member.next.skip == 0).collect();
    assert!(begun.len() > 2, "one sample holds everything");
}

#[test]
fn the_pictures_among_the_records_of_a_crawl_are_taken() {
    let members = sound(Kind::Warc(Packing::Plain), archives::records().concat());
    let (one, three, five, six) = (picture(1), picture(3), picture(5), picture(6));
    assert_eq!(
        told(&members),
        [
            ("http://a/1.jpg", None, Ok(&one[..])),
            ("http://a/3", None, Ok(&three)),
            ("http://a/4", None, Ok(b"GIF89a1234")),
            ("file:///5.gif", None, Ok(&five)),
            ("http://a/6", None, Ok(&six)),
        ]
    );
}

#[test]
fn bytes_of_an_address_that_are_not_utf_8_are_written_out() {
    let mut record = response("http://a/\u{1}", "200 OK\r\nContent-Type: image/png", &picture(1));
    let at = record.iter().position(|&byte| byte == 1).unwrap();
    record[at] = 0xfc;
    let members = sound(Kind::Warc(Packing::Plain), record);
    assert_eq!(names(&members), ["http://a/\\xfc"]);
}

#[test]
fn a_record_that_the_crawler_cut_is_taken_and_a_page_called_a_picture_too() {
    let mut block = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n".to_vec();
    block.extend(&picture(1)[..20]);
    let cut = record("response", "http://a/cut", "WARC-Truncated: length\r\n", &block);
    let page = response("http://a/page", "200 OK\r\nContent-Type: image/png", b"<html>");
    let found = record(
        "response",
        "http://a/found",
        "WARC-Identified-Payload-Type: image/gif\r\n",
        &[b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", &picture(2)[..]].concat(),
    );
    // Cut within the HTTP header: there is nothing to take.
    let headless = record("response", "http://a/none", "", b"HTTP/1.1 200 OK\r\nContent-");
    let members = sound(Kind::Warc(Packing::Plain), [cut, page, headless, found].concat());
    assert_eq!(
        told(&members),
        [
            ("http://a/cut", None, Ok(&picture(1)[..20])),
            ("http://a/page", None, Ok(b"<html>")),
            ("http://a/found", None, Ok(&picture(2))),
        ]
    );
}

#[test]
fn labels_are_told_whatever_numbers_they_are_kept_as() {
    let one = |name: &str, labels: ArrayRef| {
        let images = binary((0..labels.len()).map(|at| Some(picture(at))));
        let file = columns(vec![("Image", images), (name, labels)], WriterProperties::default());
        let labels = sound(Kind::Parquet, file).into_iter().map(|member| member.label);
        labels.collect::<Vec<_>>()
    };
    let told = |labels: &[&str]| labels.iter().map(|label| Some(label.to_string())).collect();
    let large: Vec<Option<String>> = told(&["18446744073709551615", "3"]);
    assert_eq!(one("label", Arc::new(UInt64Array::from(vec![u64::MAX, 3]))), large);
    assert_eq!(one("Label", Arc::new(UInt32Array::from(vec![u32::MAX]))), told(&["4294967295"]));
    let gaps = Float64Array::from(vec![Some(5.0), None, Some(-1.0), Some(0.5), Some(f64::NAN)]);
    let whole = [Some("5".to_owned()), None, Some("-1".to_owned()), None, None];
    assert_eq!(one("CLASS", Arc::new(gaps)), whole);
}

#[test]
fn rows_have_key_and_label_and_nulls_are_rejected() {
    let members = sound(Kind::Parquet, archives::small_parquet(Codec::SNAPPY));
    assert_eq!(members.len(), 10);
    for (number, member) in members.iter().enumerate() {
        assert_eq!(member.name, format!("{number:05}"));
        assert_eq!(member.label, Some((number % 3).to_string()));
        if number == 2 {
            assert_eq!(reason(member), Some(Reason::Empty));
        } else {
            assert_eq!(member.body.as_deref(), Ok(&picture(number)[..]));
        }
    }
}

/// Rows as Hugging Face writes them: a struct of bytes and path, and classes by number.
fn hugging_face() -> Vec<u8> {
    let bytes = binary((0..3).map(|number| Some(picture(number))));
    let paths: ArrayRef = Arc::new(StringArray::from(vec![Some("a.jpg"), None, Some("c.jpg")]));
    let image = StructArray::from(vec![
        (Arc::new(Field::new("bytes", DataType::Binary, true)), bytes),
        (Arc::new(Field::new("path", DataType::Utf8, true)), paths),
    ]);
    let features =
        r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "huggingface".into(),
            features.to_owned(),
        )]))
        .build();
    let labels: ArrayRef = Arc::new(Int64Array::from(vec![1, -1, 0]));
    columns(vec![("image", Arc::new(image)), ("label", labels)], properties)
}

#[test]
fn hugging_faces_struct_and_class_names_are_understood() {
    let members = sound(Kind::Parquet, hugging_face());
    assert_eq!(
        told(&members),
        [
            ("a.jpg", Some("dog"), Ok(&picture(0)[..])),
            ("row 1", None, Ok(&picture(1))),
            ("c.jpg", Some("cat"), Ok(&picture(2))),
        ]
    );
}

#[test]
fn the_column_is_found_by_content_or_named() {
    let properties = || WriterProperties::builder().build();
    let pictures = || binary((0..3).map(|number| Some(picture(number))));
    let vectors = || binary((0..3).map(|_| Some(vec![1, 2, 3])));
    let titles: ArrayRef = Arc::new(StringArray::from(vec!["x", "y", "z"]));
    let found = columns(vec![("vector", vectors()), ("blob", pictures())], properties());
    assert_eq!(sound(Kind::Parquet, found).len(), 3);

    let two: Bytes =
        columns(vec![("a", pictures()), ("b", pictures()), ("title", titles)], properties()).into();
    let (_, error) = read(Kind::Parquet, two.clone(), &Limits::default());
    assert!(error.unwrap().to_string().contains("(a, b)"));
    let named = Limits {
        image_column: Some("b".into()),
        label_column: Some("title".into()),
        ..Limits::default()
    };
    let (members, error) = read(Kind::Parquet, two.clone(), &named);
    assert!(error.is_none());
    assert_eq!(members[2].label.as_deref(), Some("z"));
    let missing = Limits { image_column: Some("c".into()), ..Limits::default() };
    let (_, error) = read(Kind::Parquet, two, &missing);
    assert!(error.unwrap().to_string().contains("a, b, title"));

    let none = columns(vec![("vector", vectors())], properties());
    let (_, error) = read(Kind::Parquet, none, &Limits::default());
    assert!(matches!(error, Some(ContainerError::Columns(_))));
}

#[test]
fn a_damaged_row_group_is_one_reject_and_the_next_is_read() {
    let mut bytes = archives::small_parquet(Codec::ZSTD(Default::default()));
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new()
        .parse_and_finish(&Bytes::from(bytes.clone()))
        .unwrap();
    // The header of the first page of pictures, in the second row group of three.
    let (start, _) = metadata.row_group(1).column(2).byte_range();
    bytes[start as usize..][..4].fill(0xff);
    let members = sound(Kind::Parquet, bytes);
    let expected = ["00000", "00001", "00002", "00003", "rows 4 to 7", "00008", "00009"];
    assert_eq!(names(&members), expected);
    assert_eq!(reason(&members[4]), Some(Reason::Corrupt));
}

#[test]
fn going_on_from_any_cursor_gives_the_members_that_reading_on_gives() {
    for (kind, bytes) in archives::all() {
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
    let damaged = Bytes::from_static(include_bytes!("../../fuzz/seeds/parquet/found-1"));
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
    let (kind, bytes) = archives::all().swap_remove(4);
    assert_eq!(kind, Kind::Warc(Packing::Gzip));
    for member in sound(kind, bytes) {
        assert!(member.next.offset > 0);
        assert_eq!(member.next.skip, 0);
    }
}

#[test]
fn a_cursor_of_another_archive_is_refused() {
    for (kind, bytes) in archives::all() {
        let beyond = Cursor { members: 1, offset: 1 << 40, skip: 0 };
        let (members, error) = read_from(kind, Arc::new(bytes), beyond, &Limits::default());
        assert!(members.is_empty());
        assert!(matches!(error, Some(ContainerError::Cursor { .. })), "{error:?}");
    }
}

#[test]
fn an_archive_cut_anywhere_gives_the_members_before_and_one_error() {
    for (kind, bytes) in archives::all() {
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
                assert!(matches!(error, ContainerError::Cut { .. }), "{error}");
            }
        }
    }
}

#[test]
fn damage_never_panics_and_always_ends() {
    let rounds = std::env::var("CONTAINER_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: u32 = rounds.unwrap_or(4000);
    let limits = Limits { member_bytes: 1 << 20, page_bytes: 1 << 22, ..Limits::default() };
    let archives = archives::all();
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

/// An archive that counts what is read of it, or fails at a place.
struct Counted {
    bytes: Bytes,
    claimed: u64,
    fails_at: u64,
    read: Arc<AtomicU64>,
}

impl Counted {
    fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let claimed = bytes.len() as u64;
        Self { bytes, claimed, fails_at: u64::MAX, read: Arc::default() }
    }
}

struct CountedReader {
    inner: Box<dyn Read + Send>,
    left: u64,
    read: Arc<AtomicU64>,
}

impl Read for CountedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= read as u64;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Origin for Counted {
    fn bytes(&self) -> u64 {
        self.claimed
    }

    fn reader(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let inner = self.bytes.reader(from)?;
        let left = self.fails_at.saturating_sub(from);
        Ok(Box::new(CountedReader { inner, left, read: Arc::clone(&self.read) }))
    }

    fn read_range(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.end > self.fails_at {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.read.fetch_add(range.end - range.start, Ordering::Relaxed);
        self.bytes.read_range(range)
    }
}

#[test]
fn a_storage_that_fails_is_told_from_a_damaged_archive() {
    for (kind, bytes) in archives::all() {
        let whole = sound(kind, bytes.clone());
        let mut origin = Counted::new(bytes.clone());
        origin.fails_at = bytes.len() as u64 / 2;
        let (members, error) =
            read_from(kind, Arc::new(origin), Cursor::default(), &Limits::default());
        assert!(matches!(error, Some(ContainerError::Io { .. })), "{kind:?}: {error:?}");
        assert!(members.len() < whole.len());
        assert!(members.iter().zip(&whole).all(|(found, expected)| found.body == expected.body));
    }
}

#[test]
fn a_member_over_the_limit_is_rejected_and_the_rest_is_read() {
    let limits = Limits { member_bytes: 60, ..Limits::default() };
    for (kind, bytes) in archives::all() {
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
    assert!(matches!(error, Some(ContainerError::Cut { .. })), "{error:?}");
    assert!(read_of_it.load(Ordering::Relaxed) < 1 << 20);

    let (members, error) = read(Kind::Tar(Packing::Gzip), gzip(&bytes), &Limits::default());
    assert_eq!(names(&members), ["a.jpg"]);
    assert!(matches!(error, Some(ContainerError::Cut { .. })), "{error:?}");
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
    assert!(matches!(error, Some(ContainerError::Bomb { .. })), "{error:?}");

    let records = [
        response("http://a/1", "200 OK\r\nContent-Type: image/gif", &picture(1)),
        response("http://a/2", "200 OK\r\nContent-Type: text/html", &zeros),
    ];
    let records: Vec<u8> = records.iter().flat_map(|record| gzip(record)).collect();
    let (members, error) = read(Kind::Warc(Packing::Gzip), records, &Limits::default());
    assert_eq!(members.len(), 1);
    assert!(matches!(error, Some(ContainerError::Bomb { .. })), "{error:?}");
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
