//! A program that is killed at any moment, and run again.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::case::{Case, scene, told};

/// Kills by default; `INGEST_KILLS` sets another number.
const KILLS: u32 = 30;

#[test]
fn a_program_that_was_killed_again_and_again_leaves_the_same_bytes() {
    let kills = std::env::var("INGEST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let case = Case::mixed();
    let first = [&["raw", "part.tar.gz", "rows.parquet", "--out"][..], &[""]].concat();
    let more = ["part.tar", "crawl.warc.gz", "part.zip", "list.txt", "--append", "--out", ""];
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

#[test]
fn near_duplicates_are_told_alike_by_a_program_that_was_killed_and_a_set_that_was_repaired() {
    let case = Case::empty();
    for number in 0..40 {
        case.put(&format!("raw/{number}.png"), scene(number, 96));
        // The same scene, smaller: another file that looks alike.
        case.put(&format!("raw/small-{number}.png"), scene(number, 72));
    }
    let command = |out: &str| {
        let args = ["raw", "--near-duplicates", "6", "--out", out];
        let mut command = case.command(&[&args, &Case::FLAGS[..]].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let whole = Instant::now();
    let (success, said) = told(command("whole").output().unwrap());
    let whole = whole.elapsed();
    assert!(success && said.contains("near_duplicate"), "{said}");
    let expected = case.files("whole");
    let shards = expected.keys().filter(|name| name.starts_with("shard-")).count();
    assert!(shards > 8, "{shards} shards");

    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for _ in 0..10 {
        let mut program = command("out").spawn().unwrap();
        if still_runs_after(&mut program, whole.mul_f64(rng.random_range(0.1..0.6))) {
            program.kill().unwrap();
        }
        program.wait().unwrap();
    }
    let (success, said) = told(command("out").output().unwrap());
    assert!(success, "{said}");
    assert!(case.files("out") == expected);

    // What is a near duplicate depends on all that came before: each alone, then all at once.
    let others: Vec<_> = expected.keys().filter(|name| *name != "manifest.json").collect();
    for file in others.iter().map(std::slice::from_ref).chain([&others[..]]) {
        for name in file {
            std::fs::remove_file(case.path("out").join(name)).unwrap();
        }
        let (success, said) = case.ingest(&["repair", "out", "--threads", "2"]);
        assert!(success, "{said}");
        assert!(case.files("out") == expected, "{file:?}");
    }
}

fn still_runs_after(program: &mut std::process::Child, moment: Duration) -> bool {
    std::thread::sleep(moment);
    program.try_wait().unwrap().is_none()
}
