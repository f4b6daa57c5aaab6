//! The one place where requests are made anew. `object_store` is told to retry nothing: by itself
//! it does not make conditional puts anew after a lost connection, nor bodies without an ETag, nor
//! answers of the wrong length, and sees no stall but by a limit on the whole request.

use std::error::Error;
use std::future::Future;
use std::ops::Range;
use std::time::{Duration, Instant};

use object_store::Error as StoreError;

use crate::answer::Answer;
use crate::error::chain;
use crate::options::Limits;
use crate::{Address, StorageError};

const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// From this attempt on the user is told.
const WORTH_A_NOTICE: u32 = 4;

/// How often a machine's own metadata service is asked for credentials. Where none are set, that is
/// the last place to look, and most machines have no such service.
const CREDENTIALS: u32 = 3;

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no sign of life for {} s", .0.as_secs_f64())]
    Stalled(Duration),
    #[error("{got} bytes came where {expected} were asked for")]
    Length { expected: u64, got: u64 },
    #[error("the object is not the one that it was")]
    Changed,
    #[error("the object has {bytes} bytes")]
    Beyond { bytes: u64, range: Range<u64> },
    #[error("{0}")]
    Unclear(&'static str),
}

impl Trouble {
    /// Whether the same request may succeed later.
    fn passes(&self) -> bool {
        match self {
            Self::Stalled(_) | Self::Length { .. } | Self::Unclear(_) => true,
            Self::Changed | Self::Beyond { .. } => false,
            // An answer of which nothing is known was cut short or garbled.
            Self::Store(error @ StoreError::Generic { .. }) => {
                self.answer().is_none_or(Answer::passes)
                    && !is_untrusted(error)
                    && web::Private::behind(error).is_none()
                    && !is_endless(error)
            }
            Self::Store(_) => false,
        }
    }

    /// Whether nothing is there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Store(StoreError::NotFound { .. }))
            || self.answer().is_some_and(Answer::is_missing)
    }

    /// Whether an upload is not there, or no more.
    pub fn is_upload_missing(&self) -> bool {
        self.is_missing() || self.answer().is_some_and(Answer::is_upload_missing)
    }

    /// Whether the user may not do that.
    fn is_denied(&self) -> bool {
        use StoreError::{PermissionDenied, Unauthenticated};
        matches!(self, Self::Store(PermissionDenied { .. } | Unauthenticated { .. }))
            || self.answer().is_some_and(Answer::is_denied)
    }

    /// The server's answer, where `object_store` made no error of its own of it.
    fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Store(error @ StoreError::Generic { .. }) => Answer::behind(error),
            _ => None,
        }
    }

    /// Whether it is about credentials from a machine's metadata service.
    fn is_no_credentials(&self) -> bool {
        const SERVICES: [&str; 4] =
            ["/latest/api/token", "/latest/meta-data/", "/computeMetadata/", "/metadata/identity/"];
        let text = self.to_string();
        SERVICES.iter().any(|service| text.contains(service))
    }

    fn into_error(self, action: &'static str, at: &Address) -> StorageError {
        let address = at.to_string();
        if let Some(source) = web::Private::behind(&self) {
            return StorageError::Private { action, address, source };
        }
        match self {
            Self::Changed => StorageError::Changed { address },
            Self::Beyond { bytes, range } => StorageError::Beyond { address, bytes, range },
            Self::Store(source) if is_untrusted(&source) => {
                StorageError::Untrusted { action, address, source: source.into() }
            }
            other if other.is_missing() => {
                StorageError::Missing { action, address, source: other.into() }
            }
            other if other.is_denied() => {
                StorageError::Denied { action, address, source: other.into() }
            }
            other => StorageError::Refused { action, address, source: other.into() },
        }
    }
}

/// Whether the server's certificate was not accepted; it will not be the next time.
fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    chain(error)
        .any(|error| matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))))
}

/// Whether one address led to another again and again.
fn is_endless(error: &(dyn Error + 'static)) -> bool {
    chain(error)
        .any(|error| error.downcast_ref().is_some_and(|error: &reqwest::Error| error.is_redirect()))
}

/// What an error says, with what was the cause of all if it does not say it.
fn with_first_cause(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    match chain(error).last().map(ToString::to_string) {
        Some(first) if !text.contains(&first) => format!("{text}: {first}"),
        _ => text,
    }
}

/// Makes a request until it succeeds, fails for good, or time is up. The number of the attempt, from
/// 1, tells the request whether an earlier one may have had its effect unseen.
pub(crate) async fn persist<T, F>(
    action: &'static str,
    at: &Address,
    limits: &Limits,
    mut attempt: impl FnMut(u32) -> F,
) -> Result<T, StorageError>
where
    F: Future<Output = Result<T, Trouble>>,
{
    let start = Instant::now();
    let mut number = 1;
    loop {
        let trouble = match attempt(number).await {
            Ok(value) => return Ok(value),
            Err(trouble) if !trouble.passes() => return Err(trouble.into_error(action, at)),
            Err(trouble) if number >= CREDENTIALS && trouble.is_no_credentials() => {
                let (address, source) = (at.to_string(), trouble.into());
                return Err(StorageError::NoCredentials { action, address, source });
            }
            Err(trouble) => trouble,
        };
        let wait = wait_after(number, limits.first_wait);
        let took = start.elapsed();
        if took + wait > limits.retry_for {
            return Err(StorageError::GaveUp {
                action,
                address: at.to_string(),
                attempts: number,
                took,
                source: trouble.into(),
            });
        }
        if number == WORTH_A_NOTICE
            && let Some(notice) = &limits.notice
        {
            notice.tell(&format!(
                "can't {action} {at} yet ({}); trying for another {} s",
                with_first_cause(&trouble),
                (limits.retry_for - took).as_secs()
            ));
        }
        tokio::time::sleep(wait).await;
        number += 1;
    }
}

/// Doubles from attempt to attempt, and is drawn from half to one and a half of that, so that many
/// that failed together don't come back together.
fn wait_after(number: u32, first: Duration) -> Duration {
    let mean = first.saturating_mul(1 << (number - 1).min(16)).min(LONGEST_WAIT);
    mean.mul_f64(rand::random_range(0.5..1.5))
}

/// Gives a step of a request its time.
pub(crate) async fn within<T, E: Into<Trouble>>(
    limit: Duration,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(limit, step).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Trouble::Stalled(limit)),
    }
}
