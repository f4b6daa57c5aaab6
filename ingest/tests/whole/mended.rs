//! Damage found, and mended.

use std::fs;

use ingest::Silent;
use ingest::repair::{Repair, repair};
use ingest::{LEAST_MEMORY, Settings, run};
use schemas::Manifest;
use shards::ShardSet;
use shards::verify::{Damage, What, verify};
use storage::{Address, Storage};

use crate::case::{Case, picture, scene, told};

/// A set of two parts, with duplicates between and within them.
fn grown() -> Case {
    let case = Case::mixed();
    for number in [2, 12, 22, 50, 51, 52, 53] {
        case.put(&format!("more/{number}.png"), picture(number));
    }
    case.run(&Case::SOURCES, "out");
    let settings = Settings { append: true, ..case.settings(&["more"], "out") };
    assert_eq!(run(&settings, &Silent).unwrap().part.accepted, 4);
    case
}

fn damages(case: &Case) -> Vec<Damage> {
    let out = case.path("out");
    let set = ShardSet::open(&out).unwrap();
    verify(&Storage::local(), &out.into(), set.manifest(), &|_| ()).unwrap()
}

fn settings(case: &Case, from: &[&str]) -> Repair {
    Repair {
        out: case.path("out").into(),
        from: from.iter().map(|name| Address::from(case.path(name))).collect(),
        codebooks: vec![],
        web: web::Options::new(ingest::USER_AGENT),
        threads: 2,
        memory: LEAST_MEMORY,
    }
}

/// Turns one byte of a file over.
fn spoil(case: &Case, file: &str, at: usize) {
    let path = case.path("out").join(file);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_byte_that_changed_is_found_in_its_row_group_or_the_footer() {
    let case = grown();
    assert_eq!(damages(&case), []);
    let set = ShardSet::open(&case.path("out")).unwrap();
    let shards = &set.manifest().shards;
    let damaged = shards.iter().position(|shard| shard.row_groups().len() > 1).unwrap();
    let shard = shards.at(damaged);
    let ends: Vec<_> = shard.row_group_ends().map(|end| end as usize).collect();
    let what = |at| {
        spoil(&case, shard.file, at);
        let found = damages(&case);
        spoil(&case, shard.file, at);
        let [Damage { file, shard: Some(at), what }] = &found[..] else { panic!("{found:?}") };
        assert_eq!(*at, damaged);
        assert_eq!(file, shard.file);
        let text = found[0].to_string();
        match what {
            What::Changed { row_groups, rest, .. } => (row_groups.clone(), *rest, text),
            other => panic!("{other:?}"),
        }
    };
    let (groups, rest, text) = what(4);
    assert_eq!((groups, rest), (vec![0], false));
    assert!(text.ends_with("row group 0"), "{text}");
    assert_eq!(what(ends[0] - 1).0, [0]);
    assert_eq!(what(ends[0]).0, [1]);
    let (groups, rest, text) = what(*ends.last().unwrap());
    assert_eq!((groups, rest), (vec![], true));
    assert!(text.ends_with("footer"), "{text}");
    assert!(what(0).1);

    let path = case.path("out").join(shard.file);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..ends[0] + 1]).unwrap();
    let text = damages(&case)[0].to_string();
    assert!(text.contains("bytes instead of") && text.contains("footer"), "{text}");
    fs::remove_file(&path).unwrap();
    assert_eq!(damages(&case)[0].what, What::Missing);
    spoil(&case, "rejects.jsonl", 3);
    assert_eq!(damages(&case)[1].file, "rejects.jsonl");
}

#[test]
fn damaged_shards_are_made_again_byte_for_byte() {
    let case = grown();
    let before = case.files("out");
    let shards: Vec<_> = before.keys().filter(|name| name.starts_with("shard-")).collect();
    // Each alone, so that each is found again from its own place in the sources.
    for &shard in &shards {
        fs::remove_file(case.path("out").join(shard)).unwrap();
        let repaired = repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap();
        assert_eq!(repaired.shards, std::slice::from_ref(shard));
        assert!(case.files("out") == before, "{shard}");
    }
    // All together: what is known when one is made is learnt from those made before it.
    for shard in &shards {
        spoil(&case, shard, 20);
    }
    let repaired = repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap();
    assert_eq!(repaired.shards.len(), shards.len());
    assert!(case.files("out") == before);
    let again = repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap();
    assert_eq!(again.shards.len(), 0);
}

