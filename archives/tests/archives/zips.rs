//! ZIPs as people pack them, and as nobody should.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use archives::{ArchiveError, Cursor, Kind, Limits, Member};
use bytes::Bytes;
use schemas::Reason;

use crate::counted::Counted;
use crate::make::zip::{Method, Zip};
use crate::make::{picture, small_zip};
use crate::{names, read, read_from, reason, sound, told};

fn message(member: &Member) -> &str {
    member.body.as_ref().map_or_else(|fault| &*fault.message, |_| "")
}

#[test]
fn files_of_a_zip_are_samples_as_in_a_tar_wherever_they_lie() {
    let members = sound(Kind::Zip, small_zip());
    let told = told(&members);
    assert_eq!(
        told,
        [
            ("train/cat/0001.jpg", Some("7"), Ok(&picture(1)[..])),
            ("train/cat/0002.jpg", Some("cat"), Ok(&picture(2))),
            ("train/cat/0002.seg.png", Some("cat"), Ok(&picture(3))),
            ("train/page.html", Some("train"), Ok(b"<!doctype html>")),
            ("0004.jpg", None, Ok(&picture(4))),
            ("0005", None, Ok(&picture(5))),
        ]
    );
}

#[test]
fn what_stands_before_and_behind_a_zip_is_let_be() {
    let expected = sound(Kind::Zip, small_zip());
    let mut zip = Zip::default();
    zip.file("a.jpg", &picture(1), Method::Deflate);
    let one = sound(Kind::Zip, zip.clone().end());
    assert_eq!(sound(Kind::Zip, zip.clone().end_with(b"made by PK\x05\x06 nobody")), one);
    assert_eq!(sound(Kind::Zip, zip.clone().end_large()), one);
    assert_eq!(sound(Kind::Zip, [b"#!/bin/sh\n", &zip.end_large()[..]].concat()), one);
    assert_eq!(sound(Kind::Zip, [&[7; 5000], &small_zip()[..]].concat()), expected);
    assert_eq!(sound(Kind::Zip, [&small_zip()[..], &[0; 300]].concat()), expected);
    assert!(sound(Kind::Zip, Zip::default().end()).is_empty());
}

#[test]
fn names_are_read_in_the_characters_they_are_written_in() {
    let mut zip = Zip::default();
    zip.named(b"caf\x82/1.jpg", &picture(1), Method::Store, |_| ());
    zip.named("gr\u{fc}n/2.jpg".as_bytes(), &picture(2), Method::Store, |head| {
        head.flags = 1 << 11;
    });
    zip.named(b"dog\\3.jpg", &picture(3), Method::Store, |head| head.made_by = 20);
    zip.named(b"./__MACOSX/dog/._3.jpg", b"not this", Method::Store, |_| ());
    zip.named(b".hidden/4.jpg", &picture(4), Method::Store, |_| ());
    let members = sound(Kind::Zip, zip.end());
    assert_eq!(names(&members), ["café/1.jpg", "grün/2.jpg", "dog/3.jpg"]);
    assert_eq!(members[2].label.as_deref(), Some("dog"));
}

#[test]
fn files_that_cannot_be_read_are_told_one_by_one() {
    let mut zip = Zip::default();
    zip.named(b"secret.jpg", &picture(1), Method::Store, |head| head.flags = 1);
    zip.file("ppmd.jpg", &picture(2), Method::Ppmd);
    zip.named(b"link.jpg", b"elsewhere.jpg", Method::Store, |head| {
        head.attributes = 0o120_777 << 16;
    });
    zip.named(b"notes.txt", b"elsewhere.txt", Method::Store, |head| {
        head.attributes = 0o120_777 << 16;
    });
    zip.named(b"sum.jpg", &picture(3), Method::Deflate, |head| head.crc ^= 1);
    zip.named(b"more.jpg", &picture(4), Method::Deflate, |head| head.bytes -= 1);
    zip.named(b"less.jpg", &picture(5), Method::Deflate, |head| head.bytes += 1);
    let at = zip.bytes.len();
    zip.file("broken.jpg", &picture(6), Method::Deflate);
    zip.bytes[at + 30 + "broken.jpg".len()] = 0xff;
    zip.file("sound.jpg", &picture(7), Method::Deflate);
    zip.named(b"vast.jpg", &picture(8), Method::Deflate, |head| head.bytes = u32::MAX - 1);

    let members = sound(Kind::Zip, zip.end());
    let expected = [
        ("secret.jpg", Some(Reason::Unsupported), "encrypted"),
        ("ppmd.jpg", Some(Reason::Unsupported), "PPMd"),
        ("link.jpg", Some(Reason::Unsupported), "symbolic link"),
        ("sum.jpg", Some(Reason::Corrupt), "checksum"),
        ("more.jpg", Some(Reason::Corrupt), "more"),
        ("less.jpg", Some(Reason::Corrupt), "less"),
        ("broken.jpg", Some(Reason::Corrupt), "unpacked"),
        ("sound.jpg", None, ""),
        ("vast.jpg", Some(Reason::TooLarge), "bytes"),
    ];
    assert_eq!(members.len(), expected.len());
    for (member, (name, why, part)) in members.iter().zip(expected) {
        assert_eq!((&*member.name, reason(member)), (name, why), "{}", message(member));
        assert!(message(member).contains(part), "{name}: {}", message(member));
    }
}

