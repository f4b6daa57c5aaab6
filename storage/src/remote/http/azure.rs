//! Answers that Azure gives in a way of its own.

use async_trait::async_trait;
use http::StatusCode;
use object_store::client::{HttpClient, HttpError, HttpRequest, HttpResponse, HttpService};

use super::answers::{KEPT, start_of};
use crate::answer::Answer;

/// Makes of Azure's answers those that other stores give.
#[derive(Debug)]
pub(super) struct Azure(pub HttpClient);

#[async_trait]
impl HttpService for Azure {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_batch = request.uri().query().is_some_and(|query| query.contains("comp=batch"));
        let response = self.0.execute(request).await?;
        match response.status() {
            StatusCode::ACCEPTED if is_batch => {
                let (head, body) = response.into_parts();
                let body = body.bytes().await?;
                match refused_in_batch(&String::from_utf8_lossy(&body)) {
                    Some(refused) => Err(refused.into()),
                    None => Ok(HttpResponse::from_parts(head, body.into())),
                }
            }
            StatusCode::CONFLICT => {
                let (mut head, body) = response.into_parts();
                let body = start_of(body).await;
                if body.contains("BlobAlreadyExists") {
                    // What others answer with 412.
                    head.status = StatusCode::PRECONDITION_FAILED;
                }
                Ok(HttpResponse::from_parts(head, body.into()))
            }
            _ => Ok(response),
        }
    }
}

/// Azure deletes in batches, each of which this crate makes of one request. The answer to it, if it
/// is a refusal, has a status of its own within the batch's answer; `object_store` makes a text of it.
fn refused_in_batch(body: &str) -> Option<Answer> {
    let (_, answer) = body.split_once("HTTP/1.1 ")?;
    let status = answer.split(' ').next()?.parse().ok()?;
    // Of what is not there `object_store` has an error of its own.
    let refused = status >= 300 && status != 404;
    refused.then(|| Answer::refusal(status, answer.chars().take(KEPT).collect::<String>()))
}
