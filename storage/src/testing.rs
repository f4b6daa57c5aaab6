//! Servers for tests: one for each kind of store, a web server, one that answers as it is told, a
//! proxy that spoils their answers and one that speaks TLS. All listen on the loopback interface alone and end when they are
//! dropped.
//!
//! ```
//! use storage::testing::{Fault, FaultProxy, S3Server, StoreServer};
//! use storage::Storage;
//!
//! let server = S3Server::start()?;
//! // Of the requests the second is answered by 503, and the third breaks off after ten bytes.
//! let proxy = FaultProxy::start(server.endpoint(), |request| match request.index {
//!     1 => Some(Fault::SlowDown),
//!     2 => Some(Fault::Reset { after: 10 }),
//!     _ => None,
//! })?;
//! let storage = Storage::new(server.options_through(&proxy))?;
//! let object = server.address("folder/object");
//! storage.put(&object, vec![7; 1000])?;
//! assert_eq!(storage.read(&object)?, vec![7; 1000]);
//! assert_eq!(proxy.faults(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod az;
mod bucket;
mod gs;
mod proxy;
mod s3;
mod scripted;
mod store;
mod tls;
mod web;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

pub use az::AzureServer;
pub use gs::GcsServer;
pub use proxy::{Fault, FaultProxy, Request};
pub use s3::S3Server;
pub use scripted::{Asked, ScriptedServer, send, wait_for_close};
pub use store::{Access, StoreServer};
pub use tls::TlsProxy;
pub use web::{WebServer, WebServerOptions};

/// How many connections a server talks to at once; others wait.
const CONNECTIONS: usize = 64;

/// A listener with threads of its own.
struct Server {
    address: SocketAddr,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

impl Server {
    fn start<F>(talk: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("test-server")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move {
            let free = Arc::new(Semaphore::new(CONNECTIONS));
            while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let _ = stream.set_nodelay(true);
                let talk = talk(stream);
                tokio::spawn(async move {
                    talk.await;
                    drop(permit);
                });
            }
        });
        Ok(Self { address, runtime: Some(runtime) })
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Where a server without TLS listens, by its URL.
fn address_of(endpoint: &str) -> io::Result<SocketAddr> {
    endpoint.trim_start_matches("http://").parse().map_err(io::Error::other)
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
