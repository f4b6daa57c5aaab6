//! Lists of addresses, and of what an earlier run could not have, against a web server.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use ingest::repair::{Repair, repair};
use ingest::{IngestError, LEAST_MEMORY, Progress, Settings, Silent, Summary, run};
use parquet::arrow::ArrowWriter;
use schemas::{Reason, Reject};
use shards::verify::verify;
use shards::{ShardSet, StoredRow};
use storage::testing::{WebServer, WebServerOptions};
use storage::{Address, Storage};

use crate::case::{Case, gzip, members, picture, tar, warc};

/// A web server with pictures in the folder `web`, and lists of them beside it.
struct Web {
    case: Case,
    server: WebServer,
}

impl Web {
    fn new() -> Self {
        let case = Case::empty();
        for (name, bytes) in members(0..14, "cat") {
            case.put(&format!("web/{name}"), bytes);
        }
        let server = WebServer::start(&case.path("web"), WebServerOptions::default()).unwrap();
        Self { case, server }
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.server.endpoint())
    }

    /// The addresses of its pictures, with dead ones and rows of no use between them.
    fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<_> =
            (0..14).map(|number| self.url(&format!("cat/{number}.png"))).collect();
        addresses.insert(4, self.url("cat/gone.png"));
        addresses.insert(7, "ftp://host/a.png".into());
        addresses.insert(9, String::new());
        addresses
    }

    fn csv(&self) -> String {
        let rows = self.addresses().into_iter().zip(0..);
        let rows =
            rows.map(|(at, row)| format!("{at},\"{row}, it is\",{}\n", ["elk", ""][row % 2]));
        format!("url,caption,label\n{}", rows.collect::<String>())
    }

    fn settings(&self, sources: &[&str], out: &str) -> Settings {
        let mut settings = self.case.settings(sources, out);
        settings.web.private_addresses = true;
        settings
    }

    fn mend(&self, out: Address) -> Repair {
        Repair {
            out,
            from: vec![],
            codebooks: vec![],
            web: self.settings(&[], "").web,
            threads: 2,
            memory: LEAST_MEMORY,
        }
    }

    fn run(&self, sources: &[&str], out: &str) -> Summary {
        run(&self.settings(sources, out), &Silent).unwrap()
    }

    fn append(&self, sources: &[&str], out: &str) -> Result<Summary, IngestError> {
        run(&Settings { append: true, ..self.settings(sources, out) }, &Silent)
    }

    fn rejects(&self, out: &str) -> Vec<Reject> {
        ShardSet::open(&self.case.path(out)).unwrap().rejects().unwrap()
    }
}

/// Source and class of each row.
fn told(rows: &[StoredRow]) -> Vec<(&str, Option<&str>)> {
    rows.iter().map(|row| (&*row.source, row.label.as_deref())).collect()
}

