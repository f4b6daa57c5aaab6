//! One request: connected, asked and answered, each in its time.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use tokio::time::{Duration, Instant, timeout_at};
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

use crate::fault::Fault;
use crate::options::Options;
use crate::private::Names;

/// How long an unused connection is kept. A crawl meets many hosts once, and a process may have
/// some thousand connections at most.
const KEPT: Duration = Duration::from_secs(1);

/// A client that follows no redirects by itself.
pub(crate) fn client(options: &Options) -> reqwest::Result<Client> {
    let mut fields = HeaderMap::new();
    fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let guarded = !options.private_addresses;
    let mut client = Client::builder()
        .user_agent(&options.user_agent)
        .default_headers(fields)
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(options.connect)
        .connector_layer(Watch)
        .pool_idle_timeout(KEPT)
        .pool_max_idle_per_host(options.per_host)
        .http1_ignore_invalid_headers_in_responses(true)
        // A part of the time for a connection, so that what hangs is told.
        .dns_resolver(Names { guarded, limit: options.connect.mul_f64(0.8) });
    if guarded {
        // Behind a proxy nobody can tell where a name leads.
        client = client.no_proxy();
    }
    client.build()
}

/// Asks for a URL; the answer's body is still to come, and is to be there by `end`.
pub(crate) async fn ask(
    client: &Client,
    url: &Url,
    options: &Options,
    end: Instant,
) -> Result<Response, Fault> {
    let line = Arc::new(Line::default());
    let asked = LINE.scope(Arc::clone(&line), client.get(url.clone()).send());
    let mut asked = pin!(asked);
    let start = Instant::now();
    loop {
        let deadline = line.deadline(start, options).min(end);
        match timeout_at(deadline, &mut asked).await {
            Ok(result) => return result.map_err(|error| Fault::of(&error, options.connect)),
            Err(_) if deadline == end => return Err(Fault::Slow(options.whole)),
            // There is a connection by now.
            Err(_) if line.deadline(start, options) > deadline => {}
            Err(_) => return Err(Fault::Silent(options.answer)),
        }
    }
}

tokio::task_local! {
    /// The connection of the request that this task has under way.
    static LINE: Arc<Line>;
}

/// How far a request's connection is.
#[derive(Debug, Default)]
struct Line(Mutex<Stage>);

#[derive(Debug, Default, Clone, Copy)]
enum Stage {
    /// It has asked for none so far: it may use one that is there.
    #[default]
    None,
    Connecting,
    Since(Instant),
}

impl Line {
    fn set(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// When an answer must have begun, as far as that is known. Connecting has a limit of its own,
    /// in the client.
    fn deadline(&self, start: Instant, options: &Options) -> Instant {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Stage::None => start + options.answer,
            Stage::Connecting => start + options.connect + options.answer,
            Stage::Since(connected) => connected + options.answer,
        }
    }
}

/// Notes when connections are begun and there.
#[derive(Debug, Clone)]
struct Watch;

#[derive(Debug, Clone)]
struct Watched<S>(S);

impl<S> Layer<S> for Watch {
    type Service = Watched<S>;

    fn layer(&self, inner: S) -> Watched<S> {
        Watched(inner)
    }
}

impl<S, R> Service<R> for Watched<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.0.call(request);
        // One that is no longer needed is finished outside of its request.
        let note = |stage| LINE.try_with(|line| line.set(stage)).unwrap_or_default();
        note(Stage::Connecting);
        Box::pin(async move {
            let connected = connecting.await;
            note(Stage::Since(Instant::now()));
            connected
        })
    }
}
