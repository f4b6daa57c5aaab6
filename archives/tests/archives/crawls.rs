//! Records of crawls as servers and crawlers really leave them.

use std::sync::Arc;

use archives::{Cursor, Kind, Limits, Packing, open};
use bytes::Bytes;
use schemas::Reason;

use crate::make::{self, gzip, packed, picture, record, response};
use crate::{names, read_from, reason, sound, told};

const WARC: Kind = Kind::Warc(Packing::Plain);

/// The names of the pictures that a crawl gives, and what it passed over.
fn taken(bytes: impl Into<Bytes>) -> (Vec<String>, Vec<(String, u64)>) {
    let origin = Arc::new(bytes.into());
    let mut members = open(WARC, origin, Cursor::default(), &Limits::default()).unwrap();
    let names = members.by_ref().map(|member| member.unwrap().name).collect();
    let passed = members.passed();
    let kinds = passed.kinds().into_iter().map(|(kind, count)| (kind.to_owned(), count));
    (names, kinds.collect())
}

#[test]
fn a_picture_is_one_whatever_its_type_says() {
    let heads = [
        "200 OK",
        "200 OK\r\nContent-Type: application/octet-stream",
        "200 OK\r\nContent-Type: text/html; charset=utf-8",
        "200 OK\r\nContent-Type: image/jpg;",
        "200 OK\r\nContent-Type:",
        "200 OK\r\nContent-Type: text/html\r\nContent-Type: image/jpeg",
        "200 OK\r\nContent-Type: image/jpeg\r\nContent-Type: text/html",
        "200 OK\r\nContent-Type: \"image/png\", text/plain",
        "200",
        "203 Non-Authoritative Information\r\nContent-Type: binary/octet-stream",
        "206 Partial Content\r\nContent-Range: bytes 0-56/57",
        "200 OK\r\nX-Note: \u{fc}\r\n folded\r\nContent-Type: text/\u{e9}",
        "200 OK\nContent-Type: text/plain\nServer: none",
        "100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/plain",
    ];
    let records: Vec<u8> = heads
        .iter()
        .enumerate()
        .flat_map(|(number, head)| response(&format!("http://a/{number}"), head, &picture(number)))
        .collect();
    let members = sound(WARC, records);
    assert_eq!(members.len(), heads.len());
    for (number, member) in members.iter().enumerate() {
        assert_eq!(member.body.as_deref(), Ok(&picture(number)[..]), "{}", heads[number]);
    }
}

#[test]
fn what_says_that_it_is_a_picture_and_is_none_is_told_and_all_else_is_counted() {
    let html = "200 OK\r\nContent-Type: text/html; charset=utf-8";
    let records = [
        response("http://a/page", html, b"<html>"),
        response("http://a/called", "200 OK\r\nContent-Type: image/jpeg", b"<html>"),
        response("http://a/page2", html, b""),
        response("http://a/gone.png", "404 Not Found\r\nContent-Type: image/png", &picture(1)),
        response("http://a/moved", "301 Moved Permanently\r\nLocation: /", b""),
        response("http://a/odd", "200 OK\r\nContent-Type: application/x-strange", b"?"),
        response("http://a/untold", "200 OK", b"text"),
        record("revisit", "http://a/again.png", "", b"HTTP/1.1 200 OK\r\n\r\n"),
        record("request", "http://a/", "", b"GET / HTTP/1.1\r\n\r\n"),
        record("metadata", "http://a/", "Content-Type: text/plain\r\n", b"via: http://b/"),
        record("conversion", "http://a/", "Content-Type: text/plain\r\n", b"words of a page"),
        record(
            "response",
            "dns:a",
            "Content-Type: text/dns\r\n",
            b"20260101000000\na. 1 A 1.2.3.4",
        ),
        response("http://a/last", html, b"<html>"),
    ];
    let (names, passed) = taken(records.concat());
    assert_eq!(names, ["http://a/called"]);
    let passed: Vec<_> = passed.iter().map(|(kind, count)| (&**kind, *count)).collect();
    let one = |kind| (kind, 1);
    let expected = [
        ("text/html", 3),
        one("other application"),
        one("revisits"),
        one("text/dns"),
        one("text/plain"),
        one("with status 301"),
        one("with status 404"),
        one("without a type"),
    ];
    assert_eq!(passed, expected);
}

