//! What users of `web` rely on, over servers on the loopback interface that answer as told.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use storage::testing::{
    Asked, ScriptedServer, TlsProxy, WebServer, WebServerOptions, send, wait_for_close,
};
use url::Url;
use web::{Fault, Fetcher, Options, Page, Private, Room};

fn serve(
    answer: impl Fn(&Asked, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> ScriptedServer {
    ScriptedServer::start(answer).unwrap()
}

fn url(server: &ScriptedServer, path: &str) -> Url {
    Url::parse(&format!("{}{path}", server.endpoint())).unwrap()
}

fn options() -> Options {
    Options {
        connect: Duration::from_millis(400),
        answer: Duration::from_millis(400),
        stall: Duration::from_millis(400),
        first_wait: Duration::from_millis(5),
        private_addresses: true,
        ..Options::new("tester/1.0")
    }
}

/// Room for everything.
#[derive(Debug)]
struct Enough;

impl Room for Enough {
    fn grow(&mut self, _: u64) -> bool {
        true
    }
}

const MOST: u64 = 1 << 20;

fn fetch(options: Options, url: &Url) -> Result<Page, Fault> {
    Fetcher::new(options, MOST).unwrap().fetch(url, Enough).wait().0
}

/// An address at which nobody listens.
fn refusing() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Url::parse(&format!("http://{}/a.jpg", listener.local_addr().unwrap())).unwrap()
}

#[test]
fn a_body_comes_as_it_is_with_the_codings_that_are_to_be_undone() {
    let server = serve(|asked, stream| {
        match &*asked.path {
        "/zipped" => send(stream, "200 OK", &["Content-Encoding: gzip"], b"zipped"),
        "/untold" => stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil it ends"),
        "/chunked" => stream.write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n2\r\nty\r\n0\r\n\r\n",
        ),
        _ => send(stream, "200 OK", &[], b"body"),
    }
    });
    let page = |body: &'static [u8], codings: &str| {
        Ok(Page { body: body.into(), codings: codings.to_owned() })
    };
    assert_eq!(fetch(options(), &url(&server, "/a?b=c#d")), page(b"body", ""));
    assert_eq!(fetch(options(), &url(&server, "/zipped")), page(b"zipped", "gzip"));
    assert_eq!(fetch(options(), &url(&server, "/untold")), page(b"until it ends", ""));
    assert_eq!(fetch(options(), &url(&server, "/chunked")), page(b"fourty", ""));
    let head = &server.asked()[0].head;
    assert!(head.starts_with("get /a?b=c http/1.1"), "{head}");
    assert!(head.contains("user-agent: tester/1.0"), "{head}");
    assert!(head.contains("accept-encoding: identity"), "{head}");
}

#[test]
fn what_passes_is_tried_again_and_what_does_not_is_not() {
    let server = serve(|Asked { path, before, .. }, stream| {
        let status: u16 = path[1..4].parse().unwrap();
        match &**path {
            _ if *before == 2 => send(stream, "200 OK", &[], b"body"),
            "/000" => Ok(()),
            _ => send(stream, &format!("{status} Anything"), &[], b"trouble"),
        }
    });
    for status in ["408", "425", "429", "500", "502", "503", "504", "000"] {
        let page = fetch(options(), &url(&server, &format!("/{status}")));
        assert_eq!(page.unwrap().body, "body", "{status}");
    }
    for status in [400, 401, 403, 404, 410, 451, 501, 505] {
        let url = url(&server, &format!("/{status}"));
        assert_eq!(fetch(options(), &url), Err(Fault::Status(status)));
        let asked = server.asked().iter().filter(|asked| asked.path == url.path()).count();
        assert_eq!(asked, 1, "{status}");
    }
    let none = Options { retries: 0, ..options() };
    assert_eq!(fetch(none, &url(&server, "/500/other")), Err(Fault::Status(500)));
}

