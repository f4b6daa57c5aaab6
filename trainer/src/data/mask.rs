//! Which patches the encoder sees.

/// The masking of one view's patches (as in MAE, which LocalMIM follows).
#[derive(Debug, Clone, PartialEq)]
pub struct Masking {
    /// The visible patches, in the order in which the encoder sees them.
    pub keep: Vec<i32>,
    /// For each patch, its place among the visible ones followed by the masked ones.
    pub restore: Vec<i32>,
    /// For each patch, 1 if it is masked.
    pub mask: Vec<f32>,
}

/// How many of `patches` stay visible: ⌊patches · (1 − ratio)⌋.
pub fn visible_patches(patches: usize, ratio: f64) -> usize {
    (patches as f64 * (1.0 - ratio)) as usize
}

impl Masking {
    /// The patches with the `visible` lowest values of `noise` stay visible, lowest first.
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

    /// The mask on the grid of a target's cells: a finer cell has its patch's value (nearest), a
    /// coarser one the mean over its patches. `patch` and `cell` are in pixels, and one is a
    /// multiple of the other.
    pub fn at_scale(&self, patch: usize, cell: usize) -> Vec<f32> {
        let grid = self.mask.len().isqrt();
        let cells = grid * patch / cell;
        let mut out = vec![0.0; cells * cells];
        if cell <= patch {
            let factor = patch / cell;
            for (y, row) in out.chunks_exact_mut(cells).enumerate() {
                for (x, value) in row.iter_mut().enumerate() {
                    *value = self.mask[y / factor * grid + x / factor];
                }
            }
        } else {
            let factor = cell / patch;
            let share = 1.0 / (factor * factor) as f32;
            for (at, value) in self.mask.iter().enumerate() {
                out[at / grid / factor * cells + at % grid / factor] += value * share;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
