//! A batch of pictures → what the network sees of it while it is fine-tuned: mirrored, erased in
//! places, mixed with each other, and the classes mixed likewise.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution, StandardNormal};
use targets::{IMAGENET_MEAN, IMAGENET_STD};

/// How often, and how strongly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Half of the views are mirrored.
    pub flip: bool,
    /// Share of the views in which a box is filled with noise.
    pub erase: f64,
    /// α of mixup's Beta(α, α); 0 for none.
    pub mixup: f64,
    /// α of cutmix's Beta(α, α); 0 for none.
    pub cutmix: f64,
    /// Weight that is taken from a class and given to all alike.
    pub smoothing: f64,
}

/// How two views of a batch are made one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mix {
    /// Not at all.
    None,
    /// The view has this weight, its partner the rest.
    Blend(f64),
    /// The box comes from the partner.
    Box(Area),
}

/// A box in a view, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Left edge.
    pub x: usize,
    /// Upper edge.
    pub y: usize,
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

impl Mix {
    /// The view's own weight in its class.
    pub fn own(self, size: usize) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Blend(own) => own,
            Self::Box(area) => 1.0 - (area.width * area.height) as f64 / (size * size) as f64,
        }
    }
}

impl Augment {
    /// How the views of a batch are mixed: with mixup or cutmix, either half of the time where both
    /// are on.
    pub fn draw_mix(&self, size: usize, rng: &mut ChaCha8Rng) -> Mix {
        let beta = |alpha: f64, rng: &mut ChaCha8Rng| {
            Beta::new(alpha, alpha).map_or(1.0, |beta| beta.sample(rng))
        };
        match (self.mixup > 0.0, self.cutmix > 0.0) {
            (false, false) => Mix::None,
            (true, cutmix) if !cutmix || rng.random::<bool>() => Mix::Blend(beta(self.mixup, rng)),
            _ => {
                // A box of that share of the area around any pixel, cut off at the edges.
                let side = (1.0 - beta(self.cutmix, rng)).sqrt() * size as f64;
                let half = (side / 2.0) as usize;
                let span = |centre: usize| {
                    let start = centre.saturating_sub(half);
                    (start, (centre + half).min(size) - start)
                };
                let (y, height) = span(rng.random_range(0..size));
                let (x, width) = span(rng.random_range(0..size));
                Mix::Box(Area { x, y, width, height })
            }
        }
    }

    /// Mirrors and erases a view of size·size·3 bytes.
    pub fn alter(&self, view: &mut [u8], size: usize, rng: &mut ChaCha8Rng) {
        if self.flip && rng.random::<bool>() {
            for line in view.chunks_exact_mut(size * 3) {
                let (pixels, _) = line.as_chunks_mut::<3>();
                pixels.reverse();
            }
        }
        if rng.random::<f64>() >= self.erase {
            return;
        }
        let Some(Area { x, y, width, height }) = draw_box(size, rng) else { return };
        for row in y..y + height {
            for pixel in view[(row * size + x) * 3..][..width * 3].chunks_exact_mut(3) {
                for (channel, value) in pixel.iter_mut().enumerate() {
                    let noise: f32 = StandardNormal.sample(rng);
                    let level = noise * IMAGENET_STD[channel] + IMAGENET_MEAN[channel];
                    *value = (level * 255.0).round().clamp(0.0, 255.0) as u8;
                }
            }
        }
    }

    /// The classes `[views, classes]` of views of these labels, each mixed with that of the view
    /// opposite in the batch.
    pub fn soften(&self, labels: &[u32], classes: usize, own: f64) -> Vec<f32> {
        let floor = self.smoothing / classes as f64;
        let mut soft = vec![floor as f32; labels.len() * classes];
        for (row, (&label, &partner)) in
            soft.chunks_mut(classes).zip(labels.iter().zip(labels.iter().rev()))
        {
            row[label as usize] += ((1.0 - self.smoothing) * own) as f32;
            row[partner as usize] += ((1.0 - self.smoothing) * (1.0 - own)) as f32;
        }
        soft
    }
}

/// A box of 2 to 33 % of the area, 0.3 to 3.3 times as high as wide; none if ten draws do not fit.
fn draw_box(size: usize, rng: &mut ChaCha8Rng) -> Option<Area> {
    for _ in 0..10 {
        let area = (size * size) as f64 * rng.random_range(0.02..1.0 / 3.0);
        let aspect = rng.random_range(0.3f64.ln()..3.3f64.ln()).exp();
        let (height, width) = ((area * aspect).sqrt() as usize, (area / aspect).sqrt() as usize);
        if (1..size).contains(&height) && (1..size).contains(&width) {
            let y = rng.random_range(0..=size - height);
            let x = rng.random_range(0..=size - width);
            return Some(Area { x, y, width, height });
        }
    }
    None
}

