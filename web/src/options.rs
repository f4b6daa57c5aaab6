//! What a [`Fetcher`](crate::Fetcher) is told once.

use std::time::Duration;

use reqwest::header::HeaderValue;

/// How addresses of strangers are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Who asks, as servers are told: a name and a version, and where more can be learnt.
    pub user_agent: String,
    /// How long a connection may take, the look-up of the name and TLS among it.
    pub connect: Duration,
    /// How long an answer may take to begin, once there is a connection.
    pub answer: Duration,
    /// How long an answer may pause.
    pub stall: Duration,
    /// How long one answer may take from the request to its end.
    pub whole: Duration,
    /// How often an address is tried again where that may help. A try that ran out of time counts
    /// as two.
    pub retries: u32,
    /// The mean of the wait before the first retry; it doubles from one to the next.
    pub first_wait: Duration,
    /// The longest wait that a server may ask for (`Retry-After`); an address of which it asks for
    /// more is given up.
    pub longest_wait: Duration,
    /// Requests at once, at most.
    pub at_once: usize,
    /// Requests at once to one host, at most.
    pub per_host: usize,
    /// After how many failed addresses in a row a host is left alone, or tried again no more.
    pub host_failures: u32,
    /// For how long.
    pub host_rest: Duration,
    /// What a server's `X-Robots-Tag` forbids is fetched all the same.
    pub ignore_robots_tag: bool,
    /// Addresses of private networks are fetched, too, and the environment's proxies used.
    pub private_addresses: bool,
}

impl Options {
    /// The defaults, for a client that tells servers this name.
    pub fn new(user_agent: impl Into<String>) -> Self {
        Self {
            user_agent: user_agent.into(),
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(5),
            stall: Duration::from_secs(5),
            whole: Duration::from_secs(60),
            retries: 2,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(60),
            at_once: 256,
            per_host: 6,
            host_failures: 5,
            host_rest: Duration::from_secs(30),
            ignore_robots_tag: false,
            private_addresses: false,
        }
    }

    /// Whether servers can be told this name.
    #[must_use]
    pub fn can_tell(user_agent: &str) -> bool {
        !user_agent.trim().is_empty() && HeaderValue::from_str(user_agent).is_ok()
    }
}
