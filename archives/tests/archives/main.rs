//! Archives of every kind, sound, cut, damaged and hostile.

// The helpers unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod addresses;
mod counted;
mod crawls;
mod harm;
mod make;
mod packings;
mod samples;
mod tables;
mod zips;

use std::sync::Arc;

use archives::{ArchiveError, Cursor, Kind, Limits, Member, Origin, Packing, open};
use bytes::Bytes;
use schemas::Reason;

use crate::make::{gzip, picture};

/// All members, and the error at the end if there is one.
fn read_from(
    kind: Kind,
    origin: Arc<dyn Origin>,
    from: Cursor,
    limits: &Limits,
) -> (Vec<Member>, Option<ArchiveError>) {
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
) -> (Vec<Member>, Option<ArchiveError>) {
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
    for (kind, bytes) in make::all() {
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
