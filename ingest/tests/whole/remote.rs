//! Sources and shards in a bucket, with a network that fails.

use std::path::Path;

use archives::Packing;
use ingest::repair::{Repair, repair};
use ingest::{IngestError, LEAST_MEMORY, Settings, Silent, run};
use shards::verify::verify;
use shards::{ShardSet, ShardSource};
use storage::testing::{
    AzureServer, Fault, FaultProxy, GcsServer, S3Server, StoreServer, TlsProxy,
};
use storage::{Address, Storage, StorageOptions};

use crate::case::{Case, members, parquet, picture, tar, told, warc, zip};
use crate::make_archives::packed;

/// A folder of pictures and archives, here and in the bucket.
fn crawl(storage: &Storage, bucket: &Address) -> Case {
    let case = Case::empty();
    for number in 0..11 {
        case.put(&format!("crawl/cat/{number}.png"), picture(number));
    }
    case.put("crawl/broken.jpg", "<html>");
    case.put("crawl/part.tar", tar(&members(18..27, "dog")));
    case.put("crawl/rows.parquet", parquet(&members(30..36, "fox")));
    case.put("crawl/part.zip", zip(&members(50..56, "yak")));
    case.put("crawl/part.tar.zst", packed(Packing::Zstd, &tar(&members(60..64, "elk"))));
    case.put("crawl/crawl.warc.gz", warc(&members(38..43, "owl")));
    let root = case.path("crawl");
    for entry in walkdir::WalkDir::new(&root).into_iter().flatten() {
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            storage.put(&bucket.join(&name), std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    case
}

fn remote(case: &Case, server: &S3Server, proxy: &FaultProxy) -> Settings {
    Settings {
        sources: vec![server.address("crawl")],
        out: server.address("shards"),
        storage: server.options_through(proxy),
        ..case.settings(&[], "")
    }
}

/// Shards, rejects and classes are those of the local run; the manifests differ in the sources'
/// addresses alone.
fn same_as_local(storage: &Storage, out: &Address, local: &Path) {
    let set = ShardSet::open(local).unwrap();
    let mut manifest = ShardSet::open(ShardSource::new(storage.clone(), out.clone(), None))
        .unwrap()
        .manifest()
        .clone();
    manifest.parts[0].sources = set.manifest().parts[0].sources.clone();
    assert_eq!(&manifest, set.manifest());
    let mut names: Vec<_> =
        storage.list(out).unwrap().into_iter().map(|found| found.relative).collect();
    names.sort();
    let mut expected: Vec<_> = std::fs::read_dir(local)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    assert_eq!(names, expected);
    for name in names.iter().filter(|name| !name.starts_with("manifest")) {
        assert!(storage.read(&out.join(name)).unwrap() == std::fs::read(local.join(name)).unwrap());
    }
}

#[test]
fn a_run_within_s3_gives_the_same_bytes_though_the_network_fails() {
    let server = S3Server::start().unwrap();
    run_between(&server, &server);
}

#[test]
fn a_run_from_google_to_azure_gives_the_same_bytes_though_the_network_fails() {
    run_between(&GcsServer::start().unwrap(), &AzureServer::start().unwrap());
}

#[test]
fn a_run_from_azure_to_google_gives_the_same_bytes_though_the_network_fails() {
    run_between(&AzureServer::start().unwrap(), &GcsServer::start().unwrap());
}

fn run_between(from: &dyn StoreServer, to: &dyn StoreServer) {
    let proxies = [from, to].map(|server| {
        FaultProxy::start(server.endpoint(), |request| match request.index % 9 {
            2 => Some(Fault::SlowDown),
            4 => Some(Fault::Refuse),
            6 if request.method == "GET" => Some(Fault::Reset { after: 100 }),
            8 if request.method == "GET" => Some(Fault::Cut { after: 50 }),
            _ => None,
        })
        .unwrap()
    });
    let storage = Storage::new(reaching(&[(from, from.endpoint()), (to, to.endpoint())])).unwrap();
    let case = crawl(&storage, &from.address("crawl"));
    let whole = case.run(&["crawl"], "local");
    assert_eq!((whole.part.accepted, whole.manifest.rejected), (11 + 9 + 6 + 5 + 6 + 4, 1));

    let [first, second] = &proxies;
    let settings = Settings {
        sources: vec![from.address("crawl")],
        out: to.address("shards"),
        storage: reaching(&[(from, first.endpoint()), (to, second.endpoint())]),
        ..case.settings(&[], "")
    };
    run(&settings, &Silent).unwrap();
    let faults = first.faults() + second.faults();
    assert!(faults > 20, "{faults} faults");
    same_as_local(&storage, &settings.out, &case.path("local"));

    // A damaged shard is made again from the bucket.
    let shard = settings.out.join(whole.manifest.shards.at(3).file);
    let mut bytes = storage.read(&shard).unwrap().to_vec();
    bytes[30] ^= 1;
    storage.put(&shard, bytes).unwrap();
    let damages = verify(&storage, &settings.out, &whole.manifest, &|_| ()).unwrap();
    assert_eq!(damages.len(), 1, "{damages:?}");
    let mend = Repair {
        out: settings.out.clone(),
        from: vec![],
        codebooks: vec![],
        web: web::Options::new(ingest::USER_AGENT),
        threads: 2,
        memory: LEAST_MEMORY,
    };
    repair(&storage, &mend, &Silent).unwrap();
    same_as_local(&storage, &settings.out, &case.path("local"));
    assert_eq!(verify(&storage, &settings.out, &whole.manifest, &|_| ()).unwrap(), []);
}

/// Options that reach several servers, each at an endpoint of its own.
fn reaching(servers: &[(&dyn StoreServer, String)]) -> StorageOptions {
    let settings = servers.iter().flat_map(|(server, endpoint)| server.environment(endpoint));
    let settings = settings.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    StorageOptions { endpoint: None, settings, ..servers[0].0.options() }
}

#[test]
fn a_bucket_is_reached_by_tls_where_its_certificate_is_trusted() {
    let server = S3Server::start().unwrap();
    let proxy = TlsProxy::start(server.endpoint()).unwrap();
    let storage = Storage::new(server.options()).unwrap();
    let case = crawl(&storage, &server.address("crawl"));
    case.run(&["crawl"], "local");
    case.put("trusted.pem", proxy.certificate());
    let ingest = |trusted: Option<&str>| {
        let (from, out) = (server.address("crawl"), server.address("shards"));
        let (from, out) = (from.to_string(), out.to_string());
        let args = [&[from.as_str(), "--out", &out][..], &Case::FLAGS].concat();
        let mut command = case.command(&args);
        command.envs(server.environment(&proxy.endpoint()));
        command.envs(trusted.map(|file| ("SSL_CERT_FILE", file)));
        told(command.output().unwrap())
    };
    let (success, said) = ingest(None);
    assert!(!success && said.contains("SSL_CERT_FILE"), "{said}");
    assert!(said.contains("certificate is not trusted"), "{said}");
    let (success, said) = ingest(Some("trusted.pem"));
    assert!(said.contains("41 accepted, 1 rejected"), "{success} {said}");
    same_as_local(&storage, &server.address("shards"), &case.path("local"));
}

#[test]
fn a_store_that_fails_to_the_end_is_told_and_the_next_run_finishes() {
    let server = S3Server::start().unwrap();
    let storage = Storage::new(server.options()).unwrap();
    let case = crawl(&storage, &server.address("crawl"));
    case.run(&["crawl"], "local");

    let proxy = FaultProxy::start(server.endpoint(), |request| {
        (request.index > 60).then_some(Fault::SlowDown)
    })
    .unwrap();
    let mut settings = remote(&case, &server, &proxy);
    settings.storage.retry_for = Some(std::time::Duration::from_secs(1));
    settings.storage.lease = Some(std::time::Duration::from_secs(2));
    let error = run(&settings, &Silent).unwrap_err();
    assert!(!matches!(error, IngestError::Stopped), "{error}");
    let said = format!("{:#}", anyhow::Error::from(error));
    assert!(said.contains("s3://"), "{said}");
    assert!(storage.stat(&settings.out.join("manifest.json")).unwrap().is_none());

    // The lock of the run that failed may not have been given back; it is free in a while.
    settings.storage = server.options();
    settings.storage.lease = Some(std::time::Duration::from_secs(2));
    while let Err(error) = run(&settings, &Silent) {
        assert!(matches!(error, IngestError::Locked(_)), "{error}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    same_as_local(&storage, &settings.out, &case.path("local"));
}

#[test]
fn a_store_that_cannot_be_asked_is_not_taken_for_one_without_a_set() {
    let server = S3Server::start().unwrap();
    let storage = Storage::new(server.options()).unwrap();
    let case = Case::empty();
    case.put("raw/0.png", picture(0));
    let out = server.address("shards");
    let settings = Settings {
        sources: vec![case.path("raw").into()],
        out: out.clone(),
        storage: server.options(),
        ..case.settings(&[], "")
    };
    run(&settings, &Silent).unwrap();
    storage.delete(&out.join("manifest.json")).unwrap();
    // What is there can be asked for by name, but not listed; then not even that.
    for of in ["list-type=2", "manifest-00001"] {
        let proxy = FaultProxy::start(server.endpoint(), move |request| {
            let asked = request.target.contains("list-type=2") || request.target.contains(of);
            asked.then_some(Fault::Forbidden)
        })
        .unwrap();
        let through = Storage::new(server.options_through(&proxy)).unwrap();
        let settings = Settings { storage: server.options_through(&proxy), ..settings.clone() };
        let mend = Repair {
            out: out.clone(),
            from: vec![],
            codebooks: vec![],
            web: web::Options::new(ingest::USER_AGENT),
            threads: 2,
            memory: LEAST_MEMORY,
        };
        for error in
            [run(&settings, &Silent).unwrap_err(), repair(&through, &mend, &Silent).unwrap_err()]
        {
            assert!(error.to_string().contains("access refused"), "{error}");
        }
        let error = ShardSet::open(ShardSource::new(through.clone(), out.clone(), None))
            .unwrap_err()
            .to_string();
        let expected = if of == "list-type=2" { "is gone" } else { "access refused" };
        assert!(error.contains(expected), "{error}");
        assert!(proxy.faults() > 0);
    }
    assert!(storage.stat(&out.join(".ingest/lock")).unwrap().is_none(), "nothing was written");
}

#[test]
fn two_runs_on_one_bucket_do_not_meet() {
    let server = S3Server::start().unwrap();
    let storage = Storage::new(server.options()).unwrap();
    let case = crawl(&storage, &server.address("crawl"));
    let _other = storage.lock(&server.address("shards/.ingest/lock")).unwrap().unwrap();
    let settings = Settings {
        sources: vec![case.path("crawl").into()],
        out: server.address("shards"),
        storage: server.options(),
        ..case.settings(&[], "")
    };
    let error = run(&settings, &Silent).unwrap_err();
    assert!(matches!(error, IngestError::Locked(_)), "{error}");
}
