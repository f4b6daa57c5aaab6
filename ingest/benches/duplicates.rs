//! What finding duplicates costs: a perceptual hash, and an index that grows from nothing to so
//! many pictures.
//!
//! ```text
//! cargo bench -p ingest --bench duplicates
//! LOCALMIM_BENCH_MOST=10000000 cargo bench -p ingest --bench duplicates    # some minutes, 1 GiB
//! ```
//!
//! Growth is measured in one go, not in repetitions, as the cost of one more picture is not that
//! of the first. Hashes are random bits, or gathered like those of the web: the bits lean towards
//! one of a thousand motifs, and one picture in twenty is a near copy of one before it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use ingest::duplicates::{DuplicateIndex, Verdict, perceptual_hash};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

const RADII: [u32; 2] = [4, 8];

fn main() {
    let most = std::env::var("LOCALMIM_BENCH_MOST").ok();
    let most: usize = match most.map(|most| most.parse()) {
        Some(Ok(most)) => most,
        Some(Err(_)) => panic!("LOCALMIM_BENCH_MOST is no whole number"),
        None => 1_000_000,
    };
    // As a test it shows only that it runs.
    let is_test = !std::env::args().any(|argument| argument == "--bench");
    let counts = [10_000, 100_000, 1_000_000, 10_000_000];
    let most = if is_test { counts[0] } else { most };

    time_of_a_hash();
    println!(
        "\nradius  hashes        offered        kept   seconds    of CPU  inserts/s  of the last tenth  longest, ms  bytes/kept"
    );
    for radius in RADII {
        for gathered in [false, true] {
            for &count in counts.iter().filter(|&&count| count <= most) {
                grow(radius, gathered, count);
            }
        }
    }
}

fn time_of_a_hash() {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for (width, height) in [(400, 500), (1600, 2000)] {
        let picture = RgbImage::from_fn(width, height, |_, _| Rgb(rng.random()));
        let rounds = 100;
        let (start, at_work) = (Instant::now(), time_at_work());
        for _ in 0..rounds {
            black_box(perceptual_hash(black_box(&picture)));
        }
        let cpu = time_at_work().zip(at_work).map(|(to, from)| to - from);
        let each = cpu.unwrap_or(start.elapsed()).as_secs_f64() * 1e3 / f64::from(rounds);
        println!("hash of {width}×{height} pixels: {each:.3} ms");
    }
}

fn grow(radius: u32, gathered: bool, count: usize) {
    const BATCHES: usize = 10;
    let mut hashes = Hashes::new(gathered);
    let mut index = DuplicateIndex::new(Some(radius));
    let (mut wall, mut longest) = (Duration::ZERO, Duration::ZERO);
    let mut batches = Vec::new();
    for batch in 0..BATCHES {
        let offered: Vec<_> = (0..count / BATCHES).map(|_| hashes.next()).collect();
        let mut verdicts = Vec::with_capacity(offered.len());
        let (start, at_work) = (Instant::now(), time_at_work());
        for (at, &(content, hash)) in offered.iter().enumerate() {
            let start = Instant::now();
            verdicts.push(index.insert((batch * offered.len() + at) as u64, content, Some(hash)));
            longest = longest.max(start.elapsed());
        }
        let taken = start.elapsed();
        wall += taken;
        let cpu = time_at_work().zip(at_work).map(|(to, from)| to - from);
        // The system tells it in steps of some milliseconds.
        batches.push(cpu.filter(|cpu| cpu.as_millis() >= 50).unwrap_or(taken));
        for (verdict, (_, hash)) in verdicts.iter().zip(offered) {
            if *verdict == Verdict::New {
                hashes.remember(hash);
            }
        }
    }
    let cpu: Duration = batches.iter().sum();
    let last = batches[BATCHES - 1];
    println!(
        "{radius:>6}  {:8}  {count:>11}  {:>10}  {:>8.3}  {:>8.3}  {:>9.0}  {:>17.0}  {:>11.1}  {:>10.1}",
        if gathered { "gathered" } else { "random" },
        index.len(),
        wall.as_secs_f64(),
        cpu.as_secs_f64(),
        count as f64 / cpu.as_secs_f64(),
        count as f64 / 10.0 / last.as_secs_f64(),
        longest.as_secs_f64() * 1e3,
        index.bytes() as f64 / index.len() as f64,
    );
}

/// The time for which this thread has run, where the system tells it: unlike the clock's it leaves
/// out what other programs took.
fn time_at_work() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}

struct Hashes {
    rng: ChaCha8Rng,
    motifs: Vec<u64>,
    /// Some of the hashes before, to be copied.
    before: Vec<u64>,
}

impl Hashes {
    const REMEMBERED: usize = 1 << 16;

    fn new(gathered: bool) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let motifs = if gathered { (0..1000).map(|_| rng.random()).collect() } else { Vec::new() };
        Self { rng, motifs, before: Vec::new() }
    }

    fn next(&mut self) -> ([u8; 32], u64) {
        let mut content = [0; 32];
        self.rng.fill_bytes(&mut content);
        if self.motifs.is_empty() {
            return (content, self.rng.random());
        }
        if !self.before.is_empty() && self.rng.random_ratio(1, 20) {
            let mut hash = self.before[self.rng.random_range(0..self.before.len())];
            for _ in 0..self.rng.random_range(0..4) {
                hash ^= 1 << self.rng.random_range(0..64);
            }
            return (content, hash);
        }
        // A quarter of the bits, each with even odds to be another.
        let motif = self.motifs[self.rng.random_range(0..self.motifs.len())];
        let others = self.rng.random::<u64>() & self.rng.random::<u64>();
        (content, motif ^ others)
    }

    fn remember(&mut self, hash: u64) {
        if self.before.len() < Self::REMEMBERED {
            self.before.push(hash);
        } else {
            let at = self.rng.random_range(0..Self::REMEMBERED);
            self.before[at] = hash;
        }
    }
}
