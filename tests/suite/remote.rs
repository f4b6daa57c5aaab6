//! Shards that lie in a bucket: the same training as from a local folder, in spite of faults.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shards::{Cache, ShardSet, ShardSource};
use storage::testing::{Fault, FaultProxy, Request, S3Server, StoreServer};
use storage::{Address, Storage, StorageOptions};
use trainer::data::{Batch, Loader, LoaderSettings, Position};

use crate::case::{Case, loader_settings, settings};

/// A bucket that holds the shards of a case.
struct Bucket {
    server: S3Server,
    folder: Address,
}

impl Bucket {
    fn of(case: &Case) -> Self {
        let server = S3Server::start().unwrap();
        let folder = server.address("sets/a");
        let storage = Storage::new(server.options()).unwrap();
        for entry in fs::read_dir(case.shards()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            storage.put(&folder.join(&name), fs::read(entry.path()).unwrap()).unwrap();
        }
        Self { server, folder }
    }

    /// The set as seen through a proxy.
    fn source(&self, proxy: &FaultProxy, cache: Option<Cache>) -> ShardSource {
        let options = StorageOptions {
            first_wait: Some(Duration::from_millis(1)),
            stall: Some(Duration::from_millis(500)),
            ..self.server.options_through(proxy)
        };
        ShardSource::new(Storage::new(options).unwrap(), self.folder.clone(), cache)
    }
}

const START: Position = Position { epoch: 0, batch: 0 };
/// Two epochs and a bit.
const BATCHES: usize = 14;

fn batches(source: ShardSource) -> Vec<Batch> {
    let dataset = Arc::new(ShardSet::open_whole(source).unwrap());
    let settings = LoaderSettings { window_groups: 1, ..loader_settings() };
    let mut loader = Loader::start(dataset, settings, START).unwrap();
    (0..BATCHES).map(|_| loader.next().unwrap()).collect()
}

fn bytes_in(folder: &Path) -> u64 {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// Every third request is spoilt in one way or another.
fn spoilt(request: &Request) -> Option<Fault> {
    let faults = [
        Fault::SlowDown,
        Fault::Reset { after: 700 },
        Fault::Cut { after: 100 },
        Fault::Refuse,
        Fault::Short { by: 9 },
        Fault::Stall { after: 50 },
    ];
    (request.index % 3 == 1).then(|| faults[request.index / 3 % faults.len()])
}

#[test]
fn batches_from_a_bucket_are_those_of_the_local_folder_in_spite_of_faults() {
    let case = Case::with_shards(25);
    let bucket = Bucket::of(&case);
    let proxy = FaultProxy::start(bucket.server.endpoint(), spoilt).unwrap();
    assert_eq!(batches(bucket.source(&proxy, None)), batches(ShardSource::local(case.shards())));
    assert!(proxy.faults() > 6, "{} faults", proxy.faults());
}

#[test]
fn epochs_after_the_first_come_out_of_the_cache() {
    let case = Case::with_shards(25);
    let bucket = Bucket::of(&case);
    let proxy = FaultProxy::start(bucket.server.endpoint(), |_| None).unwrap();
    let cache = |limit| Some(Cache::open(&case.path("cache"), limit).unwrap());
    let first = batches(bucket.source(&proxy, cache(1 << 30)));
    let mut ranges: Vec<_> = proxy
        .log()
        .into_iter()
        .filter_map(|(request, _)| Some((request.target, request.range?)))
        .collect();
    let fetched = ranges.len();
    ranges.sort();
    ranges.dedup();
    assert!(fetched > 10 && fetched < 2 * ranges.len(), "{fetched} of {}", ranges.len());

    let before = proxy.log().len();
    assert_eq!(batches(bucket.source(&proxy, cache(1 << 30))), first, "after a restart too");
    let again = proxy.log()[before..].iter().filter(|(request, _)| request.range.is_some()).count();
    assert!(again <= 1, "{again} ranges were fetched again (the manifest's may be)");
}

#[test]
fn the_end_of_a_shard_is_not_fetched_again_for_every_row_group() {
    let case = Case::with_shards(25);
    let bucket = Bucket::of(&case);
    let proxy = FaultProxy::start(bucket.server.endpoint(), |_| None).unwrap();
    let entries = case.dataset().manifest().shards.clone();
    let is_end = |request: &Request| {
        let range = request.range.as_deref().unwrap_or_default();
        entries.iter().any(|entry| {
            request.target.contains(entry.file) && range.ends_with(&format!("-{}", entry.bytes - 1))
        })
    };
    let source = bucket.source(&proxy, None);
    let first = batches(source.clone());
    let before = proxy.log().len();
    assert!(proxy.log().iter().any(|(request, _)| is_end(request)));
    assert_eq!(batches(source), first);
    let again = &proxy.log()[before..];
    assert!(again.len() > entries.len(), "row groups are read again");
    assert!(!again.iter().any(|(request, _)| is_end(request)));
}

#[test]
fn a_set_larger_than_the_cache_is_read_all_the_same() {
    let case = Case::with_shards(25);
    let bucket = Bucket::of(&case);
    let proxy = FaultProxy::start(bucket.server.endpoint(), |_| None).unwrap();
    let limit = bytes_in(&case.shards()) / 4;
    let cache = Cache::open(&case.path("cache"), limit).unwrap();
    assert_eq!(
        batches(bucket.source(&proxy, Some(cache))),
        batches(ShardSource::local(case.shards()))
    );
    let kept = bytes_in(&case.path("cache"));
    assert!(kept > 0 && kept <= limit, "{kept} bytes of at most {limit}");
}

#[test]
fn a_run_on_a_bucket_takes_the_course_of_one_on_the_folder() {
    let case = Case::with_shards(25);
    let bucket = Bucket::of(&case);
    let proxy = FaultProxy::start(bucket.server.endpoint(), spoilt).unwrap();
    let settings = settings(|options| options.max_steps = Some(3));
    let remote = case.train_on(bucket.source(&proxy, None), "remote", &settings).unwrap();
    let local = case.train("local", &settings, false).unwrap();
    assert!(case.checkpoint(&remote).model == case.checkpoint(&local).model);
}

#[test]
fn a_bucket_without_a_set_says_what_is_missing() {
    let server = S3Server::start().unwrap();
    let storage = Storage::new(server.options()).unwrap();
    let source = ShardSource::new(storage, server.address("nothing"), None);
    let error = ShardSet::open_whole(source).unwrap_err().to_string();
    assert!(error.contains("nothing/manifest.json") && error.contains("ingest"), "{error}");
}
