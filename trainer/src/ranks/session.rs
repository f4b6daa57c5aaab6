//! Processes at work: each hears from the first one every second, and it from all. One that is
//! gone, or silent for too long, ends the others, which are told its name.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::control::{Alike, Lobby};
use super::mesh::Mesh;
use super::patience::{PATIENCE, Patience};
use super::wire::{Card, Message, receive, send};
use super::world::World;
use super::{Collective, Group, RanksError};

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// A process of which nothing is heard for so long is given up.
const SILENT: Duration = Duration::from_secs(7);
/// A run that has to end is given so long to do it by itself.
const GRACE: Duration = Duration::from_secs(3);

/// What ends the program where the run does not come to its end by itself, since its ranks are busy;
/// it is given the reason.
pub type Ends = Arc<dyn Fn(&str) + Send + Sync>;

/// The ranks of this process, and the watch over those of others.
pub struct Session {
    group: Arc<Group>,
    watch: Option<Arc<Watch>>,
    ends: Ends,
}

impl Session {
    /// All ranks are threads of this process.
    ///
    /// # Errors
    /// [`RanksError::Lost`] if the system has no thread that watches over them.
    pub fn alone(ranks: usize, ends: Ends) -> Result<Self, RanksError> {
        Self::alone_for(ranks, ends, PATIENCE)
    }

    fn alone_for(ranks: usize, ends: Ends, limit: Duration) -> Result<Self, RanksError> {
        let group = Group::of_threads(ranks);
        if ranks > 1 {
            watch_threads(&group, &ends, limit).map_err(no_thread)?;
        }
        Ok(Self { group, watch: None, ends })
    }

    /// Waits for all processes of `world`, or until `stop`; this one has so many ranks.
    ///
    /// # Errors
    /// As [`Lobby::join`].
    pub fn join(
        world: &World,
        ranks: usize,
        alike: &Alike,
        ends: Ends,
        stop: &AtomicBool,
    ) -> Result<Self, RanksError> {
        Self::join_for(world, ranks, alike, ends, stop, PATIENCE)
    }

    fn join_for(
        world: &World,
        ranks: usize,
        alike: &Alike,
        ends: Ends,
        stop: &AtomicBool,
        limit: Duration,
    ) -> Result<Self, RanksError> {
        let Lobby { cards, peers, mesh } = Lobby::join(world, ranks, alike, stop)?;
        let first = |process: usize| cards[..process].iter().map(|card| card.ranks).sum();
        let verdict = Arc::new(Verdict::default());
        let shut = Box::new(mesh.shutter());
        let between = Box::new(Told { mesh, verdict: Arc::clone(&verdict) });
        let all = first(cards.len());
        let group = Group::new(first(world.process), ranks, all, between);
        let peers = peers.into_iter().map(|(card, stream)| {
            let name = name(&card, first(card.process));
            let heard = Mutex::new(Instant::now());
            let (waits, left) = (AtomicBool::new(false), AtomicBool::new(false));
            Peer { name, stream, heard, step: AtomicU64::new(0), waits, left }
        });
        let watch = Arc::new(Watch {
            own: name(&cards[world.process], first(world.process)),
            peers: peers.collect(),
            group: Arc::clone(&group),
            verdict,
            shut,
            ends: Arc::clone(&ends),
            over: AtomicBool::new(false),
        });
        watch.start(limit).map_err(no_thread)?;
        Ok(Self { group, watch: Some(watch), ends })
    }

    /// The ranks of this process.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// A rank of this process has ended, for this reason: all others are to end.
    pub fn fail(&self, rank: usize, why: &str) {
        match &self.watch {
            Some(watch) => watch.end(&format!("{} ended: {why}", watch.own), None),
            None => {
                end_threads(&self.group, &self.ends, &format!("rank {rank} ended: {why}"));
            }
        }
    }

    /// The run is over, here as everywhere.
    pub fn leave(&self) {
        let Some(watch) = &self.watch else { return };
        watch.over.store(true, Ordering::Relaxed);
        for peer in &watch.peers {
            let _ = send(&peer.stream, &Message::Bye);
            let _ = peer.stream.shutdown(Shutdown::Write);
        }
    }
}

fn no_thread(error: io::Error) -> RanksError {
    RanksError::Lost(format!("no thread is to be had that watches over ranks: {error}"))
}

