//! How long a list of web addresses takes of which a tenth is dead, and how much memory: runs over
//! a thousand addresses, and over as many as given. A process serves them on the loopback
//! interface, another runs, so that its peak of memory is its own.
//!
//! ```console
//! $ cargo run --release -p ingest --example crawl -- 10000
//! $ cargo run --release -p ingest --example crawl -- 400 15 refuse
//! ```
//!
//! The second number is the share of dead addresses in per cent, the word how they are dead:
//! `refuse` (nobody listens), `missing` (404), `silent` (no answer ever comes), `stall` (one stops
//! within a body), or all of these in equal parts. Each address that is not `missing` is on a host
//! of its own.

mod process;
mod squares;

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;

use anyhow::ensure;
use ingest::Settings;
use schemas::ShardLayout;

use process::Cost;

/// Addresses unless another number is given, and of the short run.
const MANY: u32 = 10_000;
const FEW: u32 = 1_000;
/// Side of a picture, in pixels.
const SIDE: u32 = 96;
/// How an address may be dead.
const FAULTS: [&str; 4] = ["refuse", "missing", "silent", "stall"];

fn main() -> anyhow::Result<()> {
    let args: Vec<_> = env::args().skip(1).collect();
    if let Some((list, out)) = process::as_child(&args) {
        return process::run(&settings(list, out)?);
    }
    let many = args.first().map_or(Ok(MANY), |text| text.parse())?;
    let dead = args.get(1).map_or(Ok(10), |text| text.parse())?;
    ensure!(dead <= 100, "{dead} is no share in per cent");
    let faults: Vec<&str> = match args.get(2) {
        Some(fault) => vec![fault],
        None => FAULTS.to_vec(),
    };
    ensure!(faults.iter().all(|fault| FAULTS.contains(fault)), "{faults:?} is no fault");
    let server = Server::start()?;
    println!(" addresses  accepted  rejected    wall s     CPU s  peak MB");
    for addresses in [FEW, many] {
        if addresses == FEW && many < FEW {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let (list, out) = (folder.path().join("list.txt"), folder.path().join("shards"));
        std::fs::write(&list, server.list(addresses, dead, &faults))?;
        let Cost { accepted, rejected, wall, cpu, peak } = process::measured(&list, &out)?;
        let peak = peak as f64 / 1e6;
        println!(
            "{addresses:>10}  {accepted:>8}  {rejected:>8}  {wall:>8.2}  {cpu:>8.2}  {peak:>7.1}"
        );
    }
    Ok(())
}

/// What the run is asked to do.
fn settings(list: PathBuf, out: PathBuf) -> anyhow::Result<Settings> {
    let mut settings = Settings::new(list, out);
    settings.web.private_addresses = true;
    settings.ingest.layout = ShardLayout::new(64, vec![4, 8], 9)?;
    settings.ingest.pictures_per_shard =
        ingest::default_pictures_per_shard(&settings.ingest.layout, 1);
    Ok(settings)
}

/// Listens on every address of the loopback interface.
struct Server {
    /// Answers.
    well: u16,
    /// Nobody listens.
    closed: u16,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0));
        let (listener, closed) = (listen()?, listen()?);
        let (well, closed) = (listener.local_addr()?.port(), closed.local_addr()?.port());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || talk(stream).ok());
            }
        });
        Ok(Self { well, closed })
    }

    /// Addresses, of which every so many are dead.
    fn list(&self, addresses: u32, dead: u32, faults: &[&str]) -> String {
        let Self { well, closed } = self;
        let mut list = String::new();
        for number in 0..addresses {
            let before = u64::from(number) * u64::from(dead) / 100;
            let is_dead = u64::from(number + 1) * u64::from(dead) / 100 > before;
            let fault = faults[before as usize % faults.len()];
            let host = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + number);
            list += &match fault {
                _ if !is_dead => format!("http://127.0.0.1:{well}/{number}.jpg\n"),
                "refuse" => format!("http://{host}:{closed}/{number}.jpg\n"),
                "missing" => format!("http://127.0.0.1:{well}/missing/{number}.jpg\n"),
                fault => format!("http://{host}:{well}/{fault}/{number}.jpg\n"),
            };
        }
        list
    }
}

/// Answers requests on a connection until it is closed.
fn talk(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut stream = stream;
    loop {
        let Some(first) = lines.next().transpose()? else { return Ok(()) };
        for line in lines.by_ref() {
            if line?.is_empty() {
                break;
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default();
        let body = match path.trim_start_matches('/').split_once('/') {
            None => {
                let number = path.trim_matches(|c: char| !c.is_ascii_digit()).parse();
                squares::draw(number.unwrap_or(0), SIDE).map_err(io::Error::other)?
            }
            Some(("missing", _)) => {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
                continue;
            }
            Some((fault, _)) => {
                if fault == "stall" {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n\xff\xd8")?;
                }
                stream.read_to_end(&mut Vec::new())?;
                return Ok(());
            }
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat())?;
    }
}