#[test]
fn each_fault_has_one_text() {
    let server = serve(|asked, stream| match &*asked.path {
        "/silent" => wait_for_close(stream),
        "/stalled" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour")?;
            wait_for_close(stream)
        }
        "/short" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour"),
        "/closed" => Ok(()),
        "/garbled" => stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
        "/drops" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")?;
            loop {
                stream.write_all(b"x")?;
                thread::sleep(Duration::from_millis(50));
            }
        }
        _ => send(stream, "503 Later", &[], b""),
    });
    let limits = Options { whole: Duration::from_millis(900), ..options() };
    let limit = limits.stall;
    let unknown = Url::parse("http://nobody.invalid/a.jpg").unwrap();
    for (url, fault) in [
        (url(&server, "/silent"), Fault::Silent(limit)),
        (url(&server, "/stalled"), Fault::Stalled(limit)),
        (url(&server, "/short"), Fault::Broken),
        (url(&server, "/closed"), Fault::Broken),
        (url(&server, "/garbled"), Fault::Garbled),
        (url(&server, "/drops"), Fault::Slow(limits.whole)),
        (url(&server, "/503"), Fault::Status(503)),
        (refusing(), Fault::Refused),
    ] {
        assert_eq!(fetch(limits.clone(), &url), Err(fault.clone()), "{url}");
        assert!(!fault.to_string().contains("127.0.0.1"), "{fault}");
    }
    let fault = fetch(limits, &unknown).unwrap_err();
    assert!(matches!(fault, Fault::NoHost { .. }), "{fault:?}");
}

/// Connections that nobody takes wait in a queue of the system, until it is full.
#[test]
fn a_connection_that_does_not_come_about_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let attempt = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let held: Vec<_> = std::iter::from_fn(|| attempt().ok()).take(5000).collect();
    let url = Url::parse(&format!("http://{address}/a.jpg")).unwrap();
    assert_eq!(fetch(options(), &url), Err(Fault::Unconnected(options().connect)));
    drop(held);
}

#[test]
fn a_certificate_that_nobody_knows_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let server = WebServer::start(folder.path(), WebServerOptions::default()).unwrap();
    let proxy = TlsProxy::start(server.endpoint()).unwrap();
    let url = Url::parse(&format!("{}/a.jpg", proxy.endpoint())).unwrap();
    assert_eq!(fetch(options(), &url), Err(Fault::Untrusted));
    let plain = server.endpoint().replace("http:", "https:");
    assert_eq!(fetch(options(), &Url::parse(&plain).unwrap()), Err(Fault::NoTls));
}

#[test]
fn redirects_are_followed_but_not_in_circles_nor_elsewhere() {
    let server = serve(|Asked { path, .. }, stream| {
        let to = match &**path {
            "/a" => "/b?x#y",
            "/b?x" => "c/../d",
            "/d" => return send(stream, "200 OK", &[], b"body"),
            "/self" => "/self",
            "/two" => "/three",
            "/three" => "/two",
            "/file" => "file:///etc/passwd",
            "/ftp" => "ftp://127.0.0.1/a.jpg",
            "/none" => return send(stream, "302 Found", &[], b""),
            far => &format!("{far}x"),
        };
        send(stream, "302 Found", &[&format!("Location: {to}")], b"")
    });
    assert_eq!(fetch(options(), &url(&server, "/a")).unwrap().body, "body");
    for (path, fault) in [
        ("/self", Fault::Endless),
        ("/two", Fault::Endless),
        ("/far", Fault::Endless),
        ("/file", Fault::Elsewhere),
        ("/ftp", Fault::Elsewhere),
        ("/none", Fault::Status(302)),
    ] {
        assert_eq!(fetch(options(), &url(&server, path)), Err(fault), "{path}");
    }
}

