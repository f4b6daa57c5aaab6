//! The options of `ingest`, a row each: flag, kind and place of its value, what it is good for, what
//! it may be, and what is there without it.
//!
//! A command takes the rows of a [`Table`]; [`Settings::new`] sets what is there without flags, and
//! [`Settings::check`] holds all values against their ranges. The field that a row sets in
//! [`schemas::IngestSettings`] is its key in a manifest.

use schemas::{PictureFilter, ShardLayout};
use shards::write::{DEFAULT_ZSTD_LEVEL, ZSTD_LEVELS};
use voice::options;
use voice::options::{Row, Table, list, switch, text, whole};

use super::kinds::{bytes, classes, codebook, colour, filter, seconds};
use super::{Settings, USER_AGENT};
use crate::duplicates::MOST_RADIUS;

/// The option that sets how many pictures a shard has; what is there without it follows from others.
pub const SHARD_PICTURES: &str = "--shard-pictures";

const WEB: &str = "Web addresses in lists";
const MACHINE: &str = "The machine";

options! {
    /// All options, in the order of the help.
    pub fn rows() -> Settings;

    "Views and targets" {
        /// Views cut from each picture
        "--views" => one(ingest.views), whole(), within(1..=1024), default(1);
        /// Side of a view in pixels
        "--size" => one(ingest.layout.size), whole(), within(ShardLayout::SIZES), default(224);
        /// HOG cell sizes in pixels, rising
        "--cells" => one(ingest.layout.cells), list(), default(vec![4, 8, 16, 32]);
        /// HOG orientation bins a channel: 9 for ViT-B, 18 for ViT-L
        "--bins" => one(ingest.layout.bins), whole(), within(ShardLayout::BINS), default(9);
        /// Seed of the crops and of the pictures' order
        "--seed" => one(ingest.seed), whole(), default(0);
        /// Cut the largest central square of each picture instead of a random crop: for pictures on
        /// which an encoder is evaluated
        "--central" => one(ingest.central), switch();
        /// Codebook, of which the nearest code of each patch is stored as a target: a safetensors
        /// file with `codes` [codes, dim] and, for codes that are no patches themselves, `weight`
        /// and `bias` of a linear map; may be given more than once, for other patches
        "--codebook" => many(codebooks), codebook(), told(told_codebooks), repeated();
    }

    "Which pictures are kept" {
        /// Keep pictures whose bytes are those of an earlier one
        "--keep-duplicates" => one(ingest.keep_duplicates), switch();
        /// Reject pictures that look like an earlier one: whose 64-bit perceptual hash differs from
        /// its in at most so many bits. 2 to 6 finds copies that were resized or compressed anew
        "--near-duplicates" => maybe(ingest.near_duplicates), whole().named("BITS"),
            within(0..=MOST_RADIUS);
        /// Reject every JPEG that is cut short instead of keeping it as far as it goes
        "--strict" => one(ingest.strict), switch();
        /// Least share of a JPEG that must be there for it to be kept, in per cent
        "--min-decoded" => one(ingest.min_decoded), whole().named("PER CENT"),
            within(0..=100), default(90);
        /// Shortest side that a picture may have, in pixels
        "--min-side" => one(ingest.min_side), whole(), within(1..), default(16);
        /// Most pixels that a picture may have
        "--max-pixels" => one(ingest.max_pixels), whole(), within(1..), default(178_956_970);
        /// Most bytes that a picture's file may have, as in 50MB
        "--max-bytes" => maybe(ingest.max_bytes), bytes(),
            within(1..), otherwise("8 for each of --max-pixels, and 1 MiB");
        /// Most times that a picture's longer side may be its shorter; 0 allows any
        "--max-aspect" => one(ingest.max_aspect), whole(), default(0);
        /// Reject pictures of one colour: those of which, in each channel, so many neighbouring
        /// levels of 256 hold nearly all pixels; 0 keeps them
        "--one-colour" => one(ingest.one_colour), whole().named("LEVELS"), default(4);
        /// Colour over which transparent pictures are laid, as six hexadecimal digits
        "--background" => one(ingest.background), colour(), default([255; 3]);
    }

    "Reading the sources" {
        /// Classes and their indices, so that several sets share them: the classes.json of another
        /// set, or a text with a class a line. Pictures of other classes are rejected as
        /// `unknown_class`, those without a class are kept
        "--classes" => maybe(classes), classes(),
            told(|settings| settings.ingest.classes.clone()),
            otherwise("the classes that are found, by name");
        /// Follow symbolic links in folders instead of passing over them
        "--follow-links" => one(follow_links), switch();
        /// Column of Parquet sources that holds the pictures
        "--image-column" => maybe(image_column), text("NAME"),
            otherwise("found by name and content");
        /// Column of Parquet sources and lists that holds the classes
        "--label-column" => maybe(label_column), text("NAME"), otherwise("found by name");
        /// Column of lists that holds the pictures' addresses; in a CSV without a row of names its
        /// number, from 1
        "--url-column" => maybe(url_column), text("NAME"), otherwise("found by name and content");
    }

    "Stores" {
        /// URL of an S3-compatible store. Keys, region and the like come from the environment, as
        /// other tools read them (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS,
        /// AZURE_STORAGE_ACCOUNT_NAME, …)
        "--endpoint" => maybe(storage.endpoint), text("URL");
    }

    // A list is a stranger's text, and of its addresses some are always dead.
    WEB {
        /// Fetch addresses of private networks, too: loopback, link-local and the like, by number,
        /// by name or by a redirect. Without it they are rejected as `private_address`, and the
        /// proxies of the environment are not used, for behind one nobody can tell where a name
        /// leads
        "--private-addresses" => one(web.private_addresses), switch();
        /// Keep pictures whose server forbids it (`X-Robots-Tag` with noai, noimageai, noindex,
        /// noimageindex or none). Without it they are rejected as `disallowed`
        "--ignore-robots-tag" => one(web.ignore_robots_tag), switch();
        /// What servers are told who asks: a name and a version, and where more can be learnt
        "--user-agent" => one(web.user_agent), text("TEXT"), default(web_defaults().user_agent);
        /// Most downloads at once
        "--downloads" => one(web.at_once), whole().named("COUNT"),
            within(1..), default(web_defaults().at_once);
        /// Most downloads at once from one host
        "--downloads-per-host" => one(web.per_host), whole().named("COUNT"),
            within(1..), default(web_defaults().per_host);
        /// Longest time for a connection, the look-up of the name included
        "--connect-timeout" => one(web.connect), seconds(), default(web_defaults().connect);
        /// Longest time from the connection to the first bytes of the answer
        "--answer-timeout" => one(web.answer), seconds(), default(web_defaults().answer);
        /// Longest pause within an answer
        "--stall-timeout" => one(web.stall), seconds(), default(web_defaults().stall);
        /// Longest time for an answer, from the request to its last byte
        "--download-timeout" => one(web.whole), seconds(), default(web_defaults().whole);
        /// How often an address is tried again after a fault that may pass: a connection that broke
        /// off, an answer of 408, 425, 429 or above 499. A try that ran out of time counts as two
        "--retries" => one(web.retries), whole().named("COUNT"), default(web_defaults().retries);
        /// Longest wait that a server may ask for before the next try (`Retry-After`); an address
        /// for which it asks for more is given up
        "--longest-wait" => one(web.longest_wait), seconds(), default(web_defaults().longest_wait);
        /// Leave a host alone of which so many addresses in a row failed without any answer: if it
        /// never answered they all fail with it, and if it did they wait once
        "--host-failures" => one(web.host_failures), whole().named("COUNT"),
            default(web_defaults().host_failures);
        /// For how long a host is left alone
        "--host-rest" => one(web.host_rest), seconds(), default(web_defaults().host_rest);
    }

    "Shards" {
        /// Pictures a shard
        "--shard-pictures" => one(ingest.pictures_per_shard), whole(),
            within(1..=1 << 20), otherwise("as many as make about 320 MiB before compression");
        /// Most rows of a Parquet row group
        "--rows-per-group" => one(ingest.rows_per_group), whole(), within(1..=1 << 16), default(64);
        /// What is done to the pixels before they are compressed. After `green-up` pictures take
        /// about half the bytes; `none` leaves them as they are, for readers that want no step of
        /// their own
        "--picture-filter" => one(ingest.layout.picture_filter), filter(),
            default(PictureFilter::GreenUp);
        /// Zstd level of the Parquet pages; higher ones take longer, and save little after the
        /// filter. Below 0 few matches are looked for
        "--zstd-level" => one(ingest.zstd_level), whole(),
            within(*ZSTD_LEVELS.start()..=-1), within(1..=*ZSTD_LEVELS.end()), default(DEFAULT_ZSTD_LEVEL);
    }

    MACHINE {
        /// Worker threads; 0 takes one a core. The shards do not depend on it
        "--threads" => one(threads), whole(), within(0..=1024), default(0);
        /// About how much memory pictures and rows in work may take, as in 512MB or 8GiB. A picture
        /// that takes more than half of it to decode is rejected as too large; else the shards do
        /// not depend on it. What is known of earlier pictures, to tell duplicates, comes on top:
        /// some 40 bytes a picture, 80 with --near-duplicates
        "--memory-limit" => one(memory), bytes(), default(4 << 30);
    }
}

