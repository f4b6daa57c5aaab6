//! Which units of a view are masked: a ViT's patches, a Swin's coarsest tokens (LocalMIM, figure 2a;
//! MAE, arXiv 2111.06377, "random masking").

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{EncoderConfig, MaskedInput, ModelConfig};

/// The masking of one view's units.
#[derive(Debug, Clone, PartialEq)]
pub struct Masking {
    /// `[kept]`: the units that the encoder is given, in the order in which it sees them.
    pub keep: Vec<i32>,
    /// `[units]`: each unit's place among those followed by the rest.
    pub restore: Vec<i32>,
    /// `[units]`: 1 where a unit is masked, else 0.
    pub mask: Vec<f32>,
}

/// How masks are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum MaskKind {
    /// Each unit alone.
    Random,
    /// Rectangles of units (BEiT, arXiv 2106.08254, algorithm 1; used by MaskFeat).
    Block,
}

/// What masks a network is trained with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskSpec {
    /// Units along a side.
    pub grid: usize,
    /// How many of them are masked; at most, for blocks.
    pub count: usize,
    /// How they are drawn.
    pub kind: MaskKind,
    /// Whether masked units are dropped or given as tokens.
    pub masked: MaskedInput,
    /// All views of a batch share one mask, the units that are kept stay in order: what Swin's
    /// windows over visible tokens need.
    pub shared: bool,
}

impl MaskSpec {
    /// The masks of a network for a share of masked units. How many that is of N follows each
    /// method's published code: N − ⌊N·(1 − ratio)⌋ for a ViT (MAE), ⌊N·ratio⌋ + 1 for a Swin that
    /// sees the visible units only (GreenMIM), ⌈N·ratio⌉ for one with mask tokens (SimMIM).
    pub fn new(network: &ModelConfig, ratio: f64, kind: MaskKind) -> Self {
        let units = network.units();
        let share = units as f64 * ratio;
        let swin = matches!(network.encoder, EncoderConfig::Swin { .. });
        let count = match (swin, network.masked) {
            (false, _) => units - (units as f64 * (1.0 - ratio)) as usize,
            (true, MaskedInput::Dropped) => share as usize + 1,
            (true, MaskedInput::Token) => share.ceil() as usize,
        };
        Self {
            grid: network.grid(),
            count,
            kind,
            masked: network.masked,
            shared: swin && network.masked == MaskedInput::Dropped,
        }
    }

    /// Units of a view.
    pub fn units(&self) -> usize {
        self.grid * self.grid
    }

    /// Units that the encoder is given.
    pub fn kept(&self) -> usize {
        match self.masked {
            MaskedInput::Dropped => self.units().saturating_sub(self.count),
            MaskedInput::Token => self.units(),
        }
    }

    /// Draws a mask.
    pub fn draw(&self, rng: &mut impl Rng) -> Masking {
        if self.kind == MaskKind::Block {
            return Masking::tokens(blocks(self.grid, self.count, rng));
        }
        let noise: Vec<f32> = (0..self.units()).map(|_| rng.random()).collect();
        let masking = Masking::from_noise(&noise, self.units().saturating_sub(self.count));
        match self.masked {
            MaskedInput::Token => Masking::tokens(masking.mask),
            MaskedInput::Dropped if self.shared => Masking::in_order(masking.mask),
            MaskedInput::Dropped => masking,
        }
    }
}

/// Masks rectangles of a grid until `most` units are masked or no more fits.
///
/// Each has at least 16 units (a quarter of the grid on small ones) and at most what is left, an
/// aspect between 0.3 and 1/0.3, uniform in its logarithm, and a place at random.
fn blocks(grid: usize, most: usize, rng: &mut impl Rng) -> Vec<f32> {
    const ATTEMPTS: usize = 10;
    let mut mask = vec![0.0; grid * grid];
    let mut left = most;
    let least = 16.min(grid * grid / 4).max(1);
    while left > 0 {
        let mut added = 0;
        for _ in 0..ATTEMPTS {
            let area = rng.random_range(least.min(left)..=left.max(least)) as f64;
            let aspect = rng.random_range(0.3f64.ln()..(1.0f64 / 0.3).ln()).exp();
            let height = (area * aspect).sqrt().round() as usize;
            let width = (area / aspect).sqrt().round() as usize;
            if !(1..grid).contains(&height) || !(1..grid).contains(&width) {
                continue;
            }
            let top = rng.random_range(0..=grid - height);
            let first = rng.random_range(0..=grid - width);
            let inside = || {
                (top..top + height).flat_map(|y| (first..first + width).map(move |x| y * grid + x))
            };
            added = inside().filter(|&unit| mask[unit] == 0.0).count();
            if (1..=left).contains(&added) {
                inside().for_each(|unit| mask[unit] = 1.0);
                break;
            }
            added = 0;
        }
        if added == 0 {
            break;
        }
        left -= added;
    }
    mask
}

