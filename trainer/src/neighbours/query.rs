//! Whose neighbours are looked for: files, pictures of the set, or some drawn from the sample.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schemas::layout;
use shards::{Columns, GroupRef, ShardSet};

use super::sample::{COLUMNS, Picture, Sample, read_views, thumbnail};
use super::{NeighbourSettings, NeighboursError, NeighboursRequest};
use crate::encode::EncodeError;
use crate::encode::pictures::view_of;
use crate::encode::rows::Encoders;
use crate::encode::spread::in_order;
use crate::model::ModelConfig;
use crate::progress::Console;

/// A picture whose neighbours are looked for.
#[derive(Debug)]
pub struct Query {
    pub key: String,
    pub label: Option<String>,
    pub hash: [u8; 32],
    /// By each encoder.
    pub features: [Vec<f32>; 2],
    pub view: View,
}

/// Where a query's view is.
#[derive(Debug)]
pub enum View {
    /// A row of the set.
    Stored(GroupRef, usize),
    /// Here, with its side.
    Here(Vec<u8>, u32),
}

impl Query {
    /// A picture of the sample.
    pub fn of(sample: &Sample, place: usize) -> Self {
        let Picture { key, label, hash, group, row } = sample.pictures[place].clone();
        let features = sample.features_of(place);
        Self { key, label, hash, features, view: View::Stored(group, row) }
    }

    pub fn thumbnail(&self, set: &ShardSet) -> Result<Arc<[u8]>, NeighboursError> {
        match &self.view {
            View::Here(view, side) => thumbnail(view, *side, &self.key),
            View::Stored(group, row) => {
                let views = read_views(set, *group, &[*row])?;
                thumbnail(&views[0], set.layout().size, &self.key)
            }
        }
    }
}

/// What a query names.
#[derive(Debug)]
pub enum Named {
    /// A file: its path, its view, BLAKE3 of its content.
    File(String, Vec<u8>, [u8; 32]),
    /// The row that has a key of the set.
    Row(GroupRef, usize),
}

/// Finds what the request's queries name: files, or else keys of the set.
pub fn named(
    request: &NeighboursRequest,
    set: &ShardSet,
    network: &ModelConfig,
) -> Result<Vec<Named>, NeighboursError> {
    let is_file = |query: &String| Path::new(query).is_file();
    let keys: HashSet<&str> =
        request.queries.iter().filter(|query| !is_file(query)).map(String::as_str).collect();
    let rows = if keys.is_empty() { HashMap::new() } else { rows_of(&keys, set)? };
    let mut named = vec![];
    for query in &request.queries {
        if is_file(query) {
            let (view, hash) = view_of(Path::new(query), network)?;
            named.push(Named::File(query.clone(), view, hash));
        } else if let Some(&(group, row)) = rows.get(query) {
            named.push(Named::Row(group, row));
        } else {
            let given = request.given.named();
            return Err(NeighboursError::NoQuery {
                query: query.clone(),
                given,
                such: first_key(set)?,
            });
        }
    }
    Ok(named)
}

/// The first row of each key.
fn rows_of(
    keys: &HashSet<&str>,
    set: &ShardSet,
) -> Result<HashMap<String, (GroupRef, usize)>, EncodeError> {
    let mut found = HashMap::new();
    let workers = vec![(); rayon::current_num_threads()];
    let look = |(): &(), &group: &GroupRef| {
        let batch = set.read(group, &[layout::SOURCE])?;
        let source = Columns::of(&batch).source().map_err(|error| set.fault(group, error))?;
        let rows = (0..batch.num_rows()).filter(|&row| keys.contains(source(row)));
        Ok(rows.map(|row| (source(row).to_owned(), (group, row))).collect::<Vec<_>>())
    };
    let groups: Vec<_> = set.groups().collect();
    in_order(workers, &groups, look, |rows| {
        for (key, place) in rows {
            found.entry(key).or_insert(place);
        }
        Ok::<(), EncodeError>(())
    })?;
    Ok(found)
}

