//! Lists of web addresses, of which some are dead.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use ingest::repair::{Repair, repair};
use ingest::{LEAST_MEMORY, Settings, Silent, run};
use schemas::{Reason, Reject};
use storage::Storage;
use storage::testing::{Asked, ScriptedServer, send, wait_for_close};

use crate::case::{Case, gzip, members, picture, tar};

/// Pictures at `/NUMBER.png`, and faults at other paths.
fn server() -> ScriptedServer {
    ScriptedServer::start(answer).unwrap()
}

fn answer(asked: &Asked, stream: &mut TcpStream) -> std::io::Result<()> {
    let to = |to: &str, stream: &mut TcpStream| {
        send(stream, "302 Found", &[&format!("Location: {to}")], b"")
    };
    match asked.path.trim_end_matches('/') {
        "/gone" => send(stream, "410 Whatever", &[], b"not here"),
        "/broken" => send(stream, "500 Oops", &[], b"try again"),
        "/circle" => to("/circle", stream),
        "/metadata" => to("http://169.254.169.254/latest", stream),
        "/silent" => wait_for_close(stream),
        "/short" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n\x89PNG"),
        "/forbidden.png" => send(stream, "200 OK", &["X-Robots-Tag: noai"], &picture(90)),
        "/packed.png" => send(stream, "200 OK", &["Content-Encoding: gzip"], &gzip(&picture(91))),
        "/page" => send(stream, "200 OK", &["Content-Type: image/png"], b"<html>"),
        "/part.tar" => send(stream, "200 OK", &[], &tar(&members(70..74, "cat"))),
        path => match path[1..].split('.').next().map(str::parse) {
            Some(Ok(number)) => send(stream, "200 OK", &[], &picture(number)),
            _ => send(stream, "404 Not Found", &[], b"not here"),
        },
    }
}

/// Settings of a run over the list, which names addresses of this machine.
fn settings(case: &Case, out: &str) -> Settings {
    let mut settings = case.settings(&["list.txt"], out);
    settings.web.private_addresses = true;
    settings.web.first_wait = Duration::from_millis(5);
    settings.web.answer = Duration::from_millis(500);
    settings
}

fn list(case: &Case, endpoint: &str, paths: &[&str]) {
    let lines: String = paths.iter().map(|path| format!("{endpoint}{path}\n")).collect();
    case.put("list.txt", lines);
}

fn rejects(case: &Case, out: &str) -> Vec<Reject> {
    let text = fs::read_to_string(case.path(out).join("rejects.jsonl")).unwrap();
    let mut rejects: Vec<Reject> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    rejects.sort_by(|a, b| a.source.cmp(&b.source));
    rejects
}

const DEAD: [&str; 8] =
    ["/absent.png", "/broken", "/circle", "/gone", "/page", "/short", "/silent", "/two/"];

#[test]
fn dead_addresses_are_rejects_with_the_same_bytes_in_every_run_and_in_a_repair() {
    let (case, server) = (Case::empty(), server());
    let pictures: Vec<_> = (0..30).map(|number| format!("/{number}.png")).collect();
    let paths: Vec<_> = pictures.iter().map(String::as_str).chain(DEAD).collect();
    list(&case, &server.endpoint(), &paths);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = fs::read_to_string(case.path("list.txt")).unwrap();
    let refusing = format!("http://{closed}/a.png\nhttp://nobody.invalid/a.png\n");
    case.put("list.txt", text + &refusing);

    let summary = run(&settings(&case, "one"), &Silent).unwrap();
    assert_eq!(summary.part.accepted, 30);
    let found = rejects(&case, "one");
    let reasons = |reason| found.iter().filter(|reject| reject.reason == reason).count();
    assert_eq!(reasons(Reason::NotAPicture), 1, "{found:#?}");
    assert_eq!(reasons(Reason::Unreadable), DEAD.len() - 1 + 2, "{found:#?}");

    let mut other = settings(&case, "two");
    (other.threads, other.web.at_once, other.web.per_host) = (1, 3, 2);
    run(&other, &Silent).unwrap();
    assert!(case.files("one") == case.files("two"));

    let whole = case.files("one");
    fs::remove_file(case.path("one/rejects.jsonl")).unwrap();
    let mend = Repair {
        out: case.path("one").into(),
        from: vec![],
        codebooks: vec![],
        web: settings(&case, "one").web,
        threads: 2,
        memory: LEAST_MEMORY,
    };
    repair(&Storage::local(), &mend, &Silent).unwrap();
    assert!(case.files("one") == whole);
}

