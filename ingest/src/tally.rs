//! What the shards of a part come to, and the manifest that says so.

use std::collections::BTreeMap;

use schemas::{FileEntry, Manifest, Part, Place, Reason, SCHEMA_VERSION, ShardTable};
use shards::set::names::next_shard;

use crate::classes::Classes;
use crate::output::plan::Plan;
use crate::output::state::ShardState;
use archives::Passed;

/// What a part's shards come to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The number of the part's first shard.
    pub first_shard: u64,
    /// The number of its first picture.
    pub first: u64,
    pub shards: u64,
    pub pictures: u64,
    /// Where in the stream the next shard begins.
    pub next: Place,
    accepted: u64,
    cut_short: u64,
    classes: BTreeMap<String, u64>,
    rejected: BTreeMap<Reason, u64>,
    pub passed: Passed,
    /// Those that have a file.
    pub entries: ShardTable,
}

impl Tally {
    /// No shard yet, on top of a set.
    pub fn new(base: Option<&Manifest>) -> Self {
        let last = base.and_then(|base| base.parts.last());
        let first = last.map_or(0, |part| part.first + part.pictures);
        Self { first_shard: next_shard(base), first, ..Self::default() }
    }

    /// Adds the next shard.
    pub fn add(&mut self, state: ShardState) {
        self.shards += 1;
        self.pictures += state.pictures;
        self.next = state.next;
        self.accepted += state.accepted;
        self.cut_short += state.cut_short;
        for (class, pictures) in state.classes {
            *self.classes.entry(class).or_default() += pictures;
        }
        for reject in &state.rejects {
            *self.rejected.entry(reject.reason).or_default() += 1;
        }
        self.passed.merge(state.passed);
        self.entries.extend(state.entry);
    }

    /// The manifest of the set to which the part belongs: that of `base` with the part added to it,
    /// or a new one, whose classes begin with those given.
    pub fn manifest(
        self,
        plan: &Plan,
        base: Option<&Manifest>,
        given: Option<&Classes>,
        rejects: FileEntry,
    ) -> Manifest {
        let columns = plan.columns.clone();
        let part = Part {
            sources: plan.sources.clone(),
            follow_links: plan.follow_links,
            image_column: columns.image_column,
            label_column: columns.label_column,
            url_column: columns.url_column,
            listing: plan.listing.clone(),
            first: self.first,
            pictures: self.pictures,
            first_shard: self.first_shard,
            shards: self.shards,
            accepted: self.accepted,
            cut_short: self.cut_short,
            rejected: self.rejected,
            passed: self.passed.into(),
            rejects,
        };
        let mut manifest = base.cloned().unwrap_or_else(|| empty(plan, given));
        (manifest.created_by, manifest.settings) = (plan.created_by.clone(), plan.settings.clone());
        manifest.version = plan.version;
        manifest.parts.push(part);
        manifest.shards.append(&self.entries);
        add_classes(&mut manifest, self.classes);
        manifest.with_totals()
    }
}

/// A set without a part.
fn empty(plan: &Plan, given: Option<&Classes>) -> Manifest {
    let classes = given.map_or_else(Vec::new, |given| given.names().to_vec());
    Manifest {
        schema_version: SCHEMA_VERSION,
        created_by: plan.created_by.clone(),
        version: 0,
        settings: plan.settings.clone(),
        parts: vec![],
        class_pictures: vec![0; classes.len()],
        classes,
        accepted: 0,
        cut_short: 0,
        rejected: 0,
        rows: 0,
        bytes: 0,
        shards: ShardTable::default(),
    }
}

/// Adds the classes of a part's pictures: what is new comes at the end.
fn add_classes(manifest: &mut Manifest, of_part: BTreeMap<String, u64>) {
    let mut indices: BTreeMap<_, _> = manifest.classes.iter().cloned().zip(0..).collect();
    for (class, pictures) in of_part {
        let index = *indices.entry(class.clone()).or_insert_with(|| {
            manifest.classes.push(class);
            manifest.class_pictures.push(0);
            manifest.classes.len() - 1
        });
        manifest.class_pictures[index] += pictures;
    }
}
