//! The flags of `ingest`, and what they set.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ingest::repair::Repair;
use ingest::report::Scope;
use ingest::{Classes, Codebook, Settings};
use schemas::{IngestSettings, PictureFilter, ShardLayout};
use storage::{Address, Notice, StorageOptions};
use voice::terminal::{bytes, tell, visible};

/// Turns pictures into Parquet shards for masked image modeling.
///
/// The pictures lie in folders (at any depth), tar and ZIP archives, Parquet files, WARC files, at
/// the addresses of a list (Parquet, CSV or JSON lines with a column of them), or in text files that
/// list any of these; all can be mixed, and each may be a local path or an s3://, gs://, az:// or
/// http(s):// address. Tar and WARC may be packed with gzip, zstd, xz or bzip2. A run that was
/// stopped goes on where it was with the same command, and gives the same bytes.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub ingest: IngestArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tells what is in a shard set, and draws it.
    Inspect(InspectArgs),
    /// Writes one HTML page of a shard set: pictures, sizes, sources, classes, likeness, rejects.
    Report(ReportArgs),
    /// Reads every byte of a shard set against its checksums.
    Verify(VerifyArgs),
    /// Makes the damaged shards of a set again, as they were.
    Repair(RepairArgs),
    /// Makes a small collection of pictures, drawn procedurally, to try the programs with.
    Sample(SampleArgs),
}

#[derive(Debug, Args)]
pub struct IngestArgs {
    /// Folders, archives, lists and pictures. What a file is, is told by its content. In folders,
    /// files named .tar, .zip, .parquet or .warc, and .tar.gz, .tgz, .warc.zst and the like, are
    /// looked into; all others are taken for pictures. A source named like a subcommand is given as ./inspect.
    #[arg(required = true)]
    pub sources: Vec<Address>,
    /// Folder for the shards, local or remote.
    #[arg(long, required = true)]
    pub out: Option<Address>,
    /// Add the sources to the finished set in --out, as a new version of it.
    #[arg(long)]
    pub append: bool,

