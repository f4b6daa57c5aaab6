//! What a ZIP says of one of its files.

use std::collections::HashMap;

use formats::mark;
use schemas::{Fault, Reason};

use crate::samples::key;
use crate::text;

/// Bytes of the header before a file, without its names.
pub(super) const LOCAL: usize = 30;
pub(super) const STORE: u16 = 0;
pub(super) const DEFLATE: u16 = 8;
pub(super) const BZIP2: u16 = 12;
pub(super) const LZMA: u16 = 14;
pub(super) const ZSTD: u16 = 93;
pub(super) const XZ: u16 = 95;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Box<str>,
    pub(super) method: u16,
    pub(super) is_encrypted: bool,
    pub(super) is_link: bool,
    /// The next file begins within it.
    pub(super) lies_over: bool,
    pub(super) crc: u32,
    /// Bytes as they are stored, and unpacked.
    pub(super) stored: u64,
    pub(super) bytes: u64,
    /// Where its header begins.
    pub(super) offset: u64,
}

impl Entry {
    /// Why its bytes can't be had, as far as the directory tells that.
    pub(super) fn fault(&self) -> Option<Fault> {
        let unsupported = |message: String| Some(Fault::new(Reason::Unsupported, message));
        if self.is_encrypted {
            return unsupported(
                "a file of the ZIP that is encrypted; unpack it with its password".to_owned(),
            );
        }
        if self.is_link {
            return unsupported(
                "a symbolic link of the ZIP, which is not followed; write it without `--symlinks`"
                    .to_owned(),
            );
        }
        if self.lies_over {
            let message = "its bytes are another file's of the ZIP, too";
            return Some(Fault::new(Reason::Corrupt, message));
        }
        let method = match self.method {
            STORE | DEFLATE | BZIP2 | LZMA | ZSTD | XZ => return None,
            1 => "Shrink".to_owned(),
            2..=5 => "Reduce".to_owned(),
            6 => "Implode".to_owned(),
            9 => "Deflate64".to_owned(),
            98 => "PPMd".to_owned(),
            other => format!("method {other}"),
        };
        unsupported(format!(
            "a file of the ZIP that is packed with {method}; stored, Deflate, bzip2, LZMA, \
             zstd and xz are read"
        ))
    }
}

/// What the header before a file says.
pub(super) struct LocalHeader {
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) stored: u32,
    pub(super) bytes: u32,
    pub(super) name: u16,
    /// Bytes of name and extra fields behind it.
    pub(super) names: u64,
}

impl LocalHeader {
    pub(super) fn parse(header: &[u8]) -> Option<Self> {
        if !header.starts_with(mark::ZIP) {
            return None;
        }
        let (name, extra) = (u16_at(header, 26)?, u16_at(header, 28)?);
        Some(Self {
            flags: u16_at(header, 6)?,
            method: u16_at(header, 8)?,
            crc: u32_at(header, 14)?,
            stored: u32_at(header, 18)?,
            bytes: u32_at(header, 22)?,
            name,
            names: u64::from(name) + u64::from(extra),
        })
    }
}

/// Sorts out folders and hidden files; puts the others into the order in which they lie, but those of
/// one key behind the first of it, and finds those that lie over one another.
pub(super) fn in_order(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by_key(|entry| entry.offset);
    for at in 1..entries.len() {
        let next = entries[at].offset;
        let entry = &mut entries[at - 1];
        let end = entry.offset.saturating_add(LOCAL as u64).saturating_add(entry.stored);
        entry.lies_over = end > next;
    }
    entries.retain(|entry| !entry.name.is_empty() && !entry.name.ends_with('/'));
    let mut first: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
    let ranks: Vec<usize> = entries
        .iter()
        .enumerate()
        .map(|(at, e)| *first.entry(key(&e.name)).or_insert(at))
        .collect();
    drop(first);
    let mut ranked: Vec<_> = ranks.into_iter().zip(entries).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, entry)| entry).collect()
}

/// The name as text, with `/` between its parts.
///
/// Without the flag that says so it need not be UTF-8, but is, if it reads as such; else it is in
/// the characters of MS-DOS, unless an extra field has it in UTF-8.
pub(super) fn name(bytes: &[u8], is_utf_8: bool, extra: &[u8], is_of_dos: bool) -> Box<str> {
    let unicode = || {
        let field = self::extra(extra, 0x7075)?;
        let mut sum = flate2::Crc::new();
        sum.update(bytes);
        let is_of_it = field.first() == Some(&1) && u32_at(field, 1) == Some(sum.sum());
        is_of_it.then(|| str::from_utf8(field.get(5..)?).ok())?
    };
    let mut name = match (unicode(), str::from_utf8(bytes)) {
        (Some(name), _) | (None, Ok(name)) => name.to_owned(),
        (None, Err(_)) if is_utf_8 => text(bytes),
        (None, Err(_)) => bytes.iter().map(|&byte| of_dos(byte)).collect(),
    };
    // Some writers of Windows have it so.
    if is_of_dos && !name.contains('/') {
        name = name.replace('\\', "/");
    }
    while let Some(rest) = name.strip_prefix("./") {
        name = rest.to_owned();
    }
    name.into()
}

/// A character of code page 437.
fn of_dos(byte: u8) -> char {
    const UPPER: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
    match byte.checked_sub(0x80) {
        None => byte.into(),
        Some(at) => UPPER.chars().nth(at.into()).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

/// The extra field of this number.
pub(super) fn extra(mut fields: &[u8], number: u16) -> Option<&[u8]> {
    loop {
        let (found, size) = (u16_at(fields, 0)?, usize::from(u16_at(fields, 2)?));
        let field = fields.get(4..4 + size)?;
        if found == number {
            return Some(field);
        }
        fields = &fields[4 + size..];
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_in_whatever_characters_they_stand() {
        let plain = |bytes: &[u8]| name(bytes, false, &[], false).into_string();
        assert_eq!(plain(b"caf\x82/\xe1.jpg"), "café/ß.jpg");
        assert_eq!(plain("größe/ü.jpg".as_bytes()), "größe/ü.jpg");
        assert_eq!(&*name(b"\xff.jpg", true, &[], false), "\\xff.jpg");
        assert_eq!(of_dos(0xff), '\u{a0}');
        assert_eq!(&*name(b"cat\\1.jpg", true, &[], true), "cat/1.jpg");
        assert_eq!(&*name(b"cat\\1.jpg", true, &[], false), "cat\\1.jpg");

        let mut sum = flate2::Crc::new();
        sum.update(b"_.jpg");
        let field = [&[1][..], &sum.sum().to_le_bytes(), "ж.jpg".as_bytes()].concat();
        let size = (field.len() as u16).to_le_bytes();
        let extra = [&[9, 9, 1, 0, 7][..], &[0x75, 0x70], &size, &field].concat();
        assert_eq!(&*name(b"_.jpg", false, &extra, false), "ж.jpg");
        assert_eq!(&*name(b"other.jpg", false, &extra, false), "other.jpg");
    }
}
