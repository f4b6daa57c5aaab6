//! Pictures drawn from a set of any size, with what the encoders make of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schemas::layout;
use shards::columns::ColumnError;
use shards::{Columns, GroupRef, ShardSet};

use super::{NeighbourSettings, NeighboursError};
use crate::encode::EncodeError;
use crate::encode::rows::{Encoded, Encoders};
use crate::progress::Console;

/// Rows are drawn from row groups with so many times as many, so that a few groups, which may be
/// of few classes, do not stand for all.
const SPREAD: u64 = 4;

/// The side of a thumbnail in pixels, at most.
const THUMBNAIL: u32 = 128;

/// The columns that tell of a picture.
pub const COLUMNS: [&str; 4] = [layout::SOURCE, layout::LABEL, layout::CONTENT_HASH, layout::VIEW];

/// A picture of a set.
#[derive(Debug, Clone)]
pub struct Picture {
    pub key: String,
    pub label: Option<String>,
    pub hash: [u8; 32],
    pub group: GroupRef,
    pub row: usize,
}

/// Different pictures of a set, one view each.
#[derive(Debug, Default)]
pub struct Sample {
    pub dim: usize,
    /// Nothing of the set was left out.
    pub is_whole: bool,
    pub pictures: Vec<Picture>,
    /// For each encoder the features `[pictures, dim]`.
    pub features: [Vec<f32>; 2],
}

impl Sample {
    /// Draws pictures by the seed and encodes them.
    pub fn draw(
        set: &ShardSet,
        encoders: Encoders<'_>,
        settings: &NeighbourSettings,
        console: &Console,
    ) -> Result<Self, NeighboursError> {
        let views = u64::from(set.manifest().settings.views.max(1));
        let wanted = settings.sample as u64;
        let mut groups: Vec<_> = set.groups().collect();
        groups.shuffle(&mut ChaCha8Rng::seed_from_u64(settings.seed));
        let mut rows = 0;
        groups.retain(|group| {
            let before = rows;
            rows += group.rows as u64;
            before < SPREAD * wanted * views
        });
        let is_whole = set.rows() <= wanted * views;
        let of_group = wanted.div_ceil(groups.len().max(1) as u64) as usize;
        let of_group = if is_whole { usize::MAX } else { of_group };
        // Files are read from front to back.
        groups.sort_by_key(|group| (group.shard, group.group));

        let mut sample = Self { dim: encoders.dim(), is_whole, ..Self::default() };
        let mut known = HashSet::new();
        let bar = console.work("features, trained and untrained", wanted.min(set.rows() / views));
        let choose = |_, batch: &RecordBatch| first_views(batch, settings.seed, of_group);
        encoders.encode(set, &groups, &COLUMNS, choose, |encoded| {
            bar.inc(encoded.rows.len() as u64);
            sample.add(set, encoded, |picture| known.insert(picture.hash))
        })?;
        bar.finish_and_clear();
        sample.check(encoders)?;
        sample.truncate(settings.sample);
        Ok(sample)
    }

    /// Adds those of a group's chosen rows that are wanted.
    pub fn add(
        &mut self,
        set: &ShardSet,
        encoded: Encoded,
        mut wanted: impl FnMut(&Picture) -> bool,
    ) -> Result<(), NeighboursError> {
        let Encoded { group, rows, batch, features } = encoded;
        for (at, row) in rows.into_iter().enumerate() {
            let picture = picture(Columns::of(&batch), group, row)
                .map_err(|error| EncodeError::from(set.fault(group, error)))?;
            if !wanted(&picture) {
                continue;
            }
            self.pictures.push(picture);
            for (all, of_group) in self.features.iter_mut().zip(&features) {
                all.extend_from_slice(&of_group[at * self.dim..][..self.dim]);
            }
        }
        Ok(())
    }

    /// Refuses features that are no numbers.
    pub fn check(&self, encoders: Encoders<'_>) -> Result<(), NeighboursError> {
        let wrong = self.features[0].iter().position(|value| !value.is_finite());
        match wrong {
            None => Ok(()),
            Some(at) => Err(NeighboursError::NotFinite {
                path: encoders.path.to_owned(),
                key: self.pictures[at / self.dim].key.clone(),
            }),
        }
    }

