//! What processes of an engine make, in any order and more than once, is what one run makes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ingest::engine::{Begun, Brought, Engine, Given, Mark, Named, Output, commit, listing};
use ingest::repair::{Repair, repair};
use ingest::{IngestError, LEAST_MEMORY, Settings, Silent};
use shards::set::names::UNFINISHED_FOLDER;
use storage::Storage;

use crate::case::Case;

/// The pictures of a folder, as an engine brings them: some of them twice.
fn case() -> Case {
    let case = Case::empty();
    ingest::sample::write(&case.path("raw"), 20, 1).unwrap();
    let paths = ingest::source::pictures(&case.path("raw"), 7).unwrap();
    let mut bodies: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    bodies.retain(|body| !body.is_empty());
    for (number, body) in bodies.iter().step_by(4).enumerate() {
        case.put(&format!("raw/copies/{number}"), body);
    }
    case
}

/// Every other picture comes as its bytes, the rest as where they lie.
fn given(case: &Case, folder: &str) -> Vec<Given> {
    let root = case.path(folder);
    let paths = ingest::source::pictures(&root, 7).unwrap();
    let picture = |(number, path): (usize, &PathBuf)| {
        let relative = path.strip_prefix(&root).unwrap();
        let label = relative.parent().and_then(|folder| folder.file_name());
        Given {
            name: relative.to_str().unwrap().to_owned(),
            label: label.map(|label| label.to_str().unwrap().to_owned()),
            file: match number % 2 {
                0 => Brought::Here(fs::read(path).unwrap().into()),
                _ => Brought::At(Named { at: path.clone().into(), seen: number % 3 == 0 }),
            },
            twin: None,
        }
    };
    paths.iter().enumerate().map(picture).collect()
}

/// Pictures by shard, those that have the bytes of an earlier one told, in no order of theirs.
fn shuffled(engine: &Engine, mut pictures: Vec<Given>) -> Vec<Vec<Given>> {
    pictures.sort_by_key(|given| engine.order(&given.name));
    let marks = engine.marks(&pictures).unwrap();
    let mut first = BTreeMap::new();
    for (given, mark) in pictures.iter_mut().zip(marks) {
        assert_eq!(mark.order, engine.order(&given.name));
        let hash = mark.content_hash.unwrap();
        match first.get(&hash) {
            Some(name) => given.twin = Some(String::clone(name)),
            None => drop(first.insert(hash, given.name.clone())),
        }
    }
    let shards = pictures.chunks(engine.settings().ingest.pictures_per_shard as usize);
    shards.map(|shard| shard.iter().rev().cloned().collect()).collect()
}

fn settings(case: &Case, out: &str) -> Settings {
    Settings { threads: 1, ..case.settings(&["raw"], out) }
}

#[test]
fn shards_of_an_engine_are_those_of_one_run() {
    let case = case();
    let expected = case.run(&["raw"], "expected").manifest;
    let engine = Engine::new(settings(&case, "out")).unwrap();
    let shards = shuffled(&engine, given(&case, "raw"));
    let pictures = shards.iter().map(Vec::len).sum::<usize>() as u64;
    let begin = || {
        let sizes = (pictures, shards.len() as u64);
        begun(&engine, listed(&engine, &shards), sizes)
    };
    let make = |number: usize| {
        let first = shards[..number].iter().map(Vec::len).sum::<usize>() as u64;
        let planned = shards[number].len() as u64;
        engine.shard((number as u64, first, planned), (0, 0), shards[number].clone())
    };
    // The last first, and its file without what became of its pictures, as of a process that died.
    let begun = begin();
    let last = shards.len() - 1;
    make(last).unwrap();
    let state = format!("out/{UNFINISHED_FOLDER}/shard-{last:05}.json");
    fs::remove_file(case.path(&state)).unwrap();
    make(1).unwrap();
    let error = begun.commit().unwrap_err();
    assert!(matches!(error, IngestError::Incomplete { .. }), "{error}");

    let begun = begin();
    assert_eq!(begun.finished().unwrap(), [1]);
    // Two processes at once make the same shard.
    std::thread::scope(|scope| {
        let twice = [(); 2].map(|()| scope.spawn(|| make(0).unwrap()));
        let [one, other] = twice.map(|made| made.join().unwrap());
        assert_eq!(one, other);
    });
    for number in 2..shards.len() {
        make(number).unwrap();
    }
    drop(begun);
    let manifest = commit(settings(&case, "out"), &voice::options::Given::default()).unwrap();
    assert_eq!(manifest.shards, expected.shards);
    assert_eq!(manifest.classes, expected.classes);
    assert_eq!(manifest.parts[0].rejected, expected.parts[0].rejected);
    let (mut found, mut wanted) = (case.files("out"), case.files("expected"));
    for files in [&mut found, &mut wanted] {
        files.retain(|name, _| !name.starts_with("manifest"));
    }
    assert!(found == wanted, "{:?} {:?}", found.keys(), wanted.keys());
}

