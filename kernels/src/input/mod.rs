//! What a network and its loss are given, made from a batch's bytes as they are stored.
//!
//! A view's patches and targets are four times as many bytes as floats as they are in a shard, and
//! normalised pixels are so for each tap. So a batch is one buffer of bytes, laid out by
//! [`Layout`]: for each view what is masked, of its picture what encoder or targets need, and of each
//! cell size what is stored of the targets. Its parts stand one after the other, each holding all
//! views, so that some of a batch's views are a slice of each part, and what needs no work is a tensor
//! as it lies. A loader fills the buffer ([`Layout::views_mut`], [`Layout::finish`]) in memory that
//! [`Inputs::memory`] gives, pinned where a device takes it from there; it is [`Sent`] as it is, ahead of
//! its use, so that it is copied while the device works on what came before. [`Inputs::input`] makes the
//! tensors: on a GPU a kernel for the patches, one for the places of a
//! grid's tokens and one for each tap ([`gpu`]), on the processor loops over the views that a
//! thread was given ([`host`]).
//!
//! What depends on neither pixel nor code is done where the bytes are copied, since it costs nothing
//! there: pictures are mirrored and cut, rows of statistics turned about, of a code and its mirror
//! image's the right one is taken. HOG alone is mirrored with its values: what lies on a bin's edge
//! goes elsewhere than the rest, so that norms change.

mod copies;
mod cube;
pub mod gpu;
pub mod host;
mod layout;
mod sent;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::{Autodiff, Flex};
use burn::tensor::backend::Backend;
use burn::tensor::{Bytes, Int, Tensor, TensorData};

pub use layout::{Layout, Part, ViewMut, at_scale};
pub use sent::Sent;

/// The sizes of a batch's views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// How many views there are.
    pub views: usize,
    /// Their side in pixels.
    pub size: usize,
    /// The side of an encoder's patch in pixels.
    pub patch: usize,
    /// The side of a masking unit in pixels, a multiple of the patch's.
    pub unit: usize,
    /// Units the encoder is given.
    pub kept: usize,
    /// Tokens before those of the patches.
    pub prefix: usize,
    /// Whether masked units are among these, with a token in the place of each of their patches.
    pub tokens: bool,
    /// What is predicted.
    pub target: Target,
    /// Where, at each tap.
    pub taps: Vec<Tap>,
}

/// What is predicted of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Its HOG of so many bins a colour.
    Hog(usize),
    /// Its pixels, normalised within it.
    Pixel,
    /// Its pixels, normalised by ImageNet's statistics.
    RawPixel,
    /// A code's number.
    Code,
}

impl Target {
    /// Values of the target of a cell of `cell` pixels a side.
    pub fn values(self, cell: usize) -> usize {
        match self {
            Self::Hog(bins) => 3 * bins,
            Self::Pixel | Self::RawPixel => 3 * cell * cell,
            Self::Code => 1,
        }
    }
}

/// The sizes of a tap's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tap {
    /// The target's cell in pixels.
    pub cell: usize,
    /// Cells along a side of what one prediction covers.
    pub group: usize,
    /// The latent's tokens along a unit's side.
    pub inner: usize,
}

impl Sizes {
    /// Units along a side of a view.
    pub fn grid(&self) -> usize {
        self.size / self.unit
    }

    /// Units of a view.
    pub fn units(&self) -> usize {
        self.grid().pow(2)
    }

    /// Patches along a side of a unit.
    pub fn across(&self) -> usize {
        self.unit / self.patch
    }

    /// Patches the encoder is given of a view.
    pub fn given(&self) -> usize {
        self.kept * self.across().pow(2)
    }