    fn truncate(&mut self, most: usize) {
        self.pictures.truncate(most);
        self.features.iter_mut().for_each(|features| features.truncate(most * self.dim));
    }

    /// The features of a picture by each encoder.
    pub fn features_of(&self, place: usize) -> [Vec<f32>; 2] {
        [0, 1].map(|encoder| self.features[encoder][place * self.dim..][..self.dim].to_vec())
    }

    /// The pictures that have a class.
    pub fn labelled(&self) -> Self {
        let mut labelled = Self { dim: self.dim, ..Self::default() };
        for (place, picture) in self.pictures.iter().enumerate() {
            if picture.label.is_some() {
                labelled.pictures.push(picture.clone());
                for (all, own) in labelled.features.iter_mut().zip(self.features_of(place)) {
                    all.extend(own);
                }
            }
        }
        labelled
    }

    /// How many pictures each class has.
    pub fn class_counts(&self) -> BTreeMap<&String, usize> {
        let mut counts = BTreeMap::new();
        for label in self.pictures.iter().filter_map(|picture| picture.label.as_ref()) {
            *counts.entry(label).or_default() += 1;
        }
        counts
    }

    /// The thumbnails of pictures.
    pub fn thumbnails(
        &self,
        places: BTreeSet<usize>,
        set: &ShardSet,
    ) -> Result<HashMap<usize, Arc<[u8]>>, NeighboursError> {
        let mut of_groups: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for place in places {
            let group = self.pictures[place].group;
            of_groups.entry((group.shard, group.group)).or_default().push(place);
        }
        let mut thumbnails = HashMap::new();
        for places in of_groups.values() {
            let rows: Vec<_> = places.iter().map(|&place| self.pictures[place].row).collect();
            let views = read_views(set, self.pictures[places[0]].group, &rows)?;
            for (&place, view) in places.iter().zip(views) {
                let key = &self.pictures[place].key;
                thumbnails.insert(place, thumbnail(&view, set.layout().size, key)?);
            }
        }
        Ok(thumbnails)
    }
}

/// The views of some rows of a row group.
pub fn read_views(
    set: &ShardSet,
    group: GroupRef,
    rows: &[usize],
) -> Result<Vec<Vec<u8>>, NeighboursError> {
    let batch = set.read(group, &[set.layout().picture_column()]).map_err(EncodeError::from)?;
    let picture = Columns::of(&batch).picture(set.layout());
    let picture = picture.map_err(|error| EncodeError::from(set.fault(group, error)))?;
    Ok(rows.iter().map(|&row| picture(row).into_owned()).collect())
}

/// A view of `side`×`side` pixels, shrunk.
pub fn thumbnail(view: &[u8], side: u32, key: &str) -> Result<Arc<[u8]>, NeighboursError> {
    let drawn = voice::draw::thumbnail(view, side, THUMBNAIL);
    let fault = |error: &dyn std::fmt::Display| NeighboursError::Draw {
        key: key.to_owned(),
        reason: error.to_string(),
    };
    drawn.map(Arc::from).map_err(|error| fault(&error))
}

/// Up to `most` rows of a group that are first views, drawn by the seed and the pictures' content.
fn first_views(batch: &RecordBatch, seed: u64, most: usize) -> Result<Vec<usize>, ColumnError> {
    let view = Columns::of(batch).view()?;
    let content_hash = Columns::of(batch).content_hash()?;
    let mut rows: Vec<usize> = (0..batch.num_rows()).filter(|&row| view(row) == 0).collect();
    if rows.len() > most {
        rows.sort_by_cached_key(|&row| {
            let mut hasher = blake3::Hasher::new_derive_key("localmim sample of pictures");
            hasher.update(&seed.to_le_bytes()).update(&content_hash(row));
            *hasher.finalize().as_bytes()
        });
        rows.truncate(most);
        rows.sort_unstable();
    }
    Ok(rows)
}

fn picture(columns: Columns<'_>, group: GroupRef, row: usize) -> Result<Picture, ColumnError> {
    Ok(Picture {
        key: columns.source()?(row).to_owned(),
        label: columns.label()?(row).map(str::to_owned),
        hash: columns.content_hash()?(row),
        group,
        row,
    })
}
