//! A batch on the host, which knows its own sizes.

use std::fmt;
use std::sync::Arc;

use super::order::Position;
use super::sample::SampleMut;
use super::spec::SampleSpec;
use crate::model::windows::WindowPlan;

/// Where a view of a batch comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRef {
    /// The shard's file name.
    pub shard: Arc<str>,
    /// The row group in it.
    pub group: usize,
    /// The row in that.
    pub row: usize,
    /// The row's number in the set.
    pub id: u64,
    /// Whether it was mirrored.
    pub flipped: bool,
}

impl fmt::Display for RowRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, group, row, id, flipped } = self;
        write!(f, "{shard} group {group} row {row} (id {id}")?;
        f.write_str(if *flipped { ", mirrored)" } else { ")" })
    }
}

/// The targets of one tap, whose sizes are those of [`Batch::spec`]'s tap.
#[derive(Debug, Clone, PartialEq)]
pub struct TapTarget {
    /// `[views, cells, channels]`.
    pub values: Vec<f32>,
    /// `[views, cells]`: the mask at this scale.
    pub weights: Vec<f32>,
}

/// A batch on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Its place.
    pub position: Position,
    /// Where each view comes from.
    pub rows: Vec<RowRef>,
    /// How many views.
    pub views: usize,
    /// The sizes of each of them: units, kept units, tokens, pixels, and cells and channels of each
    /// tap.
    pub spec: Arc<SampleSpec>,
    /// `[views, tokens, 3·patch²]`: the patches that the encoder is given, normalised, each
    /// (channel, row, column); unit by unit, in rows within each.
    pub patches: Vec<f32>,
    /// `[views, kept]`: which units these are.
    pub keep: Vec<i32>,
    /// `[views, units]`: each unit's place among those that are kept followed by the rest.
    pub restore: Vec<i32>,
    /// `[views, units]`: 1 where a unit is masked.
    pub mask: Vec<f32>,
    /// How a Swin's tokens attend to one another.
    pub windows: Option<Arc<WindowPlan>>,
    /// The targets of each tap.
    pub targets: Vec<TapTarget>,
}

impl Batch {
    /// Buffers for `views` views, to be filled.
    pub(crate) fn empty(spec: &Arc<SampleSpec>, views: usize) -> Self {
        let target = |tap: usize| TapTarget {
            values: vec![0.0; views * spec.cells(tap) * spec.channels(tap)],
            weights: vec![0.0; views * spec.cells(tap)],
        };
        Self {
            position: Position { epoch: 0, batch: 0 },
            rows: vec![],
            views,
            patches: vec![0.0; views * spec.pixels()],
            keep: vec![0; views * spec.kept],
            restore: vec![0; views * spec.units()],
            mask: vec![0.0; views * spec.units()],
            windows: None,
            targets: (0..spec.taps.len()).map(target).collect(),
            spec: Arc::clone(spec),
        }
    }

    /// The place of each view in the buffers.
    pub(crate) fn places(&mut self) -> Vec<SampleMut<'_>> {
        let Self { spec, patches, keep, restore, mask, targets, .. } = self;
        let mut places: Vec<SampleMut<'_>> = patches
            .chunks_mut(spec.pixels())
            .zip(keep.chunks_mut(spec.kept))
            .zip(restore.chunks_mut(spec.units()))
            .zip(mask.chunks_mut(spec.units()))
            .map(|(((patches, keep), restore), mask)| {
                let targets = Vec::with_capacity(spec.taps.len());
                SampleMut { patches, keep, restore, mask, targets }
            })
            .collect();
        for (tap, target) in targets.iter_mut().enumerate() {
            let values = target.values.chunks_mut(spec.cells(tap) * spec.channels(tap));
            let weights = target.weights.chunks_mut(spec.cells(tap));
            for (place, target) in places.iter_mut().zip(values.zip(weights)) {
                place.targets.push(target);
            }
        }
        places
    }
}
