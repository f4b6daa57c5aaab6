//! Which addresses are not of the open web, and clients that keep away from them.
//!
//! A name is checked where it is looked up, and only addresses that were checked are connected to,
//! so that a name that leads elsewhere a moment later is of no use.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::ClientBuilder;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use tokio::time::timeout;
use url::{Host, Url};

use crate::MOST_REDIRECTS;

/// Of what kind an address is that is not of the open web.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Private {
    /// This machine.
    #[error("a loopback address")]
    Loopback,
    /// What is on the same wire, such as the service that tells a cloud's machine its credentials.
    #[error("a link-local address")]
    LinkLocal,
    /// A house's, a company's or a provider's own network.
    #[error("an address of a private network")]
    Network,
    /// What nobody on the open web has.
    #[error("a reserved address")]
    Reserved,
}

impl Private {
    /// What kind it is; none for an address of the open web.
    #[must_use]
    pub fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Option<Self> {
        /// Where Azure's machines are told about themselves; on no wire, but in no other network.
        const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
        match address.octets() {
            [127, ..] => Some(Self::Loopback),
            // This machine, for most systems.
            [0, 0, 0, 0] => Some(Self::Loopback),
            [169, 254, ..] => Some(Self::LinkLocal),
            _ if address == AZURE => Some(Self::LinkLocal),
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => {
                Some(Self::Network)
            }
            // Of protocols, relays, benchmarks and examples; multicast, and what is above it.
            [0, ..] | [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18..=19, ..] => {
                Some(Self::Reserved)
            }
            [198, 51, 100, _] | [203, 0, 113, _] | [224..=255, ..] => Some(Self::Reserved),
            _ => None,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Option<Self> {
        let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Some(Self::Loopback),
            // Addresses of the old kind, mapped and as an older form has them.
            [0, 0, 0, 0, 0, 0xffff, high, low] => Self::of_v4(v4(high, low)),
            [0, 0, 0, 0, 0, 0, high, low] => Self::of_v4(v4(high, low)).or(Some(Self::Reserved)),
            // Behind translators and relays.
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                Self::of_v4(v4(high, low))
            }
            [0xfe80..=0xfebf, ..] => Some(Self::LinkLocal),
            [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x64, 0xff9b, ..] => Some(Self::Network),
            // Of protocols, Teredo among them, and examples.
            [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some(Self::Reserved),
            [0x2000..=0x3fff, ..] => None,
            _ => Some(Self::Reserved),
        }
    }

    /// Whether an error says that an address is private.
    #[must_use]
    pub fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        chain(error).find_map(|error| error.downcast_ref()).copied()
    }
}

/// An error and those behind it.
pub(crate) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An I/O error's source is that of the error that it holds.
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// Whether a URL names a private address by number, however it spells it. A name may still lead to
/// one, which a guarded client finds where it looks the name up.
///
/// # Errors
/// Of what kind the address is.
pub fn check(url: &Url) -> Result<(), Private> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    Private::of(address).map_or(Ok(()), Err)
}

/// A client that connects to no private address, whatever names and redirects lead to. It passes by
/// the environment's proxies, for behind one nobody can tell where a name leads. The URL of the
/// request itself is to be [checked](check) before.
pub fn guard(client: ClientBuilder) -> ClientBuilder {
    let policy = Policy::custom(|attempt| match check(attempt.url()) {
        Err(private) => attempt.error(private),
        Ok(()) => Policy::limited(MOST_REDIRECTS).redirect(attempt),
    });
    client.no_proxy().redirect(policy).dns_resolver(Names { guarded: true, limit: LOOK_UP })
}

/// How long the look-up of a name may take where nothing else is said.
const LOOK_UP: Duration = Duration::from_secs(8);

/// A name that can't be looked up.
#[derive(Debug, thiserror::Error)]
#[error("the name can't be looked up")]
pub(crate) struct Unknown {
    /// Whether it may be known later.
    pub passes: bool,
}

/// Looks names up.
pub(crate) struct Names {
    /// Private addresses are left out.
    pub guarded: bool,
    /// How long a look-up may take. Whether one fails or hangs is the whim of name servers.
    pub limit: Duration,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { guarded, limit } = *self;
        Box::pin(async move {
            let found = timeout(limit, tokio::net::lookup_host((name.as_str(), 0))).await;
            let found = found.map_err(|_| Unknown { passes: true })?;
            let found: Vec<_> = found.map_err(|error| unknown(&error))?.collect();
            if found.is_empty() {
                return Err(Unknown { passes: false }.into());
            }
            let open = if guarded { open(found)? } else { found };
            Ok(Box::new(open.into_iter()) as Addrs)
        })
    }
}

/// Those of the addresses that are not private.
fn open(mut found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Private> {
    let kind = found.iter().filter_map(|address| Private::of(address.ip())).min();
    found.retain(|address| Private::of(address.ip()).is_none());
    match kind {
        Some(private) if found.is_empty() => Err(private),
        _ => Ok(found),
    }
}

/// The system tells in words alone that its name servers could not be asked.
fn unknown(error: &std::io::Error) -> Unknown {
    let text = error.to_string().to_ascii_lowercase();
    Unknown { passes: text.contains("temporary failure") || text.contains("try again") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<Private> {
        Private::of(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_private_networks_are_told_in_every_form() {
        for (kind_of, addresses) in [
            (
                Private::Loopback,
                &["127.0.0.1", "127.255.1.2", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"][..],
            ),
            (Private::Loopback, &["::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::5"]),
            (
                Private::LinkLocal,
                &["169.254.169.254", "168.63.129.16", "fe80::1", "::ffff:169.254.169.254"],
            ),
            (Private::LinkLocal, &["64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::"]),
            (Private::Network, &["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"]),
            (Private::Network, &["100.64.0.1", "100.100.100.200", "fd00:ec2::254", "fec0::1"]),
            (Private::Network, &["::ffff:10.1.2.3", "::a00:1", "64:ff9b:1::a00:1"]),
            (Private::Reserved, &["0.1.2.3", "192.0.0.192", "192.0.2.1", "198.18.0.1"]),
            (Private::Reserved, &["198.51.100.7", "203.0.113.9", "224.0.0.1", "240.0.0.1"]),
            (
                Private::Reserved,
                &["255.255.255.255", "ff02::1", "2001:db8::1", "2001::1", "100::1"],
            ),
        ] {
            for address in addresses {
                assert_eq!(kind(address), Some(kind_of), "{address}");
            }
        }
    }

    #[test]
    fn addresses_of_the_open_web_are_none() {
        for address in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.1.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
        ] {
            assert_eq!(kind(address), None, "{address}");
        }
    }

    #[test]
    fn a_number_is_read_however_it_is_spelt() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "①②⑦.0.0.1",
            "[::1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:127.0.0.1]",
        ] {
            let url = Url::parse(&format!("http://{host}:8000/a.jpg")).unwrap();
            assert_eq!(check(&url), Err(Private::Loopback), "{host}");
        }
        assert_eq!(check(&Url::parse("http://example.com/").unwrap()), Ok(()));
    }

    #[test]
    fn of_a_name_only_open_addresses_are_left() {
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let both = vec![at("10.0.0.1"), at("1.1.1.1")];
        assert_eq!(open(both), Ok(vec![at("1.1.1.1")]));
        assert_eq!(open(vec![at("10.0.0.1"), at("127.0.0.1")]), Err(Private::Loopback));
    }
}
