//! What a run tells of itself: JSON lines, and event files for TensorBoard.

mod tensorboard;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use tensorboard::EventFile;

/// The file of JSON lines in a run's folder: one [`Record`] a line.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// The file in a run's folder of what training had taken by its newest checkpoint, which may lie
/// behind the last line of metrics.
const SPENT_FILE: &str = "spent.json";

/// Shares of the time since the last record; what is missing to 1 went into records, checkpoints
/// and the rest of the loop. On a GPU, which is waited for to time its parts, a few steps are timed
/// and stand for the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Waiting for a batch, and bringing it to the device.
    pub data: f64,
    /// The encoder, forward and backward.
    pub encoder: f64,
    /// The decoders and the loss, forward and backward.
    pub decoders: f64,
    /// Clipping, AdamW.
    pub optimizer: f64,
}

/// What a run makes of its machine, in 10⁹ operations of its matrix products a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// In the encoder, forward and backward.
    pub encoder_gflops: f64,
    /// In the decoders, forward and backward.
    pub decoders_gflops: f64,
    /// Over the whole time.
    pub all_gflops: f64,
    /// The machine's best, measured as the run began.
    pub peak_gflops: f64,
    /// What a step asked of the device, where it works off a queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asking>,
}

/// What a step asks of a device, on average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Asking {
    /// Launches of this program's own kernels.
    pub launches: f64,
    /// Uploads.
    pub uploads: f64,
    /// Their 10⁶ bytes.
    pub uploaded_mb: f64,
    /// Waits of the host.
    pub waits: f64,
}

/// The rank whose batches came latest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slowest {
    /// Its number.
    pub rank: usize,
    /// Its own [`Shares::data`].
    pub data: f64,
}

/// What is known of a logged step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The optimizer step, from 1.
    pub step: u64,
    /// Epochs behind it.
    pub epoch: f64,
    /// The loss of this step: the sum over the taps.
    pub loss: f64,
    /// The loss of each tap.
    pub tap_losses: Vec<f64>,
    /// The learning rate of this step.
    pub lr: f64,
    /// The gradient's norm before clipping.
    pub grad_norm: f64,
    /// Views a second since the last record.
    pub views_per_s: f64,
    /// Where that time went.
    pub shares: Shares,
    /// The rank that waited longest for its batches, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest: Option<Slowest>,
    /// Seconds of training behind it, over all the times that the run was taken up; the pauses
    /// between are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_s: Option<f64>,
    /// Seconds of all cores that this process computed in that time: on a machine that others use,
    /// too, they say more than the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_s: Option<f64>,
    /// The rates of that time, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Rates>,
}

/// Metrics that can't be written or read.
#[derive(Debug, thiserror::Error)]
#[error("metrics {}: {source}", path.display())]
pub struct MetricsError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

fn at(path: &Path) -> impl Fn(io::Error) -> MetricsError + '_ {
    |source| MetricsError { path: path.to_owned(), source }
}

/// What training has taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Seconds by the clock.
    pub elapsed_s: f64,
    /// Seconds of all cores; none where an earlier release trained a part of it.
    pub core_s: Option<f64>,
}

/// What training had taken by a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct SpentBy {
    step: u64,
    #[serde(flatten)]
    spent: Spent,
}

/// Writes the metrics of a run.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    /// [`SPENT_FILE`].
    spent: PathBuf,
    before: Spent,
    lines: File,
    events: EventFile,
}

impl MetricsWriter {
    /// Opens the metrics of the run in `out`, which goes on after `step`. Records of later steps,
    /// which an earlier attempt left, are dropped; TensorBoard gets a new event file.
    ///
    /// # Errors
    /// [`MetricsError`] if the folder refuses.
    pub fn open(out: &Path, step: u64) -> Result<Self, MetricsError> {
        let path = out.join(METRICS_FILE);
        let records = read(out)?;
        let kept = || records.iter().filter(|record| record.step <= step);
        let spent = out.join(SPENT_FILE);
        // That of another step, or of no file, is of no checkpoint that is gone on from.
        let by =
            fs::read(&spent).ok().and_then(|text| serde_json::from_slice::<SpentBy>(&text).ok());
        let before = by.filter(|by| by.step == step).map(|by| by.spent).unwrap_or_else(|| Spent {
            elapsed_s: kept().filter_map(|record| record.elapsed_s).fold(0.0, f64::max),
            core_s: kept().next_back().map_or(Some(0.0), |record| record.core_s),
        });
        if records.last().is_some_and(|record| record.step > step) {
            let text: String = kept().map(line).collect();
            storage::write_file(&path, text).map_err(at(&path))?;
        }
        let lines = OpenOptions::new().create(true).append(true).open(&path).map_err(at(&path))?;
        let events = EventFile::create(out, step).map_err(at(out))?;
        Ok(Self { path, spent, before, lines, events })
    }

    /// What training had taken by the step after which it goes on: by the newest checkpoint, or, where
    /// an earlier release wrote that, by the last record.
    pub fn before(&self) -> Spent {
        self.before
    }

    /// Keeps what training has taken by the newest checkpoint, that of `step`.
    ///
    /// # Errors
    /// [`MetricsError`] if the disk refuses.
    pub fn keep(&self, step: u64, spent: Spent) -> Result<(), MetricsError> {
        let text = serde_json::to_vec(&SpentBy { step, spent }).expect("numbers are always JSON");
        storage::write_file(&self.spent, text).map_err(at(&self.spent))
    }

