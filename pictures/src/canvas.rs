//! Decoded pixels of any kind → RGB of 8 bits.

use image::{DynamicImage, Rgb, RgbImage, Rgba};

use super::colour;

/// RGB of 8 bits in sRGB: the profile is applied, then transparency laid over the background.
pub(super) fn flatten(
    picture: DynamicImage,
    profile: Option<&[u8]>,
    background: [u8; 3],
) -> RgbImage {
    let grey = !picture.color().has_color();
    if !picture.color().has_alpha() {
        let mut rgb = picture.into_rgb8();
        colour::to_srgb(&mut rgb, profile, grey);
        return rgb;
    }
    let rgba = picture.into_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (to, Rgba([r, g, b, _])) in rgb.pixels_mut().zip(rgba.pixels()) {
        *to = Rgb([*r, *g, *b]);
    }
    colour::to_srgb(&mut rgb, profile, grey);
    for (to, from) in rgb.pixels_mut().zip(rgba.pixels()) {
        lay_over(to, from.0[3], background);
    }
    rgb
}

pub(super) fn lay_over(pixel: &mut Rgb<u8>, alpha: u8, background: [u8; 3]) {
    let alpha = u32::from(alpha);
    for (value, under) in pixel.0.iter_mut().zip(background) {
        let sum = u32::from(*value) * alpha + u32::from(under) * (255 - alpha);
        *value = ((sum + 127) / 255) as u8;
    }
}