#[test]
fn files_that_lie_over_one_another_are_not_unpacked_again_and_again() {
    let mut zip = Zip::default();
    zip.file("kernel.jpg", &picture(1), Method::Deflate);
    let first = zip.heads[0].clone();
    for number in 0..1000 {
        let mut head = first.clone();
        head.name = format!("{number:07}.jpg").into();
        zip.heads.push(head);
    }
    let members = sound(Kind::Zip, zip.end());
    assert_eq!(members.len(), 1001);
    assert_eq!(members.iter().filter(|member| member.body.is_ok()).count(), 1);
    let refused = members.iter().find(|member| member.body.is_err()).unwrap();
    assert_eq!(reason(refused), Some(Reason::Corrupt));
    assert!(message(refused).contains("another file's"), "{}", message(refused));
}

#[test]
fn what_inflates_beyond_all_proportion_and_is_no_picture_is_given_up() {
    let mut zip = Zip::default();
    zip.file("a.jpg", &picture(1), Method::Deflate);
    for method in [Method::Deflate, Method::Bzip2, Method::Zstd, Method::Xz] {
        zip.file(&format!("{method:?}.jpg"), &vec![0; 70 << 20], method);
    }
    zip.file("b.jpg", &picture(2), Method::Deflate);
    let members = sound(Kind::Zip, zip.end());
    let reasons: Vec<_> = members.iter().map(reason).collect();
    let large = Some(Reason::TooLarge);
    assert_eq!(reasons, [None, large, large, large, large, None]);
}

#[test]
fn a_zip_that_was_cut_short_gives_the_files_that_are_whole() {
    let mut zip = Zip::default();
    zip.file("cat/1.jpg", &picture(1), Method::Deflate);
    zip.described("cat/2.jpg", &picture(2));
    zip.file("dog/3.jpg", &picture(3), Method::Store);
    let start = zip.bytes.len();
    zip.file("dog/4.jpg", &picture(4), Method::Store);
    let files = zip.bytes.clone();
    for (bytes, expected) in [
        (&files[..start + 60], &["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"][..]),
        (&files[..], &["cat/1.jpg", "cat/2.jpg", "dog/3.jpg", "dog/4.jpg"]),
    ] {
        let (members, error) = read(Kind::Zip, bytes.to_vec(), &Limits::default());
        assert_eq!(names(&members), expected);
        assert!(members.iter().all(|member| member.body.is_ok()));
        assert!(matches!(error, Some(ArchiveError::Cut { .. })), "{error:?}");
    }
    let whole = zip.end();
    let (members, error) = read(Kind::Zip, whole[..whole.len() - 30].to_vec(), &Limits::default());
    assert_eq!(members.len(), 4);
    assert!(matches!(error, Some(ArchiveError::Cut { .. })), "{error:?}");
}

#[test]
fn a_damaged_directory_gives_what_it_still_names_and_one_error() {
    let mut whole = small_zip();
    let record = b"PK\x01\x02";
    let places: Vec<_> = (0..whole.len()).filter(|&at| whole[at..].starts_with(record)).collect();
    whole[places[4]] = 0;
    let (members, error) = read(Kind::Zip, whole, &Limits::default());
    assert_eq!(names(&members)[..2], ["train/cat/0001.jpg", "train/cat/0002.jpg"]);
    let error = error.unwrap().to_string();
    assert!(error.contains("directory has 4 files of 9"), "{error}");

    let (_, error) = read(Kind::Zip, &b"<html>no ZIP"[..], &Limits::default());
    let error = error.unwrap().to_string();
    assert!(error.contains("no directory"), "{error}");
    let mut part = small_zip();
    let end = part.len() - 22;
    part[end + 4] = 2;
    let (_, error) = read(Kind::Zip, part, &Limits::default());
    assert!(matches!(error, Some(ArchiveError::Unread(what)) if what.contains("split")));
}

#[test]
fn many_files_are_streamed_and_not_looked_up_one_by_one() {
    let mut zip = Zip::default();
    let small = picture(0);
    for number in 0..30_000 {
        zip.file(&format!("{}/{number:06}.jpg", number % 10), &small, Method::Store);
    }
    let bytes = Bytes::from(zip.end());
    let origin = Counted::new(bytes.clone());
    let read_of_it = Arc::clone(&origin.read);
    let (members, error) =
        read_from(Kind::Zip, Arc::new(origin), Cursor::default(), &Limits::default());
    assert!(error.is_none());
    assert_eq!(members.len(), 30_000);
    // The end of it is read to find the directory, and all once.
    assert!(read_of_it.load(Ordering::Relaxed) < bytes.len() as u64 + (512 << 10));
    let middle = members[20_000].next;
    let (rest, _) = read_from(Kind::Zip, Arc::new(bytes), middle, &Limits::default());
    assert!(rest == members[20_001..]);
}