/// Watches over the ranks of a process that is alone, as long as there are any.
fn watch_threads(group: &Arc<Group>, ends: &Ends, limit: Duration) -> io::Result<()> {
    let (group, ends) = (Arc::downgrade(group), Arc::clone(ends));
    let watch = move || {
        let mut patience = Patience::of(limit);
        while let Some(group) = group.upgrade() {
            if let Some(why) = patience.ends(&group, &[]) {
                return end_threads(&group, &ends, &why);
            }
            drop(group);
            thread::sleep(BEAT.min(limit));
        }
    };
    thread::Builder::new().name("watch".into()).spawn(watch)?;
    Ok(())
}

/// A process as messages call it.
fn name(card: &Card, first: usize) -> String {
    let Card { ranks, host, pid, .. } = card;
    match ranks {
        1 => format!("rank {first} ({host}, pid {pid})"),
        _ => format!("ranks {first} to {} ({host}, pid {pid})", first + ranks - 1),
    }
}

/// Why all have to end, once it is known.
#[derive(Default)]
struct Verdict {
    why: Mutex<Option<String>>,
    known: Condvar,
}

impl Verdict {
    /// Whether this is the first that is known.
    fn give(&self, why: &str) -> bool {
        let mut known = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        let first = known.is_none();
        known.get_or_insert_with(|| why.to_owned());
        self.known.notify_all();
        first
    }

    /// Waits for it, as long as it takes to find that a process is silent.
    fn wait(&self) -> Option<String> {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = SILENT + 2 * BEAT;
        let waited = self.known.wait_timeout_while(why, limit, |why| why.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// Numbers' way, which says why it ends in the words of those who know.
struct Told {
    mesh: Mesh,
    verdict: Arc<Verdict>,
}

impl Told {
    fn told<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| match self.verdict.wait() {
            Some(why) => io::Error::other(why),
            None => io::Error::other(format!("the connection to another rank is gone: {error}")),
        })
    }
}

impl Collective for Told {
    fn sum(&self, values: &mut [f32]) -> io::Result<()> {
        self.told(self.mesh.sum(values))
    }

    fn gather(&self, own: &[f64]) -> io::Result<Vec<Vec<f64>>> {
        self.told(self.mesh.gather(own))
    }
}

/// Another process that is heard and told.
struct Peer {
    name: String,
    stream: TcpStream,
    heard: Mutex<Instant>,
    /// The step that it has come to.
    step: AtomicU64,
    /// All of its ranks wait for others.
    waits: AtomicBool,
    /// It has done its work.
    left: AtomicBool,
}

impl Peer {
    fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How it is told, given the step that this process has come to: all make the same ones.
    fn told(&self, what: &str, own: u64) -> String {
        let step = self.step.load(Ordering::Relaxed).max(own);
        let name = &self.name;
        format!(
            "{name} {what}; its last step was {step}, and --resume goes on from the newest checkpoint"
        )
    }
}

struct Watch {
    /// This process's name.
    own: String,
    peers: Vec<Peer>,
    group: Arc<Group>,
    verdict: Arc<Verdict>,
    /// Shuts the ways of numbers.
    shut: Box<dyn Fn() + Send + Sync>,
    ends: Ends,
    over: AtomicBool,
}

impl Watch {
    /// Begins to hear and to tell.
    fn start(self: &Arc<Self>, limit: Duration) -> io::Result<()> {
        for at in 0..self.peers.len() {
            let stream = &self.peers[at].stream;
            stream.set_read_timeout(None)?;
            stream.set_write_timeout(Some(BEAT))?;
            let watch = Arc::clone(self);
            thread::Builder::new().name("hear".into()).spawn(move || watch.hear(at))?;
        }
        let watch = Arc::clone(self);
        thread::Builder::new().name("beat".into()).spawn(move || watch.beat(limit))?;
        Ok(())
    }

    /// Hears one process to its end.
    fn hear(self: &Arc<Self>, at: usize) {
        let peer = &self.peers[at];
        loop {
            match receive(&peer.stream) {
                Ok(Message::Beat { step, waits }) => {
                    peer.hear();
                    peer.step.store(step, Ordering::Relaxed);
                    peer.waits.store(waits, Ordering::Relaxed);
                }
                Ok(Message::End(why)) => return self.end(&why, Some(at)),
                Ok(Message::Bye) => {
                    peer.left.store(true, Ordering::Relaxed);
                    return;
                }
                Ok(_) => {}
                Err(_) => return self.end(&peer.told("is gone", self.group.step()), Some(at)),
            }
        }
    }

