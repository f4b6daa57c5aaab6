//! Byte-exact in spite of a store's faults, or a clear error.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use storage::testing::{AzureServer, Fault, FaultProxy, Request, StoreServer};
use storage::{Address, Notice, Storage, StorageError, StorageOptions};

use crate::{AnyServer, PART, az, cause, drops_parts, noise, read_from, s3, small};

everywhere! {
    ;
    reads_are_exact_in_spite_of_every_fault
    writes_are_exact_in_spite_of_every_fault
    an_upload_whose_completion_was_not_answered_is_complete
    a_lock_whose_making_was_not_answered_is_known_for_whose_it_is
    a_listing_of_several_pages_is_complete_in_spite_of_faults
    a_refusal_is_not_tried_again
    wrong_credentials_and_a_bucket_that_is_not_there_are_told_at_once
    a_listing_that_is_refused_is_told_at_once
    an_object_that_changes_while_it_is_read_is_an_error
    a_writer_that_failed_is_not_finished_and_leaves_nothing
}

/// A server behind a proxy with a plan.
struct Faulty {
    server: AnyServer,
    proxy: FaultProxy,
    storage: Storage,
}

impl Faulty {
    fn new(
        server: AnyServer,
        plan: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        Self::with(server, plan, |options| options)
    }

    fn with(
        server: AnyServer,
        plan: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static,
        change: impl FnOnce(StorageOptions) -> StorageOptions,
    ) -> Self {
        let proxy = FaultProxy::start(server.endpoint(), plan).unwrap();
        let storage = Storage::new(change(small(server.options_through(&proxy)))).unwrap();
        Self { server, proxy, storage }
    }

    /// Makes an object past the proxy.
    fn object(&self, name: &str, bytes: &[u8]) -> Address {
        self.server.write(name, bytes).unwrap();
        self.server.address(name)
    }

    /// Reads an object past the proxy.
    fn written(&self, name: &str) -> Option<Vec<u8>> {
        self.server.read(name)
    }
}

/// Whether a request is for a page of a listing.
fn lists(request: &Request) -> bool {
    request.target.contains("list-type") || request.target.contains("comp=list")
}

/// Whether a request makes an object of the parts of an upload.
fn completes(request: &Request) -> bool {
    request.method == "POST" && request.target.contains("uploadId=")
        || request.target.contains("comp=blocklist")
}

const ANSWERS: [Fault; 8] = [
    Fault::SlowDown,
    Fault::Refuse,
    Fault::Silent,
    Fault::Lost,
    Fault::Reset { after: 3_000 },
    Fault::Stall { after: 5_000 },
    Fault::Cut { after: 1 },
    Fault::Short { by: 10 },
];

/// Every second request meets the next fault of a list.
fn every_second(faults: &'static [Fault]) -> impl Fn(&Request) -> Option<Fault> + Send + Sync {
    move |request| (request.index % 2 == 0).then(|| faults[request.index / 2 % faults.len()])
}

fn reads_are_exact_in_spite_of_every_fault(server: AnyServer) {
    let faulty = Faulty::with(server, every_second(&ANSWERS), |options| StorageOptions {
        stall: Some(Duration::from_millis(400)),
        ..options
    });
    let bytes = noise(200_000);
    let at = faulty.object("object", &bytes);
    assert!(read_from(&faulty.storage, &at, 0).unwrap() == bytes);
    assert!(read_from(&faulty.storage, &at, 12_345).unwrap() == bytes[12_345..]);
    assert!(faulty.storage.read(&at).unwrap() == bytes);
    assert!(faulty.storage.read_range(&at, 1..150_000).unwrap() == bytes[1..150_000]);
    assert_eq!(faulty.storage.stat(&at).unwrap().unwrap().bytes, 200_000);
    // Each of them was met, or this shows nothing.
    for fault in ANSWERS {
        let met = faulty.proxy.log().iter().any(|(_, met)| *met == Some(fault));
        assert!(met, "{fault:?}");
    }
}

