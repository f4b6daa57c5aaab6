//! Sets of an earlier version, whose JPEGs were decoded at a reduced size: read as before, and not
//! made any more.

use std::fs;

use ingest::repair::{Repair, Repaired, repair};
use ingest::{IngestError, Settings, Silent, run};
use schemas::Manifest;
use shards::ShardSet;
use shards::verify::verify;
use storage::Storage;

use crate::case::Case;

/// A set whose manifest says that it was made so.
fn of_earlier() -> Case {
    let case = Case::mixed();
    let mut manifest = case.run(&["raw"], "out").manifest;
    manifest.settings.scaled_decode = true;
    let text = manifest.to_text();
    assert!(text.contains("\"scaled_decode\": true"), "{text}");
    for name in ["manifest.json".to_owned(), Manifest::file_of_version(1)] {
        fs::write(case.path("out").join(name), &text).unwrap();
    }
    case
}

fn repaired(case: &Case) -> Result<Repaired, IngestError> {
    let asked = Repair {
        out: case.path("out").into(),
        from: vec![],
        codebooks: vec![],
        web: web::Options::new(ingest::USER_AGENT),
        threads: 2,
        memory: ingest::LEAST_MEMORY,
    };
    repair(&Storage::local(), &asked, &Silent)
}

#[track_caller]
fn refused(error: IngestError) {
    assert!(matches!(error, IngestError::ScaledDecode(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("--scaled-decode") && text.contains("anew"), "{text}");
}

#[test]
fn a_set_of_reduced_pictures_is_read_but_neither_grows_nor_is_made_again() {
    let case = of_earlier();
    let before = case.files("out");
    let set = ShardSet::open(&case.path("out")).unwrap();
    let manifest = set.manifest().clone();
    assert!(manifest.settings.scaled_decode && manifest.rows > 0);
    assert_eq!(case.rows("out").len() as u64, manifest.rows);
    assert_eq!(manifest.to_text().as_bytes(), before["manifest.json"]);
    let out = case.path("out").into();
    assert!(verify(&Storage::local(), &out, &manifest, &|_| ()).unwrap().is_empty());
    let (ok, said) = case.ingest(&["inspect", "out"]);
    assert!(ok, "{said}");

    let settings = case.settings(&["raw"], "out");
    refused(run(&settings, &Silent).unwrap_err());
    let more = Settings { append: true, ..case.settings(&["part.tar"], "out") };
    refused(run(&more, &Silent).unwrap_err());
    assert_eq!(case.files("out"), before);
}

#[test]
fn of_a_set_of_reduced_pictures_only_what_follows_from_its_shards_is_mended() {
    let case = of_earlier();
    assert_eq!(repaired(&case).unwrap(), Repaired::default());
    let before = case.files("out");
    fs::write(case.path("out").join("classes.json"), "{}").unwrap();
    assert_eq!(repaired(&case).unwrap().files, ["classes.json"]);
    assert_eq!(case.files("out"), before);

    let shard = case.path("out").join("shard-00000.parquet");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[100] ^= 1;
    fs::write(&shard, &bytes).unwrap();
    refused(repaired(&case).unwrap_err());
    assert_eq!(fs::read(&shard).unwrap(), bytes, "what is damaged stays as it is");
}