fn first_key(set: &ShardSet) -> Result<String, EncodeError> {
    let Some(group) = set.groups().next() else { return Ok("none".to_owned()) };
    let batch = set.read(group, &[layout::SOURCE])?;
    let source = Columns::of(&batch).source().map_err(|error| set.fault(group, error))?;
    Ok(source(0).to_owned())
}

/// What was named, with features. A file whose content is in the sample has the class that it has
/// there.
pub fn encode(
    named: Vec<Named>,
    set: &ShardSet,
    sample: &Sample,
    encoders: Encoders<'_>,
    console: &Console,
) -> Result<Vec<Query>, NeighboursError> {
    let of_set = stored(&named, set, encoders, console)?;
    let places: HashMap<(usize, usize, usize), usize> = of_set
        .pictures
        .iter()
        .enumerate()
        .map(|(place, picture)| ((picture.group.shard, picture.group.group, picture.row), place))
        .collect();
    let labels: HashMap<[u8; 32], &Option<String>> =
        sample.pictures.iter().map(|picture| (picture.hash, &picture.label)).collect();
    let mut queries = vec![];
    for named in named {
        match named {
            Named::Row(group, row) => {
                queries.push(Query::of(&of_set, places[&(group.shard, group.group, row)]));
            }
            Named::File(key, view, hash) => {
                let mut features = encoders.encode_views(std::slice::from_ref(&view))?.into_iter();
                let mut next = || features.next().unwrap_or_default();
                queries.push(Query {
                    label: labels.get(&hash).copied().cloned().flatten(),
                    key,
                    hash,
                    features: [next(), next()],
                    view: View::Here(view, set.layout().size),
                });
            }
        }
    }
    Ok(queries)
}

/// The named rows of the set.
fn stored(
    named: &[Named],
    set: &ShardSet,
    encoders: Encoders<'_>,
    console: &Console,
) -> Result<Sample, NeighboursError> {
    let mut rows: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for named in named {
        if let Named::Row(group, row) = named {
            let rows = rows.entry((group.shard, group.group)).or_default();
            rows.push(*row);
        }
    }
    rows.values_mut().for_each(|rows| {
        rows.sort_unstable();
        rows.dedup();
    });
    let groups: Vec<GroupRef> =
        set.groups().filter(|group| rows.contains_key(&(group.shard, group.group))).collect();
    let mut sample = Sample { dim: encoders.dim(), ..Sample::default() };
    let choose = |group: GroupRef, _: &RecordBatch| Ok(rows[&(group.shard, group.group)].clone());
    let bar = console.work("queries", rows.values().map(|rows| rows.len() as u64).sum());
    encoders.encode(set, &groups, &COLUMNS, choose, |encoded| {
        bar.inc(encoded.rows.len() as u64);
        sample.add(set, encoded, |_| true)
    })?;
    bar.finish_and_clear();
    sample.check(encoders)?;
    Ok(sample)
}

/// Pictures of the sample, drawn by the seed: one of each class in turn, where there are classes.
pub fn drawn(sample: &Sample, settings: &NeighbourSettings) -> Vec<Query> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut places: Vec<usize> = (0..sample.pictures.len()).collect();
    places.shuffle(&mut rng);
    let mut of_classes: BTreeMap<Option<&String>, Vec<usize>> = BTreeMap::new();
    for place in places {
        of_classes.entry(sample.pictures[place].label.as_ref()).or_default().push(place);
    }
    let mut classes: Vec<Vec<usize>> = of_classes.into_values().collect();
    // Of more classes than queries, others come with another seed.
    classes.shuffle(&mut rng);
    let turns = classes.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..turns).flat_map(|turn| classes.iter().filter_map(move |all| all.get(turn)));
    in_turn.take(settings.queries).map(|&place| Query::of(sample, place)).collect()
}
