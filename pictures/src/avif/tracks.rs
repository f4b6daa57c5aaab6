//! The first picture of a film in AV1, for an animation that has no still picture beside it
//! (ISO/IEC 14496-12, 8.7).

use super::boxes::{Fields, boxes, inside};

/// Offset and length of the first picture of the first track of pictures.
pub(super) fn first_picture(file: &[u8]) -> Option<(u64, u64)> {
    let tracks = boxes(inside(file, b"moov")?).filter(|(name, _)| *name == b"trak");
    tracks.filter_map(|(_, track)| first_sample(track)).next()
}

fn first_sample(track: &[u8]) -> Option<(u64, u64)> {
    let media = inside(track, b"mdia")?;
    // Version, flags and a field of no use come before the name.
    if inside(media, b"hdlr")?.get(8..12)? != b"pict" {
        return None;
    }
    let table = inside(inside(media, b"minf")?, b"stbl")?;
    let mut kinds = Fields(inside(table, b"stsd")?);
    kinds.bytes(8)?;
    if boxes(kinds.0).next()?.0 != b"av01" {
        return None;
    }
    let mut sizes = Fields(inside(table, b"stsz")?);
    sizes.bytes(4)?;
    let (of_all, count) = (sizes.u32()?, sizes.u32()?);
    let size = match of_all {
        0 if count > 0 => sizes.u32()?,
        size => size,
    };
    let (offsets, bytes) = match inside(table, b"stco") {
        Some(offsets) => (offsets, 4),
        None => (inside(table, b"co64")?, 8),
    };
    let offset = Fields(offsets.get(8..)?).number(bytes)?;
    (size > 0).then_some((offset, size.into()))
}
