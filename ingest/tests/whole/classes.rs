//! Classes that are given: the same indices in every set.

use std::fs;

use ingest::repair::{Repair, repair};
use ingest::{Classes, LEAST_MEMORY, Settings, Silent, run};
use schemas::Reason;
use shards::ShardSet;
use storage::Storage;

use crate::case::{Case, members, parquet, picture, tar};

/// Pictures of several classes, in folders and archives, and one of none.
fn crawl() -> Case {
    let case = Case::empty();
    for (class, numbers) in [("cat", 0..4), ("zebra", 10..13)] {
        for (name, bytes) in members(numbers, class) {
            case.put(&format!("raw/{name}"), bytes);
        }
    }
    case.put("raw/lone.png", picture(20));
    case.put("part.tar", tar(&[members(30..33, "dog"), members(35..37, "zebra")].concat()));
    case.put("rows.parquet", parquet(&members(40..43, "cat")));
    case
}

fn given(case: &Case, sources: &[&str], out: &str, classes: &str) -> Settings {
    case.settings(sources, out).with_classes(Some(Classes::parse(classes).unwrap()))
}

#[test]
fn two_sets_share_the_classes_that_were_given_and_others_are_rejected() {
    let case = crawl();
    let list = "dog\ncat\nowl\n";
    let first = run(&given(&case, &["raw"], "first", list), &Silent).unwrap();
    let second =
        run(&given(&case, &["part.tar", "rows.parquet"], "second", list), &Silent).unwrap();
    for (summary, pictures) in [(&first, vec![0, 4, 0]), (&second, vec![3, 3, 0])] {
        assert_eq!(summary.manifest.classes, ["dog", "cat", "owl"]);
        assert_eq!(summary.manifest.class_pictures, pictures);
    }
    assert!(case.files("first")["classes.json"] == case.files("second")["classes.json"]);
    // A picture without a class is kept.
    assert_eq!(first.part.accepted, 5);
    assert_eq!(first.rejects[&Reason::UnknownClass], 3);
    assert_eq!(second.rejects[&Reason::UnknownClass], 2);
    let rejects = ShardSet::open(&case.path("first")).unwrap().rejects().unwrap();
    assert!(rejects.iter().all(|reject| reject.message.contains("`zebra`")), "{rejects:?}");

    // The classes.json of one set makes the next alike.
    let json = fs::read_to_string(case.path("first/classes.json")).unwrap();
    run(&given(&case, &["raw"], "third", &json), &Silent).unwrap();
    assert!(case.files("third") == case.files("first"));
}

#[test]
fn a_set_stays_with_its_classes_when_it_grows_and_when_it_is_repaired() {
    let case = crawl();
    run(&given(&case, &["raw"], "out", "dog\ncat\n"), &Silent).unwrap();
    let append = |classes| {
        run(&Settings { append: true, ..given(&case, &["part.tar"], "out", classes) }, &Silent)
    };
    let error = append("cat\ndog\n").unwrap_err().to_string();
    assert!(error.contains("--classes was"), "{error}");
    let without = Settings { append: true, ..case.settings(&["part.tar"], "out") };
    assert!(run(&without, &Silent).unwrap_err().to_string().contains("--classes"));
    let grown = append("dog\ncat\n").unwrap().manifest;
    assert_eq!(
        (&grown.classes[..], &grown.class_pictures[..]),
        (&["dog".into(), "cat".into()][..], &[3, 4][..])
    );

    let whole = case.files("out");
    let settings = Repair {
        out: case.path("out").into(),
        from: vec![],
        codebooks: vec![],
        web: web::Options::new(ingest::USER_AGENT),
        threads: 2,
        memory: LEAST_MEMORY,
    };
    for file in whole.keys().filter(|name| *name != "manifest.json") {
        fs::remove_file(case.path("out").join(file)).unwrap();
        repair(&Storage::local(), &settings, &Silent).unwrap();
        assert!(case.files("out") == whole, "{file}");
    }
}

#[test]
fn the_command_line_takes_classes_and_a_limit_of_bytes() {
    let case = crawl();
    case.put("classes.txt", "cat\nzebra\n");
    let args = ["raw", "--classes", "classes.txt", "--max-bytes", "1K", "--out", "out"];
    let (success, said) = case.ingest(&[&args, &Case::FLAGS[..]].concat());
    assert!(!success && said.contains("0 accepted, 8 rejected"), "{said}");
    let rejects = fs::read_to_string(case.path("out/rejects.jsonl")).unwrap();
    assert_eq!(rejects.matches("too_large").count(), 8);
    assert!(rejects.contains("--max-bytes"), "{rejects}");

    case.put("twice.txt", "cat\ncat\n");
    for (file, expected) in [("twice.txt", "line 2"), ("none.txt", "can't be read")] {
        let args = ["raw", "--classes", file, "--out", "other"];
        let (success, said) = case.ingest(&[&args, &Case::FLAGS[..]].concat());
        assert!(!success && said.contains("--classes") && said.contains(expected), "{said}");
    }
    assert!(!case.path("other").exists());
}
