//! The way of a request: `object_store`'s client, and around it a wrapper for each thing that it does
//! not see. A request goes through them from the outermost on, its answer back.

mod answers;
mod azure;
mod lengths;

use std::time::Duration;

use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::{ClientOptions, Error as StoreError};

use answers::Answers;
use azure::Azure;
use lengths::Lengths;

/// How long a connection may take to come about.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// Connects as `object_store` does, and looks at the answers.
#[derive(Debug)]
pub(super) struct Connector {
    /// Nothing is read from private networks.
    pub guarded: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client =
            if self.guarded { guarded()? } else { ReqwestConnector::default().connect(options)? };
        let client = HttpClient::new(Lengths(client));
        let client = HttpClient::new(Azure(client));
        Ok(HttpClient::new(Answers(client)))
    }
}

/// A client for strangers' addresses, which has none of the options.
fn guarded() -> object_store::Result<HttpClient> {
    let client = reqwest::Client::builder().http1_only().connect_timeout(CONNECT);
    match web::guard(client).build() {
        Ok(client) => Ok(HttpClient::new(client)),
        Err(source) => Err(StoreError::Generic { store: "HTTP client", source: source.into() }),
    }
}
