//! What a server answered when it did not do as asked. `object_store` makes texts of most answers;
//! this layer below it keeps them as values, so that they can be told apart.

use std::error::Error;

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::StreamExt;
use http::header::{CONTENT_LENGTH, RANGE};
use http::{Method, StatusCode};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{ClientOptions, Error as StoreError};

use super::connect::CONNECT;
use crate::error::chain;

/// An answer that is an error.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server answered {status}{}{}{body}",
    if *whole { " with the whole object in place of a range" } else { "" },
    if body.is_empty() { "" } else { ": " }
)]
pub(crate) struct Answer {
    status: u16,
    /// Its first bytes.
    body: String,
    /// A whole object in answer to a request for a range.
    whole: bool,
}

/// Bytes of an answer that are kept; enough for the code and the sentence of an error.
const KEPT: usize = 2048;

/// Bytes that are read of an object whose length is not told; a picture has fewer.
const UNTOLD: usize = 64 << 20;

impl Answer {
    /// The answer that a library's error came from.
    pub fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        chain(error).find_map(|error| error.downcast_ref())
    }

    /// Whether the same request may be answered otherwise later.
    pub fn passes(&self) -> bool {
        // S3's codes for a request that was cut short or garbled on its way.
        const GARBLED: [&str; 4] =
            ["RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"];
        // Azure's for a state that only its user ends; its other conflicts pass, as those of S3 do.
        const LASTING: [&str; 3] =
            ["BlobArchived", "BlobBeingRehydrated", "BlobImmutableDueToPolicy"];
        let says = |codes: &[&str]| codes.iter().any(|code| self.body.contains(code));
        match self.status {
            400 => says(&GARBLED),
            409 => !says(&LASTING),
            408 | 425 | 429 => true,
            501 | 505 => false,
            status => status >= 500,
        }
    }

    /// Whether nothing is there.
    pub fn is_missing(&self) -> bool {
        self.status == 404
    }

    /// Whether the parts of an upload are not there, or no more. Azure says so of its blocks.
    pub fn is_upload_missing(&self) -> bool {
        self.status == 400 && self.body.contains("InvalidBlockList")
    }

    /// Whether the user may not do that.
    pub fn is_denied(&self) -> bool {
        matches!(self.status, 401 | 403)
    }

    /// Whether an error comes from a server that knows no ranges.
    pub fn is_whole(error: &(dyn Error + 'static)) -> bool {
        Self::behind(error).is_some_and(|answer| answer.whole)
    }

    /// Whether an error says that the object ends before the range.
    pub fn is_beyond(error: &(dyn Error + 'static)) -> bool {
        Self::behind(error).is_some_and(|answer| answer.status == 416)
    }

    /// Whether the server knows no such method here, or it tells nothing.
    pub fn is_method_unknown(&self) -> bool {
        matches!(self.status, 405 | 501)
    }

    /// In the place of an answer to HEAD that does not tell the length.
    fn no_length() -> Self {
        Self { status: 501, body: "no Content-Length".to_owned(), whole: false }
    }
}

/// Connects as `object_store` does, and looks at the answers.
#[derive(Debug)]
pub(crate) struct Connector {
    /// Nothing is read from private networks.
    pub guarded: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = if self.guarded {
            let client = reqwest::Client::builder().http1_only().connect_timeout(CONNECT);
            let client = web::guard(client).build();
            HttpClient::new(client.map_err(|source| StoreError::Generic {
                store: "HTTP client",
                source: Box::new(source),
            })?)
        } else {
            ReqwestConnector::default().connect(options)?
        };
        Ok(HttpClient::new(Watched { client }))
    }
}

#[derive(Debug)]
struct Watched {
    client: HttpClient,
}

#[async_trait]
impl HttpService for Watched {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let wants_range = request.headers().contains_key(RANGE);
        let query = request.uri().query().unwrap_or_default();
        let lists = query.contains("list-type=") || query.contains("comp=list");
        // What `object_store` makes of a refusal to these says no more than that it was one.
        let is_plain = lists || request.method() == Method::POST;
        let is_batch = query.contains("comp=batch");
        let method = request.method().clone();
        let mut response = self.client.execute(request).await?;
        let status = response.status().as_u16();
        if status == 200 && !lists && !response.headers().contains_key(CONTENT_LENGTH) {
            if method == Method::HEAD {
                return Err(HttpError::new(HttpErrorKind::Unknown, Answer::no_length()));
            }
            // A whole object in answer to a range is of no use, see below.
            if method == Method::GET && !wants_range {
                response = with_length(response).await?;
            }
        }
        let whole = status == 200 && wants_range;
        if is_batch && status == 202 {
            let (head, body) = response.into_parts();
            let body = body.bytes().await?;
            if let Some(refused) = refused_in_batch(&String::from_utf8_lossy(&body)) {
                return Err(HttpError::new(HttpErrorKind::Unknown, refused));
            }
            response = HttpResponse::from_parts(head, body.into());
        }
        // `object_store` has errors of its own for these.
        let named = matches!(status, 304 | 412) || (matches!(status, 401 | 403 | 404) && !is_plain);
        if named || (status < 300 && !whole) {
            return Ok(response);
        }
        let body = if whole { String::new() } else { start_of(response).await };
        if status == 409 && body.contains("BlobAlreadyExists") {
            // What others answer with 412.
            let mut response = HttpResponse::new(body.into());
            *response.status_mut() = StatusCode::PRECONDITION_FAILED;
            return Ok(response);
        }
        Err(HttpError::new(HttpErrorKind::Unknown, Answer { status, body, whole }))
    }
}

/// Azure deletes in batches, each of which this crate makes of one request. The answer to it, if it
/// is a refusal, has a status of its own within the batch's answer; `object_store` makes a text of it.
fn refused_in_batch(body: &str) -> Option<Answer> {
    let (_, answer) = body.split_once("HTTP/1.1 ")?;
    let status = answer.split(' ').next()?.parse().ok()?;
    // Of what is not there `object_store` has an error of its own.
    let refused = status >= 300 && status != 404;
    let body = answer.chars().take(KEPT).collect();
    refused.then_some(Answer { status, body, whole: false })
}

/// A body that comes in pieces of which the sum is not told, read to its end.
async fn with_length(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (mut head, body) = response.into_parts();
    let mut body = body.bytes_stream();
    let mut whole = BytesMut::new();
    while let Some(part) = body.next().await {
        whole.extend_from_slice(&part?);
        if whole.len() > UNTOLD {
            let body = format!("no Content-Length, and more than {UNTOLD} bytes");
            let answer = Answer { status: 501, body, whole: false };
            return Err(HttpError::new(HttpErrorKind::Unknown, answer));
        }
    }
    head.headers.insert(CONTENT_LENGTH, whole.len().into());
    Ok(HttpResponse::from_parts(head, whole.freeze().into()))
}

async fn start_of(response: HttpResponse) -> String {
    let mut body = response.into_body().bytes_stream();
    let mut start = Vec::new();
    while start.len() < KEPT
        && let Some(Ok(bytes)) = body.next().await
    {
        start.extend_from_slice(&bytes[..bytes.len().min(KEPT - start.len())]);
    }
    String::from_utf8_lossy(&start).into_owned()
}