impl Masking {
    /// The units with the `visible` lowest values of `noise` stay visible, lowest first.
    pub fn from_noise(noise: &[f32], visible: usize) -> Self {
        let mut order: Vec<usize> = (0..noise.len()).collect();
        order.sort_by(|&a, &b| noise[a].total_cmp(&noise[b]));
        let mut restore = vec![0; noise.len()];
        let mut mask = vec![1.0; noise.len()];
        for (place, &patch) in order.iter().enumerate() {
            restore[patch] = place as i32;
            if place < visible {
                mask[patch] = 0.0;
            }
        }
        let keep = order[..visible].iter().map(|&patch| patch as i32).collect();
        Self { keep, restore, mask }
    }

    /// Units that are not masked are kept, in order.
    pub fn in_order(mask: Vec<f32>) -> Self {
        let (masked, keep): (Vec<i32>, Vec<i32>) =
            (0..mask.len() as i32).partition(|&unit| mask[unit as usize] > 0.0);
        let mut restore = vec![0; mask.len()];
        for (place, &unit) in keep.iter().chain(&masked).enumerate() {
            restore[unit as usize] = place as i32;
        }
        Self { keep, restore, mask }
    }

    /// All units are given, the masked ones as tokens.
    pub fn tokens(mask: Vec<f32>) -> Self {
        let all: Vec<i32> = (0..mask.len() as i32).collect();
        Self { keep: all.clone(), restore: all, mask }
    }

    /// The mask on the grid of a target's cells: a finer cell has its unit's value (nearest), a
    /// coarser one the mean over its units: `[cells]`, in rows. `unit`, a unit's side, and `cell` are
    /// in pixels, and one is a multiple of the other.
    pub fn at_scale(&self, unit: usize, cell: usize) -> Vec<f32> {
        kernels::input::at_scale(&self.mask, unit, cell)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::model::{ModelName, TargetKind};

    fn spec(model: ModelName, size: usize, input: MaskedInput, ratio: f64) -> MaskSpec {
        let mut network = ModelConfig::local_mim(model.encoder(), size, TargetKind::Hog, 9);
        network.masked = input;
        MaskSpec::new(&network, ratio, MaskKind::Random)
    }

    #[test]
    fn as_many_are_masked_as_each_methods_code_has_it() {
        let (dropped, token) = (MaskedInput::Dropped, MaskedInput::Token);
        assert_eq!(spec(ModelName::VitBase16, 224, dropped, 0.75).kept(), 49);
        let swin = spec(ModelName::SwinBase7, 224, dropped, 0.75);
        assert_eq!((swin.kept(), swin.count, swin.shared), (12, 37, true));
        let simmim = spec(ModelName::SwinBase7, 192, token, 0.6);
        assert_eq!((simmim.kept(), simmim.count, simmim.shared), (36, 22, false));
    }

    #[test]
    fn a_drawn_mask_has_what_it_should() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let swin = spec(ModelName::SwinBase7, 224, MaskedInput::Dropped, 0.75);
        let masking = swin.draw(&mut rng);
        assert!(masking.keep.is_sorted());
        assert_eq!(masking.keep.len(), 12);
        for (unit, &place) in masking.restore.iter().enumerate() {
            let visible = masking.keep.get(place as usize) == Some(&(unit as i32));
            assert_eq!(visible, masking.mask[unit] == 0.0);
        }
        let simmim = spec(ModelName::SwinBase7, 192, MaskedInput::Token, 0.6);
        let masking = simmim.draw(&mut rng);
        assert_eq!(masking.keep.len(), 36);
        assert_eq!(masking.mask.iter().sum::<f32>(), 22.0);
    }

    #[test]
    fn blocks_mask_about_as_much_as_asked_and_never_more() {
        for grid in [4, 8, 14] {
            let most = grid * grid * 2 / 5;
            let mut sum = 0.0;
            for seed in 0..100 {
                let mask = blocks(grid, most, &mut ChaCha8Rng::seed_from_u64(seed));
                let masked = mask.iter().sum::<f32>();
                assert!(masked >= 1.0 && masked <= most as f32, "{grid}: {masked}");
                sum += masked;
            }
            assert!(sum > 0.75 * 100.0 * most as f32, "{grid}: {sum}");
        }
    }

    #[test]
    fn what_is_kept_is_not_masked_and_all_is_restored() {
        let noise = [0.9, 0.1, 0.5, 0.3];
        let masking = Masking::from_noise(&noise, 2);
        assert_eq!(masking.keep, [1, 3]);
        assert_eq!(masking.mask, [1.0, 0.0, 1.0, 0.0]);
        // Visible 1, 3, then masked 2, 0.
        assert_eq!(masking.restore, [3, 0, 2, 1]);
    }

    #[test]
    fn the_mask_follows_the_scale() {
        let mask =
            vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0];
        let masking = Masking { keep: vec![], restore: vec![], mask: mask.clone() };
        assert_eq!(masking.at_scale(16, 16), mask);
        assert_eq!(masking.at_scale(16, 32), [0.5, 0.0, 1.0, 0.5]);
        let fine = masking.at_scale(16, 8);
        for y in 0..8 {
            for x in 0..8 {
                assert_eq!(fine[y * 8 + x], mask[y / 2 * 4 + x / 2]);
            }
        }
    }
}
