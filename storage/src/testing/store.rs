//! What is the same for the servers of all kinds of stores.

use std::io;
use std::time::Duration;

use super::FaultProxy;
use crate::{Address, StorageOptions};

/// A server of one kind of store, with one bucket.
pub trait StoreServer: Send + Sync {
    /// The server's URL.
    fn endpoint(&self) -> String;

    /// How clients reach the bucket.
    fn access(&self) -> &'static Access;

    /// Makes an object behind the server's back.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    fn write(&self, key: &str, bytes: &[u8]) -> io::Result<()>;

    /// An object's bytes, read behind the server's back; None if there is none.
    fn read(&self, key: &str) -> Option<Vec<u8>>;

    /// How many parts of unfinished uploads the server holds.
    ///
    /// # Errors
    ///
    /// If what it keeps can't be read.
    fn unfinished_parts(&self) -> io::Result<usize>;

    /// The address of an object in the bucket.
    ///
    /// # Panics
    ///
    /// If the key is none.
    fn address(&self, key: &str) -> Address {
        Address::parse(&format!("{}/{key}", self.access().bucket)).expect("a key")
    }

    /// Options that reach the server, and lose little time over faults. The first of the settings
    /// is one that only the bucket's owner knows.
    fn options(&self) -> StorageOptions {
        self.access().options(&self.endpoint())
    }

    /// The same through a proxy.
    fn options_through(&self, proxy: &FaultProxy) -> StorageOptions {
        self.access().options(&proxy.endpoint())
    }

    /// Environment variables by which another program reaches the server. The endpoint may be a
    /// proxy's.
    fn environment(&self, endpoint: &str) -> Vec<(String, String)> {
        let access = self.access();
        let endpoint = format!("{endpoint}{}", access.path);
        let all = [(access.endpoint, endpoint.as_str())];
        let all = all.iter().chain(access.settings);
        all.map(|(name, value)| (name.to_ascii_uppercase(), (*value).to_owned())).collect()
    }
}

/// How clients reach a server's bucket.
#[derive(Debug)]
pub struct Access {
    /// The bucket's address.
    pub(super) bucket: &'static str,
    /// What comes after the server in an endpoint.
    pub(super) path: &'static str,
    /// The setting that names the endpoint. In capitals settings are environment variables.
    pub(super) endpoint: &'static str,
    /// The first is one that only the bucket's owner knows.
    pub(super) settings: &'static [(&'static str, &'static str)],
}

impl Access {
    fn options(&self, endpoint: &str) -> StorageOptions {
        let settings = self.settings.iter();
        let settings = settings.map(|&(name, value)| (name.to_owned(), value.to_owned()));
        StorageOptions {
            endpoint: Some(format!("{endpoint}{}", self.path)),
            retry_for: Some(Duration::from_secs(30)),
            stall: Some(Duration::from_secs(2)),
            first_wait: Some(Duration::from_millis(5)),
            settings: settings.collect(),
            ..StorageOptions::default()
        }
    }
}
