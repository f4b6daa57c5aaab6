//! From an address's bucket to a client for it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};
use url::Url;

use super::http::{CONNECT, Connector};
use crate::StorageOptions;
use crate::address::{Place, Store};

/// What one client reaches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    Bucket(Store, String),
    /// A URL without its path, which the client adds again, and whether it is a stranger's.
    Web(Url, bool),
}

/// Both faces of a client.
pub(crate) struct Client {
    pub objects: Arc<dyn ObjectStore>,
    /// None where nothing can be written.
    pub uploads: Option<Arc<dyn MultipartStore>>,
    /// Whether no request for a range was answered with a whole object so far.
    pub knows_ranges: AtomicBool,
}

/// The client that reaches a place, and the object's path there. None for a local path.
pub(crate) fn reach(place: &Place) -> Option<(Reach, Path)> {
    match place {
        Place::Local(_) => None,
        Place::Bucket { store, bucket, key } => {
            // An address holds no key that is no path.
            Some((Reach::Bucket(*store, bucket.clone()), Path::parse(key).unwrap_or_default()))
        }
        Place::Web { url, guarded } => {
            let mut root = url.clone();
            root.set_path("");
            root.set_fragment(None);
            let path = Path::from_url_path(url.path()).unwrap_or_default();
            Some((Reach::Web(root, *guarded), path))
        }
    }
}

/// Makes a client from the environment and the options, which come first.
pub(crate) fn connect(reach: &Reach, options: &StorageOptions) -> object_store::Result<Client> {
    match reach {
        Reach::Bucket(Store::S3, bucket) => s3(bucket, options),
        Reach::Bucket(Store::Google, bucket) => google(bucket, options),
        Reach::Bucket(Store::Azure, container) => azure(container, options),
        Reach::Web(root, guarded) => {
            let mut builder = HttpBuilder::new().with_url(root.as_str());
            for (key, value) in client_settings() {
                builder = builder.with_config(key, value);
            }
            let store = builder
                .with_config(ClientConfigKey::AllowHttp, "true")
                .with_retry(no_retries())
                .with_http_connector(Connector { guarded: *guarded })
                .build()?;
            Ok(client(Arc::new(store), None))
        }
    }
}

fn s3(bucket: &str, options: &StorageOptions) -> object_store::Result<Client> {
    let mut builder = AmazonS3Builder::from_env();
    for (key, value) in client_settings() {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    for (key, value) in &options.settings {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder
            .with_config(AmazonS3ConfigKey::Endpoint, endpoint)
            .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    let endpoints = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = endpoints.iter().find_map(|key| builder.get_config_value(key));
    if endpoint.is_some_and(|url| is_http(&url)) {
        builder = builder.with_allow_http(true);
    }
    let store = builder
        // Not every S3-compatible store knows the deletion of many at once.
        .with_disable_bulk_delete(true)
        .with_bucket_name(bucket)
        .with_retry(no_retries())
        .with_http_connector(Connector { guarded: false })
        .build()?;
    Ok(both(store))
}

fn google(bucket: &str, options: &StorageOptions) -> object_store::Result<Client> {
    let mut builder = GoogleCloudStorageBuilder::from_env();
    for (key, value) in client_settings() {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    for (key, value) in &options.settings {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_config(GoogleConfigKey::BaseUrl, endpoint);
    }
    let store = builder
        .with_bucket_name(bucket)
        .with_retry(no_retries())
        .with_http_connector(Connector { guarded: false })
        .build()?;
    Ok(both(store))
}

fn azure(container: &str, options: &StorageOptions) -> object_store::Result<Client> {
    // `container@account`, or `container@account.host`.
    let (container, account) = container.split_once('@').unwrap_or((container, ""));
    let mut builder = MicrosoftAzureBuilder::from_env();
    for (key, value) in client_settings() {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    for (key, value) in &options.settings {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    if let Some(account) = account.split('.').next().filter(|account| !account.is_empty()) {
        builder = builder.with_account(account);
    }
    if builder.get_config_value(&AzureConfigKey::Endpoint).is_some_and(|url| is_http(&url)) {
        builder = builder.with_allow_http(true);
    }
    let store = builder
        .with_container_name(container)
        .with_retry(no_retries())
        .with_http_connector(Connector { guarded: false })
        .build()?;
    Ok(both(store))
}

fn both<S: ObjectStore + MultipartStore>(store: S) -> Client {
    let store = Arc::new(store);
    client(Arc::clone(&store) as Arc<dyn ObjectStore>, Some(store))
}

fn client(objects: Arc<dyn ObjectStore>, uploads: Option<Arc<dyn MultipartStore>>) -> Client {
    Client { objects, uploads, knows_ranges: AtomicBool::new(true) }
}

/// Every step of a request has a limit of its own, so the whole needs none.
fn client_settings() -> [(ClientConfigKey, String); 2] {
    let connect = format!("{} seconds", CONNECT.as_secs());
    [(ClientConfigKey::ConnectTimeout, connect), (ClientConfigKey::Timeout, "1 day".to_owned())]
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

fn is_http(url: &str) -> bool {
    url.to_ascii_lowercase().starts_with("http://")
}
