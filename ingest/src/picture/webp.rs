//! A look into a WebP file before it is decoded (RFC 9649).

use super::Fault;

/// Refuses a lossy frame that is larger than the picture it belongs to: its decoder would make room
/// for it before it noticed.
pub(super) fn check_frames(bytes: &[u8], (width, height): (u32, u32)) -> Result<(), Fault> {
    // Frames of an animation are chunks inside a chunk, past 16 bytes that tell their place.
    let mut at = 12;
    while let Some(&[a, b, c, d, l0, l1, l2, l3]) =
        bytes.get(at..).and_then(|rest| rest.first_chunk::<8>())
    {
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let content = at + 8;
        match &[a, b, c, d] {
            b"ANMF" => {
                at = content + 16;
                continue;
            }
            b"VP8 " => {
                // Three bytes of tag, three of start code, then the sides in 14 bits each.
                let Some(&[_, _, _, _, _, _, w0, w1, h0, h1]) =
                    bytes.get(content..).and_then(|rest| rest.first_chunk::<10>())
                else {
                    return Ok(());
                };
                let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
                if side(w0, w1) > width || side(h0, h1) > height {
                    return Err(Fault::corrupt("a frame is larger than the WebP picture"));
                }
                // Only the first frame is decoded.
                return Ok(());
            }
            _ => at = content.saturating_add(length).saturating_add(length & 1),
        }
    }
    Ok(())
}
