//! Ctrl-C: once to stop and save, again to leave.

use std::io::{IsTerminal, stderr, stdin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use voice::terminal::{self, tell};

/// A flag that Ctrl-C (or a request to terminate) raises; Ctrl-C again leaves at once.
pub fn stop_flag() -> anyhow::Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    let mut first = None;
    ctrlc::set_handler(move || {
        // A terminal that was closed is none any more.
        let keys = stdin().is_terminal() || stderr().is_terminal();
        match asked(&mut first, Instant::now(), keys) {
            Asked::Stop => {
                STOP.store(true, Ordering::Relaxed);
                let again = "; press Ctrl-C again, a second later, to leave without saving";
                tell(format_args!("\nstopping after this step{}", if keys { again } else { "" }));
            }
            Asked::Nothing => {}
            Asked::Leave => std::process::exit(terminal::INTERRUPTED.into()),
        }
    })
    .context("Ctrl-C can't be caught")?;
    Ok(&STOP)
}

/// Signals closer together are one request: `timeout` sends two, and so does a closing terminal.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// What a signal asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Stop,
    Nothing,
    Leave,
}

/// What a signal asks for that comes `now`. Which signal it is can't be told; where there are no
/// `keys` to press, nobody asks twice in order to leave without saving.
fn asked(first: &mut Option<Instant>, now: Instant, keys: bool) -> Asked {
    match *first {
        None => {
            *first = Some(now);
            Asked::Stop
        }
        Some(first) if keys && now.duration_since(first) >= ONE_REQUEST => Asked::Leave,
        Some(_) => Asked::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_close_together_never_leave_without_saving() {
        let start = Instant::now();
        let after = |seconds: &[f64], keys| {
            let mut first = None;
            let at = |second: &f64| start + Duration::from_secs_f64(*second);
            let asked = seconds.iter().map(|second| asked(&mut first, at(second), keys));
            asked.collect::<Vec<_>>()
        };
        use Asked::{Leave, Nothing, Stop};
        assert_eq!(after(&[0.0, 0.001, 0.9], true), [Stop, Nothing, Nothing]);
        assert_eq!(after(&[0.0, 0.001, 1.0], true), [Stop, Nothing, Leave]);
        assert_eq!(after(&[0.0, 1.5, 60.0], false), [Stop, Nothing, Nothing]);
    }
}
