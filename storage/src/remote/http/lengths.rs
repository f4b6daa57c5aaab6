//! Bodies of which the length is not told.

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::StreamExt;
use http::Method;
use http::header::{CONTENT_LENGTH, RANGE};
use object_store::client::{HttpClient, HttpError, HttpRequest, HttpResponse, HttpService};

use super::answers::is_listing;
use crate::answer::Answer;

/// Bytes that are read of an object whose length is not told; a picture has fewer.
const UNTOLD: usize = 64 << 20;

/// Reads an object whose length is not told to its end, so that it can be told. `object_store` takes
/// none without.
#[derive(Debug)]
pub(super) struct Lengths(pub HttpClient);

#[async_trait]
impl HttpService for Lengths {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let method = request.method().clone();
        // A whole object in answer to a range is of no use.
        let wants_whole = method == Method::GET && !request.headers().contains_key(RANGE);
        let lists = is_listing(&request);
        let response = self.0.execute(request).await?;
        if response.status() != 200 || lists || response.headers().contains_key(CONTENT_LENGTH) {
            return Ok(response);
        }
        match method {
            Method::HEAD => Err(Answer::refusal(501, "no Content-Length").into()),
            _ if wants_whole => with_length(response).await,
            _ => Ok(response),
        }
    }
}

/// A body that comes in pieces of which the sum is not told, read to its end.
async fn with_length(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (mut head, body) = response.into_parts();
    let mut body = body.bytes_stream();
    let mut whole = BytesMut::new();
    while let Some(part) = body.next().await {
        whole.extend_from_slice(&part?);
        if whole.len() > UNTOLD {
            let problem = format!("no Content-Length, and more than {UNTOLD} bytes");
            return Err(Answer::refusal(501, problem).into());
        }
    }
    head.headers.insert(CONTENT_LENGTH, whole.len().into());
    Ok(HttpResponse::from_parts(head, whole.freeze().into()))
}
