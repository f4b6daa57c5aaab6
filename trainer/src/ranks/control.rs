//! How processes find each other: all others come to the first one, which says whether they fit
//! together and where each can be reached.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use voice::terminal::counted;

use super::RanksError;
use super::mesh::Mesh;
use super::wire::{Card, Message, receive, send};
use super::world::World;

/// What must be the same everywhere: its name, and what it is here.
pub type Alike = BTreeMap<String, String>;

/// A stranger at the door is given so long to say what it wants.
const GREETING: Duration = Duration::from_secs(2);

/// The processes that have come together.
pub struct Lobby {
    /// All of them, by their numbers.
    pub cards: Vec<Card>,
    /// Who is heard and told: the first process has all others, these have it alone.
    pub peers: Vec<(Card, TcpStream)>,
    /// The way of numbers.
    pub mesh: Mesh,
}

impl Lobby {
    /// Waits until all are there, or until `stop`.
    ///
    /// # Errors
    /// [`RanksError`]: who is missing, what differs, or what is wrong with the address.
    pub fn join(
        world: &World,
        ranks: usize,
        alike: &Alike,
        stop: &AtomicBool,
    ) -> Result<Self, RanksError> {
        let card = Card {
            process: world.process,
            ranks,
            host: host_name(),
            pid: std::process::id(),
            address: String::new(),
        };
        let patience = Patience { until: Instant::now() + world.wait, stop };
        match world.process {
            0 => Door::open(world)?.gather(card, alike, &patience),
            _ => knock(world, card, alike, &patience),
        }
    }
}

/// How long to wait for others.
struct Patience<'a> {
    until: Instant,
    stop: &'a AtomicBool,
}

impl Patience<'_> {
    /// Whether it has been long enough.
    ///
    /// # Errors
    /// [`RanksError::Stopped`] if nobody wants to wait any longer.
    fn is_over(&self) -> Result<bool, RanksError> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(RanksError::Stopped),
            false => Ok(Instant::now() >= self.until),
        }
    }
}

/// The first process tells within so long that it has given up, or has all.
const LATE: Duration = Duration::from_secs(10);

/// This machine's name.
fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = read.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    match name.trim() {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

/// The first process, where all others come to.
struct Door<'a> {
    world: &'a World,
    listener: TcpListener,
    numbers: TcpListener,
}

impl<'a> Door<'a> {
    fn open(world: &'a World) -> Result<Self, RanksError> {
        let address = resolve(world)?;
        let listen = |port| {
            let ip = listening_ip(address.ip());
            TcpListener::bind((ip, port)).map_err(|error| {
                let way_out = match error.kind() {
                    ErrorKind::AddrInUse => {
                        "; another process 0 may be there: give another port, or this one another --rank"
                    }
                    ErrorKind::AddrNotAvailable => "; process 0 listens on its own machine",
                    _ => "",
                };
                world.fault(format!("{ip}: {error}{way_out}"))
            })
        };
        Ok(Self { world, listener: listen(address.port())?, numbers: listen(0)? })
    }

    fn gather(
        self,
        mut own: Card,
        alike: &Alike,
        patience: &Patience<'_>,
    ) -> Result<Lobby, RanksError> {
        let world = self.world;
        let port = port_of(&self.numbers)?;
        own.address = format!("{}:{port}", world.host());
        let mut guests: Vec<Option<(Card, TcpStream)>> =
            (1..world.processes).map(|_| None).collect();
        self.listener.set_nonblocking(true).map_err(|error| world.fault(error.to_string()))?;
        while guests.iter().any(Option::is_none) {
            // Asked before, so that whoever has come by then is taken in.
            let over = patience.is_over();
            match self.listener.accept() {
                // Whoever says nothing that is understood is a stranger.
                Ok((stream, from)) => {
                    if let Ok(greeting) = greet(&stream) {
                        self.admit(greeting, stream, from.ip(), alike, &mut guests)?;
                    }
                }
                Err(_) => match over {
                    Ok(false) => thread::sleep(Duration::from_millis(20)),
                    Ok(true) => {
                        let why = missing(&guests, world);
                        refuse(&guests, &why);
                        return Err(RanksError::Missing(why));
                    }
                    Err(stopped) => {
                        refuse(&guests, &format!("process 0 was {stopped}"));
                        return Err(stopped);
                    }
                },
            }
        }

        let peers: Vec<_> = guests.into_iter().flatten().collect();
        let mut cards = vec![own];
        cards.extend(peers.iter().map(|(card, _)| card.clone()));
        let token = format!("{:032x}", rand::random::<u128>());
        for (card, stream) in &peers {
            let welcome = Message::Welcome { cards: cards.clone(), token: token.clone() };
            send(stream, &welcome).map_err(|error| {
                let Card { process, host, .. } = card;
                RanksError::Lost(format!("process {process} ({host}) is gone: {error}"))
            })?;
        }
        let mesh = Mesh::connect(0, &cards, &token, &self.numbers).map_err(RanksError::Lost)?;
        Ok(Lobby { cards, peers, mesh })
    }

