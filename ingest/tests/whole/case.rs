//! A folder with sources of every kind, and runs over them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use ingest::{Settings, Silent, Summary, run, sample};
use parquet::arrow::ArrowWriter;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::ShardLayout;
use shards::{ShardSet, StoredRow};
use storage::Address;
use tempfile::TempDir;

use crate::make_archives::zip::{Method, Zip};

pub struct Case {
    folder: TempDir,
}

impl Case {
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Sources of every kind, each with pictures of its own; see [`Self::sources`].
    pub fn mixed() -> Self {
        let case = Self::empty();
        sample::write(&case.path("raw"), 14, 1).unwrap();
        case.put("part.tar", tar(&members(0..9, "cat")));
        case.put("part.tar.gz", gzip(&tar(&members(10..17, "dog"))));
        case.put("rows.parquet", parquet(&members(20..28, "fox")));
        case.put("crawl.warc.gz", warc(&members(30..36, "owl")));
        for (name, bytes) in members(40..44, "elk") {
            case.put(&format!("listed/{name}"), bytes);
        }
        case.put("part.zip", zip(&members(60..65, "yak")));
        case.put("list.txt", "listed/elk/40.png\nlisted/elk/41.png\nlisted/elk/43.png\n");
        case
    }

    /// The names of what [`Self::mixed`] has.
    pub const SOURCES: [&str; 7] =
        ["raw", "part.tar", "part.tar.gz", "rows.parquet", "crawl.warc.gz", "part.zip", "list.txt"];

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Settings of shards of five pictures, in row groups of two, in the folder `out`.
    pub fn settings(&self, sources: &[&str], out: &str) -> Settings {
        let mut settings = Settings::new("", self.path(out));
        settings.sources = sources.iter().map(|source| Address::from(self.path(source))).collect();
        settings.threads = 2;
        settings.ingest.layout = ShardLayout::new(32, vec![4, 8, 16], 9).unwrap();
        settings.ingest.pictures_per_shard = 5;
        settings.ingest.rows_per_group = 2;
        settings
    }

    pub fn run(&self, sources: &[&str], out: &str) -> Summary {
        run(&self.settings(sources, out), &Silent).unwrap()
    }

    /// Every visible file of a folder, by name.
    pub fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                let bytes = fs::read(entry.path());
                (name.clone(), bytes.unwrap_or_else(|error| panic!("{name}: {error}")))
            })
            .collect()
    }

    pub fn rows(&self, out: &str) -> Vec<StoredRow> {
        let set = ShardSet::open(&self.path(out)).unwrap();
        (0..set.manifest().rows).map(|index| set.row(index).unwrap()).collect()
    }

    /// The program with the flags of [`Self::settings`], run in the case's folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingest"));
        command.args(args).current_dir(self.folder.path());
        command
    }

    pub const FLAGS: [&'static str; 10] = [
        "--size",
        "32",
        "--cells",
        "4,8,16",
        "--shard-pictures",
        "5",
        "--rows-per-group",
        "2",
        "--threads",
        "2",
    ];

    /// Runs the program; whether it succeeded, and what it said.
    pub fn ingest(&self, args: &[&str]) -> (bool, String) {
        told(self.command(args).output().unwrap())
    }
}

/// Whether a program succeeded, and what it said.
pub fn told(output: Output) -> (bool, String) {
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// A picture of which no other number gives the like.
pub fn picture(number: u32) -> Vec<u8> {
    let wave = |x: u32, y: u32, k: u32| {
        let phase = (x * (number % 7 + 1) + y * (number % 5 + 2) * k) as f32 / (9 + number) as f32;
        (127.0 + 120.0 * phase.sin()) as u8
    };
    let picture = RgbImage::from_fn(40 + number % 9, 36 + number % 5, |x, y| {
        Rgb([wave(x, y, 1), wave(y, x, 2), wave(x + number, y, 3)])
    });
    let mut file = std::io::Cursor::new(Vec::new());
    DynamicImage::from(picture).write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// A smooth scene of which no other number gives the like, in any size.
pub fn scene(number: u32, side: u32) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(number.into());
    let waves: Vec<[f32; 4]> = (0..6)
        .map(|_| {
            [rng.random_range(0.5..3.0), rng.random_range(0.5..3.0), rng.random(), rng.random()]
        })
        .collect();
    let picture = RgbImage::from_fn(side, side, |x, y| {
        let (x, y) = (x as f32 / side as f32, y as f32 / side as f32);
        let sum: f32 = waves
            .iter()
            .map(|[fx, fy, phase, weight]| weight * (6.3 * (fx * x + fy * y + phase)).sin())
            .sum();
        let value = (127.0 + 40.0 * sum).clamp(0.0, 255.0) as u8;
        Rgb([value, value / 2, 255 - value])
    });
    let mut file = std::io::Cursor::new(Vec::new());
    DynamicImage::from(picture).write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// Pictures of these numbers, named like files in the folder `class`.
pub fn members(numbers: std::ops::Range<u32>, class: &str) -> Vec<(String, Vec<u8>)> {
    numbers.map(|number| (format!("{class}/{number}.png"), picture(number))).collect()
}

pub fn tar(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Pictures in the column `jpg`, their folders in `label`.
pub fn parquet(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let pictures: ArrayRef =
        Arc::new(BinaryArray::from_iter_values(members.iter().map(|(_, bytes)| bytes)));
    let labels: ArrayRef = Arc::new(StringArray::from_iter_values(
        members.iter().map(|(name, _)| name.split('/').next().unwrap()),
    ));
    let batch = RecordBatch::try_from_iter([("jpg", pictures), ("label", labels)]).unwrap();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

pub fn zip(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = Zip::default();
    for (name, bytes) in members {
        zip.file(name, bytes, Method::Deflate);
    }
    zip.end()
}

/// Responses with the pictures, and a page before each and behind the last, each a gzip member as
/// Common Crawl has them.
pub fn warc(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    let page = ("page.html".to_owned(), b"<html>".to_vec());
    let with_pages = members.iter().flat_map(|member| [&page, member]).chain([&page]);
    for (name, bytes) in with_pages {
        let kind = if name == "page.html" { "text/html" } else { "image/png" };
        let mut http = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n").into_bytes();
        http.extend(bytes);
        let mut record = format!(
            "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://crawled/{name}\r\n\
             Content-Type: application/http; msgtype=response\r\nContent-Length: {}\r\n\r\n",
            http.len()
        )
        .into_bytes();
        record.extend(http);
        record.extend(b"\r\n\r\n");
        file.extend(gzip(&record));
    }
    file
}
