//! How a run tells what it does, and how the binary shows it.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::terminal::{self, size};

/// What a run tells while it works. The methods are called from many threads.
pub trait Progress: Sync {
    /// The listing is there: so many bytes in all, of which earlier runs did `done`. How many
    /// pictures are in archives is not known before they are read.
    fn begin(&self, bytes: u64, done: u64) {
        let _ = (bytes, done);
    }

    /// So many of the bytes are done, in all.
    fn read(&self, done: u64) {
        let _ = done;
    }

    /// One more picture is done.
    fn picture(&self, rejected: bool) {
        let _ = rejected;
    }

    /// Shard `index` is finished and kept. [`ControlFlow::Break`] ends the run with
    /// an error that says so; the same run goes on from there.
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
    /// Pictures are told; without it, bytes.
    of_pictures: bool,
    pictures: AtomicU64,
    rejected: AtomicU64,
    begun: OnceLock<Instant>,
    last_line: Mutex<Instant>,
}

impl Bar {
    /// A bar that appears when the run begins.
    pub fn new() -> Self {
        Self::telling(true)
    }

    /// A bar of bytes alone.
    pub fn of_bytes() -> Self {
        Self::telling(false)
    }

    fn telling(of_pictures: bool) -> Self {
        Self {
            of_pictures,
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            pictures: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            begun: OnceLock::new(),
            last_line: Mutex::new(Instant::now()),
        }
    }

    /// How much is done: how many pictures, how fast, and how many of them were rejected.
    fn text(&self) -> String {
        if !self.of_pictures {
            return size(self.bar.position());
        }
        let pictures = self.pictures.load(Ordering::Relaxed);
        let rejected = self.rejected.load(Ordering::Relaxed);
        let seconds = self.begun.get().map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        let rate = terminal::rate(pictures as f64 / seconds.max(1e-3));
        format!("{pictures} pictures, {rate}/s, {rejected} rejected")
    }

    fn line_if_due(&self) {
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0).max(1));
            let left = match self.bar.eta().as_secs() {
                // Nothing is known yet.
                0 if done < all => String::new(),
                seconds => format!(", {seconds} s left"),
            };
            let share = 100.0 * done as f64 / all as f64;
            terminal::tell(format_args!("{share:.1} %, {}{left}", self.text()));
        }
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Bar {
    fn begin(&self, bytes: u64, done: u64) {
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent} %  {msg}  {left}") {
            self.bar.set_style(style.with_key(
                "left",
                |state: &ProgressState, text: &mut dyn Write| {
                    // Before something is done, nothing is known.
                    if !state.eta().is_zero() {
                        let _ = write!(text, "{:#} left", HumanDuration(state.eta()));
                    }
                },
            ));
        }
        self.bar.set_length(bytes);
        self.bar.set_position(done);
        // Rate and time left count from here, not from what was done before.
        self.bar.reset_eta();
        let _ = self.begun.set(Instant::now());
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
    }

    fn read(&self, done: u64) {
        self.bar.set_position(done);
        self.bar.set_message(self.text());
        if self.bar.is_hidden() {
            self.line_if_due();
        }
    }

    fn picture(&self, rejected: bool) {
        self.pictures.fetch_add(1, Ordering::Relaxed);
        self.rejected.fetch_add(u64::from(rejected), Ordering::Relaxed);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
