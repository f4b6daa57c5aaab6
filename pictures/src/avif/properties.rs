//! What a picture's properties say of its colours, and how they crop and turn it
//! (ISO/IEC 23008-12, 6.5).

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage, imageops};

use super::boxes::{Boxed, Fields};

/// How colours are described. What is missing or broken is left out.
#[derive(Debug, Default)]
pub(super) struct Colours<'a> {
    /// An ICC profile.
    pub profile: Option<&'a [u8]>,
    /// How colours are coded.
    pub coding: Option<Coding>,
}

/// The code points of ITU-T H.273.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coding {
    pub primaries: u8,
    pub matrix: u8,
    pub full_range: bool,
}

impl<'a> Colours<'a> {
    /// Takes what has not been told yet from these properties.
    pub fn add(&mut self, properties: impl Iterator<Item = Boxed<'a>>) {
        let mut found = Self::default();
        for (name, content) in properties {
            match (name, content) {
                (b"colr", [b'n', b'c', b'l', b'x', _, primaries, _, _, _, matrix, range, ..]) => {
                    found.coding = Some(Coding {
                        primaries: *primaries,
                        matrix: *matrix,
                        full_range: range & 128 != 0,
                    });
                }
                (
                    b"colr",
                    [b'p', b'r', b'o', b'f', profile @ ..] | [b'r', b'I', b'C', b'C', profile @ ..],
                ) => found.profile = Some(profile),
                _ => {}
            }
        }
        self.profile = self.profile.or(found.profile);
        self.coding = self.coding.or(found.coding);
    }
}

/// The sides that the properties tell.
pub(super) fn sides<'a>(mut properties: impl Iterator<Item = Boxed<'a>>) -> Option<(u32, u32)> {
    let (_, content) = properties.find(|(name, _)| *name == b"ispe")?;
    let mut fields = Fields(content);
    fields.version_and_flags()?;
    Some((fields.u32()?, fields.u32()?))
}

/// What is done to the decoded picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Cut out what is wanted: left, top, width, height.
    Crop([u32; 4]),
    Turn(Orientation),
}

impl Change {
    /// The changes that properties ask for, in order, of a picture of these sides. A rectangle that
    /// does not lie in the picture, pixel by pixel, is passed over.
    pub fn list<'a>(
        properties: impl Iterator<Item = Boxed<'a>>,
        sides: &mut (u32, u32),
    ) -> Vec<Self> {
        let mut changes = Vec::new();
        for (name, content) in properties {
            let change = match (name, content) {
                (b"clap", content) => rectangle(Fields(content), *sides).map(Self::Crop),
                // Quarters anticlockwise.
                (b"irot", [angle, ..]) => match angle & 3 {
                    1 => Some(Self::Turn(Orientation::Rotate270)),
                    2 => Some(Self::Turn(Orientation::Rotate180)),
                    3 => Some(Self::Turn(Orientation::Rotate90)),
                    _ => None,
                },
                (b"imir", [axis, ..]) => Some(Self::Turn(match axis & 1 {
                    0 => Orientation::FlipVertical,
                    _ => Orientation::FlipHorizontal,
                })),
                _ => None,
            };
            match change {
                Some(Self::Crop([_, _, width, height])) => *sides = (width, height),
                Some(Self::Turn(Orientation::Rotate90 | Orientation::Rotate270)) => {
                    *sides = (sides.1, sides.0);
                }
                _ => {}
            }
            changes.extend(change);
        }
        changes
    }

    pub fn apply(self, rgb: RgbImage) -> RgbImage {
        match self {
            Self::Crop([left, top, width, height]) => {
                imageops::crop_imm(&rgb, left, top, width, height).to_image()
            }
            Self::Turn(orientation) => {
                let mut picture = DynamicImage::from(rgb);
                picture.apply_orientation(orientation);
                picture.into_rgb8()
            }
        }
    }
}

/// The clean aperture: its sides, and how far its middle lies from the picture's, as fractions.
fn rectangle(mut fields: Fields<'_>, (width, height): (u32, u32)) -> Option<[u32; 4]> {
    let mut side = |whole: u32| {
        let (over, under) = (fields.u32()?, fields.u32()?);
        let side = over.checked_div(under).filter(|side| side.checked_mul(under) == Some(over))?;
        (1..=whole).contains(&side).then_some(side)
    };
    let (across, down) = (side(width)?, side(height)?);
    let mut start = |whole: u32, side: u32| {
        let (over, under) = (i128::from(fields.i32()?), i128::from(fields.u32()?));
        let twice = 2 * over + i128::from(whole - side) * under;
        let start = twice.checked_div(2 * under).filter(|start| start * 2 * under == twice)?;
        (0..=i128::from(whole - side)).contains(&start).then_some(start as u32)
    };
    Some([start(width, across)?, start(height, down)?, across, down])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clap(fields: [i32; 8]) -> Option<[u32; 4]> {
        let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
        rectangle(Fields(&bytes), (100, 60))
    }

    #[test]
    fn a_clean_aperture_lies_about_the_middle() {
        assert_eq!(clap([80, 1, 60, 1, 0, 1, 0, 1]), Some([10, 0, 80, 60]));
        assert_eq!(clap([80, 1, 40, 2, -10, 1, 40, 2]), Some([0, 40, 80, 20]));
        assert_eq!(clap([99, 1, 60, 1, -1, 2, 0, 1]), Some([0, 0, 99, 60]));
    }

    #[test]
    fn a_clean_aperture_that_can_not_be_is_passed_over() {
        for fields in [
            [101, 1, 60, 1, 0, 1, 0, 1],
            [0, 1, 60, 1, 0, 1, 0, 1],
            [80, 0, 60, 1, 0, 1, 0, 1],
            [80, 1, 60, 1, 11, 1, 0, 1],
            [99, 1, 60, 1, 0, 1, 0, 1],
            [80, 1, 60, 1, 0, 0, 0, 1],
            [80, 1, 60, 1, i32::MIN, -1, 0, 1],
        ] {
            assert_eq!(clap(fields), None, "{fields:?}");
        }
        assert_eq!(rectangle(Fields(&[0; 20]), (100, 60)), None);
    }
}
