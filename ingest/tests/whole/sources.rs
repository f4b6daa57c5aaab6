//! What sources there are, and what becomes of their pictures.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use archives::Packing;
use ingest::{IngestError, Progress, Silent, run};
use schemas::Reason;
use shards::ShardSet;

use crate::case::{Case, gzip, members, picture, tar, warc, zip};
use crate::make_archives::packed;

#[test]
fn every_kind_of_source_gives_its_pictures() {
    let case = Case::mixed();
    let summary = case.run(&Case::SOURCES, "out");
    let raw = case.run(&["raw"], "raw-alone");
    let archived = 9 + 7 + 8 + 6 + 5 + 3;
    assert_eq!(summary.part.accepted, raw.part.accepted + archived);
    assert_eq!(summary.part.rejected, raw.part.rejected);
    assert_eq!(summary.manifest.rows, summary.part.accepted);

    let rows = case.rows("out");
    let names: BTreeSet<_> = rows.iter().map(|row| row.source.clone()).collect();
    assert_eq!(names.len(), rows.len(), "no name twice");
    let path = |name: &str| case.path(name).display().to_string();
    for name in [
        path("part.tar/cat/3.png"),
        path("part.tar.gz/dog/12.png"),
        path("crawl.warc.gz/http://crawled/owl/33.png"),
        "listed/elk/43.png".to_owned(),
    ] {
        assert!(names.contains(&name), "{name}: {names:#?}");
    }
    for class in ["cat", "dog", "fox", "elk", "yak"] {
        let index = summary.manifest.classes.iter().position(|other| other == class).unwrap();
        let rows = rows.iter().filter(|row| row.label.as_deref() == Some(class)).count();
        assert_eq!(summary.manifest.class_pictures[index], rows as u64, "{class}");
    }
    // The rows are those that each picture by itself would give.
    let alone = case.run(&["part.tar"], "tar-alone");
    assert_eq!(alone.part.accepted, 9);
    for row in case.rows("tar-alone") {
        let twin = rows.iter().find(|other| other.content_hash == row.content_hash).unwrap();
        assert_eq!((&row.picture, &row.cells), (&twin.picture, &twin.cells));
        assert!(row.source.starts_with("part.tar/cat/"), "{}", row.source);
    }
}

