//! Labelled rows of a set → shuffled batches of pictures, read ahead.

use std::collections::HashMap;

use crossbeam_channel::bounded;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use schemas::layout;
use shards::columns::ColumnError;
use shards::{Columns, GroupRef, ShardSet};

use super::features::{Features, is_parted_off};
use super::random::random;
use crate::encode::EncodeError;

/// Row groups whose rows are shuffled together.
const WINDOW: usize = 16;

/// Pictures with their classes.
#[derive(Debug, Clone, Default)]
pub struct Views {
    /// size·size·3 bytes each.
    pub pictures: Vec<u8>,
    /// Their classes.
    pub labels: Vec<u32>,
}

/// A labelled row of a row group.
#[derive(Debug, Clone, Copy)]
struct Row {
    at: usize,
    label: u32,
    picture: [u8; 32],
}

/// A row group and its labelled rows.
#[derive(Debug, Clone)]
pub struct Group {
    group: GroupRef,
    rows: Vec<Row>,
}

/// The labelled rows of a set, or a part of them; pictures stay on disk.
#[derive(Debug, Clone)]
pub struct Labelled {
    dataset: ShardSet,
    groups: Vec<Group>,
    classes: Vec<String>,
    unlabelled: u64,
}

impl Labelled {
    /// Reads labels and content hashes of a set.
    ///
    /// # Errors
    /// [`EncodeError`] if a shard can't be read.
    pub fn open(dataset: ShardSet) -> Result<Self, EncodeError> {
        let classes = dataset.manifest().classes.clone();
        let places: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
        let columns = [layout::CONTENT_HASH, layout::LABEL];
        let read = |&group: &GroupRef| {
            let batch = dataset.read(group, &columns)?;
            let fault = |reason: String| EncodeError::row(&dataset, group, reason);
            let lacks = |error: ColumnError| fault(error.to_string());
            let content_hash = Columns::of(&batch).content_hash().map_err(lacks)?;
            let class = Columns::of(&batch).label().map_err(lacks)?;
            let mut rows = Vec::new();
            for at in 0..batch.num_rows() {
                let Some(name) = class(at) else { continue };
                let label = places.get(name).copied();
                let label =
                    label.ok_or_else(|| fault(format!("class `{name}` is not in its manifest")))?;
                rows.push(Row { at, label, picture: content_hash(at) });
            }
            Ok(Group { group, rows })
        };
        let groups: Vec<_> = dataset.groups().collect();
        let groups: Vec<Group> = groups.par_iter().map(read).collect::<Result<_, EncodeError>>()?;
        let labelled: usize = groups.iter().map(|group| group.rows.len()).sum();
        let unlabelled = dataset.rows() - labelled as u64;
        Ok(Self { groups, classes, unlabelled, dataset })
    }

    /// Parts the rows in two, as [`Features::split`] does.
    pub fn split(&self, share: f64, seed: u64) -> (Self, Self) {
        let part = |second: bool| {
            let mut part = self.clone();
            for group in &mut part.groups {
                group.rows.retain(|row| is_parted_off(&row.picture, share, seed) == second);
            }
            part
        };
        (part(false), part(true))
    }

    /// The rows without features: what is told and matched of them.
    pub fn index(&self) -> Features {
        let rows = || self.groups.iter().flat_map(|group| &group.rows);
        Features {
            dim: 0,
            values: vec![],
            labels: rows().map(|row| row.label).collect(),
            pictures: rows().map(|row| row.picture).collect(),
            classes: self.classes.clone(),
            unlabelled: self.unlabelled,
        }
    }

    /// The same rows with the classes of an index of them whose classes were matched.
    #[must_use]
    pub fn with_index(mut self, index: &Features) -> Self {
        let rows = self.groups.iter_mut().flat_map(|group| &mut group.rows);
        rows.zip(&index.labels).for_each(|(row, &label)| row.label = label);
        self.classes.clone_from(&index.classes);
        self
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.groups.iter().map(|group| group.rows.len()).sum()
    }

    /// Classes.
    pub fn classes(&self) -> usize {
        self.classes.len()
    }

    /// The row groups, in the set's order.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The labelled views of a row group.
    ///
    /// # Errors
    /// [`EncodeError`] if its shard can't be read.
    pub fn group(&self, group: &Group) -> Result<Views, EncodeError> {
        let mut views = Views::default();
        for (picture, label) in self.read(group)? {
            views.pictures.extend(picture);
            views.labels.push(label);
        }
        Ok(views)
    }

    fn read(&self, group: &Group) -> Result<Vec<(Vec<u8>, u32)>, EncodeError> {
        if group.rows.is_empty() {
            return Ok(vec![]);
        }
        let layout = self.dataset.layout();
        let batch = self.dataset.read(group.group, &[layout.picture_column()])?;
        let picture = Columns::of(&batch).picture(layout);
        let picture = picture
            .map_err(|error| EncodeError::row(&self.dataset, group.group, error.to_string()))?;
        let view = |row: &Row| (picture(row.at).into_owned(), row.label);
        Ok(group.rows.iter().map(view).collect())
    }

    /// Gives `take` the batches of an epoch, in an order that seed and epoch decide; what is left
    /// over is dropped. The next rows are read meanwhile.
    ///
    /// # Errors
    /// [`EncodeError`] if a shard can't be read, or those of `take`.
    pub fn epoch<E: From<EncodeError>>(
        &self,
        seed: u64,
        epoch: u64,
        batch_size: usize,
        mut take: impl FnMut(Views) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rng = random("localmim fine-tuning order", seed, epoch);
        let mut order: Vec<&Group> = self.groups.iter().collect();
        order.shuffle(&mut rng);
        std::thread::scope(|scope| {
            let (sender, windows) = bounded(1);
            scope.spawn(move || {
                for window in order.chunks(WINDOW) {
                    let read: Result<Vec<_>, EncodeError> =
                        window.par_iter().map(|group| self.read(group)).collect();
                    let failed = read.is_err();
                    // Nobody listens any more where `take` has failed.
                    if sender.send(read).is_err() || failed {
                        return;
                    }
                }
            });
            let mut waiting: Vec<(Vec<u8>, u32)> = Vec::new();
            for window in windows {
                let mut rows: Vec<_> = window?.into_iter().flatten().collect();
                rows.shuffle(&mut rng);
                waiting.extend(rows);
                while waiting.len() >= batch_size {
                    let mut views = Views::default();
                    for (picture, label) in waiting.drain(..batch_size) {
                        views.pictures.extend(picture);
                        views.labels.push(label);
                    }
                    take(views)?;
                }
            }
            Ok(())
        })
    }
}