/// What tells the pictures of shards from others.
fn listed(engine: &Engine, shards: &[Vec<Given>]) -> String {
    let names = shards.iter().flatten().map(|given| &given.name);
    let mut places: Vec<_> = names.map(|name| Mark::place(&engine.order(name))).collect();
    places.sort_unstable();
    listing(places)
}

fn begun(engine: &Engine, listed: String, sizes: (u64, u64)) -> Box<Begun> {
    match engine.begin(vec!["spark".into()], listed, sizes).unwrap() {
        Output::Begun(begun) => begun,
        Output::Finished(_) => panic!("it is not finished"),
    }
}

#[test]
fn what_an_engine_made_is_made_again_of_files_of_the_same_names() {
    let case = case();
    // As Spark does, which passes over files without a byte.
    case.put("raw/empty.png", b"");
    let mut of_one_shard = settings(&case, "out");
    of_one_shard.ingest.pictures_per_shard = 1000;
    let engine = Engine::new(of_one_shard).unwrap();
    let mut pictures = given(&case, "raw");
    pictures.retain(|given| case.path("raw").join(&given.name).metadata().unwrap().len() > 0);
    let sizes = (pictures.len() as u64, 1);
    let mut shards = shuffled(&engine, pictures).concat();
    let work = begun(&engine, listed(&engine, std::slice::from_ref(&shards)), sizes);
    engine.shard((0, 0, sizes.0), (0, 0), std::mem::take(&mut shards)).unwrap();
    work.commit().unwrap();
    let whole = case.files("out");
    for name in ["rejects.jsonl", "shard-00000.parquet"] {
        fs::write(case.path("out").join(name), "damaged").unwrap();
    }
    let mut how = Repair {
        out: case.path("out").into(),
        from: vec![],
        codebooks: vec![],
        web: web::Options::new(ingest::USER_AGENT),
        threads: 1,
        memory: LEAST_MEMORY,
    };
    let error = repair(&Storage::local(), &how, &Silent).unwrap_err().to_string();
    assert!(error.contains("Spark or Ray") && error.contains("--from"), "{error}");
    how.from = vec![case.path("raw").into()];
    let repaired = repair(&Storage::local(), &how, &Silent).unwrap();
    assert_eq!(repaired.shards.len() + repaired.files.len(), 2);
    assert!(case.files("out") == whole);
}

#[test]
fn a_file_that_only_other_nodes_see_is_no_reject() {
    let case = case();
    let engine = Engine::new(settings(&case, "out")).unwrap();
    let named = |path: &str, seen| Given {
        name: path.to_owned(),
        label: None,
        file: Brought::At(Named { at: case.path(path).into(), seen }),
        twin: None,
    };
    // Gone, as far as this node can tell: beside others of its folder there is no such file.
    let gone = named("raw/gone.png", false);
    assert_eq!(engine.marks(std::slice::from_ref(&gone)).unwrap()[0].content_hash, None);
    let made = engine.shard((0, 0, 1), (0, 0), vec![gone]).unwrap();
    assert_eq!(made.rejected, 1);
    for unseen in [named("raw/gone.png", true), named("elsewhere/a.png", false)] {
        let marked = engine.marks(std::slice::from_ref(&unseen)).unwrap_err();
        let written = engine.shard((1, 1, 1), (0, 0), vec![unseen.clone()]).unwrap_err();
        for error in [marked, written] {
            assert!(matches!(error, IngestError::NotSeen { .. }), "{error}");
            assert!(error.to_string().contains(&unseen.name), "{error}");
        }
    }
}

#[test]
fn what_only_one_process_can_tell_or_was_not_counted_is_refused() {
    let case = case();
    let mut alike = settings(&case, "out");
    alike.ingest.near_duplicates = Some(4);
    assert!(matches!(Engine::new(alike), Err(IngestError::Setting { .. })));
    let engine = Engine::new(settings(&case, "out")).unwrap();
    let pictures = given(&case, "raw");
    let error = engine.shard((0, 0, 3), (0, 0), pictures).unwrap_err();
    assert!(matches!(error, IngestError::Counted { planned: 3, .. }), "{error}");
    assert!(!case.path("out").exists());
}
