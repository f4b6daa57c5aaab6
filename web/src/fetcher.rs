//! Addresses → their bodies, many at once.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use crate::MOST_REDIRECTS;
use crate::ask::{ask, client};
use crate::fault::Fault;
use crate::host::{Hosts, Slot};
use crate::options::Options;
use crate::private::check;
use crate::robots::Agents;

/// Two threads move bytes; everything else is waiting.
const THREADS: usize = 2;
/// How often a download that waits for room looks whether there is some.
const LOOK: Duration = Duration::from_millis(20);

/// The field in which servers tell what may be done with an answer.
const ROBOTS_TAG: &str = "x-robots-tag";

/// What one address gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The body as it came.
    pub body: Bytes,
    /// The codings that are to be undone (`Content-Encoding`); empty if there are none. None was
    /// asked for, but some servers apply one all the same.
    pub codings: String,
}

/// Room in memory for one body. What does not fit waits, but for the download that is waited for.
pub trait Room: Send + 'static {
    /// Makes room for so many bytes in all, if that can be done at once.
    fn grow(&mut self, bytes: u64) -> bool;
}

/// Why nothing can be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The threads behind the requests can't be started.
    #[error("the threads for downloads can't be started")]
    Threads(#[source] io::Error),
    /// The client can't be made, of the certificates that are trusted or the name to tell servers.
    #[error("downloads can't be prepared")]
    Client(#[source] reqwest::Error),
}

/// Fetches addresses, on threads of its own. Clones are cheap, and share what is known of hosts.
#[derive(Debug, Clone)]
pub struct Fetcher(Arc<Running>);

#[derive(Debug)]
struct Running {
    work: Arc<Work>,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

/// What downloads share.
#[derive(Debug)]
struct Work {
    client: Client,
    options: Options,
    most: u64,
    agents: Agents,
    hosts: Hosts,
    /// Requests that may be begun.
    free: Semaphore,
}

impl Fetcher {
    /// A fetcher of bodies of at most so many bytes.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(options: Options, most: u64) -> Result<Self, StartError> {
        // Several libraries may bring a provider; the first that a program installs stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("web")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let client = {
            let _runtime = runtime.enter();
            client(&options).map_err(StartError::Client)?
        };
        let work = Work {
            client,
            most,
            agents: Agents::of(&options.user_agent),
            hosts: Hosts::new(&options),
            free: Semaphore::new(options.at_once.clamp(1, Semaphore::MAX_PERMITS)),
            options,
        };
        Ok(Self(Arc::new(Running { work: Arc::new(work), runtime: Some(runtime) })))
    }

    /// Begins to fetch an address. Those that were begun first are asked first.
    pub fn fetch<R: Room>(&self, url: &Url, mut room: R) -> Download<R> {
        let (sender, result) = mpsc::sync_channel(1);
        let wanted = Arc::new(AtomicBool::new(false));
        let get = Get { work: Arc::clone(&self.0.work), wanted: Arc::clone(&wanted) };
        let url = url.clone();
        let task = self.0.runtime.as_ref().map(|runtime| {
            runtime.spawn(async move {
                let got = get.get(&url, &mut room).await;
                // Nobody waits any more if this fails.
                let _ = sender.send((got, room));
            })
        });
        let task = task.map(|task| task.abort_handle());
        Download { result, wanted, task, _fetcher: self.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An address on its way; given up when it is dropped.
#[derive(Debug)]
pub struct Download<R> {
    result: mpsc::Receiver<(Result<Page, Fault>, R)>,
    wanted: Arc<AtomicBool>,
    task: Option<AbortHandle>,
    /// Works for as long as somebody waits.
    _fetcher: Fetcher,
}

impl<R> Download<R> {
    /// What came of it, and the room that it takes.
    pub fn wait(self) -> (Result<Page, Fault>, Option<R>) {
        self.wanted.store(true, Ordering::Relaxed);
        match self.result.recv() {
            Ok((got, room)) => (got, Some(room)),
            Err(_) => (Err(Fault::Machine("a thread for downloads panicked".into())), None),
        }
    }
}

impl<R> Drop for Download<R> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// One download.
struct Get {
    work: Arc<Work>,
    /// Somebody waits for it, who can't go on without: it need not wait for room.
    wanted: Arc<AtomicBool>,
}

/// Why one try ended.
enum End {
    /// A host was asked in vain, and may be asked again with this slot.
    Failed { slot: Slot, fault: Fault, after: Option<Duration> },
    /// It was not asked.
    Left(Fault),
    /// There is no room for so many bytes.
    NoRoom(u64),
}

/// Why an answer gave no page, and for how long its host asks to be left alone.
struct Refusal {
    fault: Fault,
    after: Option<Duration>,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { fault, after: None }
    }
}

/// What an answer gave.
enum Answer {
    Page(Page),
    /// It is to be asked for elsewhere.
    Next(Url),
    NoRoom(u64),
}

impl Get {
    async fn get(&self, url: &Url, room: &mut impl Room) -> Result<Page, Fault> {
        let options = &self.work.options;
        let (mut left, mut wait) = (options.retries, options.first_wait);
        let mut kept = None;
        loop {
            // In a box of its own: most downloads have not begun.
            let (slot, fault, after) = match Box::pin(self.attempt(url, kept.take(), room)).await {
                Ok(page) => {
                    if left < options.retries {
                        self.work.hosts.of(url).retried(true);
                    }
                    return Ok(page);
                }
                Err(End::Left(fault)) => return Err(fault),
                Err(End::NoRoom(bytes)) => {
                    while !self.wanted.load(Ordering::Relaxed) && !room.grow(bytes) {
                        sleep(LOOK).await;
                    }
                    continue;
                }
                Err(End::Failed { slot, fault, after }) => (slot, fault, after),
            };
            let host = &slot.host;
            if after.is_some_and(|after| after > options.longest_wait) {
                host.is_busy(&fault);
                return Err(fault);
            }
            if let Some(after) = after {
                host.pause(after);
            }
            let cost = if fault.is_slow() { 2 } else { 1 };
            if !fault.passes() || left < cost || !host.is_worth_a_retry() {
                if left < options.retries {
                    host.retried(false);
                }
                host.failed(&fault);
                return Err(fault);
            }
            left -= cost;
            // Its host is not asked for others in its place, or it would come after all of them.
            kept = Some(slot);
            sleep(wait.mul_f64(rand::random_range(0.5..1.5)).max(after.unwrap_or_default())).await;
            wait *= 2;
        }
    }

    /// Asks once, and follows redirects. Nothing is held while a slot is waited for, or two
    /// downloads may wait for each other.
    async fn attempt(
        &self,
        url: &Url,
        mut kept: Option<Slot>,
        room: &mut impl Room,
    ) -> Result<Page, End> {
        let Work { options, hosts, free, .. } = &*self.work;
        let mut url = url.clone();
        let mut seen = HashSet::new();
        loop {
            if !options.private_addresses {
                check(&url).map_err(|kind| End::Left(Fault::Private(kind)))?;
            }
            let host = hosts.of(&url);
            let slot = match kept.take() {
                Some(slot) if Arc::ptr_eq(&slot.host, &host) => slot.ready().await,
                other => {
                    drop(other);
                    host.enter().await
                }
            };
            let slot = slot.map_err(End::Left)?;
            let free = free.acquire().await;
            let free = free.map_err(|error| End::Left(Fault::Machine(error.to_string())))?;
            let answer = self.answer(&slot, &url, room).await;
            drop(free);
            let Refusal { fault, after } = match answer {
                Ok(Answer::Page(page)) => return Ok(page),
                Ok(Answer::NoRoom(bytes)) => return Err(End::NoRoom(bytes)),
                Ok(Answer::Next(next)) => {
                    seen.insert(url);
                    if !seen.contains(&next) && seen.len() <= MOST_REDIRECTS {
                        url = next;
                        continue;
                    }
                    Refusal::from(Fault::Endless)
                }
                Err(refusal) => refusal,
            };
            return Err(End::Failed { slot, fault, after });
        }
    }

    /// Asks a host.
    async fn answer(
        &self,
        slot: &Slot,
        url: &Url,
        room: &mut impl Room,
    ) -> Result<Answer, Refusal> {
        let Work { client, options, .. } = &*self.work;
        let end = Instant::now() + options.whole;
        let answer = ask(client, url, options, end).await?;
        let status = answer.status();
        slot.host.answered(status.as_u16());
        if status.is_redirection() {
            return Ok(Answer::Next(next(url, &answer)?));
        }
        if status.is_success() {
            return self.page(answer, end, room).await.map_err(Refusal::from);
        }
        let fault = Fault::Status(status.as_u16());
        Err(Refusal { fault, after: retry_after(&answer) })
    }

    async fn page(
        &self,
        mut answer: Response,
        end: Instant,
        room: &mut impl Room,
    ) -> Result<Answer, Fault> {
        let Work { options, most, agents, .. } = &*self.work;
        let most = *most;
        let fields = |name| answer.headers().get_all(name).iter();
        let text = |field: &reqwest::header::HeaderValue| {
            String::from_utf8_lossy(field.as_bytes()).into_owned()
        };
        if !options.ignore_robots_tag
            && let Some(directive) =
                fields(ROBOTS_TAG).find_map(|field| agents.forbidden(&text(field)))
        {
            return Err(Fault::Forbidden(directive));
        }
        let codings: Vec<_> = fields(CONTENT_ENCODING.as_str()).map(text).collect();
        let told = answer.content_length();
        if told.is_some_and(|bytes| bytes > most) {
            return Err(Fault::TooLarge { bytes: told, most });
        }

        let mut fits = |bytes| room.grow(bytes) || self.wanted.load(Ordering::Relaxed);
        let mut covered = told.unwrap_or(0);
        if !fits(covered) {
            return Ok(Answer::NoRoom(covered));
        }
        let mut body = Vec::with_capacity(usize::try_from(covered).unwrap_or_default());
        loop {
            let stall = Instant::now() + options.stall;
            let part = match timeout_at(stall.min(end), answer.chunk()).await {
                Ok(part) => part.map_err(|error| match Fault::of(&error, options.connect) {
                    Fault::Garbled => Fault::Garbled,
                    _ => Fault::Broken,
                })?,
                Err(_) if stall < end => return Err(Fault::Stalled(options.stall)),
                Err(_) => return Err(Fault::Slow(options.whole)),
            };
            let Some(part) = part else { break };
            let bytes = (body.len() + part.len()) as u64;
            if bytes > most {
                return Err(Fault::TooLarge { bytes: None, most });
            }
            if bytes > covered {
                covered = bytes.max(covered.saturating_mul(2)).min(most);
                if !fits(covered) {
                    return Ok(Answer::NoRoom(covered));
                }
            }
            body.extend_from_slice(&part);
        }
        body.shrink_to_fit();
        Ok(Answer::Page(Page { body: body.into(), codings: codings.join(",") }))
    }
}

/// Where a redirect leads. Credentials in an address are for its own host.
fn next(url: &Url, answer: &Response) -> Result<Url, Fault> {
    let status = Fault::Status(answer.status().as_u16());
    let to = answer.headers().get(LOCATION).ok_or(status)?;
    let to = String::from_utf8_lossy(to.as_bytes());
    let mut next = url.join(&to).map_err(|_| Fault::Elsewhere)?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(Fault::Elsewhere);
    }
    if next.origin() != url.origin() {
        // Both can fail only for URLs that have no host.
        let _ = next.set_username("");
        let _ = next.set_password(None);
    }
    next.set_fragment(None);
    Ok(next)
}

/// For how long a server asks to be left alone: seconds, or the time until a date.
fn retry_after(answer: &Response) -> Option<Duration> {
    let field = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = field.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(field).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}