    /// Takes a process in, or ends it all where it does not fit.
    fn admit(
        &self,
        (mut card, processes, theirs): (Card, usize, Alike),
        stream: TcpStream,
        ip: IpAddr,
        alike: &Alike,
        guests: &mut [Option<(Card, TcpStream)>],
    ) -> Result<(), RanksError> {
        let world = self.world;
        let refused = |why: String| {
            let _ = send(&stream, &Message::Refused(why.clone()));
            refuse(guests, &why);
            Err(RanksError::Apart(why))
        };
        let who = format!("process {} ({}, pid {})", card.process, card.host, card.pid);
        if processes != world.processes || card.process == 0 || card.process >= processes {
            return refused(format!(
                "{who} of {processes} came to process 0 of {}: give each the same --nodes, and each another --rank below it",
                world.processes
            ));
        }
        let differ = differences(alike, &theirs);
        if !differ.is_empty() {
            return refused(format!("{who} differs from process 0: {differ}"));
        }
        // On the first one's own machine another may call from where none else reaches it.
        let host = if ip.is_loopback() { world.host().to_owned() } else { in_address(ip) };
        card.address = format!("{host}:{}", card.address);
        let place = &mut guests[card.process - 1];
        if place.as_ref().is_some_and(|(_, stream)| !is_gone(stream)) {
            let why = format!("there is a process {} already; give another --rank", card.process);
            let _ = send(&stream, &Message::Refused(why));
            return Ok(());
        }
        *place = Some((card, stream));
        Ok(())
    }
}

/// What a guest says first.
fn greet(stream: &TcpStream) -> io::Result<(Card, usize, Alike)> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(GREETING))?;
    match receive(stream)? {
        Message::Hello { card, processes, alike } => Ok((card, processes, alike)),
        _ => Err(io::Error::other("no greeting")),
    }
}

/// Tells all who have come that nothing will be.
fn refuse(guests: &[Option<(Card, TcpStream)>], why: &str) {
    for (_, stream) in guests.iter().flatten() {
        let _ = send(stream, &Message::Refused(why.to_owned()));
    }
}

/// Whether the other end has closed.
fn is_gone(stream: &TcpStream) -> bool {
    let _ = stream.set_nonblocking(true);
    let gone = match stream.peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    let _ = stream.set_nonblocking(false);
    gone
}

/// Who has not come.
fn missing(guests: &[Option<(Card, TcpStream)>], world: &World) -> String {
    let absent = guests.iter().enumerate().filter(|(_, guest)| guest.is_none());
    let mut ranges: Vec<(usize, usize)> = vec![];
    for (at, _) in absent {
        match ranges.last_mut() {
            Some((_, last)) if *last == at => *last = at + 1,
            _ => ranges.push((at + 1, at + 1)),
        }
    }
    let which = match ranges[..] {
        [(first, last)] if first == last => "process",
        _ => "processes",
    };
    let of = |(first, last): &(usize, usize)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first} to {last}"),
    };
    format!(
        "{which} {} of {} did not come to {} within {} (--wait)",
        ranges.iter().map(of).collect::<Vec<_>>().join(", "),
        world.processes,
        world.rendezvous,
        counted(world.wait.as_secs(), "second"),
    )
}