    /// Views cut from each picture.
    #[arg(long, default_value_t = 1, help_heading = "Views and targets")]
    pub views: u32,
    /// Side of a view in pixels.
    #[arg(long, default_value_t = 224, help_heading = "Views and targets")]
    pub size: u32,
    /// HOG cell sizes in pixels, rising.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "4,8,16,32",
        help_heading = "Views and targets"
    )]
    pub cells: Vec<u32>,
    /// HOG orientation bins a channel: 9 for ViT-B, 18 for ViT-L.
    #[arg(long, default_value_t = 9, help_heading = "Views and targets")]
    pub bins: u32,
    /// Seed of the crops and of the pictures' order.
    #[arg(long, default_value_t = 0, help_heading = "Views and targets")]
    pub seed: u64,

    /// Cut the largest central square of each picture instead of a random crop: for pictures on
    /// which an encoder is evaluated.
    #[arg(long, help_heading = "Views and targets")]
    pub central: bool,

    /// Keep pictures whose bytes are those of an earlier one.
    #[arg(long, help_heading = "Which pictures are kept")]
    pub keep_duplicates: bool,
    /// Reject pictures that look like an earlier one: whose 64-bit perceptual hash differs from its
    /// in at most so many bits. 2 to 6 finds copies that were resized or compressed anew.
    #[arg(long, value_name = "BITS", help_heading = "Which pictures are kept")]
    pub near_duplicates: Option<u32>,
    /// Reject every JPEG that is cut short instead of keeping it as far as it goes.
    #[arg(long, help_heading = "Which pictures are kept")]
    pub strict: bool,
    /// Least share of a JPEG that must be there for it to be kept, in per cent.
    #[arg(
        long,
        value_name = "PER CENT",
        default_value_t = 90,
        help_heading = "Which pictures are kept"
    )]
    pub min_decoded: u8,
    /// Shortest side that a picture may have, in pixels.
    #[arg(long, default_value_t = 16, help_heading = "Which pictures are kept")]
    pub min_side: u32,
    /// Most pixels that a picture may have.
    #[arg(long, default_value_t = 178_956_970, help_heading = "Which pictures are kept")]
    pub max_pixels: u64,
    /// Most bytes that a picture's file may have, as in 50MB [default: 8 for each of --max-pixels, and
    /// 1 MiB].
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = "Which pictures are kept")]
    pub max_bytes: Option<u64>,
    /// Most times that a picture's longer side may be its shorter; 0 allows any.
    #[arg(long, default_value_t = 0, help_heading = "Which pictures are kept")]
    pub max_aspect: u32,
    /// Reject pictures of one colour: those of which, in each channel, so many neighbouring levels
    /// of 256 hold nearly all pixels; 0 keeps them.
    #[arg(
        long,
        value_name = "LEVELS",
        default_value_t = 4,
        help_heading = "Which pictures are kept"
    )]
    pub one_colour: u8,
    /// Colour over which transparent pictures are laid, as six hexadecimal digits.
    #[arg(
        long,
        value_name = "RRGGBB",
        default_value = "ffffff",
        value_parser = colour,
        help_heading = "Which pictures are kept"
    )]
    pub background: [u8; 3],
    /// Decode JPEGs at 1/2, 1/4 or 1/8 where their crops are that much larger than a view: it takes
    /// less memory, and views differ a little.
    #[arg(long, help_heading = "Views and targets")]
    pub scaled_decode: bool,
    /// Codebook, of which the nearest code of each patch is stored as a target: a safetensors file
    /// with `codes` [codes, dim] and, for codes that are no patches themselves, `weight` and `bias`
    /// of a linear map. May be given more than once, for other patches.
    #[arg(long, value_name = "FILE", value_parser = codebook, help_heading = "Views and targets")]
    pub codebook: Vec<Codebook>,

    /// Classes and their indices, so that several sets share them: the classes.json of another set,
    /// or a text with a class a line. Pictures of other classes are rejected as `unknown_class`,
    /// those without a class are kept [default: the classes that are found, by name].
    #[arg(long, value_name = "FILE", value_parser = classes, help_heading = "Reading the sources")]
    pub classes: Option<Classes>,
    /// Follow symbolic links in folders instead of passing over them.
    #[arg(long, help_heading = "Reading the sources")]
    pub follow_links: bool,
    /// Column of Parquet sources that holds the pictures [default: found by name and content].
    #[arg(long, value_name = "NAME", help_heading = "Reading the sources")]
    pub image_column: Option<String>,
    /// Column of Parquet sources and lists that holds the classes [default: found by name].
    #[arg(long, value_name = "NAME", help_heading = "Reading the sources")]
    pub label_column: Option<String>,
    /// Column of lists that holds the pictures' addresses; in a CSV without a row of names its
    /// number, from 1 [default: found by name and content].
    #[arg(long, value_name = "NAME", help_heading = "Reading the sources")]
    pub url_column: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub web: WebArgs,

    /// Pictures a shard [default: as many as make about 320 MiB before compression].
    #[arg(long, help_heading = "Shards")]
    pub shard_pictures: Option<u32>,
    /// Most rows of a Parquet row group.
    #[arg(long, default_value_t = 64, help_heading = "Shards")]
    pub rows_per_group: u32,
    /// What is done to the pixels before they are compressed. After `green-up` pictures take about
    /// half the bytes; `none` leaves them as they are, for readers that want no step of their own.
    #[arg(long, value_enum, default_value_t = Filter::GreenUp, help_heading = "Shards")]
    pub picture_filter: Filter,
    /// Zstd level of the Parquet pages, from -50 to 22, without 0; higher ones take longer, and save
    /// little after the filter. Below 0 few matches are looked for.
    #[arg(
        long,
        default_value_t = shards::write::DEFAULT_ZSTD_LEVEL,
        value_parser = zstd_level,
        allow_negative_numbers = true,
        help_heading = "Shards"
    )]
    pub zstd_level: i32,

    #[command(flatten)]
    pub machine: MachineArgs,
}