#[test]
fn addresses_of_private_networks_are_rejects_unless_told_otherwise() {
    let (case, server) = (Case::empty(), server());
    let port = server.endpoint().rsplit(':').next().unwrap().to_owned();
    let paths = ["/1.png", "/part.tar", "/2.png/"];
    list(&case, &server.endpoint(), &paths);
    let text = fs::read_to_string(case.path("list.txt")).unwrap();
    let more = format!("http://localhost:{port}/3.png\nhttp://2130706433:{port}/4.png\n");
    case.put("list.txt", text + &more);
    case.put("own.png", picture(50));

    let mut guarded = case.settings(&["list.txt", "own.png"], "guarded");
    guarded.web.first_wait = Duration::from_millis(5);
    let summary = run(&guarded, &Silent).unwrap();
    assert_eq!(summary.part.accepted, 1);
    let found = rejects(&case, "guarded");
    assert_eq!(found.len(), 5, "{found:#?}");
    for reject in &found {
        assert_eq!(reject.reason, Reason::PrivateAddress, "{reject:?}");
        assert!(reject.message.contains("a loopback address"), "{reject:?}");
        assert!(reject.message.contains("--private-addresses"), "{reject:?}");
    }
    assert_eq!(server.asked(), []);

    let summary = run(&settings(&case, "open"), &Silent).unwrap();
    assert_eq!((summary.part.accepted, summary.manifest.rejected), (4 + 4, 0));
}

#[test]
fn a_source_that_the_user_names_may_lie_on_this_machine() {
    let (case, server) = (Case::empty(), server());
    let mut settings = case.settings(&[], "out");
    settings.sources = vec![format!("{}/part.tar", server.endpoint()).parse().unwrap()];
    assert_eq!(run(&settings, &Silent).unwrap().part.accepted, 4);
}

#[test]
fn what_a_server_forbids_is_a_reject_unless_told_otherwise() {
    let (case, server) = (Case::empty(), server());
    list(&case, &server.endpoint(), &["/1.png", "/forbidden.png"]);
    let summary = run(&settings(&case, "out"), &Silent).unwrap();
    assert_eq!((summary.part.accepted, summary.rejects[&Reason::Disallowed]), (1, 1));
    let found = rejects(&case, "out");
    assert!(found[0].message.contains("X-Robots-Tag: noai"), "{found:?}");
    let mut ignoring = settings(&case, "all");
    ignoring.web.ignore_robots_tag = true;
    ignoring.web.user_agent = "tester/1.0".into();
    assert_eq!(run(&ignoring, &Silent).unwrap().part.accepted, 2);
    let said =
        |agent: &str| server.asked().iter().filter(|asked| asked.head.contains(agent)).count();
    assert_eq!((said("user-agent: localmim-ingest/"), said("user-agent: tester/1.0")), (2, 2));
}

#[test]
fn a_body_that_was_compressed_on_its_way_is_undone() {
    let (case, server) = (Case::empty(), server());
    list(&case, &server.endpoint(), &["/packed.png"]);
    run(&settings(&case, "out"), &Silent).unwrap();
    let hash = *blake3::hash(&picture(91)).as_bytes();
    assert_eq!(case.rows("out")[0].content_hash, hash);
}

#[test]
fn a_picture_of_more_bytes_than_may_be_is_a_reject() {
    let (case, server) = (Case::empty(), server());
    list(&case, &server.endpoint(), &["/1.png"]);
    let mut small = settings(&case, "out");
    small.ingest.max_bytes = Some(100);
    run(&small, &Silent).unwrap_err();
    let found = rejects(&case, "out");
    assert_eq!(found[0].reason, Reason::TooLarge);
    assert!(found[0].message.contains("--max-bytes"), "{found:?}");
}

#[test]
fn many_more_pictures_than_there_is_room_for_come_in_their_order() {
    let (case, server) = (Case::empty(), server());
    let paths: Vec<_> = (0..700).map(|number| format!("/{}.png?{number}", number % 40)).collect();
    list(&case, &server.endpoint(), &paths.iter().map(String::as_str).collect::<Vec<_>>());
    let mut small = settings(&case, "out");
    (small.memory, small.ingest.pictures_per_shard) = (LEAST_MEMORY, 100);
    small.ingest.keep_duplicates = true;
    assert_eq!(run(&small, &Silent).unwrap().part.accepted, 700);
}

#[test]
fn the_flags_for_lists_are_told_with_their_defaults() {
    let case = Case::empty();
    let (success, said) = case.ingest(&["--help"]);
    assert!(success && said.contains("Web addresses in lists"), "{said}");
    let (_, told) = said.split_once("Web addresses in lists").unwrap();
    for (flag, default) in [
        ("--user-agent", "localmim-ingest/"),
        ("--downloads ", "256"),
        ("--downloads-per-host", "6"),
        ("--connect-timeout", "5"),
        ("--answer-timeout", "5"),
        ("--stall-timeout", "5"),
        ("--download-timeout", "60"),
        ("--retries", "2"),
        ("--longest-wait", "60"),
        ("--host-failures", "5"),
        ("--host-rest", "30"),
    ] {
        let (_, after) = told.split_once(flag).unwrap_or_else(|| panic!("{flag}: {told}"));
        let (_, found) = after.split_once("[default: ").unwrap();
        assert!(found.starts_with(default), "{flag}: {found}");
    }
    list(&case, "http://127.0.0.1:1", &["/a.png"]);
    let args = [&["list.txt", "--out", "out"][..], &Case::FLAGS].concat();
    let (success, said) = case.ingest(&args);
    assert!(!success && said.contains("0 accepted, 1 rejected"), "{said}");
    assert_eq!(rejects(&case, "out")[0].reason, Reason::PrivateAddress);
    let (success, said) = case.ingest(&[&args[..], &["--connect-timeout", "0"]].concat());
    assert!(!success && said.contains("write seconds"), "{said}");
}
