//! What the servers of Google's and Microsoft's dialects have in common: requests over HTTP, and
//! objects in memory.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::convert::Infallible;
use std::hash::Hasher;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::Server;
use super::web::bounds;

/// Names in one page of a listing. The stores themselves give thousands.
const PAGE: usize = 100;

pub(super) type Answer = Response<Full<Bytes>>;

/// A request that came whole.
pub(super) struct Request {
    pub method: Method,
    /// Decoded, without the slash before it.
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// The headers whose names begin so, which are kept with an object.
    pub fn metadata(&self, prefix: &str) -> HeaderMap {
        let kept = |(name, _): &(&HeaderName, &HeaderValue)| name.as_str().starts_with(prefix);
        let headers = self.headers.iter().filter(kept);
        headers.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// Answers requests, each after the last byte of its body: of one that breaks off nothing is kept.
fn serve(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> io::Result<Server> {
    let answer = Arc::new(answer);
    Server::start(move |stream| {
        let answer = Arc::clone(&answer);
        async move {
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let answer = Arc::clone(&answer);
                async move {
                    let (parts, body) = request.into_parts();
                    let Ok(body) = body.collect().await else {
                        return Ok::<_, Infallible>(status(StatusCode::BAD_REQUEST));
                    };
                    let query = parts.uri.query().unwrap_or_default().as_bytes();
                    Ok(answer(&Request {
                        method: parts.method,
                        path: decoded(parts.uri.path().trim_start_matches('/')),
                        query: url::form_urlencoded::parse(query).into_owned().collect(),
                        headers: parts.headers,
                        body: body.to_bytes(),
                    }))
                }
            });
            // What a client does to its connection is no matter of the server's.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    })
}

/// Status and code of an error.
pub(super) type Refusal = (StatusCode, &'static str);

/// A store's objects, and how it answers to requests.
pub(super) trait Dialect: Default + Send + 'static {
    fn objects(&mut self) -> &mut Objects;

    fn answer(&mut self, request: &Request) -> Result<Answer, Refusal>;

    fn refusal(refusal: Refusal) -> Answer {
        refused(refusal)
    }
}

/// A server of a store in memory.
pub(super) struct Running<D> {
    server: Server,
    store: Arc<Mutex<D>>,
}

impl<D: Dialect> Running<D> {
    pub fn start() -> io::Result<Self> {
        let store: Arc<Mutex<D>> = Arc::default();
        let kept = Arc::clone(&store);
        let server =
            serve(move |request| locked(&store).answer(request).unwrap_or_else(D::refusal))?;
        Ok(Self { server, store: kept })
    }

    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    pub fn store(&self) -> MutexGuard<'_, D> {
        locked(&self.store)
    }

    pub fn write(&self, key: &str, bytes: &[u8]) {
        self.store().objects().put(key, Bytes::copy_from_slice(bytes), HeaderMap::new());
    }

    pub fn read(&self, key: &str) -> Option<Vec<u8>> {
        Some(self.store().objects().get(key)?.bytes.to_vec())
    }
}

fn locked<D>(store: &Mutex<D>) -> MutexGuard<'_, D> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn refused((status, code): Refusal) -> Answer {
    xml(status, format!("<Error><Code>{code}</Code><Message>Refused.</Message></Error>"))
}

pub(super) fn status(status: StatusCode) -> Answer {
    let mut answer = Response::default();
    *answer.status_mut() = status;
    answer
}

pub(super) fn xml(status_code: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = status(status_code);
    set(&mut answer, header::CONTENT_TYPE, "application/xml");
    *answer.body_mut() = Full::new(body.into());
    answer
}

/// Sets a header; its value must be one.
pub(super) fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        answer.headers_mut().insert(name, value);
    }
}

#[derive(Clone)]
pub(super) struct Object {
    pub bytes: Bytes,
    /// No other object had or will have it.
    pub generation: u64,
    pub metadata: HeaderMap,
    modified: SystemTime,
}

impl Object {
    pub fn modified(&self) -> String {
        httpdate::fmt_http_date(self.modified)
    }

    /// The time of the last change as ISO 8601 has it.
    pub fn modified_iso(&self) -> String {
        const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
        // As in `Sun, 06 Nov 1994 08:49:37 GMT`.
        let text = self.modified();
        let part = |range| text.get(range).unwrap_or_default();
        let month = MONTHS.find(part(8..11)).unwrap_or_default() / 3 + 1;
        format!("{}-{month:02}-{}T{}Z", part(12..16), part(5..7), part(17..25))
    }

    /// The answer to GET or HEAD without the tags of the dialect; None if the range lies beyond the
    /// object's end.
    pub fn answer(&self, method: &Method, range: Option<&str>) -> Option<Answer> {
        let mut answer = status(StatusCode::OK);
        let mut bytes = self.bytes.clone();
        if method == Method::GET
            && let Some(range) = range
        {
            let (first, end) = bounds(range, bytes.len())?;
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {first}-{}/{}", end - 1, bytes.len());
            set(&mut answer, header::CONTENT_RANGE, &range);
            bytes = bytes.slice(first..end);
        }
        set(&mut answer, header::CONTENT_LENGTH, &bytes.len().to_string());
        set(&mut answer, header::LAST_MODIFIED, &self.modified());
        answer.headers_mut().extend(self.metadata.clone());
        if method == Method::GET {
            *answer.body_mut() = Full::new(bytes);
        }
        Some(answer)
    }
}

/// The objects of one bucket.
#[derive(Default)]
pub(super) struct Objects {
    objects: BTreeMap<String, Object>,
    generation: u64,
}

impl Objects {
    pub fn get(&self, key: &str) -> Option<&Object> {
        self.objects.get(key)
    }

    pub fn put(&mut self, key: &str, bytes: Bytes, metadata: HeaderMap) -> &Object {
        let generation = self.next_generation();
        let object = Object { bytes, generation, metadata, modified: SystemTime::now() };
        self.objects.entry(key.to_owned()).insert_entry(object).into_mut()
    }

    /// Whether there was one.
    pub fn delete(&mut self, key: &str) -> bool {
        self.objects.remove(key).is_some()
    }

    pub fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// A page of the names that begin so and come after another, and whether more follow.
    pub fn page(&self, prefix: &str, after: &str) -> (Vec<(&String, &Object)>, bool) {
        let after = (Bound::Excluded(after), Bound::Unbounded);
        let mut all =
            self.objects.range::<str, _>(after).filter(|(key, _)| key.starts_with(prefix));
        let page = all.by_ref().take(PAGE).collect();
        (page, all.next().is_some())
    }
}

/// A word for bytes, the same for the same bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("\"{:016x}\"", hasher.finish())
}

/// A text without `%20` and the like.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        match part.get(..2).map(|hex| u8::from_str_radix(hex, 16)) {
            Some(Ok(byte)) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            _ => bytes.extend_from_slice(format!("%{part}").as_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text as it stands in XML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The texts of all elements of a name that holds no others.
pub(super) fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let after = xml.split(&open as &str).skip(1);
    after.filter_map(|text| Some(text.split_once(&close as &str)?.0)).collect()
}