/// What is done to the pixels of a view.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Filter {
    /// Planes of green, red - green and blue - green, rows as differences to the row above.
    GreenUp,
    /// Nothing: RGB.
    None,
}

impl From<Filter> for PictureFilter {
    fn from(filter: Filter) -> Self {
        match filter {
            Filter::GreenUp => Self::GreenUp,
            Filter::None => Self::None,
        }
    }
}

#[derive(Debug, Args)]
pub struct StoreArgs {
    /// URL of an S3-compatible store. Keys, region and the like come from the environment, as
    /// other tools read them (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS,
    /// AZURE_STORAGE_ACCOUNT_NAME, ...).
    #[arg(long, value_name = "URL", help_heading = "Reading the sources")]
    pub endpoint: Option<String>,
}

impl From<StoreArgs> for StorageOptions {
    fn from(args: StoreArgs) -> Self {
        let notice = Some(Notice::new(|sentence| tell(visible(sentence))));
        Self { endpoint: args.endpoint, notice, ..Self::default() }
    }
}

/// A list is a stranger's text, and of its addresses some are always dead.
#[derive(Debug, Args)]
#[command(next_help_heading = "Web addresses in lists")]
pub struct WebArgs {
    /// Fetch addresses of private networks, too: loopback, link-local and the like, by number, by
    /// name or by a redirect. Without it they are rejected as `private_address`, and the proxies of
    /// the environment are not used, for behind one nobody can tell where a name leads.
    #[arg(long)]
    pub private_addresses: bool,
    /// Keep pictures whose server forbids it (`X-Robots-Tag` with noai, noimageai, noindex,
    /// noimageindex or none). Without it they are rejected as `disallowed`.
    #[arg(long)]
    pub ignore_robots_tag: bool,
    /// What servers are told who asks: a name and a version, and where more can be learnt.
    #[arg(long, value_name = "TEXT", default_value = ingest::USER_AGENT)]
    pub user_agent: String,
    /// Most downloads at once.
    #[arg(long, value_name = "COUNT", default_value_t = web::Options::new("").at_once)]
    pub downloads: usize,
    /// Most downloads at once from one host.
    #[arg(long, value_name = "COUNT", default_value_t = web::Options::new("").per_host)]
    pub downloads_per_host: usize,
    /// Longest time for a connection, the look-up of the name included.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    pub connect_timeout: Duration,
    /// Longest time from then to the first bytes of the answer.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    pub answer_timeout: Duration,
    /// Longest pause within an answer.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    pub stall_timeout: Duration,
    /// Longest time for an answer, from the request to its last byte.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
    pub download_timeout: Duration,
    /// How often an address is tried again after a fault that may pass: a connection that broke
    /// off, an answer of 408, 425, 429 or above 499. A try that ran out of time counts as two.
    #[arg(long, value_name = "COUNT", default_value_t = web::Options::new("").retries)]
    pub retries: u32,
    /// Longest wait that a server may ask for before the next try (`Retry-After`); an address for
    /// which it asks for more is given up.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
    pub longest_wait: Duration,
    /// Leave a host alone of which so many addresses in a row failed without any answer: if it
    /// never answered they all fail with it, and if it did they wait once.
    #[arg(long, value_name = "COUNT", default_value_t = web::Options::new("").host_failures)]
    pub host_failures: u32,
    /// For how long.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    pub host_rest: Duration,
}