fn writes_are_exact_in_spite_of_every_fault(server: AnyServer) {
    let faulty = Faulty::new(
        server,
        every_second(&[
            Fault::SlowDown,
            Fault::Lost,
            Fault::Refuse,
            Fault::Reset { after: 0 },
            Fault::Cut { after: 0 },
        ]),
    );
    let bytes = noise(4 * PART + 99);
    let mut writer = faulty.storage.writer(&faulty.server.address("large")).unwrap();
    writer.write_all(&bytes).unwrap();
    writer.finish().unwrap();
    assert!(faulty.written("large").unwrap() == bytes);
    assert_eq!(faulty.server.unfinished_parts().unwrap(), 0);

    for name in ["a", "b", "c", "d", "e"] {
        faulty.storage.put(&faulty.server.address(name), name).unwrap();
        assert_eq!(faulty.written(name).unwrap(), name.as_bytes());
        faulty.storage.delete(&faulty.server.address(name)).unwrap();
        assert_eq!(faulty.written(name), None);
    }
    assert!(faulty.proxy.faults() > 10);
}

fn an_upload_whose_completion_was_not_answered_is_complete(server: AnyServer) {
    let seen = AtomicUsize::new(0);
    let faulty = Faulty::new(server, move |request| {
        (completes(request) && seen.fetch_add(1, Ordering::Relaxed) == 0).then_some(Fault::Lost)
    });
    let bytes = noise(PART + 1);
    let mut writer = faulty.storage.writer(&faulty.server.address("object")).unwrap();
    writer.write_all(&bytes).unwrap();
    writer.finish().unwrap();
    assert_eq!(faulty.proxy.faults(), 1);
    assert!(faulty.written("object").unwrap() == bytes);
}

fn a_lock_whose_making_was_not_answered_is_known_for_whose_it_is(server: AnyServer) {
    let faulty = Faulty::new(server, |request| {
        let spoilt = request.method == "PUT" && request.target.contains("spoilt");
        (spoilt && request.index < 4).then_some(Fault::Lost)
    });
    let ours = faulty.server.address("spoilt-ours");
    let lock = faulty.storage.lock(&ours).unwrap().expect("ours");
    assert!(faulty.storage.lock(&ours).unwrap().is_none());
    assert!(faulty.proxy.faults() > 0);
    lock.check().unwrap();
    drop(lock);

    let faulty = Faulty::new(faulty.server, |request| (request.index == 1).then_some(Fault::Lost));
    let theirs = faulty.server.address("theirs");
    let past = Storage::new(small(faulty.server.options())).unwrap();
    let lock = past.lock(&theirs).unwrap().expect("free");
    assert!(faulty.storage.lock(&theirs).unwrap().is_none());
    assert_eq!(faulty.proxy.faults(), 1);
    drop(lock);
}

fn a_listing_of_several_pages_is_complete_in_spite_of_faults(server: AnyServer) {
    let plan = |request: &Request| {
        let page = [
            [Some(Fault::SlowDown), Some(Fault::Cut { after: 5_000 }), None],
            [Some(Fault::Short { by: 1_000 }), Some(Fault::Reset { after: 2_000 }), None],
        ];
        page.as_flattened().get(request.index).copied().flatten()
    };
    // The server of S3 reads every object for a listing; that takes its time.
    let faulty = Faulty::with(server, plan, |options| StorageOptions {
        stall: Some(Duration::from_secs(30)),
        retry_for: Some(Duration::from_secs(120)),
        ..options
    });
    let mut expected: Vec<String> = (0..1_100).map(|index| format!("{index:05}.jpg")).collect();
    for name in &expected {
        faulty.object(&format!("folder/{name}"), name.as_bytes());
    }
    let listed = faulty.storage.list(&faulty.server.address("folder")).unwrap();
    let mut found: Vec<String> = listed.into_iter().map(|listed| listed.relative).collect();
    found.sort();
    expected.sort();
    assert!(found == expected, "{} of {}", found.len(), expected.len());
    assert_eq!(faulty.proxy.faults(), 4);
}

#[test]
fn a_fault_that_stays_ends_in_an_error_that_says_what_was_tried() {
    std::thread::scope(|threads| {
        for fault in [Fault::SlowDown, Fault::Refuse, Fault::Silent, Fault::Short { by: 1 }] {
            threads.spawn(move || gives_up(fault));
        }
    });
}

