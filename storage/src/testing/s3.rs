//! An S3 server over a temporary folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpResponse};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::{Access, Server, StoreServer};

const BUCKET: &str = "bucket";
const ACCESS_KEY: &str = "test-access-key";
const SECRET_KEY: &str = "test-secret-key";

/// An S3 server with one bucket, which checks signatures and honours `If-None-Match` and
/// `If-Match`.
pub struct S3Server {
    server: Server,
    root: TempDir,
}

impl S3Server {
    /// Starts a server with an empty bucket.
    ///
    /// # Errors
    ///
    /// If no folder can be made or no port is free.
    pub fn start() -> io::Result<Self> {
        let root = tempfile::tempdir()?;
        fs::create_dir(root.path().join(BUCKET))?;
        let files =
            FileSystem::new(root.path()).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let store = Arc::new(Store {
            service: service.build(),
            root: root.path().to_owned(),
            writing: Mutex::new(()),
        });
        let server = Server::start(move |stream| {
            let store = Arc::clone(&store);
            async move {
                let answer = service_fn(move |request| {
                    let store = Arc::clone(&store);
                    // To its end, even if the client goes away meanwhile, as in S3.
                    async move { tokio::spawn(store.answer(request)).await.map_err(io::Error::other)? }
                });
                // What a client does to its connection is no matter of the server's.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            }
        })?;
        Ok(Self { server, root })
    }
}

impl StoreServer for S3Server {
    fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    fn access(&self) -> &'static Access {
        &Access {
            bucket: "s3://bucket",
            path: "",
            endpoint: "aws_endpoint_url",
            settings: &[
                ("aws_secret_access_key", SECRET_KEY),
                ("aws_access_key_id", ACCESS_KEY),
                ("aws_region", "us-east-1"),
            ],
        }
    }

    fn write(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.root.path().join(BUCKET).join(key);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, bytes)
    }

    fn read(&self, key: &str) -> Option<Vec<u8>> {
        fs::read(self.root.path().join(BUCKET).join(key)).ok()
    }

    fn unfinished_parts(&self) -> io::Result<usize> {
        let mut parts = 0;
        for entry in fs::read_dir(self.root.path())? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            parts += usize::from(name.starts_with(".upload_id-"));
        }
        Ok(parts)
    }
}

struct Store {
    service: S3Service,
    root: PathBuf,
    /// `s3s-fs` looks whether an object is there and then writes it, in two steps. One request at a
    /// time makes one of them.
    writing: Mutex<()>,
}

impl Store {
    async fn answer(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
    ) -> Result<HttpResponse, io::Error> {
        let (parts, body) = request.into_parts();
        // Whole before anything happens: of a request that breaks off nothing is kept, as in S3.
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let query = parts.uri.query().unwrap_or_default();
        // Where `s3s-fs` answers otherwise than S3.
        if let Some(id) = query.split('&').find_map(|pair| pair.strip_prefix("uploadId="))
            && !self.root.join(format!(".upload-{id}.json")).exists()
        {
            return Ok(missing("NoSuchUpload"));
        }
        let path = parts.uri.path().trim_start_matches('/');
        if !path.split('/').next().is_some_and(|bucket| is_folder(&self.root, bucket)) {
            return Ok(missing("NoSuchBucket"));
        }
        let is_object = path.trim_end_matches('/').contains('/');
        if query.is_empty() && is_object && is_folder(&self.root, path) {
            return Ok(missing("NoSuchKey"));
        }
        let writes = matches!(parts.method.as_str(), "PUT" | "POST" | "DELETE");
        let _turn = if writes { Some(self.writing.lock().await) } else { None };
        let request = hyper::Request::from_parts(parts, Body::from(body));
        self.service.call(request).await.map_err(|error| io::Error::other(format!("{error:?}")))
    }
}

fn is_folder(root: &Path, path: &str) -> bool {
    root.join(path).is_dir()
}

fn missing(code: &str) -> HttpResponse {
    let body = format!("<Error><Code>{code}</Code><Message>not there</Message></Error>");
    let mut response = HttpResponse::new(Body::from(Bytes::from(body)));
    *response.status_mut() = hyper::StatusCode::NOT_FOUND;
    response
}
