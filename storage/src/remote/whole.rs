//! A body read in order from a server that knows no ranges.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::GetOptions;
use tokio::sync::Mutex;

use super::{Remote, Version};
use crate::StorageError;
use crate::retry::{Trouble, persist, within};

/// When the connection breaks, the body is asked for from its start, and what is known of it passed
/// over.
#[derive(Clone)]
pub(crate) struct Whole(Arc<Mutex<State>>, Remote);

struct State {
    version: Arc<Version>,
    /// What was given away ends here.
    position: u64,
    body: Option<Body>,
}

struct Body {
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    position: u64,
}

impl Whole {
    pub fn new(remote: Remote, version: Arc<Version>, position: u64) -> Self {
        Self(Arc::new(Mutex::new(State { version, position, body: None })), remote)
    }

    /// The next bytes; none at the end.
    pub async fn next(&self) -> Result<Bytes, StorageError> {
        let Self(state, remote) = self;
        persist("read", &remote.at, &remote.limits, |_| async {
            let mut state = state.lock().await;
            // Put back only when it was read without trouble.
            let body = state.body.take();
            let mut body = match body {
                Some(body) => body,
                None => {
                    let version = Arc::clone(&state.version);
                    open(remote, &version).await?
                }
            };
            while let Some(bytes) =
                within(remote.limits.stall, async { body.stream.next().await.transpose() }).await?
            {
                let known = state.position - body.position;
                body.position += bytes.len() as u64;
                if body.position > state.position {
                    state.position = body.position;
                    state.body = Some(body);
                    return Ok(bytes.slice(usize::try_from(known).unwrap_or(bytes.len())..));
                }
            }
            let (expected, got) = (state.version.bytes, body.position);
            if got == expected { Ok(Bytes::new()) } else { Err(Trouble::Length { expected, got }) }
        })
        .await
    }
}

async fn open(remote: &Remote, version: &Version) -> Result<Body, Trouble> {
    let got = remote.get(GetOptions::default()).await?;
    if Version::of(&got.meta).differs(version) {
        return Err(Trouble::Changed);
    }
    Ok(Body { stream: got.into_stream(), position: 0 })
}