    /// Writes one record; it is in the files when this returns.
    ///
    /// # Errors
    /// [`MetricsError`] if the disk refuses.
    pub fn write(&mut self, record: &Record) -> Result<(), MetricsError> {
        self.lines.write_all(line(record).as_bytes()).map_err(at(&self.path))?;
        let mut scalars = vec![
            ("loss/sum".to_owned(), record.loss),
            ("optim/lr".to_owned(), record.lr),
            ("optim/grad_norm".to_owned(), record.grad_norm),
            ("time/views_per_s".to_owned(), record.views_per_s),
            ("time/share_data".to_owned(), record.shares.data),
            ("time/share_encoder".to_owned(), record.shares.encoder),
            ("time/share_decoders".to_owned(), record.shares.decoders),
            ("time/share_optimizer".to_owned(), record.shares.optimizer),
        ];
        if let Some(slowest) = record.slowest {
            scalars.push(("time/share_data_slowest_rank".to_owned(), slowest.data));
        }
        if let Some(elapsed) = record.elapsed_s {
            scalars.push(("time/elapsed_s".to_owned(), elapsed));
        }
        if let Some(cores) = record.core_s {
            scalars.push(("time/core_s".to_owned(), cores));
        }
        if let Some(rates) = record.profile {
            scalars.extend([
                ("profile/encoder_gflops".to_owned(), rates.encoder_gflops),
                ("profile/decoders_gflops".to_owned(), rates.decoders_gflops),
                ("profile/all_gflops".to_owned(), rates.all_gflops),
                ("profile/peak_gflops".to_owned(), rates.peak_gflops),
            ]);
            if let Some(asked) = rates.asked {
                scalars.extend([
                    ("profile/launches".to_owned(), asked.launches),
                    ("profile/uploads".to_owned(), asked.uploads),
                    ("profile/uploaded_mb".to_owned(), asked.uploaded_mb),
                    ("profile/waits".to_owned(), asked.waits),
                ]);
            }
        }
        for (tap, loss) in record.tap_losses.iter().enumerate() {
            scalars.push((format!("loss/tap_{}", tap + 1), *loss));
        }
        self.events.write(record.step, &scalars).map_err(at(self.events.path()))
    }
}

fn line(record: &Record) -> String {
    let mut line = serde_json::to_string(record).expect("numbers are always JSON");
    line.push('\n');
    line
}

/// The records of the run in `out`; none if nothing was logged. A last line cut short by a crash
/// is passed over.
///
/// # Errors
/// [`MetricsError`] if the file can't be read or holds another line that is no record.
pub fn read(out: &Path) -> Result<Vec<Record>, MetricsError> {
    let path = out.join(METRICS_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(at(&path)(error)),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .enumerate()
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| {
                at(&path)(io::Error::other(format!("line {}: {error}", number + 1)))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64) -> Record {
        Record {
            step,
            epoch: step as f64 / 7.0,
            loss: 0.1 * step as f64,
            tap_losses: vec![0.25, 0.5],
            lr: 1e-4,
            grad_norm: 2.0,
            views_per_s: 99.5,
            shares: Shares { data: 0.1, encoder: 0.2, decoders: 0.3, optimizer: 0.05 },
            slowest: (step > 2).then_some(Slowest { rank: 3, data: 0.5 }),
            elapsed_s: Some(10.0 * step as f64),
            core_s: Some(19.0 * step as f64),
            profile: (step > 3).then_some(Rates {
                encoder_gflops: 1.0,
                decoders_gflops: 2.0,
                all_gflops: 1.5,
                peak_gflops: 4.0,
                asked: (step > 4).then_some(Asking {
                    launches: 500.0,
                    uploads: 2.5,
                    uploaded_mb: 10.0,
                    waits: 0.1,
                }),
            }),
        }
    }

    #[test]
    fn a_resumed_run_drops_what_it_will_write_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = MetricsWriter::open(folder.path(), 0).unwrap();
        for step in 1..=5 {
            writer.write(&record(step)).unwrap();
        }
        // A crash in the middle of a line.
        writer.lines.write_all(b"{\"step\": 6, \"epo").unwrap();
        drop(writer);
        let mut writer = MetricsWriter::open(folder.path(), 3).unwrap();
        let before = Spent { elapsed_s: 30.0, core_s: Some(57.0) };
        assert_eq!(writer.before(), before, "the time of what it will write again is not counted");
        writer.write(&record(4)).unwrap();
        let expected: Vec<_> = (1..=4).map(record).collect();
        assert_eq!(read(folder.path()).unwrap(), expected);

        // A checkpoint behind the last record has its own time; no other checkpoint has it.
        let spent = Spent { elapsed_s: 44.5, core_s: Some(80.5) };
        writer.keep(5, spent).unwrap();
        let before = |step| MetricsWriter::open(folder.path(), step).unwrap().before();
        assert_eq!(before(5), spent);
        assert_eq!(before(6), Spent { elapsed_s: 40.0, core_s: Some(76.0) });
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(METRICS_FILE), "{}\n").unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains(METRICS_FILE) && error.contains("line 1"), "{error}");
    }
}
