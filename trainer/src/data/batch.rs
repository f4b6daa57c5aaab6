//! A batch on the host, which knows its own sizes.

use std::fmt;
use std::sync::Arc;

use burn::tensor::Bytes;
use kernels::input::host::Values;
use kernels::input::{Layout, zeros};
use targets::TargetError;

use super::order::Position;
use super::sample::{self, Draw, StoredView};
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
    /// How a Swin's tokens attend to one another.
    pub windows: Option<Arc<WindowPlan>>,
    /// Masks, patches and targets.
    pub content: Content,
}

/// What a network and its loss are given.
#[derive(Debug, Clone)]
pub enum Content {
    /// As it is stored, laid out by [`Layout`]; values are made where they are needed.
    Stored(Arc<Bytes>),
    /// Values that stand in no shard.
    Made(Values),
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Stored(one), Self::Stored(other)) => one[..] == other[..],
            (Self::Made(one), Self::Made(other)) => one == other,
            _ => false,
        }
    }
}

impl Batch {
    /// A batch of one stored view.
    ///
    /// # Errors
    /// As [`sample::fill`].
    pub fn of_one(
        spec: &Arc<SampleSpec>,
        stored: &StoredView<'_>,
        draw: &Draw,
    ) -> Result<Self, TargetError> {
        let sizes = &spec.one;
        let layout = Layout::new(sizes);
        let mut bytes = zeros(layout.bytes);
        for place in layout.views_mut(&mut bytes) {
            sample::fill(spec, stored, draw, place)?;
        }
        layout.finish(sizes, &mut bytes);
        Ok(Self {
            position: Position { epoch: 0, batch: 0 },
            rows: vec![],
            views: 1,
            spec: Arc::clone(spec),
            windows: None,
            content: Content::Stored(Arc::new(bytes)),
        })
    }

    /// Its values, on the host.
    pub fn values(&self) -> Values {
        match &self.content {
            Content::Stored(bytes) => {
                Values::of(&self.spec.sizes(self.views), bytes, 0..self.views)
            }
            Content::Made(values) => values.clone(),
        }
    }

    /// The memory of its bytes, if nobody reads them any more.
    pub(crate) fn into_bytes(self) -> Option<Bytes> {
        match self.content {
            Content::Stored(bytes) => Arc::try_unwrap(bytes).ok(),
            Content::Made(_) => None,
        }
    }
}