#[test]
fn what_is_passed_over_is_counted_once_wherever_reading_goes_on() {
    let page = |name: &str| response(name, "200 OK\r\nContent-Type: text/html", b"<html>");
    let image = |name: &str| response(name, "200 OK", &picture(1));
    let records = [page("1"), image("2"), page("3"), page("4"), image("5"), page("6")].concat();
    for (packing, bytes) in [(Packing::Plain, records.clone()), (Packing::Gzip, gzip(&records))] {
        let count = |from: Cursor| {
            let origin = Arc::new(Bytes::from(bytes.clone()));
            let mut members = open(Kind::Warc(packing), origin, from, &Limits::default()).unwrap();
            let mut counts = Vec::new();
            while let Some(member) = members.next() {
                counts.push((members.passed().total(), member.unwrap().next));
            }
            (counts, members.passed().total())
        };
        let (counts, last) = count(Cursor::default());
        let before: Vec<_> = counts.iter().map(|(count, _)| *count).collect();
        assert_eq!((before, last), (vec![1, 2], 1));
        assert_eq!(count(counts[0].1), (counts[1..].to_vec(), 1));
        assert_eq!(count(counts[1].1), (vec![], 1));
    }
}

#[test]
fn bodies_are_undone_before_they_are_judged() {
    let chunked = |body: &[u8]| {
        let (first, second) = body.split_at(20);
        let chunk =
            |part: &[u8]| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
        [chunk(first), chunk(second), b"0\r\n\r\n".to_vec()].concat()
    };
    let html = "200 OK\r\nContent-Type: text/html";
    let large = [&b"<html>"[..], &[b' '; 9000]].concat();
    let records = [
        response("1", &format!("{html}\r\nContent-Encoding: gzip"), &gzip(&picture(1))),
        response("2", &format!("{html}\r\nTransfer-Encoding: chunked"), &chunked(&picture(2))),
        response("3", &format!("{html}\r\nTransfer-Encoding: chunked"), &picture(3)),
        response(
            "4",
            &format!("{html}\r\nTransfer-Encoding: chunked\r\nContent-Encoding: zstd"),
            &chunked(&packed(Packing::Zstd, &picture(4))),
        ),
        response("page", &format!("{html}\r\nContent-Encoding: gzip"), &gzip(&large)),
        response("junk", &format!("{html}\r\nContent-Encoding: br"), b"no brotli"),
        response("5", &format!("{html}\r\nContent-Encoding: br"), &picture(5)),
    ];
    let members = sound(WARC, records.concat());
    assert_eq!(names(&members), ["1", "2", "3", "4", "5"]);
    for (number, member) in (1..).zip(&members) {
        assert_eq!(member.body.as_deref(), Ok(&picture(number)[..]));
    }
}

#[test]
fn records_follow_one_another_with_any_number_of_empty_lines_between() {
    let one = response("1", "200 OK", &picture(1));
    let two = response("2", "200 OK", &picture(2));
    let revisit = record("revisit", "1", "", b"");
    let (one, two) =
        (one.strip_suffix(b"\r\n\r\n").unwrap(), two.strip_suffix(b"\r\n\r\n").unwrap());
    let revisit = revisit.strip_suffix(b"\r\n\r\n").unwrap();
    for between in [&b""[..], b"\r\n", b"\n", b"\n\n", b"\r\n\r\n", b"\r\n\r\n\r\n\r\n\r\n"] {
        let records = [between, one, between, revisit, between, two, between].concat();
        let members = sound(WARC, records.clone());
        assert_eq!(
            told(&members),
            [("1", None, Ok(&picture(1)[..])), ("2", None, Ok(&picture(2)))],
            "{}",
            between.escape_ascii()
        );
        let packed = [gzip(&[one, between].concat()), gzip(&[two, between].concat())].concat();
        assert_eq!(sound(Kind::Warc(Packing::Gzip), packed).len(), 2);
    }
}

#[test]
fn behind_a_record_that_is_not_as_long_as_it_says_reading_goes_on() {
    let claims = |uri: &str, length: usize, block: &[u8]| {
        let mut bytes = format!(
            "WARC/1.1\nwarc-type: Response\nWARC-Target-URI: <{uri}>\nContent-Length: {length}\n\n"
        )
        .into_bytes();
        bytes.extend(block);
        bytes.extend(b"\r\n\r\n");
        bytes
    };
    let block = [b"HTTP/1.1 200 OK\r\n\r\n", &picture(1)[..]].concat();
    let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>";
    let records = [
        claims("a", block.len(), &block),
        claims("too-short", page.len() - 6, page),
        claims("b", block.len(), &block),
        claims("too-long", page.len() + 9, page),
        claims("lost", block.len(), &block),
        claims("c", block.len(), &block),
        claims("far-too-long", 1 << 40, page),
        claims("d", block.len(), &block),
        b"WARC/1.0\r\nWARC-Type: response\r\n\r\nno length\r\n\r\n".to_vec(),
        claims("e", block.len(), &block),
    ]
    .concat();
    let members = sound(WARC, records.clone());
    let behind = ["behind picture 1", "behind picture 3", "behind picture 5", "behind picture 7"];
    let expected = ["a", behind[0], "b", behind[1], "c", behind[2], "d", behind[3], "e"];
    assert_eq!(names(&members), expected);
    for (place, member) in members.iter().enumerate() {
        let wanted = member.name.starts_with("behind").then_some(Reason::Corrupt);
        assert_eq!(reason(member), wanted);
        let origin = Arc::new(Bytes::from(records.clone()));
        let (rest, error) = read_from(WARC, origin, member.next, &Limits::default());
        assert!(error.is_none() && rest == members[place + 1..], "from {:?}", member.next);
    }
}

