//! A page's bytes as they are stored → as they were, never more than the page claims.

use std::io::{self, Read};

use brotli_decompressor::Decompressor;
use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;

/// Why a page can't be inflated.
#[derive(Debug)]
pub(super) enum Failure {
    /// Pages of this codec are not read.
    Codec,
    /// It inflates to more than it claims.
    TooMuch,
    /// It is broken, or inflates to less than it claims.
    Damaged(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Puts what `packed` stands for behind `bytes`: exactly so many bytes as are `claimed`.
pub(super) fn inflate(
    codec: Compression,
    packed: &[u8],
    claimed: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), Failure> {
    let before = bytes.len();
    match codec {
        Compression::UNCOMPRESSED => bytes.extend_from_slice(packed),
        Compression::GZIP(_) => stream(MultiGzDecoder::new(packed), claimed, bytes)?,
        // These first bits announce a window of up to 1 GiB, which Parquet's Brotli does not have.
        Compression::BROTLI(_) if packed.first().is_some_and(|first| first & 0x7f == 0x11) => {
            return Err(Failure::Damaged("its Brotli has a forbidden window".to_owned()));
        }
        Compression::BROTLI(_) => stream(Decompressor::new(packed, 4096), claimed, bytes)?,
        Compression::SNAPPY | Compression::ZSTD(_) | Compression::LZ4_RAW | Compression::LZ4 => {
            bytes.resize(before + claimed, 0);
            let inflated = at_once(codec, packed, &mut bytes[before..])?;
            bytes.truncate(before + inflated);
        }
        Compression::LZO => return Err(Failure::Codec),
    }
    match bytes.len() - before {
        inflated if inflated == claimed => Ok(()),
        inflated => {
            Err(Failure::Damaged(format!("it inflates to {inflated} bytes, and claims {claimed}")))
        }
    }
}

fn stream(from: impl Read, claimed: usize, bytes: &mut Vec<u8>) -> Result<(), Failure> {
    bytes.reserve_exact(claimed);
    let inflated = from.take(claimed as u64 + 1).read_to_end(bytes)?;
    if inflated > claimed { Err(Failure::TooMuch) } else { Ok(()) }
}

/// Inflates into the room that there is, and says how much of it was needed.
fn at_once(codec: Compression, packed: &[u8], room: &mut [u8]) -> Result<usize, Failure> {
    let damaged = |error: &dyn std::fmt::Display| Failure::Damaged(error.to_string());
    match codec {
        Compression::SNAPPY => {
            snap::raw::Decoder::new().decompress(packed, room).map_err(|error| damaged(&error))
        }
        Compression::ZSTD(_) => Ok(zstd::bulk::decompress_to_buffer(packed, room)?),
        Compression::LZ4 => lz4(packed, room).map_err(|error| damaged(&error)),
        _ => lz4_flex::block::decompress_into(packed, room).map_err(|error| damaged(&error)),
    }
}

/// What Parquet once called LZ4 is one of three things: Hadoop's blocks, a frame, or plain LZ4.
fn lz4(packed: &[u8], room: &mut [u8]) -> io::Result<usize> {
    if let Some(inflated) = hadoop(packed, room) {
        return Ok(inflated);
    }
    if packed.starts_with(&[0x04, 0x22, 0x4d, 0x18]) {
        let mut decoder = lz4_flex::frame::FrameDecoder::new(packed);
        decoder.read_exact(room)?;
        return Ok(room.len());
    }
    lz4_flex::block::decompress_into(packed, room).map_err(io::Error::other)
}

/// Hadoop's blocks: the size of each, then chunks with their stored sizes that make it up.
fn hadoop(mut packed: &[u8], room: &mut [u8]) -> Option<usize> {
    fn size(packed: &mut &[u8]) -> Option<usize> {
        let (size, rest) = packed.split_first_chunk()?;
        *packed = rest;
        usize::try_from(u32::from_be_bytes(*size)).ok()
    }
    let mut at = 0;
    while !packed.is_empty() {
        let end = size(&mut packed)?.checked_add(at).filter(|&end| end <= room.len())?;
        while at < end {
            let stored = size(&mut packed)?;
            let (chunk, rest) = packed.split_at_checked(stored)?;
            let inflated = lz4_flex::block::decompress_into(chunk, &mut room[at..end]).ok()?;
            if inflated == 0 {
                return None;
            }
            (packed, at) = (rest, at + inflated);
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn blocks(parts: &[(&[u8], usize)]) -> Vec<u8> {
        let mut packed = Vec::new();
        for (block, chunks) in parts {
            packed.extend((block.len() as u32).to_be_bytes());
            for chunk in block.chunks(block.len().div_ceil(*chunks)) {
                let chunk = lz4_flex::block::compress(chunk);
                packed.extend((chunk.len() as u32).to_be_bytes());
                packed.extend(chunk);
            }
        }
        packed
    }

    #[test]
    fn lz4_is_read_in_each_of_the_forms_that_had_its_name() {
        let whole: Vec<u8> = (0..5000_u32).map(|at| (at / 7) as u8).collect();
        let (first, last) = whole.split_at(3000);
        let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
        frame.write_all(&whole).unwrap();
        for packed in [
            blocks(&[(&whole, 1)]),
            blocks(&[(first, 1), (last, 1)]),
            blocks(&[(&whole, 3)]),
            frame.finish().unwrap(),
            lz4_flex::block::compress(&whole),
        ] {
            let mut bytes = vec![7];
            inflate(Compression::LZ4, &packed, whole.len(), &mut bytes).unwrap();
            assert_eq!(bytes[1..], whole);
        }
    }

    #[test]
    fn no_codec_gives_more_or_less_than_was_claimed() {
        let whole = vec![5; 1000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        gzip.write_all(&whole).unwrap();
        let packed = [
            (Compression::GZIP(Default::default()), gzip.finish().unwrap()),
            (Compression::SNAPPY, snap::raw::Encoder::new().compress_vec(&whole).unwrap()),
            (Compression::ZSTD(Default::default()), zstd::bulk::compress(&whole, 1).unwrap()),
            (Compression::LZ4_RAW, lz4_flex::block::compress(&whole)),
            (Compression::LZ4, blocks(&[(&whole, 2)])),
        ];
        for (codec, packed) in packed {
            for claimed in [0, 1, 999, 1001, 4000] {
                let mut bytes = Vec::new();
                assert!(inflate(codec, &packed, claimed, &mut bytes).is_err(), "{codec} {claimed}");
                assert!(bytes.len() <= claimed + 1);
            }
            inflate(codec, &packed, 1000, &mut Vec::new()).unwrap();
        }
    }
}
