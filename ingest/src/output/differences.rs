//! In what a run differs from an earlier one: a sentence for each thing, which names its flag.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use schemas::IngestSettings;
use voice::terminal;

use super::some_of;
use crate::settings::{Settings, default_pictures_per_shard, options};
use crate::source::Listing;

/// That what a flag sets was another.
pub(super) fn difference(flag: &str, then: &str, now: &str) -> String {
    format!("{flag} was {then} in the earlier run, is {now} now")
}

/// A sentence for each setting that differs.
pub(crate) fn settings_differences(then: &IngestSettings, now: &IngestSettings) -> Vec<String> {
    // What was not given follows from views and layout, whose difference says enough.
    let derived = |settings: &IngestSettings| {
        let default = default_pictures_per_shard(&settings.layout, settings.views);
        settings.pictures_per_shard == default
    };
    let both_derived = derived(then) && derived(now);
    let (then, now) = (flags(then), flags(now));
    let text = |value: Option<&String>| value.map_or("not given", String::as_str).to_owned();
    let all: BTreeSet<_> = then.keys().chain(now.keys()).collect();
    all.into_iter()
        .filter(|&flag| then.get(flag) != now.get(flag))
        .filter(|&flag| !(both_derived && *flag == options::SHARD_PICTURES))
        .map(|flag| difference(flag, &text(then.get(flag)), &text(now.get(flag))))
        .collect()
}

/// Every setting that decides bytes, by its flag.
fn flags(settings: &IngestSettings) -> BTreeMap<&'static str, String> {
    // Its flag is gone; sets that were made with it are not.
    let scaled = ("--scaled-decode", settings.scaled_decode.to_string());
    let settings = Settings { ingest: settings.clone(), ..Settings::new("", "") };
    options::deciding()
        .map(|(_, row)| (row.flag, row.told(&settings).unwrap_or("not given".into())))
        .chain([scaled])
        .collect()
}

/// Sentences that name files in which a listing differs from an earlier one. Of that are known the
/// names of the pictures that were `done`, which are all up to some place in it, and the sizes of
/// some.
pub(super) fn other_files(listing: &Listing, done: &HashMap<String, Option<u64>>) -> Vec<String> {
    let names: Vec<_> = listing.loose.iter().map(|listed| listing.name(listed)).collect();
    let places: HashMap<_, _> = names.iter().map(String::as_str).zip(0..).collect();
    // Of a list of addresses the names are not known.
    let has_lists = listing.archives.iter().any(|listed| listed.list().is_some());
    let archives: HashSet<_> = listing.archives.iter().map(|listed| listing.name(listed)).collect();
    let is_of_archive = |name: &str| {
        let folders = name.match_indices('/').map(|(end, _)| &name[..end]);
        folders.chain([name]).any(|name| archives.contains(name))
    };
    let (mut gone, mut other, mut end) = (vec![], vec![], 0);
    for (name, bytes) in done {
        match places.get(name.as_str()) {
            Some(&place) => {
                end = end.max(place + 1);
                let listed: u64 = listing.loose[place].bytes;
                // Of what is not there at once, the size may not be known.
                if bytes.is_some_and(|bytes| bytes != listed && bytes > 0 && listed > 0) {
                    other.push(name.as_str());
                }
            }
            None if has_lists || is_of_archive(name) => {}
            None => gone.push(name.as_str()),
        }
    }
    let new = names[..end].iter().filter(|name| !done.contains_key(*name)).map(String::as_str);
    let new: Vec<_> = new.collect();
    gone.sort_unstable();
    other.sort_unstable();
    [("gone", gone), ("new", new), ("of another size", other)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| {
            let names: Vec<_> = names.into_iter().map(terminal::name).collect();
            format!("{what}: {}", some_of(&names))
        })
        .collect()
}
