//! Why an address could not be had.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

use reqwest::StatusCode;

use crate::private::{Private, Unknown, chain};

/// Why an address could not be had. The text is the same whenever the fault is: it tells neither
/// times that were measured nor how often it was tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Nobody knows the host's name, or can tell.
    #[error("the host's name can't be looked up")]
    NoHost {
        /// Whether it may be known later.
        passes: bool,
    },
    /// Nothing listens there.
    #[error("the host refuses the connection")]
    Refused,
    /// No network leads there.
    #[error("there is no way to the host")]
    Unreachable,
    /// No connection came about in time.
    #[error("no connection to the host within {} s", .0.as_secs_f64())]
    Unconnected(Duration),
    /// The certificate of the server is not one to be trusted.
    #[error("the server's certificate is not trusted")]
    Untrusted,
    /// The server speaks no TLS, or none that is spoken here.
    #[error("no TLS connection can be agreed on with the server")]
    NoTls,
    /// No answer began in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The answer paused for too long.
    #[error("the answer stalled for {} s", .0.as_secs_f64())]
    Stalled(Duration),
    /// The answer took too long.
    #[error("the answer was not whole within {} s", .0.as_secs_f64())]
    Slow(Duration),
    /// The connection was closed or reset early.
    #[error("the connection broke off before the answer was whole")]
    Broken,
    /// What came was no HTTP.
    #[error("the answer is not HTTP")]
    Garbled,
    /// The server answered with an error.
    #[error("the server answered {}{}", .0, reason(*.0))]
    Status(u16),
    /// One address led to another again and again.
    #[error("it is redirected in a circle, or too often")]
    Endless,
    /// It led to something that is no http address.
    #[error("it is redirected to what is no http address")]
    Elsewhere,
    /// It is an address of a private network, or led to one.
    #[error("it leads to {0}")]
    Private(Private),
    /// The server does not want it to be collected.
    #[error("the server forbids it (X-Robots-Tag: {0})")]
    Forbidden(&'static str),
    /// It has more bytes than may be.
    #[error("it has more than {most} bytes")]
    TooLarge {
        /// How many it has, if the server tells.
        bytes: Option<u64>,
        /// How many there may be.
        most: u64,
    },
    /// It is none that can be asked for.
    #[error("it is no address that can be asked for")]
    Unusable,
    /// This machine is at fault, not the address.
    #[error("{0}")]
    Machine(String),
}

/// The usual words for a status.
fn reason(status: u16) -> String {
    let words = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    words.map_or(String::new(), |words| format!(" {words}"))
}

/// What a fault says of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// It can't be reached.
    Gone,
    /// It is reached, but does not answer.
    Mute,
    /// It answers.
    Well,
}

impl Fault {
    /// Whether the same address may be had later.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::NoHost { passes } => *passes,
            Self::Unconnected(_) | Self::Silent(_) | Self::Stalled(_) | Self::Broken => true,
            Self::Status(status) => match status {
                408 | 425 | 429 => true,
                501 | 505 => false,
                status => *status >= 500,
            },
            Self::Machine(_) => true,
            _ => false,
        }
    }

    /// Whether a limit of time ran out.
    pub(crate) fn is_slow(&self) -> bool {
        match self {
            Self::NoHost { passes } => *passes,
            Self::Unconnected(_) | Self::Silent(_) | Self::Stalled(_) => true,
            _ => false,
        }
    }

    pub(crate) fn host(&self) -> Host {
        match self {
            Self::NoHost { .. }
            | Self::Refused
            | Self::Unreachable
            | Self::Unconnected(_)
            | Self::Untrusted
            | Self::NoTls => Host::Gone,
            Self::Silent(_) | Self::Broken | Self::Garbled => Host::Mute,
            _ => Host::Well,
        }
    }

    /// What an error of the client means; `connect` is the limit that it kept.
    pub(crate) fn of(error: &reqwest::Error, connect: Duration) -> Self {
        for cause in chain(error) {
            if let Some(private) = cause.downcast_ref() {
                return Self::Private(*private);
            }
            if let Some(Unknown { passes }) = cause.downcast_ref() {
                return Self::NoHost { passes: *passes };
            }
            match cause.downcast_ref() {
                Some(rustls::Error::InvalidCertificate(_)) => return Self::Untrusted,
                Some(_) => return Self::NoTls,
                None => {}
            }
            if cause.downcast_ref().is_some_and(hyper::Error::is_parse) {
                return Self::Garbled;
            }
            if let Some(fault) = cause.downcast_ref().and_then(|error| Self::of_io(error, connect))
            {
                return fault;
            }
        }
        match error {
            error if error.is_timeout() => Self::Unconnected(connect),
            error if error.is_builder() => Self::Unusable,
            _ => Self::Broken,
        }
    }

    /// What the system said of a socket; none where another error behind it says more.
    fn of_io(error: &io::Error, connect: Duration) -> Option<Self> {
        Some(match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut => Self::Unconnected(connect),
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::NotConnected => Self::Broken,
            _ if error.get_ref().is_some() => return None,
            ErrorKind::AddrNotAvailable | ErrorKind::OutOfMemory => {
                Self::Machine(error.to_string())
            }
            _ if is_full(error) => Self::Machine(error.to_string()),
            // No network, no route, a firewall.
            _ => Self::Unreachable,
        })
    }
}

/// Whether this machine has no more sockets or memory for them, by the numbers of Linux: `ENFILE`,
/// `EMFILE`, `ENOBUFS`.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    cfg!(unix) && matches!(error, Some(23 | 24 | 105))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_not_change_is_not_tried_again() {
        for status in [400, 401, 403, 404, 410, 451, 501, 505] {
            assert!(!Fault::Status(status).passes(), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 520] {
            assert!(Fault::Status(status).passes(), "{status}");
        }
        assert!(!Fault::Refused.passes() && !Fault::Untrusted.passes());
        assert!(!Fault::NoHost { passes: false }.passes() && !Fault::Endless.passes());
    }

    #[test]
    fn a_status_is_told_in_the_usual_words_whatever_the_server_called_it() {
        assert_eq!(Fault::Status(404).to_string(), "the server answered 404 Not Found");
        assert_eq!(Fault::Status(599).to_string(), "the server answered 599");
    }
}