/// The rows that decide the bytes of a set, by the name of their field in
/// [`schemas::IngestSettings`] and its layout.
pub fn deciding() -> impl Iterator<Item = (&'static str, &'static Row<Settings>)> {
    rows().iter().filter_map(|row| match *row.path {
        ["ingest", field] | ["ingest", "layout", field] => Some((field, row)),
        // With them the settings keep what tells them from others.
        [field @ ("codebooks" | "classes")] => Some((field, row)),
        _ => None,
    })
}

/// What `ingest` takes: all.
pub struct All;
/// What `repair` takes: the set itself tells the rest.
pub struct OfRepair;
/// What reads a set takes.
pub struct OfStore;

impl Table for All {
    type Settings = Settings;

    fn rows() -> Vec<&'static Row<Settings>> {
        rows().iter().collect()
    }
}

impl Table for OfRepair {
    type Settings = Settings;

    fn rows() -> Vec<&'static Row<Settings>> {
        let taken = |row: &&Row<Settings>| {
            [WEB, MACHINE].contains(&row.heading)
                || ["--codebook", "--endpoint"].contains(&row.flag)
        };
        rows().iter().filter(taken).collect()
    }
}

impl Table for OfStore {
    type Settings = Settings;

    fn rows() -> Vec<&'static Row<Settings>> {
        rows().iter().filter(|row| row.flag == "--endpoint").collect()
    }
}