/// What differs, in words.
fn differences(here: &Alike, there: &Alike) -> String {
    let unset = "unset".to_owned();
    let mut names: Vec<_> = here.keys().chain(there.keys()).collect();
    names.sort();
    names.dedup();
    let of = |all: &Alike, name: &String| all.get(name).unwrap_or(&unset).clone();
    let differ = names.into_iter().filter(|name| here.get(*name) != there.get(*name));
    let told = differ.map(|name| format!("{name} is {}, not {}", of(there, name), of(here, name)));
    told.collect::<Vec<_>>().join("; ")
}

/// Another process, which comes to the first.
fn knock(
    world: &World,
    mut card: Card,
    alike: &Alike,
    patience: &Patience<'_>,
) -> Result<Lobby, RanksError> {
    let process = card.process;
    let stream = loop {
        // Names may come to be known late.
        let tried = resolve(world).and_then(|address| {
            TcpStream::connect_timeout(&address, Duration::from_secs(5))
                .map_err(|error| world.fault(error.to_string()))
        });
        match tried {
            Ok(stream) => break stream,
            Err(_) if !patience.is_over()? => thread::sleep(Duration::from_millis(200)),
            Err(error) => {
                return Err(RanksError::Missing(format!(
                    "{error}; process 0 was not there within {} (--wait)",
                    counted(world.wait.as_secs(), "second")
                )));
            }
        }
    };
    let fault = |error: io::Error| world.fault(error.to_string());
    stream.set_nodelay(true).map_err(fault)?;
    let ip = listening_ip(resolve(world)?.ip());
    let numbers = TcpListener::bind((ip, 0)).map_err(fault)?;
    card.address = port_of(&numbers)?.to_string();
    let hello = Message::Hello { card, processes: world.processes, alike: alike.clone() };
    send(&stream, &hello).map_err(fault)?;

    // The first one knows when to give up.
    let late = Patience { until: patience.until + LATE, stop: patience.stop };
    stream.set_nonblocking(true).map_err(fault)?;
    while stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
        if late.is_over()? {
            let address = &world.rendezvous;
            let why = format!(
                "what answers at {address} says nothing: process 0 hangs, or it is no trainer"
            );
            return Err(RanksError::Missing(why));
        }
        thread::sleep(Duration::from_millis(20));
    }
    stream.set_nonblocking(false).map_err(fault)?;
    stream.set_read_timeout(Some(LATE)).map_err(fault)?;
    match receive(&stream) {
        Ok(Message::Welcome { cards, token }) => {
            let mesh = Mesh::connect(process, &cards, &token, &numbers);
            let mesh = mesh.map_err(RanksError::Lost)?;
            let first = cards.first().cloned();
            let peers = first.into_iter().map(|first| (first, try_clone(&stream))).collect();
            Ok(Lobby { cards, peers, mesh })
        }
        Ok(Message::Refused(why)) => Err(RanksError::Apart(why)),
        Ok(_) => Err(world.fault("process 0 is no trainer of this release".into())),
        Err(error) => Err(RanksError::Missing(format!(
            "process 0 at {} ended before all were there ({error})",
            world.rendezvous
        ))),
    }
}

fn try_clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a socket has a second handle")
}

fn port_of(listener: &TcpListener) -> Result<u16, RanksError> {
    let address = listener.local_addr();
    Ok(address.map_err(|error| RanksError::Lost(error.to_string()))?.port())
}

/// The rendezvous as a number.
fn resolve(world: &World) -> Result<SocketAddr, RanksError> {
    let mut all =
        world.rendezvous.to_socket_addrs().map_err(|error| world.fault(error.to_string()))?;
    all.next().ok_or_else(|| world.fault("this name has no address".into()))
}