#[test]
fn pictures_come_without_a_header_and_from_other_records_than_responses() {
    let records = [
        record("response", "raw", "Content-Type: application/http\r\n", &picture(1)),
        record("response", "ftp://a/2.gif", "Content-Type: image/gif\r\n", &picture(2)),
        record("resource", "3", "Content-Type: application/octet-stream\r\n", &picture(3)),
        record("resource", "4", "", &picture(4)),
        record("conversion", "5", "Content-Type: image/gif\r\n", &picture(5)),
        record("resource", "no-picture", "Content-Type: image/gif\r\n", b"<html>"),
        record("resource", "text", "Content-Type: text/plain\r\n", b"text"),
    ];
    let members = sound(WARC, records.concat());
    assert_eq!(names(&members), ["raw", "ftp://a/2.gif", "3", "4", "5", "no-picture"]);
    for (number, member) in (1..).zip(&members[..5]) {
        assert_eq!(member.body.as_deref(), Ok(&picture(number)[..]));
    }
    assert_eq!(members[5].body.as_deref(), Ok(&b"<html>"[..]));
}

#[test]
fn a_large_page_is_not_held_and_a_large_picture_is_told() {
    let limits = Limits { member_bytes: 5000, ..Limits::default() };
    let large = |begin: &[u8]| [begin, &[b' '; 9000]].concat();
    let records = [
        response("page", "200 OK\r\nContent-Type: text/html", &large(b"<html>")),
        response("picture", "200 OK\r\nContent-Type: text/html", &large(b"GIF89a")),
        response("said", "200 OK\r\nContent-Type: image/gif", &large(b"<html>")),
    ];
    let origin = Arc::new(Bytes::from(records.concat()));
    let (members, error) = read_from(WARC, origin, Cursor::default(), &limits);
    assert!(error.is_none());
    assert_eq!(names(&members), ["picture", "said"]);
    assert!(members.iter().all(|member| reason(member) == Some(Reason::TooLarge)));
}

#[test]
fn the_pictures_among_the_records_of_a_crawl_are_taken() {
    let members = sound(Kind::Warc(Packing::Plain), make::records().concat());
    let (one, three, five, six) = (picture(1), picture(3), picture(5), picture(6));
    assert_eq!(
        told(&members),
        [
            ("http://a/1.jpg", None, Ok(&one[..])),
            ("http://a/3", None, Ok(&three)),
            ("http://a/4", None, Ok(b"GIF89a1234")),
            ("file:///5.gif", None, Ok(&five)),
            ("http://a/6", None, Ok(&six)),
        ]
    );
}

#[test]
fn bytes_of_an_address_that_are_not_utf_8_are_written_out() {
    let mut record = response("http://a/\u{1}", "200 OK\r\nContent-Type: image/png", &picture(1));
    let at = record.iter().position(|&byte| byte == 1).unwrap();
    record[at] = 0xfc;
    let members = sound(Kind::Warc(Packing::Plain), record);
    assert_eq!(names(&members), ["http://a/\\xfc"]);
}

#[test]
fn a_record_that_the_crawler_cut_is_taken_and_a_page_called_a_picture_too() {
    let mut block = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n".to_vec();
    block.extend(&picture(1)[..20]);
    let cut = record("response", "http://a/cut", "WARC-Truncated: length\r\n", &block);
    let page = response("http://a/page", "200 OK\r\nContent-Type: image/png", b"<html>");
    let found = record(
        "response",
        "http://a/found",
        "WARC-Identified-Payload-Type: image/gif\r\n",
        &[b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", &picture(2)[..]].concat(),
    );
    // Cut within the HTTP header: there is nothing to take.
    let headless = record("response", "http://a/none", "", b"HTTP/1.1 200 OK\r\nContent-");
    let members = sound(Kind::Warc(Packing::Plain), [cut, page, headless, found].concat());
    assert_eq!(
        told(&members),
        [
            ("http://a/cut", None, Ok(&picture(1)[..20])),
            ("http://a/page", None, Ok(b"<html>")),
            ("http://a/found", None, Ok(&picture(2))),
        ]
    );
}
