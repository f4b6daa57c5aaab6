//! Row groups → a feature a row, in the set's order and as they come, so that a set of any size
//! takes the memory of a few groups.

use std::path::Path;

use arrow::array::RecordBatch;
use burn::backend::cuda::CudaDevice;
use burn::backend::{Cuda, Flex, Wgpu};
use kernels::Kernels;
use shards::columns::ColumnError;
use shards::{Columns, GroupRef, ShardSet};

use super::EncodeError;
use super::encoder::{Frozen, Layers, cut_whole};
use super::spread::in_order;
use crate::checkpoint::Checkpoint;
use crate::device::DeviceKind;
use crate::model::ModelConfig;

/// Views that go through an encoder at once on a core.
const CPU_PIECE: usize = 8;
/// The same on a GPU, which has nothing to do between two of them.
const GPU_PIECE: usize = 64;
/// Threads that prepare views for a GPU.
const READERS: usize = 4;

/// Encoders that see the same views, and where they run.
#[derive(Debug, Clone, Copy)]
pub struct Encoders<'a> {
    /// The device.
    pub device: DeviceKind,
    /// What names the checkpoints in errors.
    pub path: &'a Path,
    /// Of one network, with parameters of their own each.
    pub checkpoints: &'a [&'a Checkpoint],
    /// Of which layers the features are.
    pub layers: Layers,
}

/// Rows of a row group that went through the encoders.
#[derive(Debug)]
pub struct Encoded {
    /// The row group.
    pub group: GroupRef,
    /// The rows that were chosen, by their places in it.
    pub rows: Vec<usize>,
    /// The columns that were asked for, of all its rows.
    pub batch: RecordBatch,
    /// For each encoder the features `[rows, dim]`.
    pub features: Vec<Vec<f32>>,
}

/// Rows of a row group before they are encoded.
struct Read {
    group: GroupRef,
    rows: Vec<usize>,
    batch: RecordBatch,
}

impl Encoders<'_> {
    /// Numbers a feature, of all layers.
    pub fn dim(&self) -> usize {
        let Some(checkpoint) = self.checkpoints.first() else { return 0 };
        self.layers.of(&checkpoint.header.network).iter().map(|(_, dim)| dim).sum()
    }

    /// Hands to `take`, group by group in their order, the rows that `choose` picks by a group's
    /// `columns`. What a row gives depends on no other row's place and on no number of threads.
    ///
    /// # Errors
    /// [`EncodeError`] if a shard can't be read or its views are of another size than the encoders';
    /// what `take` refuses.
    pub fn encode<E: From<EncodeError>>(
        &self,
        dataset: &ShardSet,
        groups: &[GroupRef],
        columns: &[&str],
        choose: impl Fn(GroupRef, &RecordBatch) -> Result<Vec<usize>, ColumnError> + Sync,
        take: impl FnMut(Encoded) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(first) = self.checkpoints.first() else { return Ok(()) };
        let network = &first.header.network;
        let picture = dataset.layout().picture_column();
        let columns: Vec<&str> = columns.iter().copied().chain([picture]).collect();
        let read = |group: GroupRef| -> Result<Read, EncodeError> {
            let batch = dataset.read(group, &columns)?;
            let rows = choose(group, &batch);
            let rows = rows.map_err(|error| EncodeError::row(dataset, group, error.to_string()))?;
            Ok(Read { rows, group, batch })
        };
        match self.device {
            DeviceKind::Cpu => {
                let workers = vec![self.frozen::<Flex>(&<_>::default())?; threads()];
                let work = |encoders: &Vec<Frozen<Flex>>, &group: &GroupRef| {
                    let read = read(group)?;
                    let mut features = vec![vec![]; encoders.len()];
                    read.each_piece(dataset, network, CPU_PIECE, |piece| {
                        forward(encoders, piece, &mut features);
                    })?;
                    Ok(read.with(picture, features))
                };
                in_order(workers, groups, work, take)
            }
            DeviceKind::Cuda(index) => {
                let encoders = self.frozen::<Cuda>(&CudaDevice::new(index))?;
                feed(&encoders, (dataset, network), groups, read, take)
            }
            DeviceKind::Vulkan(adapter) => {
                let encoders = self.frozen::<Wgpu>(&adapter.device())?;
                feed(&encoders, (dataset, network), groups, read, take)
            }
        }
    }

    /// For each encoder the features `[views, dim]` of views of size·size·3 bytes.
    ///
    /// # Errors
    /// [`EncodeError`] if the parameters do not fit, or a view is of another size.
    pub fn encode_views(&self, views: &[Vec<u8>]) -> Result<Vec<Vec<f32>>, EncodeError> {
        match self.device {
            DeviceKind::Cpu => encode_views(&self.frozen::<Flex>(&<_>::default())?, views),
            DeviceKind::Cuda(index) => {
                encode_views(&self.frozen::<Cuda>(&CudaDevice::new(index))?, views)
            }
            DeviceKind::Vulkan(adapter) => {
                encode_views(&self.frozen::<Wgpu>(&adapter.device())?, views)
            }
        }
    }

    fn frozen<B: Kernels>(&self, device: &B::Device) -> Result<Vec<Frozen<B>>, EncodeError> {
        let frozen =
            |checkpoint: &&Checkpoint| Frozen::new(checkpoint, self.layers, self.path, device);
        self.checkpoints.iter().map(frozen).collect()
    }
}