#[test]
fn credentials_of_an_address_are_for_its_host_alone() {
    let other = serve(|_, stream| send(stream, "200 OK", &[], b"body"));
    let to = other.endpoint().replace("http://", "http://me:secret@");
    let server = serve(move |Asked { path, .. }, stream| {
        let to = if path == "/near" { "/far" } else { &to };
        send(stream, "302 Found", &[&format!("Location: {to}/a")], b"")
    });
    let mut url = url(&server, "/near");
    url.set_username("me").unwrap();
    url.set_password(Some("secret")).unwrap();
    assert_eq!(fetch(options(), &url).unwrap().body, "body");
    let is_told = |asked: &Asked| asked.head.contains("authorization: basic");
    assert!(server.asked().iter().all(is_told), "{:?}", server.asked());
    assert!(!other.asked().iter().any(is_told), "{:?}", other.asked());
}

#[test]
fn private_addresses_are_met_by_number_by_name_and_by_redirect() {
    let server = serve(|asked, stream| match &*asked.path {
        "/to/metadata" => {
            let to = "Location: http://169.254.169.254/latest/meta-data/";
            send(stream, "302 Found", &[to], b"")
        }
        _ => send(stream, "200 OK", &[], b"body"),
    });
    let guarded = || Options { private_addresses: false, ..options() };
    let port = url(&server, "/").port().unwrap();
    for (host, kind) in [
        ("127.0.0.1", Private::Loopback),
        ("localhost", Private::Loopback),
        ("2130706433", Private::Loopback),
        ("0x7f.1", Private::Loopback),
        ("0.0.0.0", Private::Loopback),
        ("[::ffff:127.0.0.1]", Private::Loopback),
        ("169.254.169.254", Private::LinkLocal),
        ("[fe80::1]", Private::LinkLocal),
        ("192.168.0.1", Private::Network),
        ("100.64.0.1", Private::Network),
    ] {
        let url = Url::parse(&format!("http://{host}:{port}/a.jpg")).unwrap();
        assert_eq!(fetch(guarded(), &url), Err(Fault::Private(kind)), "{host}");
    }
    assert_eq!(server.asked().len(), 0);
    let localhost = Url::parse(&format!("http://localhost:{port}/a.jpg")).unwrap();
    assert_eq!(fetch(options(), &localhost).unwrap().body, "body");
}

