//! Window attention over visible tokens only (GreenMIM, arXiv 2205.13515, section 3; used by
//! LocalMIM's Swin).
//!
//! Masking leaves windows of unequal numbers of tokens. They are put together into groups of equal
//! size, so that attention is a few dense products; within a group tokens of different windows are
//! kept apart by a mask. Which windows share a group does not change the result, only what it
//! costs: a 0/1 knapsack fills one group after the other, and the group size is the one that makes
//! the whole cheapest.
//!
//! Windows are shifted without a cyclic roll: those at the border are smaller instead.

use std::collections::BTreeMap;

use super::kinds::Coordinates;
use super::shape::EncoderConfig;

/// What is added to the score of two tokens that don't share a window. Its exponential is 0.
const APART: f32 = -1e9;

/// The windows of a Swin's stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Units along a side of the picture.
    pub grid: usize,
    /// Stages.
    pub stages: usize,
    /// Side of a window in tokens.
    pub window: usize,
    /// By which places windows are cut.
    pub coordinates: Coordinates,
}

/// How the tokens of a set of units attend to one another.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowPlan {
    /// One a stage.
    pub stages: Vec<StagePlan>,
}

/// The windows of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StagePlan {
    /// Of its even blocks.
    pub plain: Grouping,
    /// Of its odd blocks; none where one window holds the whole grid, which is not shifted.
    pub shifted: Option<Grouping>,
}

/// Windows put together into groups of equal size.
#[derive(Debug, Clone, PartialEq)]
pub struct Grouping {
    /// How many groups there are.
    pub groups: usize,
    /// Places in each.
    pub size: usize,
    /// `[groups·size]`: the token in each place; any in one that is left over.
    pub gather: Vec<i32>,
    /// `[tokens]`: each token's place.
    pub place: Vec<i32>,
    /// `[groups·size·size]`: the row of the table of relative positions for each pair of places.
    pub relative: Vec<i32>,
    /// `[groups·size·size]`: 0 for places that share a window, else a very low number.
    pub apart: Vec<f32>,
}

/// The side of a stage's windows, for a grid of `side` tokens: a window is never larger than the
/// grid.
pub fn window_of(window: usize, side: usize) -> usize {
    window.min(side)
}

impl Windows {
    /// The windows of an encoder on a picture of `size` pixels; none for a ViT.
    pub fn of(encoder: &EncoderConfig, size: usize) -> Option<Self> {
        match encoder {
            EncoderConfig::Vit { .. } => None,
            EncoderConfig::Swin { depths, window, coordinates, .. } => Some(Self {
                grid: size / encoder.unit(),
                stages: depths.len(),
                window: *window,
                coordinates: *coordinates,
            }),
        }
    }

    /// The plan for the units `units`, in that order.
    pub fn plan(&self, units: &[i32]) -> WindowPlan {
        let stages = (0..self.stages).map(|stage| {
            let inner = 1 << (self.stages - 1 - stage);
            let places = self.places(units, stage, inner);
            let side = self.grid * inner;
            let window = window_of(self.window, side);
            let shifted = (side > self.window).then(|| group(&places, window, window / 2));
            StagePlan { plain: group(&places, window, 0), shifted }
        });
        WindowPlan { stages: stages.collect() }
    }

    /// The plan where every unit is visible.
    pub fn whole(&self) -> WindowPlan {
        let units: Vec<i32> = (0..self.grid.pow(2) as i32).collect();
        self.plan(&units)
    }

    /// Row and column of each token of a stage with `inner`×`inner` tokens a unit.
    fn places(&self, units: &[i32], stage: usize, inner: usize) -> Vec<(usize, usize)> {
        let side = self.grid * inner;
        let place = |unit: usize, i: usize| match self.coordinates {
            Coordinates::Published if stage > 0 => {
                let number = unit * inner * inner + i;
                (number / side, number % side)
            }
            _ => (unit / self.grid * inner + i / inner, unit % self.grid * inner + i % inner),
        };
        let tokens = |&unit: &i32| (0..inner * inner).map(move |i| (unit as usize, i));
        units.iter().flat_map(tokens).map(|(unit, i)| place(unit, i)).collect()
    }
}