/// Row groups through encoders on a GPU: one thread feeds the device; the others have the next views
/// ready.
fn feed<B: Kernels, E: From<EncodeError>>(
    encoders: &[Frozen<B>],
    (dataset, network): (&ShardSet, &ModelConfig),
    groups: &[GroupRef],
    read: impl Fn(GroupRef) -> Result<Read, EncodeError> + Sync,
    mut take: impl FnMut(Encoded) -> Result<(), E>,
) -> Result<(), E> {
    let work = |(): &(), &group: &GroupRef| {
        let read = read(group)?;
        let mut pieces = vec![];
        read.each_piece(dataset, network, GPU_PIECE, |piece| pieces.push(piece))?;
        Ok((read, pieces))
    };
    in_order(vec![(); READERS], groups, work, |(read, pieces)| {
        let mut features = vec![vec![]; encoders.len()];
        for piece in pieces {
            forward(encoders, piece, &mut features);
        }
        take(read.with(dataset.layout().picture_column(), features))
    })
}

fn threads() -> usize {
    rayon::current_num_threads()
}

fn encode_views<B: Kernels>(
    encoders: &[Frozen<B>],
    views: &[Vec<u8>],
) -> Result<Vec<Vec<f32>>, EncodeError> {
    let mut features = vec![vec![]; encoders.len()];
    for view in views {
        let mut input = vec![];
        if let Some(first) = encoders.first() {
            first.cut(view, &mut input).map_err(|error| EncodeError::Row {
                at: "a view".to_owned(),
                reason: error.to_string(),
            })?;
        }
        forward(encoders, input, &mut features);
    }
    Ok(features)
}

/// Adds to each encoder's features those of a piece.
fn forward<B: Kernels>(encoders: &[Frozen<B>], piece: Vec<f32>, features: &mut [Vec<f32>]) {
    for (encoder, features) in encoders.iter().zip(features) {
        features.extend(encoder.features(piece.clone()));
    }
}

impl Read {
    /// Cuts the chosen rows' views for the network, up to `most` at once.
    fn each_piece(
        &self,
        dataset: &ShardSet,
        network: &ModelConfig,
        most: usize,
        mut each: impl FnMut(Vec<f32>),
    ) -> Result<(), EncodeError> {
        let fault = |reason: String| EncodeError::row(dataset, self.group, reason);
        let picture = Columns::of(&self.batch).picture(dataset.layout());
        let picture = picture.map_err(|error| fault(error.to_string()))?;
        for rows in self.rows.chunks(most) {
            let mut piece = Vec::with_capacity(rows.len() * 3 * network.size * network.size);
            for &row in rows {
                cut_whole(network, &picture(row), &mut piece)
                    .map_err(|error| fault(error.to_string()))?;
            }
            each(piece);
        }
        Ok(())
    }

    /// The rows with their features; pictures are let go.
    fn with(self, picture: &str, features: Vec<Vec<f32>>) -> Encoded {
        let Self { group, rows, mut batch } = self;
        if let Some((place, _)) = batch.schema().column_with_name(picture) {
            batch.remove_column(place);
        }
        Encoded { group, rows, batch, features }
    }
}
