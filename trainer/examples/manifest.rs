//! How long the manifest of a set of many shards takes to open, with the order of an epoch, and how
//! much memory.
//!
//! ```console
//! $ cargo run --release --example manifest -- 1000000
//! ```
//!
//! The set has that many shards of 1,024 pictures, 64 rows a group, as `ingest` makes them by itself.
//! Making it and opening it are two processes, so that the peak of memory is that of opening.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use cpu_time::ProcessTime;
use schemas::{
    FileEntry, GroupHash, IngestSettings, MANIFEST_FILE, Manifest, Part, Place, SCHEMA_VERSION,
    ShardEntry, ShardLayout,
};
use shards::ShardSet;
use trainer::data::order::EpochOrder;

const PICTURES_PER_SHARD: u32 = 1024;
const ROWS_PER_GROUP: u32 = 64;
/// As the trainer has it by itself.
const WINDOW_GROUPS: usize = 8;
/// Bytes of a stored row of photos in the default layout.
const BYTES_PER_ROW: u64 = 175_000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", shards, folder] => make(shards.parse()?, Path::new(folder)),
        ["open", folder] => open(Path::new(folder)),
        [shards] => {
            let folder = tempfile::tempdir()?;
            let path = folder.path().to_str().ok_or("the temporary folder's name is no text")?;
            for words in [&["make", shards, path][..], &["open", path]] {
                let status = Command::new(env::current_exe()?).args(words).status()?;
                if !status.success() {
                    return Err(format!("{words:?}: {status}").into());
                }
            }
            Ok(())
        }
        _ => Err("give the number of shards".into()),
    }
}

/// Writes the manifest of a set of so many shards.
fn make(shards: u64, folder: &Path) -> Result<(), Box<dyn Error>> {
    let pictures = shards * u64::from(PICTURES_PER_SHARD);
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        created_by: "an example".into(),
        version: 1,
        settings: settings()?,
        parts: vec![part(shards, pictures)],
        classes: vec![],
        class_pictures: vec![],
        accepted: 0,
        cut_short: 0,
        rejected: 0,
        rows: 0,
        bytes: 0,
        shards: (0..shards).map(shard).collect(),
    };
    fs::write(folder.join(MANIFEST_FILE), manifest.with_totals().to_text())?;
    Ok(())
}

fn settings() -> Result<IngestSettings, Box<dyn Error>> {
    Ok(IngestSettings {
        layout: ShardLayout::new(224, vec![4, 8, 16, 32], 9)?,
        views: 1,
        seed: 0,
        central: false,
        strict: false,
        min_decoded: 90,
        min_side: 16,
        max_pixels: 1 << 27,
        max_bytes: None,
        max_aspect: 0,
        one_colour: 4,
        background: [255; 3],
        scaled_decode: false,
        pictures_per_shard: PICTURES_PER_SHARD,
        rows_per_group: ROWS_PER_GROUP,
        zstd_level: -5,
        keep_duplicates: false,
        near_duplicates: None,
        classes: None,
    })
}

fn part(shards: u64, pictures: u64) -> Part {
    Part {
        sources: vec!["s3://crawl".into()],
        follow_links: false,
        image_column: None,
        label_column: None,
        url_column: None,
        listing: hash(0),
        first: 0,
        pictures,
        first_shard: 0,
        shards,
        accepted: pictures,
        cut_short: 0,
        rejected: Default::default(),
        passed: Default::default(),
        rejects: FileEntry { file: "rejects.jsonl".into(), bytes: 0, blake3: hash(1) },
    }
}

fn shard(number: u64) -> ShardEntry {
    let groups = u64::from(PICTURES_PER_SHARD / ROWS_PER_GROUP);
    let end = |group| 4 + (group + 1) * u64::from(ROWS_PER_GROUP) * BYTES_PER_ROW + number % 997;
    ShardEntry {
        file: shards::set::names::shard_file(number),
        rows: u64::from(PICTURES_PER_SHARD),
        row_groups: vec![ROWS_PER_GROUP; groups as usize],
        row_group_ends: (0..groups).map(end).collect(),
        row_group_hashes: (0..groups).map(|group| group_hash(number * groups + group)).collect(),
        bytes: end(groups - 1) + 20_000,
        blake3: (&blake3::hash(&number.to_le_bytes())).into(),
        first: number * u64::from(PICTURES_PER_SHARD),
        pictures: u64::from(PICTURES_PER_SHARD),
        start: Place { unit: number * u64::from(PICTURES_PER_SHARD), ..Place::default() },
    }
}

fn group_hash(number: u64) -> GroupHash {
    (&blake3::hash(&number.to_le_bytes())).into()
}

fn hash(number: u64) -> String {
    blake3::hash(&number.to_le_bytes()).to_hex().to_string()
}

fn open(folder: &Path) -> Result<(), Box<dyn Error>> {
    let bytes: u64 = fs::read_dir(folder)?
        .map(|entry| Ok::<_, std::io::Error>(entry?.metadata()?.len()))
        .sum::<Result<_, _>>()?;
    let (start, work) = (Instant::now(), ProcessTime::now());
    let told = || {
        format!(
            "{:.2} s, of a core {:.2} s",
            start.elapsed().as_secs_f64(),
            work.elapsed().as_secs_f64()
        )
    };
    let set = ShardSet::open(folder)?;
    let opened = told();
    let order = EpochOrder::new(set.manifest().shards.clone(), WINDOW_GROUPS, 0, 0);
    let ordered = told();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim();
    let (shards, rows) = (set.manifest().shards.len(), set.rows());
    println!("{shards} shards, {rows} rows: {bytes} bytes, opened in {opened}");
    println!("with an epoch's order of {} windows: {ordered}; peak {peak}", order.windows());
    Ok(())
}