#[test]
fn sources_that_moved_are_read_where_they_are_now() {
    let case = grown();
    let before = case.files("out");
    spoil(&case, "shard-00002.parquet", 9);
    for name in ["raw", "part.tar"] {
        fs::rename(case.path(name), case.path(&format!("moved-{name}"))).unwrap();
    }
    let error = repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap_err().to_string();
    assert!(error.contains("shard-00002.parquet") && error.contains("raw is gone"), "{error}");
    let few = repair(&Storage::local(), &settings(&case, &["moved-raw"]), &Silent);
    let few = few.unwrap_err().to_string();
    assert!(few.contains("--from: 1 source,") && few.contains("part.tar"), "{few}");
    let from = [
        "moved-raw",
        "moved-part.tar",
        "part.tar.gz",
        "rows.parquet",
        "crawl.warc.gz",
        "part.zip",
        "list.txt",
    ];
    repair(&Storage::local(), &settings(&case, &from), &Silent).unwrap();
    assert!(case.files("out") == before);
}

#[test]
fn sources_that_changed_make_nothing() {
    // Of one source, whose names and so whose order are always the same.
    let case = Case::mixed();
    case.run(&["raw"], "out");
    spoil(&case, "shard-00000.parquet", 9);
    let spoilt = case.files("out");
    // The same names and sizes, but other contents.
    for entry in walkdir::WalkDir::new(case.path("raw")).into_iter().flatten() {
        if entry.file_type().is_file() {
            let size = entry.metadata().unwrap().len() as usize;
            let mut bytes = picture(3);
            bytes.resize(size, 0);
            fs::write(entry.path(), bytes).unwrap();
        }
    }
    let error = repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap_err().to_string();
    assert!(error.contains("not what they were"), "{error}");
    assert!(case.files("out") == spoilt);
    case.put("raw/one-more.png", picture(60));
    let error = repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap_err().to_string();
    assert!(error.contains("--from"), "{error}");
    assert!(case.files("out") == spoilt);
}

#[test]
fn lists_classes_and_numbered_manifests_are_watched_and_made_again() {
    let case = grown();
    let before = case.files("out");
    assert!(!ShardSet::open(&case.path("out")).unwrap().rejects().unwrap().is_empty());
    let others: Vec<_> = before.keys().filter(|name| !name.starts_with("shard-")).collect();
    assert_eq!(
        others,
        [
            "classes.json",
            "manifest-00001.json",
            "manifest-00002.json",
            "manifest.json",
            "rejects-00002.jsonl",
            "rejects.jsonl"
        ]
    );
    let mended = |file: &str| {
        let found = damages(&case);
        let [Damage { file: damaged, shard: None, .. }] = &found[..] else { panic!("{found:?}") };
        assert_eq!(damaged, file);
        let repaired = repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap();
        assert_eq!(repaired.files, [file]);
        assert!(case.files("out") == before, "{file}");
    };
    for file in others.into_iter().filter(|name| *name != "manifest.json") {
        fs::remove_file(case.path("out").join(file)).unwrap();
        mended(file);
        spoil(&case, file, 3);
        mended(file);
        fs::write(case.path("out").join(file), "").unwrap();
        mended(file);
    }
    // An earlier manifest may be sound in itself, and yet be that of another set.
    fs::copy(case.path("out/manifest-00002.json"), case.path("out/manifest-00001.json")).unwrap();
    mended("manifest-00001.json");
    // With a shard at once, on which the manifest depends, and the list as well.
    spoil(&case, "shard-00001.parquet", 20);
    spoil(&case, "manifest-00001.json", 20);
    spoil(&case, "rejects-00002.jsonl", 5);
    repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap();
    assert!(case.files("out") == before);
}

#[test]
fn a_list_that_cannot_be_made_again_is_said_to_be_lost_and_what_is_not() {
    let case = grown();
    fs::remove_file(case.path("out/rejects-00002.jsonl")).unwrap();
    let spoilt = case.files("out");
    fs::rename(case.path("more"), case.path("moved")).unwrap();
    let error = repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap_err().to_string();
    assert!(error.contains("rejects-00002.jsonl") && error.contains("--from"), "{error}");
    assert!(error.contains("shards are whole"), "{error}");
    // What is in the set can be looked at all the same.
    let (_, said) = case.ingest(&["inspect", "out"]);
    let rejected = ShardSet::open(&case.path("out")).unwrap().manifest().rejected;
    assert!(said.contains(&format!("{rejected} rejects")), "{said}");
    assert!(said.contains("rejects-00002.jsonl: it is gone"), "{said}");
    // Of the same names and sizes, but other contents.
    for entry in fs::read_dir(case.path("moved")).unwrap() {
        let path = entry.unwrap().path();
        let size = fs::metadata(&path).unwrap().len() as usize;
        fs::write(path, vec![0; size]).unwrap();
    }
    let error =
        repair(&Storage::local(), &settings(&case, &["moved"]), &Silent).unwrap_err().to_string();
    assert!(error.contains("rejects-00002.jsonl") && error.contains("3 pictures"), "{error}");
    assert!(error.contains("shards are whole"), "{error}");
    assert!(case.files("out") == spoilt);
}