#[test]
fn responses_that_are_no_pictures_are_counted_however_often_a_run_is_stopped() {
    let case = Case::empty();
    // Five are a shard: the last page lies behind a full one.
    case.put("crawl.warc.gz", warc(&members(0..10, "owl")));
    let summary = case.run(&["crawl.warc.gz"], "out");
    assert_eq!(summary.passed.kinds(), [("text/html", 11)]);
    assert_eq!((summary.part.accepted, summary.part.shards), (10, 2));
    let passed = &summary.manifest.parts[0].passed;
    assert_eq!(
        passed.iter().map(|(kind, &n)| (&**kind, n)).collect::<Vec<_>>(),
        [("text/html", 11)]
    );
    assert_eq!(case.run(&["crawl.warc.gz"], "out").passed, summary.passed, "of a finished run");

    struct Stop;
    impl Progress for Stop {
        fn shard(&self, _: u64) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    let settings = case.settings(&["crawl.warc.gz"], "stopped");
    for _ in 0..2 {
        assert!(matches!(run(&settings, &Stop), Err(IngestError::Stopped)));
    }
    run(&settings, &Silent).unwrap();
    assert!(case.files("stopped") == case.files("out"));
    let (success, said) = case.ingest(&["crawl.warc.gz", "--out", "said"]);
    assert!(
        success && said.contains("11 responses that are no pictures passed over: 11 text/html")
    );
}

#[test]
fn packed_archives_in_a_folder_are_looked_into_by_name() {
    let case = Case::empty();
    let packed_tar = |numbers, packing| packed(packing, &tar(&members(numbers, "cat")));
    case.put("raw/a.tar.zst", packed_tar(0..3, Packing::Zstd));
    case.put("raw/b.txz", packed_tar(10..13, Packing::Xz));
    case.put("raw/c.tar.bz2", packed_tar(20..23, Packing::Bzip2));
    case.put("raw/d.zip", zip(&members(30..33, "dog")));
    case.put("raw/report.docx", zip(&members(40..43, "media")));
    case.put("raw/e.7z", b"7z\xbc\xaf\x27\x1c");
    case.put("raw/f.zip", b"<html>not found</html>");
    let summary = case.run(&["raw"], "out");
    assert_eq!(summary.part.accepted, 12);
    assert_eq!(summary.rejects[&Reason::UnreadArchive], 2);
    assert_eq!(summary.rejects[&Reason::NotAPicture], 1);
    assert!(case.rows("out").iter().any(|row| row.source == "b.txz/cat/11.png"));
}

#[test]
fn the_bytes_depend_on_neither_threads_nor_memory() {
    let case = Case::mixed();
    case.run(&Case::SOURCES, "out");
    let mut settings = case.settings(&Case::SOURCES, "other");
    (settings.threads, settings.memory) = (1, ingest::LEAST_MEMORY);
    run(&settings, &Silent).unwrap();
    assert!(case.files("out") == case.files("other"));
    settings = case.settings(&Case::SOURCES, "third");
    settings.threads = 5;
    run(&settings, &Silent).unwrap();
    assert!(case.files("out") == case.files("third"));
}

#[test]
fn a_duplicate_is_rejected_and_names_the_other() {
    let case = Case::empty();
    // The first of the stream stays; archives come after loose pictures, so that it is this one.
    case.put("raw/first.png", picture(1));
    for number in 10..30 {
        case.put(&format!("raw/{number}.png"), picture(number));
    }
    case.put("part.tar", tar(&members(0..3, "cat")));
    let summary = case.run(&["raw", "part.tar"], "out");
    assert_eq!(summary.rejects[&Reason::Duplicate], 1);
    let rejects = ShardSet::open(&case.path("out")).unwrap().rejects().unwrap();
    assert!(rejects[0].source.ends_with("part.tar/cat/1.png"), "{:?}", rejects[0]);
    assert!(rejects[0].message.ends_with("raw/first.png"), "{:?}", rejects[0]);

    let mut settings = case.settings(&["raw", "part.tar"], "kept");
    settings.ingest.keep_duplicates = true;
    assert_eq!(run(&settings, &Silent).unwrap().part.accepted, summary.part.accepted + 1);
}

#[test]
fn near_duplicates_are_rejected_only_if_asked_for() {
    let case = Case::empty();
    let whole = image::load_from_memory(&picture(3)).unwrap();
    case.put("raw/a.png", picture(3));
    let mut webp = std::io::Cursor::new(Vec::new());
    let larger = whole.resize_exact(120, 110, image::imageops::FilterType::CatmullRom);
    larger.write_to(&mut webp, image::ImageFormat::WebP).unwrap();
    case.put("raw/b.webp", webp.into_inner());
    case.put("raw/c.png", picture(8));
    assert_eq!(case.run(&["raw"], "all").part.accepted, 3);
    let mut settings = case.settings(&["raw"], "apart");
    settings.ingest.near_duplicates = Some(6);
    let summary = run(&settings, &Silent).unwrap();
    assert_eq!((summary.part.accepted, summary.rejects[&Reason::NearDuplicate]), (2, 1));
}

#[test]
fn a_damaged_archive_gives_what_can_be_had_and_one_reject() {
    let case = Case::empty();
    let whole = tar(&members(0..6, "cat"));
    case.put("cut.tar", &whole[..whole.len() / 2]);
    case.put("sound.tar", tar(&members(10..13, "dog")));
    let summary = case.run(&["cut.tar", "sound.tar"], "out");
    assert_eq!(summary.rejects[&Reason::UnreadArchive], 1);
    assert!((4..9).contains(&summary.part.accepted), "{}", summary.part.accepted);
    let rejects = ShardSet::open(&case.path("out")).unwrap().rejects().unwrap();
    assert!(rejects[0].source.ends_with("cut.tar"), "{:?}", rejects[0]);
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let case = Case::mixed();
    let error = run(&case.settings(&["raw", "gone"], "out"), &Silent).unwrap_err();
    assert!(matches!(&error, IngestError::NoSource(at) if at.name() == "gone"), "{error}");
    assert!(!case.path("out").exists());
}

/// To open a pipe would wait for somebody who writes to it.
#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused_before_it_is_opened() {
    let case = Case::mixed();
    let made = std::process::Command::new("mkfifo").arg(case.path("pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(case.path("socket")).unwrap();
    for name in ["pipe", "socket"] {
        let error = run(&case.settings(&["raw", name], "out"), &Silent).unwrap_err();
        assert!(matches!(&error, IngestError::Irregular(at) if at.name() == name), "{error}");
        case.put("all.txt", format!("listed/elk/40.png\n{name}\n"));
        let error = run(&case.settings(&["all.txt"], "out"), &Silent).unwrap_err().to_string();
        assert!(error.contains("all.txt, line 2") && error.contains("pipe"), "{error}");
    }
    assert!(!case.path("out").exists());
}

#[test]
fn a_member_of_a_gzipped_tar_is_read_whatever_the_name_of_the_file() {
    let case = Case::empty();
    case.put("data.bin", gzip(&tar(&members(0..3, "cat"))));
    assert_eq!(case.run(&["data.bin"], "out").part.accepted, 3);
}
