//! Growing a set.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use ingest::{IngestError, Progress, Settings, Silent, Summary, run};
use schemas::{Manifest, PictureFilter, Reason};
use shards::ShardSet;
use shards::verify::verify;
use storage::Storage;

use crate::case::{Case, members, picture, tar};

fn appending(case: &Case, sources: &[&str], out: &str) -> Settings {
    Settings { append: true, ..case.settings(sources, out) }
}

fn append(case: &Case, sources: &[&str], out: &str) -> Summary {
    run(&appending(case, sources, out), &Silent).unwrap()
}

/// Stops the run after so many shards.
struct StopAfter(AtomicU64);

impl Progress for StopAfter {
    fn shard(&self, _: u64) -> ControlFlow<()> {
        match self.0.fetch_sub(1, Ordering::Relaxed) {
            1 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[test]
fn an_appended_part_adds_shards_and_a_version_and_leaves_the_rest_as_it_was() {
    let case = Case::mixed();
    let first = case.run(&["raw", "part.tar"], "out");
    let before = case.files("out");
    let second = append(&case, &["rows.parquet", "crawl.warc.gz"], "out");
    let after = case.files("out");

    for (name, bytes) in &before {
        let stays = name != "manifest.json" && name != "classes.json";
        assert_eq!(stays, &after[name] == bytes, "{name}");
    }
    assert_eq!(after["manifest-00001.json"], before["manifest.json"]);
    assert_eq!(after["manifest-00002.json"], after["manifest.json"]);
    assert_eq!(second.manifest.version, 2);
    assert_eq!(second.part.accepted, 8 + 6);
    assert_eq!(second.manifest.accepted, first.manifest.accepted + second.part.accepted);
    assert!(second.manifest.shards_of(1).eq(&first.manifest.shards));
    assert!(second.manifest.shards.iter().all(|shard| after.contains_key(shard.file)));
    assert!(second.manifest.classes.starts_with(&first.manifest.classes));
    assert!(second.manifest.classes.contains(&"fox".to_owned()));

    let ids: Vec<_> = case.rows("out").iter().map(|row| row.id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let rejects = ShardSet::open(&case.path("out")).unwrap().rejects().unwrap();
    assert_eq!(rejects.len() as u64, second.manifest.rejected);
    let earlier = Manifest::parse(std::str::from_utf8(&after["manifest-00001.json"]).unwrap());
    assert_eq!(earlier.unwrap(), first.manifest);
}

#[test]
fn what_is_in_the_set_already_is_a_duplicate() {
    let case = Case::empty();
    for number in 0..12 {
        case.put(&format!("raw/{number}.png"), picture(number));
    }
    case.put("more.tar", tar(&members(8..16, "cat")));
    case.run(&["raw"], "out");
    let summary = append(&case, &["more.tar"], "out");
    assert_eq!((summary.part.accepted, summary.rejects[&Reason::Duplicate]), (4, 4));
    let rejects = ShardSet::open(&case.path("out")).unwrap().rejects().unwrap();
    assert!(rejects.iter().any(|reject| reject.message.ends_with(" 9.png")), "{rejects:?}");
}

#[test]
fn an_append_that_was_stopped_goes_on_and_gives_the_same_bytes() {
    let case = Case::mixed();
    for out in ["whole", "stopped"] {
        case.run(&["raw"], out);
    }
    append(&case, &["part.tar", "part.tar.gz"], "whole");
    let settings = appending(&case, &["part.tar", "part.tar.gz"], "stopped");
    for _ in 0..3 {
        let stopped = run(&settings, &StopAfter(AtomicU64::new(1)));
        assert!(matches!(stopped, Err(IngestError::Stopped)), "{stopped:?}");
        // The first part is there to be read all the while.
        let set = ShardSet::open(&case.path("stopped")).unwrap();
        assert_eq!(set.manifest().version, 1);
        let damages = verify(&Storage::local(), &settings.out, set.manifest(), &|_| ()).unwrap();
        assert_eq!(damages, []);
    }
    // A run may be killed between a shard and what it keeps of it.
    let states = std::fs::read_dir(case.path("stopped/.ingest")).unwrap();
    let states = states.map(|entry| entry.unwrap().path());
    let shards =
        states.filter(|path| path.file_stem().unwrap() != "plan" && path.extension().is_some());
    std::fs::remove_file(shards.max().unwrap()).unwrap();
    run(&settings, &Silent).unwrap();
    assert!(case.files("whole") == case.files("stopped"));
    // Once more is no work, and changes nothing.
    assert_eq!(run(&settings, &Silent).unwrap().pictures, 0);
    assert!(case.files("whole") == case.files("stopped"));
}

#[test]
fn a_run_that_is_taken_up_over_other_files_names_them() {
    let case = Case::empty();
    for number in 0..14 {
        case.put(&format!("raw/{number}.png"), picture(number));
        case.put(&format!("raw/none-{number}.png"), "none");
    }
    case.put("part.tar", tar(&members(20..23, "cat")));
    let sources = ["raw", "part.tar"];
    case.run(&sources, "whole");
    let first = case.rows("whole").swap_remove(0).source;
    let rejected = ShardSet::open(&case.path("whole")).unwrap().rejects().unwrap().swap_remove(0);

    // All but the last shard, so that the archive is begun.
    let settings = case.settings(&sources, "out");
    let stopped = run(&settings, &StopAfter(AtomicU64::new(6)));
    assert!(matches!(stopped, Err(IngestError::Stopped)), "{stopped:?}");
    std::fs::remove_file(&first).unwrap();
    std::fs::write(&rejected.source, "none at all").unwrap();
    let error = run(&settings, &Silent).unwrap_err().to_string();
    assert!(error.contains(&format!("gone: {first}\n")), "{error}");
    assert!(error.contains(&format!("of another size: {}\n", rejected.source)), "{error}");
    assert!(!error.contains("new:"), "{error}");
    for number in 0..20 {
        case.put(&format!("raw/more-{number}.png"), picture(30 + number));
    }
    let error = run(&settings, &Silent).unwrap_err().to_string();
    assert!(error.contains("new: ") && error.contains(" more\n"), "{error}");
    assert_eq!(error.matches("raw/more-").count(), 3, "{error}");
}

#[test]
fn shards_of_which_no_plan_tells_are_not_written_over() {
    let case = Case::mixed();
    case.run(&["raw"], "out");
    let settings = appending(&case, &["part.tar", "part.tar.gz"], "out");
    for _ in 0..2 {
        let stopped = run(&settings, &StopAfter(AtomicU64::new(1)));
        assert!(matches!(stopped, Err(IngestError::Stopped)), "{stopped:?}");
    }
    std::fs::remove_dir_all(case.path("out/.ingest")).unwrap();
    let before = case.files("out");
    let error = run(&settings, &Silent).unwrap_err().to_string();
    assert!(error.contains("lies beyond manifest.json, which is version 1"), "{error}");
    assert!(error.contains("out of"), "{error}");
    assert!(case.files("out") == before);
}

#[test]
fn what_does_not_fit_together_is_refused_with_the_way_out() {
    let case = Case::mixed();
    case.run(&["raw"], "out");
    let before = case.files("out");
    let error = |settings: &Settings| run(settings, &Silent).unwrap_err().to_string();

    let other = error(&case.settings(&["part.tar"], "out"));
    assert!(other.contains("--append"), "{other}");
    let mut settings = appending(&case, &["part.tar"], "out");
    settings.ingest.views = 2;
    let differs = error(&settings);
    assert!(differs.contains("--views was 1 in the earlier run, is 2 now"), "{differs}");
    // The filter that leaves no trace in the layout, either way.
    let (filtered, plain) = (PictureFilter::GreenUp, PictureFilter::None);
    for [then, now] in [[filtered, plain], [plain, filtered]] {
        let out = format!("of-{then}");
        let with = |filter, mut settings: Settings| {
            settings.ingest.layout.picture_filter = filter;
            settings
        };
        run(&with(then, case.settings(&["raw"], &out)), &Silent).unwrap();
        let differs = error(&with(now, appending(&case, &["part.tar"], &out)));
        let told = format!("--picture-filter was {then} in the earlier run, is {now} now");
        assert!(differs.contains(&told), "{differs}");
    }
    let nothing = error(&appending(&case, &["part.tar"], "new"));
    assert!(nothing.contains("--append") && nothing.contains("no finished set"), "{nothing}");
    assert!(case.files("out") == before);
}