fn parquet_list(addresses: &[String]) -> Vec<u8> {
    let urls: ArrayRef = Arc::new(StringArray::from_iter_values(addresses));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(addresses.iter().map(|_| "a")));
    let batch = RecordBatch::try_from_iter([("TEXT", texts), ("URL", urls)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn a_list_gives_the_pictures_at_its_addresses_in_its_order() {
    let web = Web::new();
    let addresses = web.addresses();
    web.case.put("list.csv", web.csv());
    web.case.put("list.csv.gz", gzip(web.csv().as_bytes()));
    web.case.put("laion.parquet", parquet_list(&addresses));
    let json: String =
        addresses.iter().map(|at| format!("{{\"image_url\": \"{at}\", \"cls\": 7}}\n")).collect();
    web.case.put("list.jsonl", json);
    let classes = [None, Some("elk"), Some("7")];
    for (list, odd, even) in [
        ("list.csv", classes[1], None),
        ("list.csv.gz", classes[1], None),
        ("laion.parquet", None, None),
        ("list.jsonl", classes[2], classes[2]),
    ] {
        let out = format!("out-{list}");
        let summary = web.run(&[list], &out);
        assert_eq!((summary.part.accepted, summary.manifest.rejected), (14, 3), "{list}");
        assert_eq!(summary.rejects[&Reason::Unreadable], 1);
        assert_eq!(summary.rejects[&Reason::NoAddress], 2);
        let rows = web.case.rows(&out);
        let sound = addresses
            .iter()
            .zip(0..)
            .filter(|(at, row)| at.ends_with(".png") && ![4, 7].contains(row));
        let expected: Vec<_> =
            sound.map(|(at, row)| (&**at, if row % 2 == 0 { odd } else { even })).collect();
        assert_eq!(told(&rows), expected, "{list}");
        let rejects = web.rejects(&out);
        let sources: Vec<_> = rejects.iter().map(|reject| &*reject.source).collect();
        assert_eq!(sources, [&addresses[4], &format!("{list}/row 7"), &format!("{list}/row 9")]);
        // By itself a file gives the same row.
        assert_eq!(rows[3].content_hash, blake3::hash(&picture(3)).as_bytes());
    }
}

#[test]
fn a_list_is_fetched_only_where_it_is_named() {
    let web = Web::new();
    web.case.put("raw/cat/1.png", picture(40));
    web.case.put("raw/list.csv", web.csv());
    web.case.put("raw/list.parquet", parquet_list(&web.addresses()));
    web.case.put("raw/list.jsonl", format!("{{\"url\": \"{}\"}}\n", web.url("cat/1.png")));
    let sources = |out| {
        let rows = web.case.rows(out);
        rows.into_iter().map(|row| row.source).collect::<Vec<_>>()
    };
    web.run(&["raw"], "out");
    assert_eq!(sources("out"), ["cat/1.png"]);
    // A text that lists it names it, too.
    web.case.put("all.txt", "raw/cat\nraw/list.csv\n");
    assert_eq!(web.run(&["all.txt"], "named").part.accepted, 1 + 14);
}

#[test]
fn the_folder_of_a_web_address_is_no_class() {
    let web = Web::new();
    for (name, bytes) in members(20..22, "dog") {
        web.case.put(&name, bytes);
    }
    let url = web.url("cat/1.png");
    web.case.put("list.txt", format!("{url}\n{url}?again=1\ndog/20.png\n"));
    web.case.put("crawl.warc", warc(&members(30..33, "owl")));
    let summary = web.run(&["list.txt", "crawl.warc"], "out");
    assert_eq!(summary.manifest.classes, ["dog"]);
    assert_eq!(summary.part.accepted, 5);
    let rejects = web.rejects("out");
    assert_eq!(rejects.len(), 1, "the picture is there twice");
    let both = [rejects[0].source.clone(), rejects[0].message.clone()].concat();
    assert!(both.contains(&format!("{url}?again=1")), "{both}");
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
fn a_run_goes_on_in_the_middle_of_a_list_and_a_shard_of_it_is_mended() {
    let web = Web::new();
    web.case.put("list.csv", web.csv());
    web.case.put("list.csv.gz", gzip(web.csv().as_bytes()));
    web.case.put("laion.parquet", parquet_list(&web.addresses()));
    for list in ["list.csv", "list.csv.gz", "laion.parquet"] {
        let (whole, parts) = (format!("whole-{list}"), format!("parts-{list}"));
        let summary = web.run(&[list], &whole);
        for _ in 0..3 {
            let stopped = run(&web.settings(&[list], &parts), &StopAfter(AtomicU64::new(1)));
            assert!(matches!(stopped, Err(IngestError::Stopped)), "{stopped:?}");
        }
        web.run(&[list], &parts);
        assert!(web.case.files(&whole) == web.case.files(&parts), "{list}");

        let last = summary.manifest.shards.iter().last().unwrap();
        for name in [last.file, "rejects.jsonl"] {
            web.case.put(&format!("{parts}/{name}"), "damaged");
        }
        let (storage, out) = (Storage::local(), web.case.path(&parts).into());
        let mend = web.mend(out);
        let mended = repair(&storage, &mend, &Silent).unwrap();
        assert_eq!((mended.shards.len(), mended.files.len()), (1, 1));
        assert!(web.case.files(&whole) == web.case.files(&parts), "{list}");
    }
}

#[test]
fn a_list_without_a_column_of_addresses_is_told_and_may_be_named() {
    let web = Web::new();
    let url = web.url("cat/1.png");
    web.case.put("list.csv", format!("page,thumb\n{url}?page,{url}\n"));
    web.case.put("sound.txt", web.url("cat/2.png"));
    web.run(&["list.csv", "sound.txt"], "out");
    let rejects = web.rejects("out");
    assert_eq!(rejects[0].reason, Reason::UnreadArchive);
    assert!(rejects[0].message.contains("--url-column"), "{:?}", rejects[0]);
    let named = |out: &str| {
        let mut settings = web.settings(&["list.csv"], out);
        settings.url_column = Some("thumb".into());
        settings
    };
    assert_eq!(run(&named("named"), &Silent).unwrap().part.accepted, 1);
    assert_eq!(web.case.rows("named")[0].source, url);
    // It decides the pictures, so that it is the set's.
    let other = run(&Settings { url_column: None, ..named("named") }, &Silent);
    assert!(matches!(other, Err(IngestError::Finished { .. })), "{other:?}");
}

#[test]
fn only_classes_that_are_given_are_fetched() {
    let web = Web::new();
    web.case.put("list.csv", web.csv().replace("elk", "owl"));
    let classes = ingest::Classes::parse("cat\n").unwrap();
    let settings = web.settings(&["list.csv"], "out").with_classes(Some(classes));
    let summary = run(&settings, &Silent).unwrap();
    // Every other row has a class, that of the dead address among them; of the rest two have none.
    assert_eq!((summary.part.accepted, summary.rejects[&Reason::UnknownClass]), (6, 9));
}

#[test]
fn what_could_not_be_had_is_tried_anew_from_the_list_of_rejects() {
    let web = Web::new();
    let late = web.url("late.png");
    web.case.put(
        "list.csv",
        format!(
            "{}{late}?id=7,it comes,dog\n{},it stays away,dog\n",
            web.csv(),
            web.url("never.png")
        ),
    );
    web.case.put("more.txt", "here/cat/50.png\n");
    web.case.put("part.tar", tar(&[("cat/none.png".into(), b"none".to_vec())]));
    let first = web.run(&["list.csv", "more.txt", "part.tar"], "out");
    assert_eq!(first.rejects[&Reason::Unreadable], 4);
    let before = web.case.files("out");

    web.case.put("web/late.png", picture(60));
    web.case.put("here/cat/50.png", picture(50));
    let again = web.append(&["out/rejects.jsonl"], "out").unwrap();
    assert_eq!((again.part.accepted, again.rejects[&Reason::Unreadable]), (2, 2));
    let passed: Vec<_> = again.not_tried.iter().map(|(code, count)| (&**code, *count)).collect();
    assert_eq!(passed, [("no_address", 2), ("not_a_picture", 1)]);
    let rows = web.case.rows("out");
    let row = |source: &str| rows.iter().find(|row| row.source == source).unwrap();
    assert_eq!(row(&format!("{late}?id=7")).label.as_deref(), Some("dog"));
    assert_eq!(row("here/cat/50.png").label.as_deref(), Some("cat"));
    // What was there stays, and what still can't be had stands in a list of its own.
    let after = web.case.files("out");
    assert_eq!(before["rejects.jsonl"], after["rejects.jsonl"]);
    let left = String::from_utf8(after["rejects-00002.jsonl"].clone()).unwrap();
    assert!(left.contains("gone.png") && left.contains("never.png"), "{left}");
    assert_eq!(left.lines().count(), 2);

    let (storage, out) = (Storage::local(), web.case.path("out").into());
    web.case.put("out/rejects-00002.jsonl", "damaged");
    let mend = web.mend(out);
    repair(&storage, &mend, &Silent).unwrap();
    assert!(after == web.case.files("out"));
    assert_eq!(verify(&storage, &mend.out, &again.manifest, &|_| ()).unwrap(), []);

    // The newest list can be tried in turn; that of the first run was.
    assert_eq!(web.append(&["out/rejects.jsonl"], "out").unwrap().pictures, 0);
    web.case.put("web/never.png", picture(61));
    let third = web.append(&["out/rejects-00002.jsonl"], "out").unwrap();
    assert_eq!((third.part.accepted, third.manifest.version), (1, 3));
    web.case.put("web/cat/gone.png", picture(62));
    web.append(&["out/rejects-00003.jsonl"], "out").unwrap();
    let nothing = web.append(&["out/rejects-00004.jsonl"], "out");
    assert!(matches!(nothing, Err(IngestError::NothingAnew(0, _))), "{nothing:?}");
    assert_eq!(
        web.rejects("out").len() as u64,
        ShardSet::open(&web.case.path("out")).unwrap().manifest().rejected
    );
}

#[cfg(unix)]
#[test]
fn a_local_picture_of_a_list_of_rejects_is_found_where_the_source_lay() {
    let web = Web::new();
    web.case.put("raw/cat/1.png", picture(41));
    std::os::unix::fs::symlink(web.case.path("later.png"), web.case.path("raw/cat/2.png")).unwrap();
    let follow = |sources: &[&str], append| Settings {
        follow_links: true,
        append,
        ..web.settings(sources, "out")
    };
    run(&follow(&["raw"], false), &Silent).unwrap();
    assert_eq!(web.rejects("out")[0].source, "cat/2.png");
    web.case.put("later.png", picture(42));
    let again = run(&follow(&["out/rejects.jsonl"], true), &Silent).unwrap();
    assert_eq!(again.part.accepted, 1);
    // Nothing is left to try.
    web.case.put(
        "only.jsonl",
        "{\"source\":\"a\",\"bytes\":1,\"reason\":\"corrupt\",\"message\":\"m\"}\n",
    );
    let nothing = run(&follow(&["only.jsonl"], true), &Silent);
    assert!(matches!(nothing, Err(IngestError::NothingAnew(1, _))), "{nothing:?}");
}

#[test]
fn a_table_of_addresses_opens_no_bucket_unless_it_is_told_to() {
    let case = Case::empty();
    case.put("a.png", picture(1));
    case.put("list.csv", "url\ns3://bucket/1.jpg\ngs://bucket/2.jpg\naz://bucket/3.jpg\n");
    let summary = run(&case.settings(&["a.png", "list.csv"], "out"), &Silent).unwrap();
    assert_eq!(summary.part.accepted, 1);
    assert_eq!(summary.part.rejected[&Reason::PrivateAddress], 3);
}
