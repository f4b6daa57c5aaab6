//! What an address without a usable manifest is called, with the way out.

use std::fs;

use shards::{ShardSet, ShardsError};

use crate::made::Made;

fn said(made: &Made) -> String {
    ShardSet::open(made.path()).unwrap_err().to_string()
}

#[test]
fn a_manifest_that_is_gone_or_damaged_can_be_brought_back() {
    let made = Made::new();
    let repair = format!("`ingest repair {}` brings", made.path().display());
    fs::write(made.file("manifest.json"), "{").unwrap();
    let text = said(&made);
    assert!(text.contains("manifest.json: not a manifest") && text.contains(&repair), "{text}");
    fs::write(made.file("manifest.json"), r#"{"schema_version": 9}"#).unwrap();
    let text = said(&made);
    assert!(text.contains("schema version 9") && !text.contains("repair"), "{text}");
    fs::remove_file(made.file("manifest.json")).unwrap();
    let text = said(&made);
    assert!(text.contains("manifest.json: it is gone") && text.contains(&repair), "{text}");
}

#[test]
fn what_never_was_a_set_is_told_from_one_in_the_making() {
    let made = Made::new();
    for version in ["", "-00001", "-00002"] {
        fs::remove_file(made.file(&format!("manifest{version}.json"))).unwrap();
    }
    let text = said(&made);
    assert!(text.contains("no shard set") && text.contains("`ingest PICTURES --out"), "{text}");

    fs::create_dir(made.file(".ingest")).unwrap();
    for file in ["plan.json", "shard-00000.json"] {
        fs::write(made.file(&format!(".ingest/{file}")), "{}").unwrap();
    }
    let text = said(&made);
    assert!(text.contains("an unfinished set (1 shard done)"), "{text}");

    for shard in ["shard-00000.parquet", "shard-00001.parquet"] {
        fs::remove_file(made.file(shard)).unwrap();
    }
    let text = said(&made);
    assert!(text.contains("every picture was rejected"), "{text}");

    let nowhere = made.file("nowhere");
    let error = ShardSet::open(nowhere.as_path()).unwrap_err();
    assert!(matches!(error, ShardsError::NoSet { .. }), "{error}");
    assert!(error.to_string().contains("there is no such folder"), "{error}");
}
