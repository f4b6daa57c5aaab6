//! A web server over a folder.

use std::convert::Infallible;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, RANGE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::Server;

/// What a [`WebServer`] leaves out, as some do.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebServerOptions {
    /// Answers with the whole file to a request for a range.
    pub no_ranges: bool,
    /// Knows no HEAD.
    pub no_head: bool,
    /// Gives no ETag, only the time of the last change.
    pub no_etag: bool,
    /// Gives neither with a range.
    pub bare_ranges: bool,
    /// Calls the ETag of a HEAD weak, as where the body may be compressed.
    pub weak_head: bool,
    /// Tells no length, as where the body is made while it is sent.
    pub no_length: bool,
}

/// Serves the files of a folder.
pub struct WebServer(Server);

impl WebServer {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub fn start(folder: &Path, options: WebServerOptions) -> io::Result<Self> {
        let folder: Arc<Path> = Arc::from(folder);
        Ok(Self(Server::start(move |stream| {
            let folder = Arc::clone(&folder);
            async move {
                let answer = service_fn(move |request| {
                    let response = answer(&folder, options, &request);
                    let untold = options.no_length && response.status() == StatusCode::OK;
                    let response =
                        if untold { in_pieces(response) } else { response.map(BodyExt::boxed) };
                    async move { Ok::<_, Infallible>(response) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            }
        })?))
    }

    /// The URL of the folder.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.0.endpoint()
    }
}

fn answer(
    folder: &Path,
    options: WebServerOptions,
    request: &hyper::Request<Incoming>,
) -> Response<Full<Bytes>> {
    let head = request.method() == Method::HEAD;
    if request.method() != Method::GET && (options.no_head || !head) {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let path = PathBuf::from(request.uri().path().trim_start_matches('/'));
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return status(StatusCode::NOT_FOUND);
    }
    let path = folder.join(path);
    let Ok(bytes) = std::fs::read(&path).map(Bytes::from) else {
        return status(StatusCode::NOT_FOUND);
    };
    let mut response = Response::new(Full::new(Bytes::new()));
    let sum = bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    let weak = if head && options.weak_head { "W/" } else { "" };
    if !options.no_etag
        && let Ok(tag) = format!("{weak}\"{}-{sum}\"", bytes.len()).parse()
    {
        response.headers_mut().insert(ETAG, tag);
    }
    if let Ok(modified) = std::fs::metadata(&path).and_then(|about| about.modified())
        && let Ok(modified) = httpdate::fmt_http_date(modified).parse()
    {
        response.headers_mut().insert(LAST_MODIFIED, modified);
    }
    let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok());
    let range = range.filter(|_| !options.no_ranges && !head);
    let bytes = match range.map(|range| bounds(range, bytes.len())) {
        None => bytes,
        Some(None) => return status(StatusCode::RANGE_NOT_SATISFIABLE),
        Some(Some((first, end))) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            if let Ok(range) = format!("bytes {first}-{}/{}", end - 1, bytes.len()).parse() {
                response.headers_mut().insert(CONTENT_RANGE, range);
            }
            if options.bare_ranges {
                response.headers_mut().remove(ETAG);
                response.headers_mut().remove(LAST_MODIFIED);
            }
            bytes.slice(first..end)
        }
    };
    response.headers_mut().insert(CONTENT_LENGTH, bytes.len().into());
    if !head {
        *response.body_mut() = Full::new(bytes);
    }
    response
}

/// The same answer without its length.
fn in_pieces(response: Response<Full<Bytes>>) -> Response<BoxBody<Bytes, Infallible>> {
    let (mut head, body) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    let body = StreamBody::new(body.into_data_stream().map_ok(Frame::data));
    Response::from_parts(head, BodyExt::boxed(body))
}

/// From `bytes=a-b`.
pub(super) fn bounds(range: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.parse().ok()?;
    let end = last.parse().map_or(size, |last: usize| size.min(last.saturating_add(1)));
    (first < end).then_some((first, end))
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}
