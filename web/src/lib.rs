//! Downloads from addresses that strangers wrote down, a few hundred at once: short limits, few
//! retries, a few requests at a time to one host, and nothing from private networks. Knows nothing
//! of pictures or shards.
//!
//! A [`Fetcher`] is told its [`Options`] once. [`fetch`](Fetcher::fetch) begins a [`Download`],
//! which runs on threads of this crate's own; [`wait`](Download::wait) gives its [`Page`] or a
//! [`Fault`]. Of many that are begun, the first are asked first, but no host that is slow or dead
//! holds the others up. What a fault says follows from the fault alone, so that two runs say the
//! same.
//!
//! **Tries.** What may pass is tried again, after waits that grow or as long as the server asks
//! for; what will not change (a refusal, an unknown name, a certificate, most errors of the 400s)
//! is not. A host that gives no answer at all to some addresses in a row is left alone for a while.
//!
//! **Memory.** A body is held only as far as its [`Room`] reaches. Where there is none left a
//! download lets go of its connection, and begins anew when there is, or when it is waited for.
//!
//! **Strangers.** A list's address may name the machine's own services, or lead there by a name or
//! a redirect. Each is checked where it is connected to; [`guard`] does the same for any client.

#![forbid(unsafe_code)]

mod ask;
mod fault;
mod fetcher;
mod host;
mod options;
mod private;
mod robots;

pub use fault::Fault;
pub use fetcher::{Download, Fetcher, Page, Room, StartError};
pub use options::Options;
pub use private::{Private, check, guard};

/// How often one address may lead to another.
const MOST_REDIRECTS: usize = 10;
