//! Headers of BMP that the decoder does not know → one that it does.

use std::borrow::Cow;

/// The size of Windows' first header, with which all later ones begin.
const WINDOWS: usize = 40;

/// The file with Windows' header, where it has that of OS/2 2, which begins with the same fields and
/// may end after any of them; and with one plane, whatever number it says, as others read it.
pub(super) fn with_a_known_header(bytes: &[u8]) -> Cow<'_, [u8]> {
    let number = |at: usize| {
        bytes.get(at..)?.first_chunk().map(|number| u32::from_le_bytes(*number) as usize)
    };
    let (Some(offset), Some(size)) = (number(10), number(14)) else {
        return Cow::Borrowed(bytes);
    };
    // From 3 on, compression has another meaning there.
    let os2 = matches!(size, 16..40 | 64) && (size < 20 || number(30).is_some_and(|it| it < 3));
    let planes = if size == 12 { 22 } else { 26 };
    let one = bytes.get(planes..planes + 2) == Some(&[1, 0]);
    if one && !os2 || bytes.len() < 14 + size.max(12) {
        return Cow::Borrowed(bytes);
    }
    let mut file = bytes.to_vec();
    if os2 {
        let mut header = bytes[14..14 + size.min(WINDOWS)].to_vec();
        header.resize(WINDOWS, 0);
        header[0] = WINDOWS as u8;
        file.splice(14..14 + size, header);
        let offset = (offset + WINDOWS).saturating_sub(size) as u32;
        file[10..14].copy_from_slice(&offset.to_le_bytes());
    }
    file[planes..planes + 2].copy_from_slice(&[1, 0]);
    Cow::Owned(file)
}