impl From<WebArgs> for web::Options {
    fn from(args: WebArgs) -> Self {
        Self {
            private_addresses: args.private_addresses,
            ignore_robots_tag: args.ignore_robots_tag,
            at_once: args.downloads,
            per_host: args.downloads_per_host,
            connect: args.connect_timeout,
            answer: args.answer_timeout,
            stall: args.stall_timeout,
            whole: args.download_timeout,
            retries: args.retries,
            longest_wait: args.longest_wait,
            host_failures: args.host_failures,
            host_rest: args.host_rest,
            ..Self::new(args.user_agent)
        }
    }
}

#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Worker threads; 0 takes one a core. The shards do not depend on it.
    #[arg(long, default_value_t = 0, help_heading = "The machine")]
    pub threads: usize,
    /// About how much memory pictures and rows in work may take, as in 512MB or 8GiB. A picture that
    /// takes more than half of it to decode is rejected as too large; else the shards do not
    /// depend on it. What is known of earlier pictures, to tell duplicates, comes on top: some
    /// 60 bytes a picture.
    #[arg(long, value_name = "BYTES", default_value = "4GiB", value_parser = bytes, help_heading = "The machine")]
    pub memory_limit: u64,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Folder that holds the shards.
    pub shards: Address,
    /// Draw the rows' views beside their HOG at every cell size into this PNG.
    #[arg(long)]
    pub preview: Option<PathBuf>,
    /// Rows to show.
    #[arg(long, default_value_t = 4)]
    pub rows: usize,
    /// Seed that chooses them.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folder that holds the shards.
    pub shards: Address,
    /// File to write.
    #[arg(long, default_value = "report.html")]
    pub out: PathBuf,
    /// Rows of which sizes, names, classes and hashes are read, at most; of more, those of whole
    /// shards spread evenly over the set.
    #[arg(long, default_value_t = Scope::default().rows)]
    pub rows: u64,
    /// Views to draw.
    #[arg(long, default_value_t = Scope::default().views)]
    pub views: usize,
    /// Seed that chooses them.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folder that holds the shards.
    pub shards: Address,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct RepairArgs {
    /// Folder that holds the shards.
    pub shards: Address,
    /// Where copies of the sources lie, if they are no longer where they were: one for each, in the
    /// order in which they were given.
    #[arg(long, num_args = 1..)]
    pub from: Vec<Address>,
    /// The codebooks with which the set was made, if it was made with any.
    #[arg(long, value_name = "FILE", value_parser = codebook)]
    pub codebook: Vec<Codebook>,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub web: WebArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
pub struct SampleArgs {
    /// New folder for the pictures.
    pub folder: PathBuf,
    /// Whole pictures to make; some broken files come on top.
    #[arg(long, default_value_t = 420)]
    pub pictures: usize,
    /// Seed of the pictures.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl IngestArgs {
    /// What a run is asked to do; none where a subcommand is.
    pub fn settings(self) -> Option<Settings> {
        let args = self;
        let codebooks = Codebook::by_patch(args.codebook);
        let layout = ShardLayout {
            size: args.size,
            cells: args.cells,
            bins: args.bins,
            codebooks: codebooks.iter().map(|codebook| codebook.layout().clone()).collect(),
            picture_filter: args.picture_filter.into(),
        };
        let pictures_per_shard = args
            .shard_pictures
            .unwrap_or_else(|| ingest::default_pictures_per_shard(&layout, args.views));
        let settings = Settings {
            sources: args.sources,
            out: args.out?,
            append: args.append,
            storage: args.store.into(),
            web: args.web.into(),
            threads: args.machine.threads,
            memory: args.machine.memory_limit,
            follow_links: args.follow_links,
            image_column: args.image_column,
            label_column: args.label_column,
            url_column: args.url_column,
            classes: None,
            codebooks,
            ingest: IngestSettings {
                layout,
                views: args.views,
                seed: args.seed,
                central: args.central,
                strict: args.strict,
                min_side: args.min_side,
                max_pixels: args.max_pixels,
                max_bytes: args.max_bytes,
                min_decoded: args.min_decoded,
                max_aspect: args.max_aspect,
                one_colour: args.one_colour,
                background: args.background,
                scaled_decode: args.scaled_decode,
                pictures_per_shard,
                rows_per_group: args.rows_per_group,
                zstd_level: args.zstd_level,
                keep_duplicates: args.keep_duplicates,
                near_duplicates: args.near_duplicates,
                classes: None,
            },
        };
        Some(settings.with_classes(args.classes))
    }
}

impl RepairArgs {
    /// What to repair, and how the storage is reached.
    pub fn settings(self) -> (Repair, StorageOptions) {
        let MachineArgs { threads, memory_limit } = self.machine;
        let codebooks = Codebook::by_patch(self.codebook);
        let repair = Repair {
            out: self.shards,
            from: self.from,
            codebooks,
            web: self.web.into(),
            threads,
            memory: memory_limit,
        };
        (repair, self.store.into())
    }
}

/// The classes of a file.
fn classes(path: &str) -> Result<Classes, String> {
    Classes::read(Path::new(path))
}

/// The codebook of a file.
fn codebook(path: &str) -> Result<Codebook, String> {
    Codebook::read(Path::new(path))
}

/// A whole number; whether it is in its range is told with all others.
fn zstd_level(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| "it must be a whole number, such as -5 or 3".to_owned())
}

