//! What the fuzzers of archives have in common.

use std::sync::Arc;

use archives::{ArchiveError, Cursor, Kind, Limits, Member, Packing, open};
use bytes::Bytes;

/// Members that are looked at: a dictionary's value of a megabyte may be that of every row.
const MOST: usize = 1000;

/// What an archive is packed with, by its first byte.
pub fn packing(data: &[u8]) -> Packing {
    match data.first() {
        Some(0x1f) => Packing::Gzip,
        Some(0x28 | 0x50..=0x5f) => Packing::Zstd,
        Some(0xfd) => Packing::Xz,
        Some(b'B') => Packing::Bzip2,
        _ => Packing::Plain,
    }
}

/// Reads an archive, and again from a member in its midst: that must give the same.
///
/// # Panics
/// If it does not, or if more is given than the limits allow.
pub fn archive(kind: Kind, data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    let (members, error) = read(kind, &data, Cursor::default());
    if members.len() == MOST {
        return;
    }
    if let Some(middle) = members.get(members.len() / 2) {
        let (rest, again) = read(kind, &data, middle.next);
        assert_eq!(rest, members[members.len() / 2 + 1..]);
        assert_eq!(again.is_some(), error.is_some());
    }
}

fn read(kind: Kind, data: &Bytes, from: Cursor) -> (Vec<Member>, Option<ArchiveError>) {
    let limits = Limits { member_bytes: 1 << 20, page_bytes: 4 << 20, ..Limits::default() };
    let members = match open(kind, Arc::new(data.clone()), from, &limits) {
        Ok(members) => members,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let (mut found, mut failed) = (Vec::new(), None);
    for member in members.take(MOST) {
        match member {
            Ok(member) => {
                assert!(member.body.as_ref().map_or(0, Bytes::len) <= 1 << 20);
                found.push(member);
            }
            Err(error) => failed = Some(error),
        }
    }
    (found, failed)
}