/// What tells the codebooks of a set.
fn told_codebooks(settings: &Settings) -> Option<String> {
    let codebooks = &settings.ingest.layout.codebooks;
    let hashes: Vec<_> = codebooks.iter().map(|code| code.blake3.as_str()).collect();
    (!hashes.is_empty()).then(|| format!("the file with BLAKE3 {}", hashes.join(" and ")))
}

/// What is there without flags of the web; said where it is done.
fn web_defaults() -> web::Options {
    web::Options::new(USER_AGENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_setting_that_decides_bytes_has_a_flag() {
        let settings = Settings::new("a", "b").ingest;
        let mut keys = serde_json::to_value(&settings).unwrap();
        let layout = keys.as_object_mut().unwrap().remove("layout").unwrap();
        let of = |value: &serde_json::Value| {
            value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>()
        };
        let mut keys = &of(&keys) | &of(&layout);
        // It is left out where there are none.
        keys.insert("codebooks".into());
        // Sets that have it are from before its flag went.
        assert!(keys.remove("scaled_decode"));
        let with_flags: BTreeSet<_> = deciding().map(|(key, _)| key.to_owned()).collect();
        assert_eq!(with_flags, keys);
    }

    #[test]
    fn a_row_says_what_it_is_good_for_and_shares_its_name_with_none() {
        let mut flags = BTreeSet::new();
        for row in rows() {
            assert!(flags.insert(row.flag), "{} is there twice", row.flag);
            let name = row.flag.strip_prefix("--").unwrap();
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", row.flag);
            assert!(row.help.starts_with(|c: char| c.is_uppercase()), "{}", row.flag);
            assert!(!row.help.ends_with(['.', ' ']), "{}", row.flag);
            assert!(!row.heading.is_empty(), "{}", row.flag);
        }
    }

    #[test]
    fn what_the_help_calls_the_default_is_what_is_used() {
        let settings = Settings::new("a", "b");
        let in_words =
            ["--max-bytes", "--classes", "--image-column", "--label-column", "--url-column"];
        for row in rows() {
            let used = row.told(&settings).unwrap_or_default();
            match row.flag {
                SHARD_PICTURES => assert_eq!(used, "1024"),
                flag if in_words.contains(&flag) => assert!(used.is_empty(), "{flag}"),
                // What is off, or not there, goes without saying.
                _ if row.default.is_empty() => {
                    assert!(["", "false"].contains(&used.as_str()), "{}", row.flag);
                }
                flag => assert_eq!(used, row.default, "{flag}"),
            }
        }
    }

    #[test]
    fn the_field_that_a_flag_sets_is_named_as_the_flag_is() {
        for (key, row) in deciding() {
            let flag = row.flag.trim_start_matches('-').replace('-', "_");
            match key {
                "pictures_per_shard" => assert_eq!(row.flag, SHARD_PICTURES),
                "codebooks" => assert_eq!(row.flag, "--codebook"),
                key => assert_eq!(flag, key),
            }
        }
    }
}
