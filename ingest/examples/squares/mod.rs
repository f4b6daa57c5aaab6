//! Pictures to measure with, no two of which are alike.

use image::codecs::jpeg::JpegEncoder;
use image::{ImageResult, Rgb, RgbImage};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A JPEG of squares in colours that its number draws, `side` pixels wide and high.
pub fn draw(number: u64, side: u32) -> ImageResult<Vec<u8>> {
    const SQUARES: u32 = 6;
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    let colours: [[u8; 3]; (SQUARES * SQUARES) as usize] = std::array::from_fn(|_| rng.random());
    let picture = RgbImage::from_fn(side, side, |x, y| {
        let (column, row) = (x * SQUARES / side, y * SQUARES / side);
        Rgb(colours[(row * SQUARES + column) as usize])
    });
    let mut file = Vec::new();
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut file, 75))?;
    Ok(file)
}
