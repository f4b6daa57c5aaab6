//! Numbers between processes: a connection between each two.
//!
//! A sum is made in parts. Each process is sent all others' values of its own part, adds them in the
//! processes' order, and sends the sum to all; so each sends and receives twice a share of
//! (n - 1) / n of the values, however many they are, and every value is added in the same order.
//! Nothing here waits with a limit: `control` knows whether others live, and shuts the connections
//! when one does not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::wire::Card;
use super::{Collective, share};

/// How long a connection may take, once all are there.
const CONNECT: Duration = Duration::from_secs(30);

/// The connections of one process to all others.
pub struct Mesh {
    process: usize,
    /// By process; none to itself.
    links: Arc<Vec<Option<TcpStream>>>,
    /// Calls so far: all processes make the same ones.
    calls: AtomicU64,
    turn: Mutex<()>,
}

impl Mesh {
    /// Connects to all of `cards`, given where those with higher numbers call.
    ///
    /// # Errors
    /// Which process can't be reached, or does not call.
    pub fn connect(
        process: usize,
        cards: &[Card],
        token: &str,
        listener: &TcpListener,
    ) -> Result<Self, String> {
        let until = Instant::now() + CONNECT;
        let mut links: Vec<Option<TcpStream>> = cards.iter().map(|_| None).collect();
        for card in &cards[..process] {
            let stream = call(card, process, token, until).map_err(|error| {
                let Card { process, host, address, .. } = card;
                format!("process {process} ({host}) can't be reached at {address}: {error}")
            })?;
            links[card.process] = Some(stream);
        }
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        while links[process + 1..].iter().any(Option::is_none) {
            match listener.accept() {
                Ok((stream, _)) => {
                    // Whoever has not the token is a stranger.
                    if let Ok((from, stream)) = answer(stream, token)
                        && from > process
                        && let Some(link) = links.get_mut(from)
                    {
                        *link = Some(stream);
                    }
                }
                Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(20)),
                Err(_) => {
                    let missing = (process + 1..cards.len()).find(|&from| links[from].is_none());
                    let missing = missing.unwrap_or_default();
                    return Err(format!(
                        "process {missing} ({}) does not reach this one at {}",
                        cards[missing].host, cards[process].address
                    ));
                }
            }
        }
        let links = Arc::new(links);
        Ok(Self { process, links, calls: AtomicU64::new(0), turn: Mutex::new(()) })
    }

    /// What shuts all connections, so that nobody waits at one.
    pub fn shutter(&self) -> impl Fn() + Send + Sync + 'static {
        let links = Arc::clone(&self.links);
        move || {
            for link in links.iter().flatten() {
                let _ = link.shutdown(Shutdown::Both);
            }
        }
    }

    /// All other processes.
    fn others(&self) -> impl Iterator<Item = (usize, &TcpStream)> {
        let links = self.links.iter().enumerate();
        links.filter_map(|(process, link)| Some((process, link.as_ref()?)))
    }

    /// Sends to each other process what `to` gives for it, and hands what comes from each to `from`,
    /// by process.
    fn exchange<'a>(
        &self,
        call: u64,
        to: impl Fn(usize) -> &'a [u8],
        mut from: impl FnMut(usize, Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let received = thread::scope(|scope| {
            let sends: Vec<_> = self
                .others()
                .map(|(process, link)| {
                    let bytes = to(process);
                    scope.spawn(move || send(link, call, bytes))
                })
                .collect();
            let receives: Vec<_> = self
                .others()
                .map(|(process, link)| (process, scope.spawn(move || receive(link, call))))
                .collect();
            let gone = |_| io::Error::other("a thread ended early");
            let mut all = vec![];
            for (process, thread) in receives {
                all.push((process, thread.join().map_err(gone)??));
            }
            for thread in sends {
                thread.join().map_err(gone)??;
            }
            Ok::<_, io::Error>(all)
        })?;
        received.into_iter().try_for_each(|(process, bytes)| from(process, bytes))
    }
}

impl Collective for Mesh {
    fn sum(&self, values: &mut [f32]) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let call = self.calls.fetch_add(2, Ordering::Relaxed);
        let (count, length) = (self.links.len(), values.len());
        let part = |process| share(process, count, length);

        let own = part(self.process);
        let mut parts: Vec<Vec<f32>> = vec![vec![]; count];
        parts[self.process] = values[own.clone()].to_vec();
        let to = |process| bytemuck::cast_slice(&values[part(process)]);
        self.exchange(call, to, |process, bytes| {
            parts[process] = floats(&bytes, own.len())?;
            Ok(())
        })?;
        let mut parts = parts.into_iter();
        let mut sum = parts.next().unwrap_or_default();
        for part in parts {
            sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
        }

        values[own].copy_from_slice(&sum);
        self.exchange(
            call + 1,
            |_| bytemuck::cast_slice(&sum),
            |process, bytes| {
                let part = part(process);
                let summed = floats(&bytes, part.len())?;
                values[part].copy_from_slice(&summed);
                Ok(())
            },
        )
    }

    fn gather(&self, own: &[f64]) -> io::Result<Vec<Vec<f64>>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut all = vec![vec![]; self.links.len()];
        all[self.process] = own.to_vec();
        self.exchange(
            call,
            |_| bytemuck::cast_slice(own),
            |process, bytes| {
                all[process] = bytes.chunks_exact(8).map(bytemuck::pod_read_unaligned).collect();
                Ok(())
            },
        )?;
        Ok(all)
    }
}

fn floats(bytes: &[u8], count: usize) -> io::Result<Vec<f32>> {
    if bytes.len() != 4 * count {
        return Err(io::Error::other("the ranks are not at the same place"));
    }
    Ok(bytes.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect())
}

/// The call and the length, and then the bytes.
fn send(mut link: &TcpStream, call: u64, bytes: &[u8]) -> io::Result<()> {
    let mut head = call.to_le_bytes().to_vec();
    head.extend((bytes.len() as u64).to_le_bytes());
    link.write_all(&head)?;
    link.write_all(bytes)
}

fn receive(mut link: &TcpStream, call: u64) -> io::Result<Vec<u8>> {
    let mut head = [0; 16];
    link.read_exact(&mut head)?;
    let number = |at: usize| bytemuck::pod_read_unaligned::<u64>(&head[at..at + 8]);
    if number(0) != call {
        return Err(io::Error::other("the ranks are not at the same place"));
    }
    let mut bytes = vec![0; number(8) as usize];
    link.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Calls another process and proves who this one is.
fn call(card: &Card, process: usize, token: &str, until: Instant) -> io::Result<TcpStream> {
    let stream = loop {
        match TcpStream::connect(&card.address) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    };
    stream.set_nodelay(true)?;
    send(&stream, process as u64, token.as_bytes())?;
    Ok(stream)
}

/// Which process calls.
fn answer(stream: TcpStream, token: &str) -> io::Result<(usize, TcpStream)> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut head = [0; 16];
    (&stream).read_exact(&mut head)?;
    let mut given = vec![0; token.len()];
    (&stream).read_exact(&mut given)?;
    if given != token.as_bytes() {
        return Err(io::Error::other("a stranger"));
    }
    stream.set_read_timeout(None)?;
    Ok((bytemuck::pod_read_unaligned::<u64>(&head[..8]) as usize, stream))
}