/// Puts boxes of the views opposite in the batch into `views`, each of size·size·3 bytes.
pub fn paste(views: &mut [u8], size: usize, area: Area) {
    let each = size * size * 3;
    let from = views.to_vec();
    let partners = from.chunks_exact(each).rev();
    for (view, partner) in views.chunks_exact_mut(each).zip(partners) {
        for row in area.y..area.y + area.height {
            let span = (row * size + area.x) * 3..(row * size + area.x + area.width) * 3;
            view[span.clone()].copy_from_slice(&partner[span]);
        }
    }
}

/// Blends each of `views`' inputs, of `each` numbers, with that of the view opposite in the batch.
pub fn blend(inputs: &mut [f32], each: usize, own: f64) {
    let from = inputs.to_vec();
    let (own, other) = (own as f32, (1.0 - own) as f32);
    for (input, partner) in inputs.chunks_exact_mut(each).zip(from.chunks_exact(each).rev()) {
        for (value, partner) in input.iter_mut().zip(partner) {
            *value = own * *value + other * partner;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const ALL: Augment =
        Augment { flip: true, erase: 0.5, mixup: 0.8, cutmix: 1.0, smoothing: 0.1 };
    const NONE: Augment =
        Augment { flip: false, erase: 0.0, mixup: 0.0, cutmix: 0.0, smoothing: 0.0 };

    #[test]
    fn what_is_off_changes_nothing() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut view: Vec<u8> = (0..8 * 8 * 3).map(|i| i as u8).collect();
        let before = view.clone();
        NONE.alter(&mut view, 8, &mut rng);
        assert_eq!(view, before);
        assert_eq!(NONE.draw_mix(8, &mut rng), Mix::None);
        assert_eq!(NONE.soften(&[1, 0], 3, 1.0), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn classes_are_mixed_as_the_views_are() {
        let soft = ALL.soften(&[0, 2], 4, 0.75);
        for row in soft.chunks(4) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
        assert!((soft[0] - (0.9 * 0.75 + 0.025)).abs() < 1e-6);
        assert!((soft[2] - (0.9 * 0.25 + 0.025)).abs() < 1e-6);
        assert!((soft[1] - 0.025).abs() < 1e-6);
    }

    #[test]
    fn a_pasted_box_takes_the_share_that_its_mix_says() {
        let size = 16;
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut seen = [false; 2];
        for _ in 0..50 {
            match ALL.draw_mix(size, &mut rng) {
                Mix::Box(area) => {
                    let mut views = vec![0; 2 * size * size * 3];
                    views[size * size * 3..].fill(255);
                    paste(&mut views, size, area);
                    let own = views[..size * size * 3].iter().filter(|&&value| value == 0).count();
                    let share = own as f64 / (size * size * 3) as f64;
                    assert!((share - Mix::Box(area).own(size)).abs() < 1e-9);
                    seen[0] = true;
                }
                Mix::Blend(own) => {
                    assert!((0.0..=1.0).contains(&own));
                    seen[1] = true;
                }
                Mix::None => panic!("both are on"),
            }
        }
        assert_eq!(seen, [true; 2]);
    }

    #[test]
    fn half_of_the_views_are_mirrored_and_half_erased_in_a_box() {
        let size = 24;
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (mut mirrored, mut erased) = (0, 0);
        for _ in 0..400 {
            let original: Vec<u8> = (0..size * size * 3).map(|i| (i / 3 % size) as u8).collect();
            let mut view = original.clone();
            Augment { erase: 0.0, ..ALL }.alter(&mut view, size, &mut rng);
            mirrored += usize::from(view != original);
            let mut view = original.clone();
            Augment { flip: false, ..ALL }.alter(&mut view, size, &mut rng);
            let changed = view.iter().zip(&original).filter(|(a, b)| a != b).count() / 3;
            assert!(changed <= size * size / 3);
            erased += usize::from(changed > 0);
        }
        assert!((150..250).contains(&mirrored) && (150..250).contains(&erased));
    }

    #[test]
    fn blending_is_symmetric_over_the_batch() {
        let mut inputs = vec![0.0, 0.0, 4.0, 8.0];
        blend(&mut inputs, 2, 0.75);
        assert_eq!(inputs, [1.0, 2.0, 3.0, 6.0]);
    }
}
