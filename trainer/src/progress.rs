//! What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use voice::terminal;

use crate::metrics::Record;

/// Messages and progress on standard error; standard output stays free.
#[derive(Debug)]
pub struct Console {
    bar: ProgressBar,
    terminal: bool,
    quiet: bool,
}

impl Console {
    /// A bar if standard error is a terminal, else lines.
    pub fn new() -> Self {
        Self { bar: ProgressBar::hidden(), terminal: std::io::stderr().is_terminal(), quiet: false }
    }

    /// Says nothing; for tests and embedding.
    pub fn quiet() -> Self {
        Self { bar: ProgressBar::hidden(), terminal: false, quiet: true }
    }

    /// A line that stays.
    pub fn message(&self, text: &str) {
        if self.quiet {
            return;
        }
        self.bar.suspend(|| terminal::tell(text));
    }

    /// The run goes from step `from` to step `to`.
    pub fn begin(&self, from: u64, to: u64) {
        if !self.terminal {
            return;
        }
        // What is of most use comes first: the message is cut off where the terminal ends.
        let style = ProgressStyle::with_template("{bar:16} {pos}/{len}, {eta} left  {wide_msg}");
        if let Ok(style) = style {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        self.bar.set_length(to);
        self.bar.set_position(from);
        self.bar.reset_eta();
        self.bar.enable_steady_tick(Duration::from_millis(500));
    }

    /// A step was made. The loss is that of the newest step of which it is known.
    pub fn step(&self, step: u64, loss: Option<f64>) {
        self.bar.set_position(step);
        if let Some(loss) = loss
            && self.bar.message().is_empty()
        {
            self.bar.set_message(format!("loss {loss:.4}"));
        }
    }

    /// A line of metrics was written.
    pub fn record(&self, record: &Record) {
        let shares = &record.shares;
        let slowest = record.slowest.map(|slowest| {
            format!("  slowest data {:.0}% (rank {})", 100.0 * slowest.data, slowest.rank)
        });
        let text = format!(
            "loss {:.4}  {} views/s  data {:.0}% encoder {:.0}% decoders {:.0}% optimizer {:.0}%{}",
            record.loss,
            terminal::rate(record.views_per_s),
            100.0 * shares.data,
            100.0 * shares.encoder,
            100.0 * shares.decoders,
            100.0 * shares.optimizer,
            slowest.unwrap_or_default(),
        );
        if self.terminal {
            self.bar.set_message(text);
        } else {
            self.message(&format!("step {}  epoch {:.2}  {text}", record.step, record.epoch));
        }
    }

    /// A checkpoint was written.
    pub fn saved(&self, step: u64, path: &Path) {
        if !self.terminal {
            self.message(&format!("step {step}: saved {}", path.display()));
        }
    }

    /// A bar for some other work: so many rows of `what`.
    pub fn work(&self, what: &str, rows: u64) -> ProgressBar {
        if !self.terminal {
            self.message(&format!("{what}: {rows} rows"));
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(rows);
        let style = ProgressStyle::with_template("{bar:28} {msg}  {pos}/{len} rows, {eta} left");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        bar
    }

    /// Whether nothing is to be said.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The run is over.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}