    /// Values of a patch.
    pub fn patch_values(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// Whether targets are made of the picture, so that all of it is there.
    pub fn whole(&self) -> bool {
        matches!(self.target, Target::Pixel | Target::RawPixel)
    }

    /// The side of what a prediction of a tap covers, in pixels.
    pub fn covered(&self, tap: usize) -> usize {
        self.taps[tap].cell * self.taps[tap].group
    }

    /// Predictions of a tap for a view.
    pub fn cells(&self, tap: usize) -> usize {
        (self.size / self.covered(tap)).pow(2)
    }

    /// Values of the target of a tap's prediction.
    pub fn channels(&self, tap: usize) -> usize {
        let Tap { cell, group, .. } = self.taps[tap];
        group * group * self.target.values(cell)
    }

    /// What `make` gives for each tap's tokens along a unit's side, made once for taps of the same.
    fn of_grids<T: Clone>(&self, make: impl Fn(usize) -> T) -> Vec<T> {
        let mut made: Vec<(usize, T)> = vec![];
        let of_tap = |tap: &Tap| {
            let known = made.iter().find(|(inner, _)| *inner == tap.inner);
            let known = known.map(|(_, known)| known.clone());
            known.unwrap_or_else(|| {
                let new = make(tap.inner);
                made.push((tap.inner, new.clone()));
                new
            })
        };
        self.taps.iter().map(of_tap).collect()
    }

    /// The cell sizes of all taps, each once, in the taps' order.
    pub fn distinct_cells(&self) -> Vec<usize> {
        let mut cells = vec![];
        for tap in &self.taps {
            if !cells.contains(&tap.cell) {
                cells.push(tap.cell);
            }
        }
        cells
    }
}

/// Some views of a batch, on a device.
#[derive(Debug, Clone)]
pub struct Input<B: Backend> {
    /// `[views, patches, 3·patch²]`: the patches that the encoder is given, by ImageNet's statistics,
    /// each (channel, row, column); unit by unit, in rows within each.
    pub patches: Tensor<B, 3>,
    /// `[views, 1 + kept]`: 0, and then the number of each of these units plus 1.
    pub places: Tensor<B, 2, Int>,
    /// `[views, patches]`: each patch's own number, −1 where a token stands for it; none where none
    /// does.
    pub seen: Option<Tensor<B, 2, Int>>,
    /// For each tap `[views, prefix + tokens of the whole view]`: for each token, in rows after the
    /// prefix, which of the latent's it is; −1 where it was masked.
    pub restore: Vec<Tensor<B, 2, Int>>,
    /// For each tap `[views, cells, channels]`.
    pub targets: Vec<Tensor<B, 3>>,
    /// For each tap `[views, cells]`: the mask at its scale over its sum in the whole batch.
    pub weights: Vec<Tensor<B, 2>>,
}

/// Gives memory of so many bytes for a batch; any thread may ask for it.
pub type Memory = Arc<dyn Fn(usize) -> Bytes + Send + Sync>;

/// A backend that makes its tensors of a batch's bytes.
pub trait Inputs: Backend {
    /// A batch's bytes where tensors are made of them.
    type Stored: Clone + Debug + Send + Sync;

    /// Where batches lie that the calling thread sends to the device.
    fn memory(device: &Self::Device) -> Memory;

    /// Sends the bytes of a batch of these sizes, which are laid out by [`Layout`].
    fn send(sizes: &Sizes, bytes: &Arc<Bytes>, device: &Self::Device) -> Sent<Self, Self::Stored>;

    /// Sends tables of whole numbers, all at once.
    fn tables(tables: &[&[i32]], device: &Self::Device) -> Sent<Self, Vec<Tensor<Self, 1, Int>>>;

    /// Has what the calling thread asks the device for from now on wait there for all that was sent.
    fn arrive(device: &Self::Device);

    /// The views `views` of a batch of these sizes that has arrived.
    fn input(
        sizes: &Sizes,
        stored: &Self::Stored,
        views: Range<usize>,
        device: &Self::Device,
    ) -> Input<Self>;
}

/// Memory of so many bytes, all of them 0.
pub fn zeros(bytes: usize) -> Bytes {
    Bytes::from_elems(vec![0u64; bytes.div_ceil(8)])
}

impl Inputs for Flex {
    type Stored = Arc<Bytes>;

    fn memory(_: &Self::Device) -> Memory {
        Arc::new(zeros)
    }

    fn send(_: &Sizes, bytes: &Arc<Bytes>, device: &Self::Device) -> Sent<Self, Self::Stored> {
        Sent::new(Arc::clone(bytes), device)
    }

    fn tables(tables: &[&[i32]], device: &Self::Device) -> Sent<Self, Vec<Tensor<Self, 1, Int>>> {
        let table = |&table: &&[i32]| Tensor::from_data(TensorData::from(table), device);
        Sent::new(tables.iter().map(table).collect(), device)
    }

    fn arrive(_: &Self::Device) {}

    fn input(
        sizes: &Sizes,
        stored: &Self::Stored,
        views: Range<usize>,
        device: &Self::Device,
    ) -> Input<Self> {
        host::Values::of(sizes, stored, views).to_device(sizes, device)
    }
}

impl<B: Inputs, C: CheckpointStrategy> Inputs for Autodiff<B, C> {
    type Stored = B::Stored;

    fn memory(device: &Self::Device) -> Memory {
        B::memory(device)
    }

    fn send(sizes: &Sizes, bytes: &Arc<Bytes>, device: &Self::Device) -> Sent<Self, Self::Stored> {
        B::send(sizes, bytes, device).over()
    }

    fn tables(tables: &[&[i32]], device: &Self::Device) -> Sent<Self, Vec<Tensor<Self, 1, Int>>> {
        let outer = |tables: Vec<_>| tables.into_iter().map(Tensor::from_inner).collect();
        B::tables(tables, device).over::<Self>().map(outer)
    }

    fn arrive(device: &Self::Device) {
        B::arrive(device);
    }

    fn input(
        sizes: &Sizes,
        stored: &Self::Stored,
        views: Range<usize>,
        device: &Self::Device,
    ) -> Input<Self> {
        let input = B::input(sizes, stored, views, device);
        Input {
            patches: Tensor::from_inner(input.patches),
            places: Tensor::from_inner(input.places),
            seen: input.seen.map(Tensor::from_inner),
            restore: input.restore.into_iter().map(Tensor::from_inner).collect(),
            targets: input.targets.into_iter().map(Tensor::from_inner).collect(),
            weights: input.weights.into_iter().map(Tensor::from_inner).collect(),
        }
    }
}
