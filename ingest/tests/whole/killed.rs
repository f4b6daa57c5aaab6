//! A program that is killed at any moment, and run again.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::case::{Case, told};

/// Kills by default; `INGEST_KILLS` sets another number.
const KILLS: u32 = 30;

#[test]
fn a_program_that_was_killed_again_and_again_leaves_the_same_bytes() {
    let kills = std::env::var("INGEST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let case = Case::mixed();
    let first = [&["raw", "part.tar.gz", "rows.parquet", "--out"][..], &[""]].concat();
    let more = ["part.tar", "crawl.warc.gz", "list.txt", "--append", "--out", ""];
    let command = |sources: &[&str], out: &str| {
        let args: Vec<_> =
            sources.iter().map(|&arg| if arg.is_empty() { out } else { arg }).collect();
        let mut command = case.command(&[&args[..], &Case::FLAGS[..]].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let whole = Instant::now();
    for sources in [&first[..], &more[..]] {
        let (success, said) = told(command(sources, "whole").output().unwrap());
        assert!(success, "{said}");
    }
    let both = whole.elapsed();
    let expected = case.files("whole");

    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut killed, mut round) = (0, 0);
    while killed < kills {
        let out = format!("killed-{round}");
        round += 1;
        for sources in [&first[..], &more[..]] {
            loop {
                let mut program = command(sources, &out).spawn().unwrap();
                let moment = both.mul_f64(rng.random_range(0.0..0.6));
                if killed < kills && still_runs_after(&mut program, moment) {
                    // No signal that it could answer: it is gone at once.
                    program.kill().unwrap();
                    killed += u32::from(!program.wait().unwrap().success());
                    continue;
                }
                let (success, said) = told(program.wait_with_output().unwrap());
                assert!(success, "{said}");
                break;
            }
        }
        let found = case.files(&out);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(found == expected, "round {round}");
    }
}

fn still_runs_after(program: &mut std::process::Child, moment: Duration) -> bool {
    std::thread::sleep(moment);
    program.try_wait().unwrap().is_none()
}
