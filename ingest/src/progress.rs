//! How a run tells what it does, and how the binary shows it.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// What a run tells while it works. The methods are called from many threads.
pub trait Progress: Sync {
    /// The listing is there: `pictures` in all, of which earlier runs did `done`.
    fn begin(&self, pictures: u64, done: u64) {
        let _ = (pictures, done);
    }

    /// One more file is done.
    fn picture(&self, rejected: bool) {
        let _ = rejected;
    }

    /// Shard `index` is finished and kept. [`ControlFlow::Break`] ends the run with
    /// [`IngestError::Stopped`](crate::IngestError::Stopped); the same run goes on from there.
    fn shard(&self, index: u64) -> ControlFlow<()> {
        let _ = index;
        ControlFlow::Continue(())
    }
}

/// Tells nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// A bar on standard error with rate and time left; plain lines where that is no terminal.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    rejected: AtomicU64,
    last_line: Mutex<Instant>,
}

impl Bar {
    /// A bar that appears when the run begins.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self { bar, rejected: AtomicU64::new(0), last_line: Mutex::new(Instant::now()) }
    }

    fn line_if_due(&self) {
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            eprintln!(
                "{}/{} pictures, {:.0}/s, {} rejected, {} s left",
                self.bar.position(),
                self.bar.length().unwrap_or(0),
                self.bar.per_sec(),
                self.rejected.load(Ordering::Relaxed),
                self.bar.eta().as_secs()
            );
        }
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Bar {
    fn begin(&self, pictures: u64, done: u64) {
        let template = "{bar:30} {pos}/{len} pictures  {rate}  {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            let rate = |state: &ProgressState, text: &mut dyn Write| {
                // Nobody is told if the terminal is gone.
                let _ = write!(text, "{:.0}/s", state.per_sec());
            };
            self.bar.set_style(style.with_key("rate", rate));
        }
        self.bar.set_length(pictures);
        self.bar.set_position(done);
        // Rate and time left count from here, not from what was done before.
        self.bar.reset_eta();
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
    }

    fn picture(&self, rejected: bool) {
        if rejected {
            let count = self.rejected.fetch_add(1, Ordering::Relaxed) + 1;
            self.bar.set_message(format!("{count} rejected"));
        }
        self.bar.inc(1);
        if self.bar.is_hidden() {
            self.line_if_due();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