/// Cuts tokens into windows, shifted by `shift`, and groups these.
fn group(places: &[(usize, usize)], window: usize, shift: usize) -> Grouping {
    let lead = if shift > 0 { window - shift } else { 0 };
    let mut windows: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (token, (row, column)) in places.iter().enumerate() {
        windows.entry(((row + lead) / window, (column + lead) / window)).or_default().push(token);
    }
    let windows: Vec<Vec<usize>> = windows.into_values().collect();
    let sizes: Vec<usize> = windows.iter().map(Vec::len).collect();
    let (size, packed) = pack(&sizes);

    let groups = packed.len();
    let span = 2 * window - 1;
    let mut grouping = Grouping {
        groups,
        size,
        gather: vec![0; groups * size],
        place: vec![0; places.len()],
        relative: vec![0; groups * size * size],
        apart: vec![APART; groups * size * size],
    };
    for (at, members) in packed.iter().enumerate() {
        let mut next = at * size;
        for tokens in members.iter().map(|&member| &windows[member]) {
            for (i, &token) in tokens.iter().enumerate() {
                grouping.gather[next + i] = token as i32;
                grouping.place[token] = (next + i) as i32;
                let (row, column) = places[token];
                for (j, &other) in tokens.iter().enumerate() {
                    let (other_row, other_column) = places[other];
                    let pair = (next + i) * size + (next - at * size) + j;
                    grouping.relative[pair] = ((row + window - 1 - other_row) * span
                        + (column + window - 1 - other_column))
                        as i32;
                    grouping.apart[pair] = 0.0;
                }
            }
            next += tokens.len();
        }
    }
    grouping
}

/// Puts windows of these sizes into groups: the group size that is cheapest, and each group's
/// windows.
///
/// A group of g places costs g² for attention and as much for each place as attention over a
/// window's worth of others; below that, the number of groups no longer matters.
fn pack(sizes: &[usize]) -> (usize, Vec<Vec<usize>>) {
    let total: usize = sizes.iter().sum();
    let largest = sizes.iter().copied().max().unwrap_or(0).max(1);
    let cost = |groups: usize, size: usize| groups * size * (size + largest);
    let mut best: Option<(usize, usize, Vec<Vec<usize>>)> = None;
    for size in largest..=(2 * largest).min(total.max(largest)) {
        let cheapest = cost(total.div_ceil(size), size);
        if best.as_ref().is_some_and(|(least, ..)| cheapest >= *least) {
            continue;
        }
        let packed = fill(sizes, size);
        let cost = cost(packed.len(), size);
        if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
            best = Some((cost, size, packed));
        }
    }
    best.map_or((1, vec![vec![]]), |(_, size, packed)| (size, packed))
}

/// Fills groups of `capacity`, each as full as the windows that are left allow.
fn fill(sizes: &[usize], capacity: usize) -> Vec<Vec<usize>> {
    let mut left: Vec<usize> = (0..sizes.len()).collect();
    let mut groups = vec![];
    while !left.is_empty() {
        let chosen = fullest(&left.iter().map(|&i| sizes[i]).collect::<Vec<_>>(), capacity);
        groups.push(chosen.iter().map(|&at| left[at]).collect());
        let mut at = 0;
        left.retain(|_| {
            at += 1;
            !chosen.contains(&(at - 1))
        });
    }
    groups
}