/// A number of seconds above 0.
fn seconds(text: &str) -> Result<Duration, String> {
    // More is no limit, and a moment so far away can't be told.
    const MOST: f64 = 366.0 * 24.0 * 3600.0;
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds > 0.0);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.min(MOST)).ok());
    time.ok_or_else(|| format!("`{text}` is no time; write seconds, as in 5 or 0.5"))
}

/// Six hexadecimal digits, red first.
fn colour(text: &str) -> Result<[u8; 3], String> {
    let digits = text.trim_start_matches('#');
    let wrong = || format!("`{text}` is no colour; write six hexadecimal digits, as in ffffff");
    if digits.len() != 6 || !digits.is_ascii() {
        return Err(wrong());
    }
    let channel = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| wrong());
    Ok([channel(0)?, channel(2)?, channel(4)?])
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_that_are_left_out_set_what_a_run_without_flags_has() {
        let cli = Cli::parse_from(["ingest", "a", "--out", "b"]);
        let settings = cli.ingest.settings().unwrap();
        let defaults = Settings::new("a", "b");
        assert_eq!(settings.ingest, defaults.ingest);
        assert_eq!((settings.memory, settings.web), (defaults.memory, defaults.web));
        assert_eq!((settings.sources, settings.out), (defaults.sources, defaults.out));
    }

    #[test]
    fn zstd_levels_lie_on_both_sides_of_0() {
        let level = |level| {
            let cli = Cli::try_parse_from(["ingest", "a", "--out", "b", "--zstd-level", level])?;
            Ok::<_, clap::Error>(cli.ingest.settings().unwrap())
        };
        for good in ["-50", "-5", "-1", "1", "22"] {
            let settings = level(good).unwrap();
            assert_eq!(settings.ingest.zstd_level.to_string(), good);
            settings.check().unwrap();
        }
        for wrong in ["-51", "0", "23"] {
            let error = level(wrong).unwrap().check().unwrap_err().to_string();
            assert!(error.contains("-50..=-1 or in 1..=22"), "{error}");
        }
        assert!(level("high").unwrap_err().to_string().contains("a whole number"));
    }

    #[test]
    fn a_time_is_seconds_above_0() {
        assert_eq!(seconds("5"), Ok(Duration::from_secs(5)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("1e300").is_ok());
        for wrong in ["", "0", "-1", "nan", "5s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_colour_is_six_digits() {
        assert_eq!(colour("ff8000"), Ok([255, 128, 0]));
        assert_eq!(colour("#000001"), Ok([0, 0, 1]));
        for wrong in ["", "fff", "gggggg", "ff80000"] {
            assert!(colour(wrong).is_err(), "{wrong}");
        }
    }
}
