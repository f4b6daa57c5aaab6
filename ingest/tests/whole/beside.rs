//! Files that lie beside pictures, and beside shards of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use ingest::{IngestError, Settings, Silent, Summary, run};
use parquet::arrow::ArrowWriter;
use schemas::Reason;
use shards::ShardSet;
use storage::Storage;
use storage::testing::{S3Server, StoreServer};

use crate::case::{Case, picture, tar};

/// Sources and classes of the rows.
fn classes(case: &Case, out: &str) -> BTreeMap<String, Option<String>> {
    case.rows(out).into_iter().map(|row| (row.source, row.label)).collect()
}

fn expected(classes: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    classes.iter().map(|(name, class)| (name.to_string(), class.map(str::to_owned))).collect()
}

/// Sources and reasons of the rejects, in their order.
fn rejects(case: &Case, out: &str) -> Vec<(String, Reason)> {
    let rejects = ShardSet::open(&case.path(out)).unwrap().rejects().unwrap();
    let mut rejects: Vec<_> =
        rejects.into_iter().map(|reject| (reject.source, reject.reason)).collect();
    rejects.sort();
    rejects
}

/// A table of texts, and the numbers of its rows.
fn table(columns: &[&str]) -> Vec<u8> {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x", "y", "z"]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2]));
    let columns = columns.iter().map(|&name| (name, Arc::clone(&texts)));
    let batch = RecordBatch::try_from_iter(columns.chain([("width", numbers)])).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// What img2dataset leaves of two shards, in folders or as it is told.
fn img2dataset(case: &Case, name: &str, files: bool) {
    for shard in 0..2_u32 {
        let mut members = Vec::new();
        for number in 0..3 {
            let key = format!("{shard:05}{number:04}");
            let label = ["cat", "dog"][number as usize % 2];
            let json = format!(r#"{{"url": "http://a/b", "key": "{key}", "label": "{label}"}}"#);
            members.push((format!("{key}.png"), picture(10 * shard + number)));
            members.push((format!("{key}.txt"), b"a caption".to_vec()));
            members.push((format!("{key}.json"), json.into_bytes()));
        }
        if files {
            for (member, bytes) in members {
                case.put(&format!("{name}/{shard:05}/{member}"), bytes);
            }
        } else {
            case.put(&format!("{name}/{shard:05}.tar"), tar(&members));
        }
        let metadata = table(&["url", "caption", "key", "status", "error_message"]);
        case.put(&format!("{name}/{shard:05}.parquet"), metadata);
        case.put(&format!("{name}/{shard:05}_stats.json"), r#"{"count": 3, "successes": 3}"#);
    }
}

#[test]
fn what_img2dataset_leaves_is_understood_in_both_of_its_layouts() {
    let case = Case::empty();
    for (name, files, between) in [("files", true, "/"), ("webdataset", false, ".tar/")] {
        img2dataset(&case, name, files);
        let summary = case.run(&[name], &format!("out-{name}"));
        assert_eq!(rejects(&case, &format!("out-{name}")), []);
        assert_eq!((summary.metadata, summary.beside), (4, if files { 12 } else { 0 }));
        let classes: Vec<_> = classes(&case, &format!("out-{name}")).into_iter().collect();
        assert_eq!(classes.len(), 6);
        assert_eq!(classes[0], (format!("00000{between}000000000.png"), Some("cat".into())));
        assert_eq!(classes[4], (format!("00001{between}000010001.png"), Some("dog".into())));
    }
    let (done, text) = case.ingest(&[&["files", "--out", "told"], &Case::FLAGS[..]].concat());
    assert!(done, "{text}");
    assert!(text.contains("12 files that tell of the picture beside them"), "{text}");
    assert!(text.contains("4 files of metadata beside shards passed over"), "{text}");
}

#[test]
fn the_number_of_a_shard_is_no_class_but_that_of_a_folder_alone_is_one() {
    let case = Case::empty();
    case.put("raw/00000/a.png", picture(0));
    case.put("raw/00001/b.png", picture(1));
    case.put("raw/00001/sub/c.png", picture(2));
    case.put("raw/00002/d.png", picture(3));
    case.put("raw/00003/e.png", picture(4));
    case.put("raw/00001_stats.json", "{}");
    case.put("raw/00002.parquet", table(&["url", "key"]));
    // A table of something else says nothing of the folder.
    case.put("raw/00003.parquet", table(&["name", "key"]));
    case.run(&["raw"], "out");
    let classes = classes(&case, "out");
    let wanted = [
        ("00000/a.png", Some("00000")),
        ("00001/b.png", None),
        ("00001/sub/c.png", Some("sub")),
        ("00002/d.png", None),
        ("00003/e.png", Some("00003")),
    ];
    assert_eq!(classes, expected(&wanted));
    assert_eq!(rejects(&case, "out"), [("00003.parquet".to_owned(), Reason::UnreadArchive)]);
}

#[test]
fn what_might_be_wanted_is_told_of_as_unread() {
    let case = Case::empty();
    case.put("raw/a.png", picture(0));
    // Metadata without its shard, counts without one, and addresses under another name.
    case.put("raw/00000.parquet", table(&["url", "key", "status"]));
    case.put("raw/00007_stats.json", "{}");
    case.put("raw/laion.parquet", table(&["url", "key", "status"]));
    case.put("raw/laion.tar", tar(&[("b.png".to_owned(), picture(1))]));
    // The beginning of a file of records.
    case.put("raw/00009.tfrecord", b"\x0e\0\0\0\0\0\0\0\xc5\xe5\x69\x3f\x0a\x0c\x0a\x0a");
    let summary = case.run(&["raw"], "out");
    assert_eq!((summary.part.accepted, summary.metadata), (2, 0));
    let expected = [
        ("00000.parquet", Reason::UnreadArchive),
        ("00007_stats.json", Reason::NotAPicture),
        ("00009.tfrecord", Reason::UnreadArchive),
        ("laion.parquet", Reason::UnreadArchive),
    ];
    assert_eq!(rejects(&case, "out"), expected.map(|(name, reason)| (name.to_owned(), reason)));
}

/// A folder in which classes are told in every way.
fn beside(case: &Case) {
    for (number, name) in ["a.png", "b.png", "c.JPG", "d.png", "e", "f.x.png", "g.png", "h.png"]
        .into_iter()
        .enumerate()
    {
        case.put(&format!("raw/box/{name}"), picture(number as u32));
    }
    case.put("raw/box/a.cls", "7\n");
    case.put("raw/box/a.json", r#"{"label": "tabby"}"#);
    case.put("raw/box/b.json", r#"{"class": 3}"#);
    case.put("raw/box/c.JPG.json", r#"{"label": "cat"}"#);
    case.put("raw/box/d.json", r#"{"caption": "a dog"}"#);
    case.put("raw/box/d.txt", "a dog");
    case.put("raw/box/e.json", r#"{"label": "owl"}"#);
    case.put("raw/box/f.x.json", r#"{"label": "fox"}"#);
    case.put("raw/box/g.json", "{");
    case.put("raw/box/h.npy", "an array");
    // These belong to none.
    case.put("raw/box/x.json", r#"{"label": "none"}"#);
    case.put("raw/box/notes.txt", "some words");
    case.put("raw/a.cls", "8");
}

const BESIDE: [(&str, Option<&str>); 8] = [
    ("box/a.png", Some("7")),
    ("box/b.png", Some("3")),
    ("box/c.JPG", Some("cat")),
    ("box/d.png", Some("box")),
    ("box/e", Some("owl")),
    ("box/f.x.png", Some("fox")),
    ("box/g.png", Some("box")),
    ("box/h.png", Some("box")),
];

fn told_of(summary: &Summary) {
    assert_eq!(summary.beside, 10);
    assert_eq!(summary.rejects, BTreeMap::from([(Reason::NotAPicture, 3)]));
}

#[test]
fn a_file_beside_a_picture_tells_its_class_and_one_alone_is_a_reject() {
    let case = Case::empty();
    beside(&case);
    told_of(&case.run(&["raw"], "out"));
    assert_eq!(classes(&case, "out"), expected(&BESIDE));
    let stray = ["a.cls", "box/notes.txt", "box/x.json"];
    let stray = stray.map(|name| (name.to_owned(), Reason::NotAPicture));
    assert_eq!(rejects(&case, "out"), stray);

    case.run(&["raw"], "again");
    assert!(case.files("out") == case.files("again"));
}

#[test]
fn a_bucket_tells_what_a_folder_tells() {
    let case = Case::empty();
    beside(&case);
    img2dataset(&case, "raw", true);
    let local = case.run(&["raw"], "out");
    let server = S3Server::start().unwrap();
    let storage = Storage::new(server.options()).unwrap();
    let root = case.path("raw");
    for entry in walkdir::WalkDir::new(&root).into_iter().flatten() {
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let at = server.address("raw").join(&name);
            storage.put(&at, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    let settings = Settings {
        sources: vec![server.address("raw")],
        storage: server.options(),
        ..case.settings(&[], "remote")
    };
    let remote = run(&settings, &Silent).unwrap();
    assert_eq!((remote.beside, remote.metadata), (local.beside, local.metadata));
    assert_eq!(remote.part.listing, local.part.listing);
    assert_eq!(classes(&case, "remote"), classes(&case, "out"));
    assert_eq!(rejects(&case, "remote"), rejects(&case, "out"));
}

#[test]
fn only_given_classes_are_taken_from_files_beside_pictures_too() {
    let case = Case::empty();
    beside(&case);
    case.put("classes.txt", "7\ncat\nbox\n");
    let flags = ["raw", "--out", "out", "--classes", "classes.txt"];
    let (done, text) = case.ingest(&[&flags, &Case::FLAGS[..]].concat());
    assert!(done, "{text}");
    let kept: Vec<_> = BESIDE
        .into_iter()
        .filter(|(_, class)| !matches!(class, Some("3" | "owl" | "fox")))
        .collect();
    assert_eq!(classes(&case, "out"), expected(&kept));
    let unknown = rejects(&case, "out").into_iter();
    let unknown = unknown.filter(|(_, reason)| *reason == Reason::UnknownClass);
    let unknown: Vec<_> = unknown.map(|(name, _)| name).collect();
    assert_eq!(unknown, ["box/b.png", "box/e", "box/f.x.png"]);
}

#[test]
fn another_label_is_another_input() {
    let case = Case::empty();
    beside(&case);
    let listing = |out: &str| case.run(&["raw"], out).part.listing;
    let before = listing("out");
    case.put("raw/box/d.txt", "a longer caption");
    assert_eq!(listing("caption"), before, "a caption tells no class");
    case.put("raw/box/b.json", r#"{"class": 33}"#);
    assert_ne!(listing("label"), before);
    let error = run(&case.settings(&["raw"], "out"), &Silent).unwrap_err();
    assert!(!matches!(error, IngestError::NothingFound(_)), "{error}");
    case.put("raw/box/b.json", r#"{"class": 3}"#);
    assert_eq!(case.run(&["raw"], "out").pictures, 0, "finished already");
}

/// What an earlier version listed is listed alike: it knew nothing of files beside pictures.
#[test]
fn a_folder_of_pictures_alone_has_the_listing_that_it_always_had() {
    let case = Case::empty();
    let names = ["00000/a.png", "00001/b.png", "c.png", "notes.txt", "labels.csv"];
    for (number, name) in names.into_iter().enumerate() {
        case.put(&format!("raw/{name}"), picture(number as u32));
    }
    let mut listed: Vec<_> = names
        .into_iter()
        .map(|name| {
            let mut order = blake3::Hasher::new_derive_key("ingest: order of the listing");
            order.update(&0_u64.to_le_bytes()).update(name.as_bytes());
            (*order.finalize().as_bytes(), name)
        })
        .collect();
    listed.sort();
    let mut hash = blake3::Hasher::new();
    hash.update(&(names.len() as u64).to_le_bytes());
    for (_, name) in listed {
        let bytes = std::fs::metadata(case.path(&format!("raw/{name}"))).unwrap().len();
        hash.update(&(name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes()).update(&bytes.to_le_bytes());
    }
    let summary = case.run(&["raw"], "out");
    assert_eq!(summary.part.listing, hash.finalize().to_hex().to_string());
    assert_eq!((summary.part.accepted, summary.beside), (5, 0));
    assert_eq!(classes(&case, "out")["00001/b.png"].as_deref(), Some("00001"));
}
