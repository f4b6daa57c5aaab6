//! What a [`Storage`](crate::Storage) is told once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How stores are reached. The default reads everything from the environment.
#[derive(Clone, Debug, Default)]
pub struct StorageOptions {
    /// The URL of an S3-compatible store, such as `http://localhost:9000`, in place of
    /// `AWS_ENDPOINT_URL`. Buckets are parts of its path. Used for `gs://` and `az://` too, if
    /// such an address is asked for.
    pub endpoint: Option<String>,
    /// How long a request that fails is made anew before that is an error; 3 minutes.
    pub retry_for: Option<Duration>,
    /// How long a request may go without a sign of life before it is given up and made anew; 30
    /// seconds. An upload has the time for its bytes at 64 KiB/s on top.
    pub stall: Option<Duration>,
    /// The mean of the first wait between two attempts; 100 milliseconds. Later ones double, up to
    /// 10 seconds.
    pub first_wait: Option<Duration>,
    /// Bytes of one range of a [`Reader`](crate::Reader); 8 MiB.
    pub range_bytes: Option<usize>,
    /// How many ranges a reader fetches ahead; 4. It holds that many and one more in memory.
    pub ahead: Option<usize>,
    /// Bytes of one part of a multipart upload, at least 5 MiB; 8 MiB. An upload holds 10,000
    /// parts.
    pub part_bytes: Option<usize>,
    /// How many parts a [`Writer`](crate::Writer) sends at once; 4. It holds that many and one
    /// more in memory.
    pub uploads: Option<usize>,
    /// How long the lock of a program that no longer renews it is waited for; a minute. Everyone
    /// who uses one lock must use the same lease.
    pub lease: Option<Duration>,
    /// Settings by the names that `object_store` gives them, such as `aws_access_key_id`; they
    /// come before the environment.
    pub settings: Vec<(String, String)>,
    /// Told, in a sentence, when requests fail for longer than a moment.
    pub notice: Option<Notice>,
}

/// What is called with a sentence for the user; see [`StorageOptions::notice`].
#[derive(Clone)]
pub struct Notice(Arc<dyn Fn(&str) + Send + Sync>);

impl Notice {
    /// Calls `tell` from threads of this crate.
    pub fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn tell(&self, sentence: &str) {
        (self.0)(sentence);
    }
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notice")
    }
}

/// [`StorageOptions`] with every default filled in.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub retry_for: Duration,
    pub stall: Duration,
    pub first_wait: Duration,
    pub range_bytes: u64,
    pub ahead: usize,
    pub part_bytes: usize,
    pub uploads: usize,
    pub lease: Duration,
    pub notice: Option<Notice>,
}

impl Limits {
    /// S3 takes no smaller part, but for the last.
    const LEAST_PART: usize = 5 << 20;

    pub fn new(options: &StorageOptions) -> Self {
        Self {
            retry_for: options.retry_for.unwrap_or(Duration::from_secs(180)),
            stall: options.stall.unwrap_or(Duration::from_secs(30)),
            first_wait: options.first_wait.unwrap_or(Duration::from_millis(100)),
            range_bytes: options.range_bytes.unwrap_or(8 << 20).max(1) as u64,
            ahead: options.ahead.unwrap_or(4),
            part_bytes: options.part_bytes.unwrap_or(8 << 20).max(Self::LEAST_PART),
            uploads: options.uploads.unwrap_or(4).max(1),
            lease: options.lease.unwrap_or(Duration::from_secs(60)),
            notice: options.notice.clone(),
        }
    }

    /// How long an upload of so many bytes may take.
    pub fn upload_time(&self, bytes: usize) -> Duration {
        const SLOWEST: u64 = 64 << 10;
        self.stall + Duration::from_secs(bytes as u64 / SLOWEST)
    }
}