fn gives_up(fault: Fault) {
    let faulty = Faulty::with(
        s3(),
        move |request| (request.method != "HEAD").then_some(fault),
        |options| StorageOptions {
            retry_for: Some(Duration::from_secs(1)),
            stall: Some(Duration::from_millis(100)),
            ..options
        },
    );
    let at = faulty.object("object", &noise(100_000));
    let mut errors = vec![faulty.storage.read(&at).unwrap_err()];
    // The answers to these have no length that is known before.
    if !matches!(fault, Fault::Short { .. }) {
        errors.push(faulty.storage.put(&at, "new").unwrap_err());
        errors.push(faulty.storage.list(&at).unwrap_err());
    }
    for error in errors {
        let StorageError::GaveUp { attempts, .. } = error else { panic!("{error:?}") };
        assert!(attempts > 1);
        let text = error.to_string();
        assert!(text.contains("s3://bucket/object"), "{text}");
        assert!(text.contains(&format!("{attempts} attempts")), "{text}");
        assert_eq!(text.contains("again is safe"), text.contains("write"), "{text}");
        assert!(std::error::Error::source(&error).is_some());
    }
    assert_eq!(faulty.written("object").unwrap(), noise(100_000));
}

#[test]
fn a_reader_that_gives_up_says_what_was_tried() {
    let faulty = Faulty::with(
        s3(),
        |request| request.range.as_ref().map(|_| Fault::SlowDown),
        |options| StorageOptions { retry_for: Some(Duration::from_millis(500)), ..options },
    );
    let at = faulty.object("object", &noise(100_000));
    let error = read_from(&faulty.storage, &at, 0).unwrap_err();
    assert!(matches!(cause(&error), StorageError::GaveUp { .. }), "{error:?}");
    assert!(error.to_string().contains("s3://bucket/object"), "{error}");
}

fn a_refusal_is_not_tried_again(server: AnyServer) {
    let faulty = Faulty::new(server, |_| Some(Fault::Forbidden));
    let at = faulty.server.address("object");
    let error = faulty.storage.read(&at).unwrap_err();
    assert!(matches!(error, StorageError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("credentials"), "{error}");
    assert_eq!(faulty.proxy.log().len(), 1);
    let error = faulty.storage.put(&at, "bytes").unwrap_err();
    assert!(matches!(error, StorageError::Denied { .. }), "{error:?}");
}

fn wrong_credentials_and_a_bucket_that_is_not_there_are_told_at_once(server: AnyServer) {
    let storage = Storage::new(server.options()).unwrap();
    let object = server.address("object");
    let text = object.to_string();
    let (scheme, _) = text.split_once("://").unwrap();
    let elsewhere = Address::parse(&format!("{scheme}://no-such-bucket/object")).unwrap();
    assert!(storage.read(&elsewhere).unwrap_err().is_missing());
    assert!(storage.put(&elsewhere, "bytes").unwrap_err().is_missing());
    assert_eq!(storage.stat(&elsewhere).unwrap(), None);
    assert_eq!(storage.list(&elsewhere).unwrap(), []);
    let mut writer = storage.writer(&elsewhere).unwrap();
    let long = writer.write_all(&noise(20_000_000)).map_err(|error| error.to_string());
    let error = long.err().or_else(|| writer.finish().err().map(|error| error.to_string()));
    assert!(error.as_ref().is_some_and(|error| error.contains("nothing is there")), "{error:?}");

    let (mut wrong, mut none) = (server.options(), server.options());
    wrong.settings[0].1 = "another".to_owned();
    none.settings.push(("skip_signature".to_owned(), "true".to_owned()));
    for options in [wrong, none] {
        let storage = Storage::new(options).unwrap();
        for error in [storage.read(&object).map(|_| ()), storage.list(&object).map(|_| ())] {
            let error = error.unwrap_err();
            assert!(matches!(error, StorageError::Denied { .. }), "{error:?}");
            assert!(error.to_string().contains("credentials"), "{error}");
        }
    }
}

fn a_listing_that_is_refused_is_told_at_once(server: AnyServer) {
    let faulty = Faulty::new(server, |request| lists(request).then_some(Fault::Forbidden));
    for result in [
        faulty.storage.list(&faulty.server.address("folder")).map(|_| ()),
        faulty.storage.stat(&faulty.server.address("folder")).map(|_| ()),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, StorageError::Denied { .. }), "{error:?}");
    }
    assert_eq!(faulty.proxy.faults(), 2);
}