    /// Tells that this process lives, and sees whether the others do.
    fn beat(self: &Arc<Self>, limit: Duration) {
        let mut patience = Patience::of(limit);
        while !self.over.load(Ordering::Relaxed) {
            let step = self.group.step();
            let waits = self.group.waits().iter().all(Option::is_some);
            for peer in self.peers.iter().filter(|peer| !peer.left.load(Ordering::Relaxed)) {
                let _ = send(&peer.stream, &Message::Beat { step, waits });
            }
            thread::sleep(BEAT);
            let busy = self.peers.iter().filter(|peer| !peer.waits.load(Ordering::Relaxed));
            let busy: Vec<&str> = busy.map(|peer| peer.name.as_str()).collect();
            if let Some(why) = patience.ends(&self.group, &busy) {
                return self.end(&why, None);
            }
            for (at, peer) in self.peers.iter().enumerate() {
                if peer.silence() > SILENT && !peer.left.load(Ordering::Relaxed) {
                    let what = format!("was not heard for {} s", peer.silence().as_secs());
                    return self.end(&peer.told(&what, self.group.step()), Some(at));
                }
            }
        }
    }

    /// Ends all, for a reason that one of the peers may know already.
    fn end(self: &Arc<Self>, why: &str, known: Option<usize>) {
        if self.over.load(Ordering::Relaxed) || !self.verdict.give(why) {
            return;
        }
        for (at, peer) in self.peers.iter().enumerate() {
            if Some(at) != known {
                let _ = send(&peer.stream, &Message::End(why.to_owned()));
            }
        }
        self.group.end(&RanksError::Lost(why.to_owned()));
        (self.shut)();
        end_late(&self.ends, why);
    }
}

/// Ends the ranks of this process, and the program where they do not end by themselves.
fn end_threads(group: &Group, ends: &Ends, why: &str) {
    group.end(&RanksError::Lost(why.to_owned()));
    end_late(ends, why);
}

/// Ends the program in a while: a rank that computes does not look up. A program that ends by itself
/// takes the thread along.
fn end_late(ends: &Ends, why: &str) {
    let (ends, why) = (Arc::clone(ends), why.to_owned());
    thread::spawn(move || {
        thread::sleep(GRACE);
        ends(&why);
    });
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;

    /// What ends the program tells, and a seat's way to it.
    fn told() -> (Ends, mpsc::Receiver<String>) {
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        (Arc::new(move |why: &str| drop(tell.lock().unwrap().send(why.to_owned()))), told)
    }

    #[test]
    fn a_thread_that_hangs_ends_the_run_by_its_number() {
        let (ends, told) = told();
        let session = Session::alone_for(2, ends, Duration::from_millis(50)).unwrap();
        let waits = session.group().seats().remove(0);
        let why = waits.sum(vec![1.0]).unwrap_err().to_string();
        assert!(why.starts_with("rank 1 did not come"), "{why}");
        assert_eq!(told.recv_timeout(2 * GRACE).unwrap(), why);
    }

    #[test]
    fn a_process_whose_thread_hangs_ends_the_others_by_its_name() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let join = |process| {
            let (rendezvous, wait) = (format!("127.0.0.1:{port}"), Duration::from_secs(60));
            let world = World { process, processes: 2, rendezvous, wait };
            let limit = Duration::from_millis(50);
            let stop = AtomicBool::new(false);
            Session::join_for(&world, 1, &Alike::new(), told().0, &stop, limit).unwrap()
        };
        let (waits, hangs) = thread::scope(|scope| {
            let waits = scope.spawn(|| join(0));
            let hangs = scope.spawn(|| join(1));
            (waits.join().unwrap(), hangs.join().unwrap())
        });
        let why = waits.group().seats().remove(0).sum(vec![1.0]).unwrap_err().to_string();
        assert!(why.contains("rank 1 ("), "{why}");
        assert!(why.contains("did not come"), "{why}");
        let other = hangs.group().seats().remove(0).sum(vec![1.0]).unwrap_err();
        assert!(other.to_string().contains("rank 1 ("), "{other}");
    }
}