#[test]
fn a_guarded_client_is_not_led_to_private_addresses() {
    let server = serve(|asked, stream| match &*asked.path {
        "/metadata" => {
            let to = "Location: http://169.254.169.254/latest/meta-data/";
            send(stream, "302 Found", &[to], b"")
        }
        "/name" => send(stream, "302 Found", &["Location: http://localhost/a.jpg"], b""),
        _ => send(stream, "200 OK", &[], b"body"),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = web::guard(reqwest::Client::builder()).build().unwrap();
    let get = |path: &str| runtime.block_on(client.get(url(&server, path)).send());
    // The URL of the request itself is for its caller to check.
    assert_eq!(get("/a.jpg").unwrap().status(), 200);
    for (path, kind) in [("/metadata", Private::LinkLocal), ("/name", Private::Loopback)] {
        assert_eq!(Private::behind(&get(path).unwrap_err()), Some(kind), "{path}");
    }
}

#[test]
fn what_a_server_forbids_is_not_taken_unless_told_otherwise() {
    let server = serve(|asked, stream| match &*asked.path {
        "/forbidden" => {
            let fields = ["X-Robots-Tag: nofollow", "X-Robots-Tag: tester: noarchive, noai"];
            send(stream, "200 OK", &fields, b"body")
        }
        _ => send(stream, "200 OK", &["X-Robots-Tag: otherbot: noai"], b"body"),
    });
    assert_eq!(fetch(options(), &url(&server, "/forbidden")), Err(Fault::Forbidden("noai")));
    assert_eq!(fetch(options(), &url(&server, "/allowed")).unwrap().body, "body");
    let ignoring = Options { ignore_robots_tag: true, ..options() };
    assert_eq!(fetch(ignoring, &url(&server, "/forbidden")).unwrap().body, "body");
}

#[test]
fn a_server_is_asked_again_when_it_says() {
    let server = serve(|asked, stream| match (&*asked.path, asked.before) {
        ("/soon", 0) => send(stream, "429 Later", &["Retry-After: 1"], b""),
        ("/dated", 0) => {
            let date = std::time::SystemTime::now() + Duration::from_millis(2500);
            let field = format!("Retry-After: {}", httpdate::fmt_http_date(date));
            send(stream, "503 Later", &[&field], b"")
        }
        ("/never", 0) => send(stream, "503 Later", &["Retry-After: 86400"], b""),
        _ => send(stream, "200 OK", &[], b"body"),
    });
    let fetcher = Fetcher::new(options(), MOST).unwrap();
    for path in ["/soon", "/dated"] {
        let start = Instant::now();
        assert_eq!(fetcher.fetch(&url(&server, path), Enough).wait().0.unwrap().body, "body");
        assert!(start.elapsed() > Duration::from_millis(950), "{path}");
    }
    let never = fetcher.fetch(&url(&server, "/never"), Enough).wait().0;
    assert_eq!(never, Err(Fault::Status(503)));
    // Its other addresses are none the worse for it.
    assert_eq!(fetcher.fetch(&url(&server, "/well"), Enough).wait().0.unwrap().body, "body");
}

#[test]
fn no_more_is_asked_of_a_host_or_of_all_at_once_than_may_be() {
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, highest) = (Arc::clone(&now), Arc::clone(&most));
    let server = serve(move |_, stream| {
        highest.fetch_max(seen.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(20));
        seen.fetch_sub(1, Ordering::SeqCst);
        send(stream, "200 OK", &[], b"body")
    });
    for (options, at_most) in [
        (Options { per_host: 3, ..options() }, 3),
        (Options { per_host: 9, at_once: 2, ..options() }, 2),
    ] {
        most.store(0, Ordering::SeqCst);
        let fetcher = Fetcher::new(options, MOST).unwrap();
        let at = |number| url(&server, &format!("/{number}"));
        let coming: Vec<_> = (0..24).map(|number| fetcher.fetch(&at(number), Enough)).collect();
        assert!(coming.into_iter().all(|download| download.wait().0.is_ok()));
        assert_eq!(most.load(Ordering::SeqCst), at_most);
    }
}

#[test]
fn a_host_that_never_answers_is_left_alone_and_its_addresses_fail_alike() {
    let server = serve(|_, stream| wait_for_close(stream));
    let options = Options { per_host: 2, host_failures: 4, ..options() };
    let silent = Fault::Silent(options.answer);
    let fetcher = Fetcher::new(options, MOST).unwrap();
    let at = |number| url(&server, &format!("/{number}"));
    let coming: Vec<_> = (0..200).map(|number| fetcher.fetch(&at(number), Enough)).collect();
    for download in coming {
        assert_eq!(download.wait().0, Err(silent.clone()));
    }
    // Two tries of each of the first four, and of those that were under way by then.
    assert!(server.asked().len() <= 12, "{}", server.asked().len());
}

#[test]
fn a_host_for_which_it_is_of_no_use_is_not_tried_again_and_again() {
    let server = serve(|_, stream| send(stream, "500 Oops", &[], b""));
    let fetcher = Fetcher::new(Options { per_host: 2, ..options() }, MOST).unwrap();
    let at = |number| url(&server, &format!("/{number}"));
    let coming: Vec<_> = (0..60).map(|number| fetcher.fetch(&at(number), Enough)).collect();
    for download in coming {
        assert_eq!(download.wait().0, Err(Fault::Status(500)));
    }
    let asked = server.asked().len();
    assert!((60..60 + 2 * 7).contains(&asked), "{asked}");
}

#[test]
fn a_host_that_answers_is_not_given_up_for_addresses_that_hang() {
    let server = serve(|asked, stream| match asked.path.contains("hang") {
        true => wait_for_close(stream),
        false => send(stream, "200 OK", &[], b"body"),
    });
    let options = Options { per_host: 3, host_failures: 2, ..options() };
    let fetcher = Fetcher::new(options, MOST).unwrap();
    let at = |number: u32| match number % 4 {
        1 => url(&server, &format!("/hang/{number}")),
        _ => url(&server, &format!("/well/{number}")),
    };
    let coming: Vec<_> =
        (0..24).map(|number| (number, fetcher.fetch(&at(number), Enough))).collect();
    for (number, download) in coming {
        assert_eq!(download.wait().0.is_ok(), number % 4 != 1, "{number}");
    }
}

/// Room for some downloads at once.
#[derive(Debug)]
struct Shared {
    left: Arc<Mutex<u64>>,
    taken: u64,
}

impl Room for Shared {
    fn grow(&mut self, bytes: u64) -> bool {
        let mut left = self.left.lock().unwrap();
        let more = bytes.saturating_sub(self.taken);
        let fits = *left >= more;
        if fits {
            (*left, self.taken) = (*left - more, self.taken + more);
        }
        fits
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        *self.left.lock().unwrap() += self.taken;
    }
}

#[test]
fn bodies_wait_for_room_but_not_the_one_that_is_waited_for() {
    const BODY: usize = 100_000;
    let server = serve(|Asked { path, .. }, stream| {
        let body = vec![path.len() as u8; BODY];
        match path.contains("told") {
            true => send(stream, "200 OK", &[], &body),
            false => {
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n")?;
                stream.write_all(&body)
            }
        }
    });
    let left = Arc::new(Mutex::new(BODY as u64 * 3 / 2));
    let fetcher = Fetcher::new(Options { per_host: 2, at_once: 2, ..options() }, MOST).unwrap();
    let coming: Vec<_> = (0..12)
        .map(|number| {
            let kind = if number % 2 == 0 { "told" } else { "un" };
            let room = Shared { left: Arc::clone(&left), taken: 0 };
            fetcher.fetch(&url(&server, &format!("/{kind}/{number}")), room)
        })
        .collect();
    // In their order, and all of them though the later ones may have taken the room.
    for download in coming {
        let (page, room) = download.wait();
        assert_eq!(page.unwrap().body.len(), BODY);
        drop(room);
    }
    assert_eq!(*left.lock().unwrap(), BODY as u64 * 3 / 2);
}

#[test]
fn a_body_that_is_too_large_is_not_read_to_its_end() {
    let server = serve(|asked, stream| match &*asked.path {
        "/told" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n"),
        _ => {
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n")?;
            loop {
                stream.write_all(&[0; 4096])?;
            }
        }
    });
    let told = Fault::TooLarge { bytes: Some(2_000_000), most: MOST };
    assert_eq!(fetch(options(), &url(&server, "/told")), Err(told));
    let untold = Fault::TooLarge { bytes: None, most: MOST };
    assert_eq!(fetch(options(), &url(&server, "/untold")), Err(untold));
}

/// What several servers are asked at the same time does not change what comes of each address.
#[test]
fn dead_hosts_do_not_hold_the_others_up() {
    let dead = serve(|_, stream| wait_for_close(stream));
    let server = serve(|_, stream| send(stream, "200 OK", &[], b"body"));
    let gone = refusing();
    let run = || {
        let fetcher = Fetcher::new(options(), MOST).unwrap();
        let at = |number: u32| match number % 3 {
            0 => url(&server, &format!("/{number}")),
            1 => url(&dead, &format!("/{number}")),
            _ => gone.join(&number.to_string()).unwrap(),
        };
        let coming: Vec<_> = (0..90).map(|number| fetcher.fetch(&at(number), Enough)).collect();
        let texts = coming.into_iter().map(|download| {
            download.wait().0.map_or_else(|fault| fault.to_string(), |_| "well".to_owned())
        });
        texts.collect::<Vec<_>>()
    };
    let first = run();
    assert_eq!(first, run());
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    first.iter().for_each(|text| *counts.entry(text).or_default() += 1);
    assert_eq!(counts.values().collect::<Vec<_>>(), [&30, &30, &30], "{counts:?}");
}