#[test]
fn credentials_that_are_not_set_are_told_soon() {
    // No metadata service answers on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let aws = [("aws_metadata_endpoint", format!("http://{free}"))];
    let azure = [
        ("azure_storage_account_name", "testaccount".to_owned()),
        ("azure_msi_endpoint", format!("http://{free}/metadata/identity/oauth2/token")),
    ];
    for (server, settings, named) in
        [(s3(), &aws[..], "AWS_ACCESS_KEY_ID"), (az(), &azure[..], "AZURE_STORAGE_ACCOUNT_KEY")]
    {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let options = StorageOptions { settings: settings.collect(), ..server.options() };
        let error = Storage::new(options).unwrap().read(&server.address("object")).unwrap_err();
        assert!(matches!(error, StorageError::NoCredentials { .. }), "{error:?}");
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn an_account_that_is_not_named_is_told_at_once() {
    let server = AzureServer::start().unwrap();
    let options = StorageOptions { settings: vec![], ..server.options() };
    let error = Storage::new(options).unwrap().read(&server.address("object")).unwrap_err();
    assert!(matches!(error, StorageError::Settings { .. }), "{error:?}");
    // Unless the address does.
    let at = Address::parse("az://container@testaccount/object").unwrap();
    let options =
        StorageOptions { settings: server.options().settings.split_off(1), ..server.options() };
    server.write("object", b"bytes").unwrap();
    assert_eq!(Storage::new(options).unwrap().read(&at).unwrap(), "bytes");
}

#[test]
fn a_deletion_that_is_refused_within_a_batch_is_told_at_once() {
    let server = AzureServer::start().unwrap();
    let storage = Storage::new(server.options()).unwrap();
    let at = server.address("object");
    storage.put(&at, "bytes").unwrap();
    server.refuse_deletion();
    let error = storage.delete(&at).unwrap_err();
    assert!(matches!(error, StorageError::Denied { .. }), "{error:?}");
    assert_eq!(storage.read(&at).unwrap(), "bytes");
}

#[test]
fn a_blob_in_the_archive_is_told_at_once() {
    let server = AzureServer::start().unwrap();
    server.archive();
    let faulty = Faulty::new(Box::new(server), |_| None);
    let at = faulty.object("object", b"bytes");
    let error = faulty.storage.read(&at).unwrap_err();
    let StorageError::Refused { source, .. } = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("BlobArchived"), "{source}");
    assert_eq!(faulty.proxy.log().len(), 1);
}

fn an_object_that_changes_while_it_is_read_is_an_error(server: AnyServer) {
    let faulty = Faulty::new(server, |_| None);
    let at = faulty.server.address("object");
    faulty.storage.put(&at, noise(200_000)).unwrap();
    let mut reader = faulty.storage.reader(&at, 0).unwrap();
    let mut start = vec![0; 10];
    reader.read_exact(&mut start).unwrap();
    faulty.storage.put(&at, vec![1; 200_000]).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(matches!(cause(&error), StorageError::Changed { .. }), "{error:?}");
    // And stays one: nothing is read past the gap.
    reader.read_exact(&mut start).unwrap_err();
}

fn a_writer_that_failed_is_not_finished_and_leaves_nothing(server: AnyServer) {
    let seen = AtomicUsize::new(0);
    let faulty = Faulty::with(
        server,
        move |request| {
            let part = ["partNumber=", "comp=block&"].iter().any(|of| request.target.contains(of));
            (part && seen.fetch_add(1, Ordering::Relaxed) > 0).then_some(Fault::SlowDown)
        },
        |options| StorageOptions { retry_for: Some(Duration::from_millis(100)), ..options },
    );
    let at = faulty.server.address("object");
    let mut writer = faulty.storage.writer(&at).unwrap();
    let written = writer.write_all(&noise(6 * PART));
    let finished = writer.finish();
    assert!(written.is_err());
    assert!(matches!(finished, Err(StorageError::Spoilt { .. })));
    assert_eq!(faulty.written("object"), None);
    assert!(faulty.server.unfinished_parts().unwrap() == 0 || !drops_parts(&at));
}

#[test]
fn the_user_is_told_when_requests_go_on_failing() {
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&told);
    let faulty = Faulty::with(
        s3(),
        |request| (request.index < 6).then_some(Fault::SlowDown),
        |options| StorageOptions {
            notice: Some(Notice::new(move |text| kept.lock().unwrap().push(text.to_owned()))),
            ..options
        },
    );
    let at = faulty.object("object", b"bytes");
    assert_eq!(faulty.storage.read(&at).unwrap(), "bytes");
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("s3://bucket/object") && told[0].contains("503"), "{told:?}");
}
