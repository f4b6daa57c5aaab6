//! What a picture's properties say of its colours and its way up (ISO/IEC 23008-12).

use image::metadata::Orientation;

/// The properties of the primary item; those that are missing or broken are left out.
#[derive(Debug)]
pub(super) struct Properties {
    /// An ICC profile.
    pub profile: Option<Vec<u8>>,
    /// How colours are coded.
    pub coding: Option<Coding>,
    /// How the picture is turned upright.
    pub orientation: Orientation,
}

/// The code points of ITU-T H.273.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coding {
    pub primaries: u8,
    pub matrix: u8,
    pub full_range: bool,
}

impl Properties {
    pub fn find(bytes: &[u8]) -> Self {
        let mut found =
            Self { profile: None, coding: None, orientation: Orientation::NoTransforms };
        let (mut quarters, mut mirror) = (0, None);
        for (name, content) in of_primary(bytes).unwrap_or_default() {
            match (name, content) {
                (b"colr", [b'n', b'c', b'l', b'x', _, primaries, _, _, _, matrix, range, ..]) => {
                    found.coding = Some(Coding {
                        primaries: *primaries,
                        matrix: *matrix,
                        full_range: range & 128 != 0,
                    });
                }
                (b"colr", [b'p', b'r', b'o', b'f', profile @ ..]) => {
                    found.profile = Some(profile.to_vec());
                }
                (b"irot", [angle, ..]) => quarters = angle & 3,
                (b"imir", [axis, ..]) => mirror = Some(axis & 1),
                _ => {}
            }
        }
        // Turned anticlockwise first, then mirrored: 0 top to bottom, 1 left to right.
        found.orientation = match (quarters, mirror) {
            (0, None) => Orientation::NoTransforms,
            (1, None) => Orientation::Rotate270,
            (2, None) => Orientation::Rotate180,
            (_, None) => Orientation::Rotate90,
            (0, Some(0)) | (2, Some(1)) => Orientation::FlipVertical,
            (0 | 2, Some(_)) => Orientation::FlipHorizontal,
            (1, Some(0)) | (3, Some(1)) => Orientation::Rotate90FlipH,
            (_, Some(_)) => Orientation::Rotate270FlipH,
        };
        found
    }
}

type Boxed<'a> = (&'a [u8; 4], &'a [u8]);

/// The boxes that lie one after another in `bytes`.
fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = Boxed<'_>> {
    std::iter::from_fn(move || {
        let size = u32::from_be_bytes(*bytes.first_chunk::<4>()?);
        let name = bytes.get(4..)?.first_chunk::<4>()?;
        let (head, size) = match size {
            0 => (8, bytes.len() as u64),
            1 => (16, u64::from_be_bytes(*bytes.get(8..)?.first_chunk::<8>()?)),
            size => (8, u64::from(size)),
        };
        let content = bytes.get(head..usize::try_from(size).ok()?)?;
        bytes = &bytes[head + content.len()..];
        Some((name, content))
    })
}

fn inside<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(bytes).find(|(found, _)| *found == name).map(|(_, content)| content)
}

/// The properties that are associated with the primary item, in order.
fn of_primary(bytes: &[u8]) -> Option<Vec<Boxed<'_>>> {
    // Version and flags come before the boxes.
    let meta = inside(bytes, b"meta")?.get(4..)?;
    let primary = match inside(meta, b"pitm")? {
        [0, _, _, _, a, b, ..] => u32::from(u16::from_be_bytes([*a, *b])),
        [_, _, _, _, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]),
        _ => return None,
    };
    let properties = inside(meta, b"iprp")?;
    let all: Vec<_> = boxes(inside(properties, b"ipco")?).collect();
    let (&[version, _, _, flags], rest) = inside(properties, b"ipma")?.split_first_chunk::<4>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    for _ in 0..u32::from_be_bytes(*count) {
        let id;
        if version == 0 {
            let (bytes, tail) = rest.split_first_chunk::<2>()?;
            (id, rest) = (u32::from(u16::from_be_bytes(*bytes)), tail);
        } else {
            let (bytes, tail) = rest.split_first_chunk::<4>()?;
            (id, rest) = (u32::from_be_bytes(*bytes), tail);
        }
        let (&associations, tail) = rest.split_first()?;
        let wide = flags & 1 == 1;
        let (entries, tail) =
            tail.split_at_checked(usize::from(associations) * if wide { 2 } else { 1 })?;
        rest = tail;
        if id == primary {
            let index = |entry: &[u8]| match *entry {
                [high, low] => usize::from(u16::from_be_bytes([high & 127, low])),
                [index] => usize::from(index & 127),
                _ => 0,
            };
            return Some(
                entries
                    .chunks(if wide { 2 } else { 1 })
                    .filter_map(|entry| all.get(index(entry).checked_sub(1)?).copied())
                    .collect(),
            );
        }
    }
    None
}
