//! A set → what is shown of it, bounded however large the set is.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use schemas::{Crop, IngestSettings, Manifest, Reason, Reject};
use shards::pictures::Listed;
use shards::{ShardSet, StoredRow};
use voice::draw;

use super::Scope;
use crate::duplicates::{DuplicateIndex, Verdict};
use crate::view::Cutter;
use crate::{IngestError, decode, inspect};

/// Bits in which the perceptual hashes of two pictures of a cluster may differ.
pub const RADIUS: u32 = 6;
/// Clusters that are drawn, and pictures of each.
const CLUSTERS: (usize, usize) = (12, 6);
/// Rejects of each reason that are drawn.
const EXAMPLES: usize = 8;
/// Rejects of each reason whose source is looked for.
const LOOKED_FOR: usize = 200;
/// Bytes of a rejected file that is drawn, at most.
const MOST_BYTES: u64 = 64 << 20;
/// The side of a thumbnail in pixels, at most.
pub const THUMBNAIL: u32 = 112;

/// What was gathered.
pub struct Gathered {
    /// Pictures of the shards that were looked at.
    pub pictures: Vec<Listed>,
    /// Shards that were looked at.
    pub shards: usize,
    /// Rows drawn at random, and a JPEG of each.
    pub views: Vec<(StoredRow, Vec<u8>)>,
    /// The largest clusters of pictures that look alike, each picture with a JPEG.
    pub clusters: Vec<Cluster>,
    /// How many clusters there are, and pictures in them.
    pub clustered: (usize, usize),
    /// Rejects by reason.
    pub rejects: BTreeMap<Reason, Rejected>,
}

/// Pictures that look alike.
pub struct Cluster {
    /// How many there are.
    pub pictures: usize,
    /// Sources and thumbnails of the first ones.
    pub shown: Vec<(String, Vec<u8>)>,
}

/// Rejects of one reason.
#[derive(Default)]
pub struct Rejected {
    /// How many there are.
    pub count: u64,
    /// One as it stands in the list.
    pub first: Option<Reject>,
    /// Those whose source is still there and can be drawn, each with a JPEG.
    pub shown: Vec<(Reject, Vec<u8>)>,
}

/// Looks through a set.
pub fn gather(set: &ShardSet, scope: Scope) -> Result<Gathered, IngestError> {
    let manifest = set.manifest();
    let mut pictures = Vec::new();
    let picked = spread(manifest, scope.rows);
    for &shard in &picked {
        let first = manifest.shards.iter().take(shard).map(|shard| shard.rows).sum();
        pictures.extend(set.shard(shard).listed(manifest.settings.views, first)?);
    }
    let thumbnail = |row: &StoredRow| thumbnail(row, manifest);
    let views = inspect::sample(set, scope.views, scope.seed)?
        .into_iter()
        .map(|row| Ok((thumbnail(&row)?, row)).map(|(jpeg, row)| (row, jpeg)))
        .collect::<Result<_, IngestError>>()?;
    let clusters = clusters(&pictures);
    let clustered = (clusters.len(), clusters.iter().map(Vec::len).sum());
    let clusters = clusters
        .into_iter()
        .take(CLUSTERS.0)
        .map(|members| {
            let shown = members.iter().take(CLUSTERS.1).map(|&member| {
                let row = set.row(pictures[member].row)?;
                Ok((row.source.clone(), thumbnail(&row)?))
            });
            let shown = shown.collect::<Result<_, IngestError>>()?;
            Ok(Cluster { pictures: members.len(), shown })
        })
        .collect::<Result<_, IngestError>>()?;
    let rejects = rejected(set.rejects()?, manifest);
    Ok(Gathered { pictures, shards: picked.len(), views, clusters, clustered, rejects })
}

/// The numbers of shards that have about so many rows together, spread evenly.
fn spread(manifest: &Manifest, rows: u64) -> Vec<usize> {
    let count = manifest.shards.len();
    let mean = manifest.rows.div_ceil(count.max(1) as u64).max(1);
    let take = usize::try_from(rows.div_ceil(mean)).unwrap_or(count).clamp(1, count.max(1));
    (0..take.min(count)).map(|index| index * count / take).collect()
}

fn thumbnail(row: &StoredRow, manifest: &Manifest) -> Result<Vec<u8>, IngestError> {
    draw::thumbnail(&row.picture, manifest.settings.layout.size, THUMBNAIL).map_err(|error| {
        IngestError::io("draw", Path::new(&row.source))(std::io::Error::other(error))
    })
}

/// The places of pictures that look alike, the largest cluster first.
fn clusters(pictures: &[Listed]) -> Vec<Vec<usize>> {
    let mut index = DuplicateIndex::new(Some(RADIUS));
    let mut of: HashMap<u64, Vec<usize>> = HashMap::new();
    for (place, picture) in pictures.iter().enumerate() {
        let number = place as u64;
        match index.insert(number, picture.content, picture.perceptual) {
            Verdict::New => {}
            Verdict::Exact { of: first } | Verdict::Near { of: first, .. } => {
                of.entry(first).or_insert_with(|| vec![first as usize]).push(place);
            }
        }
    }
    let mut clusters: Vec<_> = of.into_values().collect();
    clusters.sort_by_key(|members| (std::cmp::Reverse(members.len()), members[0]));
    clusters
}

/// Counts rejects by reason, and draws some whose source is a file that is still there.
fn rejected(rejects: Vec<Reject>, manifest: &Manifest) -> BTreeMap<Reason, Rejected> {
    // Whatever can be decoded is drawn, whatever the set's own filters say.
    let lenient = IngestSettings {
        strict: false,
        min_decoded: 0,
        min_side: 1,
        max_aspect: 0,
        one_colour: 0,
        ..manifest.settings.clone()
    };
    let mut by_reason: BTreeMap<Reason, Rejected> = BTreeMap::new();
    for reject in rejects {
        let rejected = by_reason.entry(reject.reason).or_default();
        rejected.count += 1;
        if rejected.shown.len() < EXAMPLES
            && rejected.count <= LOOKED_FOR as u64
            && let Some(jpeg) = found(&reject, manifest).and_then(|path| drawn(&path, &lenient))
        {
            rejected.shown.push((reject.clone(), jpeg));
        }
        rejected.first.get_or_insert(reject);
    }
    by_reason
}

/// The local file that a reject names, if it is still there.
fn found(reject: &Reject, manifest: &Manifest) -> Option<PathBuf> {
    let sources = manifest.parts.iter().flat_map(|part| &part.sources);
    let below = sources.map(|source| Path::new(source).join(&reject.source));
    let file = |path: &PathBuf| {
        path.metadata().is_ok_and(|meta| meta.is_file() && (1..=MOST_BYTES).contains(&meta.len()))
    };
    std::iter::once(PathBuf::from(&reject.source)).chain(below).find(file)
}

/// The middle of a picture as a JPEG, if it can be decoded at all.
fn drawn(path: &Path, settings: &IngestSettings) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    let picture = pictures::decode(&bytes, &decode::options(settings)).ok()?;
    let (width, height) = picture.size();
    let side = width.min(height);
    let crop = Crop { x: (width - side) / 2, y: (height - side) / 2, width: side, height: side };
    let side = side.min(THUMBNAIL);
    let rgb = Cutter::new(side).cut(&picture.rgb, crop).ok()?;
    draw::thumbnail(&rgb, side, THUMBNAIL).ok()
}
