//! The brands by which a file of the ISO base media family says what it is (ISO/IEC 14496-12, 4.3).

/// What a file with an `ftyp` box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Avif,
    /// A still picture of another coding, by its name.
    Picture(&'static str),
    Film,
}

/// AVIF, its sequences and its profiles.
const AVIF: [&[u8; 4]; 5] = [b"avif", b"avis", b"avio", b"MA1A", b"MA1B"];

/// Still pictures that are not read, by what they are coded in.
const CODED: [(&[&[u8; 4]], &str); 3] = [
    (&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"], "HEIC"),
    (&[b"avci", b"avcs", b"vvic", b"vvis", b"jpeg", b"jpgs", b"j2ki", b"j2is"], "HEIF"),
    (&[b"crx "], "Canon CR3"),
];

/// Brands of still pictures in any coding.
const GENERAL: [&[u8; 4]; 5] = [b"mif1", b"mif2", b"mif3", b"msf1", b"miaf"];

/// Tells what a file is by all its brands, of which the first may be a general one; none if it does
/// not begin with an `ftyp` box.
pub(crate) fn tell(head: &[u8]) -> Option<Media> {
    let (size, rest) = head.split_first_chunk::<4>()?;
    let rest = rest.strip_prefix(b"ftyp")?;
    let (content, before) = match u32::from_be_bytes(*size) {
        // The size stands in the next eight bytes; or all of the file is one box.
        1 => (rest.get(8..)?, 16),
        _ => (rest, 8),
    };
    let size = match u32::from_be_bytes(*size) {
        0 => u64::MAX,
        1 => u64::from_be_bytes(*rest.first_chunk()?),
        size => size.into(),
    };
    let length = usize::try_from(size.saturating_sub(before)).unwrap_or(usize::MAX);
    let content = &content[..content.len().min(length)];
    // Past the first brand stands its version.
    let brands = content.chunks_exact(4).enumerate().filter(|&(at, _)| at != 1);
    let has = |known: &[&[u8; 4]]| {
        brands.clone().any(|(_, brand)| known.iter().any(|known| &known[..] == brand))
    };
    if has(&AVIF) {
        return Some(Media::Avif);
    }
    if let Some((_, name)) = CODED.iter().find(|(known, _)| has(known)) {
        return Some(Media::Picture(name));
    }
    // Of general brands alone, the list of items tells.
    Some(match has(&GENERAL) {
        true if head.windows(4).any(|name| name == b"av01") => Media::Avif,
        true => Media::Picture("HEIF"),
        false => Media::Film,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ftyp(brands: &[u8]) -> Vec<u8> {
        let (first, others) = brands.split_at(4);
        let size = (12 + brands.len() as u32).to_be_bytes();
        [&size, &b"ftyp"[..], first, &[0; 4], others].concat()
    }

    #[test]
    fn all_brands_say_what_a_file_is() {
        for (brands, media) in [
            (&b"avif"[..], Media::Avif),
            (b"mif1miafavif", Media::Avif),
            (b"MA1Bmif1", Media::Avif),
            (b"heicmif1avif", Media::Avif),
            (b"isomavis", Media::Avif),
            (b"mif1heic", Media::Picture("HEIC")),
            (b"msf1hevc", Media::Picture("HEIC")),
            (b"mif1miaf", Media::Picture("HEIF")),
            (b"crx isom", Media::Picture("Canon CR3")),
            (b"isommp42av01", Media::Film),
            (b"qt  ", Media::Film),
        ] {
            assert_eq!(tell(&ftyp(brands)), Some(media), "{}", brands.escape_ascii());
        }
        // What follows the box says nothing of brands, but its items may tell the coding.
        let general = ftyp(b"mif1miaf");
        assert_eq!(tell(&[&general, &b"avif"[..]].concat()), Some(Media::Picture("HEIF")));
        assert_eq!(tell(&[&general, &b"....av01"[..]].concat()), Some(Media::Avif));
    }

    #[test]
    fn the_box_may_be_long_or_cut_or_have_a_wide_size() {
        let long = ftyp(&[&b"mif1"[..], &b"none".repeat(900), b"avif"].concat());
        assert_eq!(tell(&long), Some(Media::Avif));
        assert_eq!(tell(&long[..12]), Some(Media::Picture("HEIF")));
        let wide = b"\0\0\0\x01ftyp\0\0\0\0\0\0\0\x1cmif1\0\0\0\0avif";
        assert_eq!(tell(wide), Some(Media::Avif));
        for short in [&b""[..], b"\0\0\0\x18", b"\0\0\0\x18moov", b"\0\0\0\x01ftyp\0\0"] {
            assert_eq!(tell(short), None);
        }
        assert_eq!(tell(b"\0\0\0\x05ftypavif"), Some(Media::Film));
    }
}
