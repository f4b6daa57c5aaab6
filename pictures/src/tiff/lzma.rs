//! XZ streams as TIFF has them: one block, its bytes as differences, in LZMA2
//! (<https://tukaani.org/xz/xz-file-format.txt>).

use lzma_rust2::Lzma2Reader;
use schemas::Fault;

use super::fill::fill;

/// Fills `to` from the first block; how many bytes of it there were.
pub(super) fn unpack(from: &[u8], to: &mut [u8]) -> Result<usize, Fault> {
    let Block { distance, dictionary, content } = Block::read(from)
        .ok_or_else(|| Fault::corrupt("a strip or tile of the TIFF holds no LZMA that is known"))?;
    // No more is ever looked back at than there is to fill.
    let needed = u32::try_from(to.len()).unwrap_or(u32::MAX);
    let dictionary = dictionary.min(needed.max(4096));
    let filled = fill(Lzma2Reader::new(content, dictionary, None), to)?;
    if let Some(distance) = distance {
        for at in distance..filled {
            to[at] = to[at].wrapping_add(to[at - distance]);
        }
    }
    Ok(filled)
}

struct Block<'a> {
    /// How far apart the bytes are whose difference is stored.
    distance: Option<usize>,
    dictionary: u32,
    content: &'a [u8],
}

impl<'a> Block<'a> {
    fn read(from: &'a [u8]) -> Option<Self> {
        const DELTA: u64 = 3;
        const LZMA2: u64 = 0x21;
        // Magic, flags and their checksum; then the block's header, in words of four bytes.
        let block = from.strip_prefix(b"\xfd7zXZ\0")?.get(6..)?;
        let size = (usize::from(*block.first()?) + 1) * 4;
        let (header, content) = block.split_at_checked(size)?;
        let flags = *header.get(1)?;
        let mut rest = header.get(2..)?;
        for told in [0x40, 0x80] {
            if flags & told != 0 {
                varint(&mut rest)?;
            }
        }
        let mut found = Self { distance: None, dictionary: 0, content };
        for _ in 0..=flags & 3 {
            let id = varint(&mut rest)?;
            let length = usize::try_from(varint(&mut rest)?).ok()?;
            let (properties, after) = rest.split_at_checked(length)?;
            rest = after;
            match (id, properties) {
                (DELTA, [less]) if found.distance.is_none() => {
                    found.distance = Some(usize::from(*less) + 1);
                }
                (LZMA2, [bits @ 0..40]) => {
                    let mantissa = 2 | u32::from(bits & 1);
                    found.dictionary = mantissa << (bits / 2 + 11);
                    return Some(found);
                }
                _ => return None,
            }
        }
        None
    }
}

/// A number of seven bits a byte, the lowest first.
fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut sum = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        sum |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(sum);
        }
    }
    None
}
