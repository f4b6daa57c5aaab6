//! How much of where a token looks follows from which token it is: the normalised mutual
//! information between query and key positions of an attention map.

use crate::encode::encoder::Attention;

/// The normalised mutual information of a map `[n, n]` whose rows are the queries' weights over
/// the keys, each adding up to 1.
///
/// Queries are uniform, p(q, k) = A(q, k) / n; it is I(q; k) / sqrt(H(q) · H(k)) (Park et al.,
/// "What do self-supervised vision transformers learn?", ICLR 2023): 0 where
/// all queries look alike, 1 where each looks at one key of its own. Where all look at one and the
/// same key, so that H(k) is 0, it is 0.
pub fn nmi(map: &[f64], n: usize) -> f64 {
    let share = 1.0 / n as f64;
    let mut keys = vec![0.0; n];
    for row in map.chunks(n) {
        keys.iter_mut().zip(row).for_each(|(key, weight)| *key += share * weight);
    }
    let entropy_keys: f64 = -keys.iter().filter(|&&key| key > 0.0).map(|k| k * k.ln()).sum::<f64>();
    let entropy_queries = (n as f64).ln();
    let mutual: f64 = map
        .chunks(n)
        .flat_map(|row| row.iter().zip(&keys))
        .filter(|(weight, _)| **weight > 0.0)
        .map(|(weight, key)| share * weight * (weight / key).ln())
        .sum();
    // What is left of rounding is no information; it may take an entropy of 0 below it.
    let scale = (entropy_queries * entropy_keys.max(0.0)).sqrt();
    if scale < 1e-9 { 0.0 } else { (mutual / scale).clamp(0.0, 1.0) }
}

/// The normalised mutual information of a head, as [`nmi`] of a window's patches; of several
/// windows the mean, each counted by its patches. A patch that is alone in its window has no
/// choice, and is left out.
pub fn of_head(block: &Attention, head: usize) -> f64 {
    let (mut sum, mut queries) = (0.0, 0);
    for window in block.windows.iter().filter(|window| window.patches.len() > 1) {
        let (map, count) = (window.head(head), window.patches.len());
        let value = match block.class {
            true => nmi(&of_patches(map, window.tokens), count),
            false => nmi(&map.iter().map(|&weight| f64::from(weight)).collect::<Vec<_>>(), count),
        };
        sum += value * count as f64;
        queries += count;
    }
    if queries == 0 { 0.0 } else { sum / queries as f64 }
}

/// The map of the patches alone, `[n, n]` of `[1 + n, 1 + n]`: without the class token as query and
/// as key, each query's weights over the patches scaled to add up to 1.
fn of_patches(map: &[f32], tokens: usize) -> Vec<f64> {
    map.chunks(tokens)
        .skip(1)
        .flat_map(|row| {
            let row = &row[1..];
            let sum: f64 = row.iter().map(|&weight| f64::from(weight)).sum();
            row.iter().map(move |&weight| f64::from(weight) / sum.max(f64::MIN_POSITIVE))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::encoder::Window;

    fn map(n: usize, weight: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        (0..n * n).map(|at| weight(at / n, at % n)).collect()
    }

    #[test]
    fn attention_that_does_not_depend_on_the_query_has_none() {
        let uniform = map(16, |_, _| 1.0 / 16.0);
        assert!(nmi(&uniform, 16) < 1e-9);
        let skewed = map(4, |_, key| [0.7, 0.1, 0.1, 0.1][key]);
        assert!(nmi(&skewed, 4) < 1e-9);
        let one_key = map(4, |_, key| f64::from(u8::from(key == 2)));
        assert_eq!(nmi(&one_key, 4), 0.0);
    }

    #[test]
    fn queries_that_look_at_a_key_of_their_own_have_all() {
        let identity = map(9, |query, key| f64::from(u8::from(query == key)));
        assert!((nmi(&identity, 9) - 1.0).abs() < 1e-12);
        let reversed = map(9, |query, key| f64::from(u8::from(query + key == 8)));
        assert!((nmi(&reversed, 9) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn two_halves_that_look_at_themselves_share_one_bit() {
        let halves = map(8, |query, key| if query / 4 == key / 4 { 0.25 } else { 0.0 });
        // I = ln 2 of entropies ln 8.
        assert!((nmi(&halves, 8) - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn windows_count_by_their_patches() {
        let window = |patches: usize, weight: fn(usize, usize) -> bool| Window {
            patches: (0..patches).collect(),
            tokens: patches,
            weights: map(patches, |query, key| f64::from(u8::from(weight(query, key))))
                .into_iter()
                .map(|weight| weight as f32)
                .collect(),
        };
        let own = window(3, |query, key| query == key);
        let one = window(9, |_, key| key == 0);
        let alone = window(1, |_, _| true);
        let of = |windows: &[&Window]| {
            let windows = windows.iter().map(|&window| window.clone()).collect();
            of_head(&Attention { heads: 1, grid: 4, class: false, windows }, 0)
        };
        assert_eq!((of(&[&own]), of(&[&one]), of(&[&alone])), (1.0, 0.0, 0.0));
        assert_eq!(of(&[&own, &one, &alone]), 0.25);
    }

    #[test]
    fn the_class_token_is_left_out_and_the_rest_is_scaled() {
        let map = [0.2, 0.4, 0.4, 0.5, 0.1, 0.4, 0.9, 0.1, 0.0];
        let patches = of_patches(&map, 3);
        for (found, expected) in patches.iter().zip([0.2, 0.8, 1.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{patches:?}");
        }
    }
}