/// The 0/1 knapsack: which of `sizes` fill `capacity` most, each of which fits.
fn fullest(sizes: &[usize], capacity: usize) -> Vec<usize> {
    // By which item each sum was first reached, and from which sum.
    let mut reached: Vec<Option<usize>> = vec![None; capacity + 1];
    let mut last = 0;
    for (item, &size) in sizes.iter().enumerate() {
        for sum in (size..=capacity).rev() {
            let from = sum - size;
            if reached[sum].is_none() && (from == 0 || reached[from].is_some_and(|by| by < item)) {
                reached[sum] = Some(item);
                last = last.max(sum);
            }
        }
        if last == capacity {
            break;
        }
    }
    let mut chosen = vec![];
    while let Some(item) = reached[last].filter(|_| last > 0) {
        chosen.push(item);
        last -= sizes[item];
    }
    chosen.reverse();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(coordinates: Coordinates) -> Windows {
        Windows { grid: 7, stages: 4, window: 7, coordinates }
    }

    /// Every set of sums by trying all subsets.
    fn best_by_trying(sizes: &[usize], capacity: usize) -> usize {
        (0..1u32 << sizes.len())
            .map(|set| (0..sizes.len()).filter(|i| set >> i & 1 == 1).map(|i| sizes[i]).sum())
            .filter(|&sum: &usize| sum <= capacity)
            .max()
            .unwrap()
    }

    #[test]
    fn a_group_is_as_full_as_can_be() {
        for (sizes, capacity) in [
            (vec![9, 8, 7, 5, 3], 17),
            (vec![4, 4, 4, 6], 10),
            (vec![49; 5], 49),
            (vec![12, 30, 7, 41, 16, 16, 3, 22], 49),
            (vec![6, 6, 6], 20),
        ] {
            let chosen = fullest(&sizes, capacity);
            let mut distinct = chosen.clone();
            distinct.dedup();
            assert_eq!(distinct, chosen);
            let sum: usize = chosen.iter().map(|&i| sizes[i]).sum();
            assert_eq!(sum, best_by_trying(&sizes, capacity), "{sizes:?} into {capacity}");
        }
    }

    #[test]
    fn every_token_has_one_place_and_sees_its_window_alone() {
        let units = [4, 8, 14, 15, 19, 20, 25, 32, 34, 35, 36, 37];
        for coordinates in [Coordinates::Spatial, Coordinates::Published] {
            let windows = windows(coordinates);
            let plan = windows.plan(&units);
            assert_eq!(plan.stages.len(), 4);
            assert!(plan.stages[3].shifted.is_none());
            for (stage, plan) in plan.stages.iter().enumerate() {
                let inner = 8 >> stage;
                let places = windows.places(&units, stage, inner);
                for (grouping, lead) in
                    [(Some(&plan.plain), 0), (plan.shifted.as_ref(), 4)].into_iter()
                {
                    let Some(Grouping { size, gather, place, apart, relative, .. }) = grouping
                    else {
                        continue;
                    };
                    let window =
                        |(row, column): (usize, usize)| ((row + lead) / 7, (column + lead) / 7);
                    for (token, &at) in place.iter().enumerate() {
                        assert_eq!(gather[at as usize] as usize, token);
                    }
                    for (a, &at) in place.iter().enumerate() {
                        let (at, first) = (at as usize, at as usize / size * size);
                        let seen = (0..*size).filter(|j| apart[at * size + j] == 0.0);
                        let seen: Vec<usize> = seen.map(|j| gather[first + j] as usize).collect();
                        let mates =
                            (0..places.len()).filter(|&b| window(places[a]) == window(places[b]));
                        let mut sorted = seen.clone();
                        sorted.sort_unstable();
                        assert_eq!(sorted, mates.collect::<Vec<_>>());
                        // A token's relative position to itself is the table's middle.
                        assert_eq!(relative[at * size + at - first], 6 * 13 + 6);
                    }
                }
            }
        }
    }

    #[test]
    fn a_whole_picture_wastes_no_place() {
        for StagePlan { plain, .. } in windows(Coordinates::Spatial).whole().stages {
            assert_eq!(plain.size, 49);
            assert_eq!(plain.groups * plain.size, plain.place.len());
        }
    }
}
