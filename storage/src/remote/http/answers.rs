//! Answers that are errors.

use async_trait::async_trait;
use futures_util::StreamExt;
use http::Method;
use http::header::RANGE;
use object_store::client::{
    HttpClient, HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};

use crate::answer::Answer;

/// Bytes of an answer that are kept; enough for the code and the sentence of an error.
pub(super) const KEPT: usize = 2048;

/// Keeps answers that are errors as values, and takes a whole object in answer to a range for one.
#[derive(Debug)]
pub(super) struct Answers(pub HttpClient);

#[async_trait]
impl HttpService for Answers {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let wants_range = request.headers().contains_key(RANGE);
        // What `object_store` makes of a refusal to these says no more than that it was one.
        let is_plain = is_listing(&request) || request.method() == Method::POST;
        let response = self.0.execute(request).await?;
        match response.status().as_u16() {
            200 if wants_range => Err(Answer::whole(200).into()),
            // `object_store` has errors of its own for these.
            ..300 | 304 | 412 => Ok(response),
            401 | 403 | 404 if !is_plain => Ok(response),
            status => Err(Answer::refusal(status, start_of(response.into_body()).await).into()),
        }
    }
}

/// Whether a request is for a page of a listing.
pub(super) fn is_listing(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.contains("list-type=") || query.contains("comp=list")
}

/// The first bytes of a body, as far as it comes.
pub(super) async fn start_of(body: HttpResponseBody) -> String {
    let mut body = body.bytes_stream();
    let mut start = Vec::new();
    while start.len() < KEPT
        && let Some(Ok(bytes)) = body.next().await
    {
        start.extend_from_slice(&bytes[..bytes.len().min(KEPT - start.len())]);
    }
    String::from_utf8_lossy(&start).into_owned()
}
