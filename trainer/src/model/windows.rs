//! Window attention over visible tokens only (GreenMIM, arXiv 2205.13515, section 3; used by
//! LocalMIM's Swin).
//!
//! Masking leaves windows of unequal numbers of tokens, some of none. Attention takes each as it is;
//! so what it costs follows from the tokens that are there, and the shapes of all tables from the
//! network alone, whatever the mask.
//!
//! Windows are shifted without a cyclic roll: those at the border are smaller instead.

use super::kinds::Coordinates;
use super::shape::EncoderConfig;

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
    pub plain: Tiling,
    /// Of its odd blocks; none where one window holds the whole grid, which is not shifted.
    pub shifted: Option<Tiling>,
}

/// A grid cut into windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiling {
    /// A full window's side in tokens.
    pub side: usize,
    /// `[4, tokens]`: the tokens, window by window; and for each token its window, its row and its
    /// column.
    pub tokens: Vec<i32>,
    /// `[windows + 1]`: where each window's tokens begin in the first row of `tokens`, and their
    /// number.
    pub first: Vec<i32>,
}

impl StagePlan {
    /// The windows of the stage's block `block`, from 0.
    pub fn of_block(&self, block: usize) -> &Tiling {
        of_block(&self.plain, &self.shifted, block)
    }
}

/// Of a stage's windows those of its block `block`, from 0: odd ones have the shifted, if there are any.
pub fn of_block<'a, T>(plain: &'a T, shifted: &'a Option<T>, block: usize) -> &'a T {
    shifted.as_ref().filter(|_| block % 2 == 1).unwrap_or(plain)
}

impl Tiling {
    /// The tokens of each window that has some.
    pub fn windows(&self) -> impl Iterator<Item = &[i32]> {
        let ends = self.first.windows(2).map(|ends| ends[0] as usize..ends[1] as usize);
        ends.filter(|ends| !ends.is_empty()).map(|ends| &self.tokens[ends])
    }

    /// For each of a window's tokens as query, and each as key, the place of their bias in the
    /// table of relative positions: `[queries, keys]`.
    pub fn relative(&self, members: &[i32]) -> Vec<i32> {
        let tokens = self.tokens.len() / 4;
        let at = |line: usize, token: i32| self.tokens[line * tokens + token as usize];
        let (reach, span) = (self.side as i32 - 1, 2 * self.side as i32 - 1);
        let of = |query: i32, key: i32| {
            (at(2, query) - at(2, key) + reach) * span + at(3, query) - at(3, key) + reach
        };
        let keys = |&query: &i32| members.iter().map(move |&key| of(query, key));
        members.iter().flat_map(keys).collect()
    }
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
            let shifted = (side > self.window).then(|| cut(&places, side, window, window / 2));
            StagePlan { plain: cut(&places, side, window, 0), shifted }
        });
        WindowPlan { stages: stages.collect() }
    }

    /// The plan where every unit is visible.
    pub fn whole(&self) -> WindowPlan {
        let units: Vec<i32> = (0..self.grid.pow(2) as i32).collect();
        self.plan(&units)
    }

    /// Of a whole picture's tokens, in the order of their units, each one's number in rows.
    pub fn in_rows(&self, stage: usize) -> Vec<usize> {
        let inner = 1 << (self.stages - 1 - stage);
        let units: Vec<i32> = (0..self.grid.pow(2) as i32).collect();
        let spatial = Self { coordinates: Coordinates::Spatial, ..self.clone() };
        let places = spatial.places(&units, stage, inner).into_iter();
        places.map(|(row, column)| row * self.grid * inner + column).collect()
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

/// Cuts a grid of `side` tokens a side, of which those at `places` are there, into windows, shifted
/// by `shift`.
fn cut(places: &[(usize, usize)], side: usize, window: usize, shift: usize) -> Tiling {
    let lead = if shift > 0 { window - shift } else { 0 };
    let across = (side + lead).div_ceil(window);
    let of =
        |(row, column): (usize, usize)| (row + lead) / window * across + (column + lead) / window;
    let mut first = vec![0; across * across + 1];
    places.iter().for_each(|&place| first[of(place) + 1] += 1);
    for window in 1..first.len() {
        first[window] += first[window - 1];
    }
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&token| of(places[token]));
    let tokens = order.iter().map(|&token| token as i32);
    let windows = places.iter().map(|&place| of(place) as i32);
    let rows = places.iter().map(|&(row, _)| row as i32);
    let columns = places.iter().map(|&(_, column)| column as i32);
    let tokens = tokens.chain(windows).chain(rows).chain(columns).collect();
    Tiling { side: window, tokens, first }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(coordinates: Coordinates) -> Windows {
        Windows { grid: 7, stages: 4, window: 7, coordinates }
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
                let places = windows.places(&units, stage, 8 >> stage);
                let count = places.len();
                for (tiling, lead) in [(Some(&plan.plain), 0), (plan.shifted.as_ref(), 4)] {
                    let Some(Tiling { side, tokens, first }) = tiling else { continue };
                    assert_eq!((*side, tokens.len()), (7, 4 * count));
                    let (order, rest) = tokens.split_at(count);
                    let mut all = order.to_vec();
                    all.sort_unstable();
                    assert!(all.into_iter().eq(0..count as i32));
                    let window =
                        |(row, column): (usize, usize)| ((row + lead) / 7, (column + lead) / 7);
                    for (at, ends) in first.windows(2).enumerate() {
                        let members = &order[ends[0] as usize..ends[1] as usize];
                        for &token in members {
                            let token = token as usize;
                            assert_eq!(rest[token], at as i32);
                            let place = (rest[count + token], rest[2 * count + token]);
                            assert_eq!(place, (places[token].0 as i32, places[token].1 as i32));
                            let mates: Vec<_> = (0..count)
                                .filter(|&b| window(places[b]) == window(places[token]))
                                .map(|mate| mate as i32)
                                .collect();
                            assert_eq!(members, mates);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn tables_are_of_the_same_size_whatever_is_masked() {
        let windows = windows(Coordinates::Spatial);
        let sizes = |units: &[i32]| {
            let stages = windows.plan(units).stages.into_iter();
            let both = stages.flat_map(|stage| [Some(stage.plain), stage.shifted]);
            both.flatten()
                .map(|tiling| (tiling.tokens.len(), tiling.first.len()))
                .collect::<Vec<_>>()
        };
        let corner = sizes(&[0, 1, 2, 3, 7, 8, 9, 10]);
        assert_eq!(corner, sizes(&[0, 6, 17, 24, 31, 42, 45, 48]));
        // Stage 0 has a grid of 56: 8×8 windows, and 9×9 shifted ones.
        assert_eq!(corner[..2], [(4 * 8 * 64, 65), (4 * 8 * 64, 82)]);
    }
}
