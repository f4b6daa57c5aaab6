//! Who is near to whom, and how often those are of one class.

use std::sync::Arc;

use shards::ShardSet;

use super::query::Query;
use super::sample::{Picture, Sample};
use super::{Agreement, Neighbour, NeighboursError, Row, Shown};
use crate::encode::nearest::nearest;

/// Pictures of the sample whose neighbours count for [`Agreement`], at most.
const JUDGED: usize = 2000;

/// The nearest pictures of the sample to a query that are not the query itself, by each encoder.
fn others(sample: &Sample, queries: &[Query], k: usize) -> [Vec<Vec<(f32, usize)>>; 2] {
    [0, 1].map(|encoder| {
        let features: Vec<f32> =
            queries.iter().flat_map(|query| query.features[encoder].iter().copied()).collect();
        let found = nearest(&sample.features[encoder], &features, sample.dim, k + 1);
        let is_other = |query: &Query, place: usize| sample.pictures[place].hash != query.hash;
        found
            .into_iter()
            .zip(queries)
            .map(|(mut found, query)| {
                found.retain(|&(_, place)| is_other(query, place));
                found.truncate(k);
                found
            })
            .collect()
    })
}

/// The rows of all queries: who is near to them by each encoder.
pub fn search(
    queries: &[Query],
    sample: &Sample,
    k: usize,
    set: &ShardSet,
) -> Result<Vec<Row>, NeighboursError> {
    let [trained, untrained] = others(sample, queries, k);
    let wanted = trained.iter().chain(&untrained).flatten().map(|&(_, place)| place);
    let thumbnails = sample.thumbnails(wanted.collect(), set)?;
    let strip = |query: &Query, found: &[(f32, usize)]| {
        let shown = found.iter().map(|&(similarity, place)| {
            let Picture { key, label, .. } = &sample.pictures[place];
            let same = query.label.as_ref().zip(label.as_ref()).map(|(a, b)| a == b);
            let thumbnail = Arc::clone(&thumbnails[&place]);
            let shown = Shown { key: key.clone(), label: label.clone(), thumbnail };
            Neighbour { shown, similarity, same_class: same }
        });
        shown.collect()
    };
    let rows = queries.iter().zip(trained.iter().zip(&untrained));
    rows.map(|(query, (trained, untrained))| {
        let thumbnail = query.thumbnail(set)?;
        let (key, label) = (query.key.clone(), query.label.clone());
        let (trained, untrained) = (strip(query, trained), strip(query, untrained));
        Ok(Row { query: Shown { key, label, thumbnail }, trained, untrained })
    })
    .collect()
}

/// How often the neighbours of labelled pictures, spread over the sample, are of their class.
pub fn agreement(sample: &Sample, k: usize) -> Option<Agreement> {
    let labelled = sample.labelled();
    let counts = labelled.class_counts();
    if counts.len() < 2 {
        return None;
    }
    let every = labelled.pictures.len().div_ceil(JUDGED);
    let judged: Vec<Query> = (0..labelled.pictures.len())
        .step_by(every)
        .map(|place| Query::of(&labelled, place))
        .collect();
    let label = |place: usize| labelled.pictures[place].label.as_ref();
    let shares = others(&labelled, &judged, k).map(|found| {
        let pairs = found.iter().zip(&judged);
        let all: usize = found.iter().map(Vec::len).sum();
        let same = pairs.map(|(found, query)| {
            found.iter().filter(|&&(_, place)| label(place) == query.label.as_ref()).count()
        });
        same.sum::<usize>() as f64 / all.max(1) as f64
    });
    let alike = judged.iter().map(|query| counts[query.label.as_ref().expect("labelled")] - 1);
    let pairs = judged.len() * (labelled.pictures.len() - 1);
    Some(Agreement {
        judged: judged.len(),
        classes: counts.len(),
        trained: shares[0],
        untrained: shares[1],
        chance: alike.sum::<usize>() as f64 / pairs.max(1) as f64,
    })
}