#[test]
fn a_damaged_manifest_is_brought_back_from_its_copy() {
    let case = grown();
    let before = case.files("out");
    for damage in ["", "{", "not json"] {
        fs::write(case.path("out/manifest.json"), damage).unwrap();
        let error = ShardSet::open(&case.path("out")).err().unwrap().to_string();
        assert!(error.contains("ingest repair"), "{error}");
        assert!(repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap().manifest);
        assert!(case.files("out") == before);
    }
}

/// The files of [`grown`] that its first version does not have.
fn later(case: &Case) -> Vec<String> {
    let files = case.files("out");
    let first = std::str::from_utf8(&files["manifest-00001.json"]).unwrap();
    let shards = Manifest::parse(first).unwrap().shards;
    let is_later = |name: &String| match name.starts_with("shard-") {
        true => shards.iter().all(|shard| shard.file != *name),
        false => name.contains("-00002."),
    };
    files.into_keys().filter(is_later).collect()
}

#[test]
fn a_set_whose_newest_manifest_is_lost_is_not_taken_for_an_earlier_one() {
    for damage in ["cut", "gone", "replaced"] {
        let case = grown();
        let path = |name: &str| case.path("out").join(name);
        fs::remove_file(path("manifest.json")).unwrap();
        match damage {
            "cut" => fs::write(path("manifest-00002.json"), "{").unwrap(),
            _ => fs::remove_file(path("manifest-00002.json")).unwrap(),
        }
        if damage == "replaced" {
            fs::copy(path("manifest-00001.json"), path("manifest.json")).unwrap();
            let found = damages(&case);
            let files: Vec<_> = found
                .iter()
                .filter(|damage| damage.what == What::Beyond { version: 1 })
                .map(|damage| damage.file.clone())
                .collect();
            assert_eq!(files.len(), later(&case).len(), "{found:?}");
            let (sound, said) = case.ingest(&["verify", "out"]);
            assert!(!sound && said.contains("lies beyond manifest.json"), "{said}");
        }
        let before = case.files("out");
        let error = repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("version 1") && error.contains("rejects-00002"), "{error}");
        assert!(error.contains("backup") && error.contains("versions after 1"), "{error}");

        case.put("late/1.png", picture(70));
        let append = Settings { append: true, ..case.settings(&["late"], "out") };
        let error = run(&append, &Silent).unwrap_err().to_string();
        assert!(error.contains("ingest repair"), "{error}");
        assert!(case.files("out") == before, "{damage}");

        // The way out that is named.
        for name in later(&case) {
            fs::rename(path(&name), case.path(&name)).unwrap();
        }
        repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap();
        assert_eq!(damages(&case), []);
        assert_eq!(run(&append, &Silent).unwrap().manifest.version, 2);
    }
}

#[test]
fn an_earlier_manifest_in_the_place_of_the_newest_gives_way_to_it() {
    let case = grown();
    let before = case.files("out");
    fs::copy(case.path("out/manifest-00001.json"), case.path("out/manifest.json")).unwrap();
    assert!(damages(&case).iter().any(|damage| damage.file == "manifest-00002.json"));
    assert!(repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap().manifest);
    assert!(case.files("out") == before);
}

#[test]
fn a_set_without_an_undamaged_manifest_is_not_sent_to_repair_again() {
    let case = grown();
    for name in ["manifest.json", "manifest-00001.json", "manifest-00002.json"] {
        fs::write(case.path("out").join(name), "{").unwrap();
    }
    let before = case.files("out");
    let error = repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap_err().to_string();
    assert!(error.contains("manifest-00002.json") && error.contains("backup"), "{error}");
    assert!(!error.contains("ingest repair"), "{error}");
    assert!(case.files("out") == before);
}