/// Where to listen so that whoever reaches `ip` is heard: on this machine alone where it is this
/// machine's own.
fn listening_ip(ip: IpAddr) -> IpAddr {
    match ip {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// As it stands before a port.
fn in_address(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(process: usize, processes: usize, port: u16, wait: Duration) -> World {
        World { process, processes, rendezvous: format!("127.0.0.1:{port}"), wait }
    }

    fn free_port() -> u16 {
        TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
    }

    /// What becomes of processes that each want something.
    fn join(wants: &[&str]) -> Vec<Result<Lobby, RanksError>> {
        let port = free_port();
        let come = |process: usize| {
            let alike = Alike::from([("--lr".to_owned(), wants[process].to_owned())]);
            let world = world(process, wants.len(), port, Duration::from_secs(60));
            let stop = AtomicBool::new(false);
            thread::spawn(move || Lobby::join(&world, 1 + process, &alike, &stop))
        };
        let threads: Vec<_> = (0..wants.len()).map(come).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }

    #[test]
    fn processes_come_together_and_add_in_their_order() {
        use super::super::Collective;
        // Rounded at each sum, so that the order shows.
        let values = [1e8f32, -1e8, 1.5];
        let expected = (values[0] + values[1]) + values[2];
        let lobbies: Vec<_> = join(&["1"; 3]).into_iter().map(Result::unwrap).collect();
        let cards = lobbies[0].cards.clone();
        assert!(lobbies.iter().all(|lobby| lobby.cards == cards));
        assert_eq!(cards.iter().map(|card| card.ranks).collect::<Vec<_>>(), [1, 2, 3]);
        thread::scope(|scope| {
            for (process, lobby) in lobbies.iter().enumerate() {
                scope.spawn(move || {
                    // Fewer values than processes, and more.
                    for count in [1, 2, 3, 1000] {
                        let mut sum = vec![values[process]; count];
                        lobby.mesh.sum(&mut sum).unwrap();
                        assert_eq!(sum, vec![expected; count]);
                    }
                    let said = lobby.mesh.gather(&vec![process as f64; process]).unwrap();
                    assert_eq!(said, [vec![], vec![1.0], vec![2.0, 2.0]]);
                });
            }
        });
    }

    #[test]
    fn whoever_wants_something_else_is_named_to_all() {
        for joined in join(&["0.1", "0.2"]) {
            let text = joined.err().unwrap().to_string();
            assert!(text.contains("process 1 ("), "{text}");
            assert!(text.contains("--lr is 0.2, not 0.1"), "{text}");
        }
    }

    #[test]
    fn who_does_not_come_is_named() {
        let world = world(0, 3, free_port(), Duration::from_secs(1));
        let stop = AtomicBool::new(false);
        let error = Lobby::join(&world, 1, &Alike::new(), &stop).err().unwrap().to_string();
        assert!(error.contains("processes 1, 2 of 3 did not come"), "{error}");
        let world = World { processes: 1000, ..world };
        let error = Lobby::join(&world, 1, &Alike::new(), &stop).err().unwrap().to_string();
        assert!(error.contains("processes 1 to 999 of 1000 did not come"), "{error}");
        let _taken = TcpListener::bind(world.rendezvous.as_str()).unwrap();
        let error = Lobby::join(&world, 1, &Alike::new(), &stop).err().unwrap().to_string();
        assert!(error.contains("give another port"), "{error}");
    }

    #[test]
    fn who_is_stopped_while_it_waits_ends_and_tells_those_who_are_there() {
        let port = free_port();
        let (alike, wait) = (Alike::new(), Duration::from_secs(60));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let wait_as = |process, stop| {
                let (world, alike) = (world(process, 3, port, wait), &alike);
                scope.spawn(move || Lobby::join(&world, 1, alike, stop).err().unwrap())
            };
            let first = wait_as(0, &stop);
            let guest = loop {
                match TcpStream::connect(("127.0.0.1", port)) {
                    Ok(stream) => break stream,
                    Err(_) => thread::yield_now(),
                }
            };
            let (host, address) = ("here".to_owned(), "1".to_owned());
            let card = Card { process: 1, ranks: 1, host, pid: 1, address };
            send(&guest, &Message::Hello { card, processes: 3, alike: alike.clone() }).unwrap();
            // Whoever has spoken by now is taken in before.
            stop.store(true, Ordering::Relaxed);
            assert!(matches!(first.join().unwrap(), RanksError::Stopped));
            let Message::Refused(told) = receive(&guest).unwrap() else { panic!("not refused") };
            assert!(told.contains("process 0 was stopped"), "{told}");
            // Nobody is there, or nobody answers.
            assert!(matches!(wait_as(2, &stop).join().unwrap(), RanksError::Stopped));
            let _mute = TcpListener::bind(("127.0.0.1", port)).unwrap();
            assert!(matches!(wait_as(2, &stop).join().unwrap(), RanksError::Stopped));
        });
    }
}
