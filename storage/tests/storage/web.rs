//! Reading over http.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use storage::testing::{Fault, FaultProxy, WebServer, WebServerOptions};
use storage::{Address, Storage, StorageError};
use tempfile::TempDir;

use crate::{cause, noise, read_from, small};

struct Web {
    folder: TempDir,
    server: WebServer,
    storage: Storage,
}

impl Web {
    fn new(options: WebServerOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = WebServer::start(folder.path(), options).unwrap();
        let storage = Storage::new(small(fast())).unwrap();
        Self { folder, server, storage }
    }

    fn object(&self, name: &str, bytes: &[u8]) -> Address {
        fs::write(self.folder.path().join(name), bytes).unwrap();
        self.address(name)
    }

    fn address(&self, name: &str) -> Address {
        Address::parse(&format!("{}/{name}?token=unused", self.server.endpoint())).unwrap()
    }
}

fn fast() -> storage::StorageOptions {
    storage::StorageOptions {
        stall: Some(Duration::from_secs(1)),
        first_wait: Some(Duration::from_millis(5)),
        ..Default::default()
    }
}

#[test]
fn every_kind_of_web_server_gives_the_same_bytes() {
    for index in 0..64 {
        let web = Web::new(WebServerOptions {
            no_ranges: index & 1 != 0,
            no_head: index & 2 != 0,
            no_etag: index & 4 != 0,
            bare_ranges: index & 8 != 0,
            weak_head: index & 16 != 0,
            no_length: index & 32 != 0,
        });
        let bytes = noise(123_456);
        let at = web.object("file", &bytes);
        assert_eq!(web.storage.stat(&at).unwrap().unwrap().bytes, 123_456);
        assert!(web.storage.read(&at).unwrap() == bytes);
        assert!(web.storage.read_range(&at, 5..70_000).unwrap() == bytes[5..70_000]);
        assert!(web.storage.read_range(&at, 5..6).unwrap() == bytes[5..6]);
        for from in [0, 77_777, 123_456] {
            assert!(read_from(&web.storage, &at, from as u64).unwrap() == bytes[from..]);
        }
        let absent = web.address("absent");
        assert_eq!(web.storage.stat(&absent).unwrap(), None);
        assert!(web.storage.read(&absent).unwrap_err().is_missing());
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error_however_it_is_told() {
    for no_etag in [false, true] {
        let web = Web::new(WebServerOptions { no_etag, ..WebServerOptions::default() });
        let at = web.object("file", &noise(200_000));
        let path = web.folder.path().join("file");
        let changed = |path: &Path, seconds: u64| {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        changed(&path, 1_000_000_000);
        let mut reader = web.storage.reader(&at, 0).unwrap();
        let mut start = vec![0; 10];
        reader.read_exact(&mut start).unwrap();
        // Of the same size, so that only its tag or its time tells it from the other.
        let other = web.folder.path().join("other");
        fs::write(&other, vec![1; 200_000]).unwrap();
        changed(&other, 1_000_000_060);
        fs::rename(&other, &path).unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(matches!(cause(&error), StorageError::Changed { .. }), "{error:?}");
    }
}

#[test]
fn a_body_without_ranges_is_exact_in_spite_of_faults() {
    let web = Web::new(WebServerOptions { no_ranges: true, ..Default::default() });
    let bodies = AtomicUsize::new(0);
    let proxy = FaultProxy::start(web.server.endpoint(), move |request| {
        let faults = [
            Some(Fault::Reset { after: 30_000 }),
            Some(Fault::Cut { after: 60_000 }),
            Some(Fault::Stall { after: 80_000 }),
            Some(Fault::SlowDown),
            None,
        ];
        let is_body = request.range.is_none() && request.method == "GET";
        is_body.then(|| faults[bodies.fetch_add(1, Ordering::Relaxed) % faults.len()]).flatten()
    })
    .unwrap();
    let bytes = noise(100_000);
    web.object("file", &bytes);
    let at = Address::parse(&format!("{}/file", proxy.endpoint())).unwrap();
    for from in [0, 50_000] {
        assert!(read_from(&web.storage, &at, from as u64).unwrap() == bytes[from..]);
    }
    assert_eq!(proxy.faults(), 8);
}

#[test]
fn a_guarded_address_is_read_from_no_private_network() {
    let web = Web::new(WebServerOptions::default());
    let at = web.object("file", b"bytes");
    assert!(web.storage.read(&at).is_ok());
    let port = web.server.endpoint().rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let at = Address::parse(&format!("http://{host}:{port}/file")).unwrap().guarded();
        let errors = [
            web.storage.stat(&at).unwrap_err(),
            web.storage.read(&at).unwrap_err(),
            web.storage.read_range(&at.join("below"), 0..1).unwrap_err(),
            web.storage.reader(&at, 0).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, StorageError::Private { .. }), "{host}: {error:?}");
            assert!(error.to_string().contains("a loopback address"), "{error}");
        }
    }
    // Of other addresses it says nothing.
    let local = Address::from(web.folder.path()).guarded();
    assert!(web.storage.read(&local.join("file")).is_ok());
}

#[test]
fn writing_and_listing_are_refused_with_a_way_out() {
    let web = Web::new(WebServerOptions::default());
    let at = web.address("file");
    let errors = [
        web.storage.put(&at, "bytes").unwrap_err(),
        web.storage.writer(&at).unwrap_err(),
        web.storage.delete(&at).unwrap_err(),
        web.storage.lock(&at).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StorageError::ReadOnly { .. }), "{error:?}");
        assert!(error.to_string().contains("s3://"), "{error}");
    }
    let error = web.storage.list(&at).unwrap_err();
    assert!(error.to_string().contains("text file"), "{error}");
}