#[test]
fn a_repair_for_which_the_memory_is_too_small_says_so() {
    let case = Case::empty();
    for number in 0..4 {
        case.put(&format!("raw/{number}.png"), picture(number));
    }
    case.put("raw/large.png", scene(3, 700));
    case.put("raw/none.png", "none");
    case.run(&["raw"], "out");
    let before = case.files("out");
    for file in ["shard-00000.parquet", "rejects.jsonl"] {
        fs::remove_file(case.path("out").join(file)).unwrap();
        let small = Repair { memory: 3 << 20, ..settings(&case, &[]) };
        let error = repair(&Storage::local(), &small, &Silent).unwrap_err().to_string();
        assert!(error.contains("large.png was rejected for want of memory"), "{error}");
        assert!(error.contains("--memory-limit 3145728"), "{error}");
        assert!(!error.contains("not what they were"), "{error}");
        repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap();
        assert!(case.files("out") == before, "{file}");
    }
}

#[test]
fn a_relative_source_that_is_not_found_is_named_with_the_place_where_it_was_looked_for() {
    let case = Case::mixed();
    let made = case.ingest(&[&["raw", "--out", "out"], &Case::FLAGS[..]].concat());
    assert!(made.0, "{}", made.1);
    spoil(&case, "shard-00000.parquet", 9);
    case.put("elsewhere/file", "");
    let out = case.path("out").display().to_string();
    let mut command = case.command(&["repair", &out]);
    let (mended, said) = told(command.current_dir(case.path("elsewhere")).output().unwrap());
    assert!(!mended && said.contains("elsewhere/raw"), "{said}");
    assert!(said.contains("current directory"), "{said}");
}

#[test]
fn one_picture_that_changed_its_size_is_in_the_way_of_its_own_shard_only() {
    let case = Case::empty();
    for number in 0..14 {
        case.put(&format!("raw/{number}.png"), picture(number));
    }
    case.run(&["raw"], "out");
    let before = case.files("out");
    case.put("raw/7.png", [picture(7), vec![0; 9]].concat());
    let shards: Vec<_> = before.keys().filter(|name| name.starts_with("shard-")).collect();
    assert_eq!(shards.len(), 3);
    for shard in &shards {
        fs::remove_file(case.path("out").join(shard)).unwrap();
    }
    let error = repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap_err().to_string();
    assert!(error.contains("--from") && error.contains("Made again in spite of it"), "{error}");
    let after = case.files("out");
    assert_eq!(after.len(), before.len() - 1);
    assert!(after.iter().all(|(name, bytes)| before[name] == *bytes));
    case.put("raw/7.png", picture(7));
    repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap();
    assert!(case.files("out") == before);
}

#[test]
fn what_a_shard_that_cannot_be_made_again_would_hold_now_is_no_duplicate_of_later_ones() {
    let case = Case::empty();
    for number in 0..14 {
        case.put(&format!("raw/{number}.png"), picture(number));
    }
    case.run(&["raw"], "out");
    let before = case.files("out");
    let shards: Vec<_> = before.keys().filter(|name| name.starts_with("shard-")).collect();
    // A picture of the first shard has become the like of one of the last.
    let rows = case.rows("out");
    let (changed, other) = (&rows[0].source, &rows.last().unwrap().source);
    let number: u32 = other.trim_end_matches(".png").parse().unwrap();
    let size = fs::metadata(case.path("raw").join(changed)).unwrap().len();
    assert_ne!(picture(number).len() as u64, size, "the listing tells that it is another");
    case.put(&format!("raw/{changed}"), picture(number));
    for shard in [shards[0], shards[2]] {
        fs::remove_file(case.path("out").join(shard)).unwrap();
    }
    let error = repair(&Storage::local(), &settings(&case, &[]), &Silent).unwrap_err().to_string();
    assert!(error.contains(&format!("Made again in spite of it: {}", shards[2])), "{error}");
    assert_eq!(case.files("out")[shards[2]], before[shards[2]]);
}

#[test]
fn the_command_line_says_what_is_damaged_and_mends_it() {
    let case = Case::mixed();
    let made = case.ingest(&[&["raw", "part.tar", "--out", "out"], &Case::FLAGS[..]].concat());
    assert!(made.0, "{}", made.1);
    assert!(case.ingest(&["verify", "out"]).0);
    let before = case.files("out");
    spoil(&case, "shard-00001.parquet", 9);
    let (sound, said) = case.ingest(&["verify", "out"]);
    assert!(!sound && said.contains("shard-00001.parquet: damaged: row group 0"), "{said}");
    let (mended, said) = case.ingest(&["repair", "out"]);
    assert!(mended && said.contains("shard-00001.parquet: made again"), "{said}");
    assert!(case.files("out") == before);
    assert!(case.ingest(&["verify", "out"]).0);
}
