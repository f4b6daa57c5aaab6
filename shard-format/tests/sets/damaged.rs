//! Damage is found, and named by file and place.

use std::fs;

use schemas::layout;
use shards::ShardSet;
use shards::verify::{Damage, What, bytes, verify};
use storage::{Address, Storage};

use crate::made::Made;

fn damages(made: &Made) -> Vec<Damage> {
    let set = ShardSet::open(made.path()).unwrap();
    verify(&Storage::local(), &Address::from(made.path()), set.manifest(), &|_| ()).unwrap()
}

/// Turns a byte of a file over.
fn damage(made: &Made, file: &str, at: u64) {
    let mut all = fs::read(made.file(file)).unwrap();
    all[at as usize] ^= 0xff;
    fs::write(made.file(file), all).unwrap();
}

#[test]
fn a_sound_set_is_read_whole_and_nothing_is_told() {
    let made = Made::new();
    let set = made.set();
    let told = std::sync::atomic::AtomicU64::new(0);
    let tell = |bytes| told.store(bytes, std::sync::atomic::Ordering::Relaxed);
    let at = Address::from(made.path());
    assert_eq!(verify(&Storage::local(), &at, set.manifest(), &tell).unwrap(), []);
    assert_eq!(told.into_inner(), bytes(set.manifest()));
}

#[test]
fn a_byte_of_a_column_is_named_by_its_row_group_and_column() {
    let made = Made::new();
    let set = made.set();
    let ends = set.manifest().shards.at(0).entry().row_group_ends;
    // The last column of the second group ends where the group does.
    damage(&made, "shard-00000.parquet", ends[1] - 1);
    let last = layout::code_mirrored(16);
    assert!(set.read(set.group(0), &[&last]).is_ok());
    assert!(set.read(set.group(1), &[layout::ID]).is_ok(), "its other columns are sound");
    let error = set.read(set.group(1), &[&last]).unwrap_err().to_string();
    assert!(
        error.contains("shard-00000.parquet, row group 1: column `code_16_mirrored`"),
        "{error}"
    );
    assert!(error.contains("checksum") && error.contains("`ingest repair "), "{error}");
    let [damage] = &damages(&made)[..] else { panic!("one file is damaged") };
    assert_eq!(damage.to_string(), "shard-00000.parquet: damaged: row group 1");
}

#[test]
fn files_that_are_gone_or_others_are_told() {
    let made = Made::new();
    damage(&made, "rejects.jsonl", 3);
    damage(&made, "classes.json", 3);
    damage(&made, "manifest-00001.json", 3);
    fs::remove_file(made.file("shard-00001.parquet")).unwrap();
    let found = damages(&made);
    let files: Vec<_> = found.iter().map(|damage| damage.file.as_str()).collect();
    let all = ["shard-00001.parquet", "rejects.jsonl", "classes.json", "manifest-00001.json"];
    assert_eq!(files, all);
    assert_eq!((found[0].shard, &found[0].what), (Some(1), &What::Missing));
}

#[test]
fn a_shard_of_another_size_is_refused_when_the_whole_set_is_wanted() {
    let made = Made::new();
    let file = made.file("shard-00001.parquet");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[1..]).unwrap();
    let error = ShardSet::open_whole(made.path()).unwrap_err().to_string();
    assert!(
        error.contains("shard-00001.parquet: has") && error.contains("by the manifest"),
        "{error}"
    );
    fs::remove_file(&file).unwrap();
    let error = ShardSet::open_whole(made.path()).unwrap_err().to_string();
    assert!(error.contains("shard-00001.parquet: is not there"), "{error}");
    assert!(ShardSet::open(made.path()).is_ok(), "what is left of it can be looked at");
}

#[test]
fn files_beyond_the_manifest_show_that_a_newer_one_is_lost() {
    let made = Made::new();
    fs::copy(made.file("manifest-00001.json"), made.file("manifest.json")).unwrap();
    fs::remove_file(made.file("manifest-00002.json")).unwrap();
    let found = damages(&made);
    let beyond = |damage: &Damage| matches!(damage.what, What::Beyond { version: 1 });
    assert!(found.iter().any(|damage| damage.file == "shard-00001.parquet" && beyond(damage)));
    assert!(found.iter().any(|damage| damage.file == "rejects-00002.jsonl" && beyond(damage)));
    // A run that makes version 2 may have left them.
    fs::create_dir(made.file(".ingest")).unwrap();
    fs::write(made.file(".ingest/plan.json"), r#"{"version": 2}"#).unwrap();
    assert!(!damages(&made).iter().any(beyond));
}
