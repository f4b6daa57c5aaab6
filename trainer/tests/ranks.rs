//! Runs of several processes on one machine, some of which are killed, stopped, or asked for
//! something else.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ingest::Silent;
use tempfile::TempDir;

/// Within which the others have ended, once a rank is no more.
const ENDED: Duration = Duration::from_secs(15);
/// Within which a run has begun; the machine may have other work.
const PATIENCE: Duration = Duration::from_secs(120);

/// Steps between two checkpoints.
const EVERY: &str = "5";

struct Case {
    folder: TempDir,
    port: u16,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("raw");
        ingest::sample::write(&raw, 12, 1).unwrap();
        let mut settings = ingest::Settings::new(raw, folder.path().join("shards"));
        settings.ingest.layout.size = 64;
        settings.ingest.views = 1;
        ingest::run(&settings, &Silent).unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        Self { folder, port }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// A run that takes no time a step and never ends.
    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        let size = "--model vit-tiny-16 --width 24 --depths 4 --heads 2 --taps 1,2,3,4 \
                    --decoder-depth 1 --decoder-dim 16 --decoder-heads 2 --batch-size 4 \
                    --loader-threads 1 --epochs 1000000";
        command.arg("--shards").arg(self.folder.path().join("shards"));
        command.arg("--out").arg(self.out());
        command.args(size.split_whitespace()).args(["--checkpoint-every", EVERY]).args(more);
        command.env("RAYON_NUM_THREADS", "1");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A process of the run.
    fn start(&self, rank: usize, of: usize, more: &[&str]) -> Process {
        let device = match more.contains(&"--devices") {
            true => [].as_slice(),
            false => &["--device", "cpu"],
        };
        let rendezvous = format!("127.0.0.1:{}", self.port);
        let (rank, of) = (rank.to_string(), of.to_string());
        let world = ["--nodes", &of, "--rank", &rank, "--rendezvous", &rendezvous];
        Process(Some(self.command(&[&world, device, more].concat()).spawn().unwrap()))
    }

    /// A run of four that has left a checkpoint.
    fn run_of_four(&self) -> Vec<Process> {
        let processes: Vec<_> = (0..4).map(|rank| self.start(rank, 4, &[])).collect();
        let begun = Instant::now();
        while self.checkpoints() == 0 {
            assert!(begun.elapsed() < PATIENCE, "no checkpoint was written");
            thread::sleep(Duration::from_millis(50));
        }
        processes
    }

    fn checkpoints(&self) -> usize {
        let files = fs::read_dir(self.out().join("checkpoints")).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|end| end == "safetensors")).count()
    }

    /// Goes on from the newest checkpoint, alone.
    fn goes_on(&self) {
        let more = ["--resume", "--device", "cpu", "--nodes", "1", "--max-steps", "1"];
        let output = self.command(&more).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A process, which is killed where a test fails.
struct Process(Option<Child>);

impl Process {
    fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// What it says when it ends, which it has to within `limit`.
    fn ends(mut self, limit: Duration) -> Output {
        let begun = Instant::now();
        let mut child = self.0.take().unwrap();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > limit {
                let _ = child.kill();
                let output = child.wait_with_output().unwrap();
                panic!("not ended: {}", String::from_utf8_lossy(&output.stderr));
            }
            thread::sleep(Duration::from_millis(50));
        }
        child.wait_with_output().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends a signal to one process of four; the others have to name it and to fail, and the newest
/// checkpoint has to be whole.
fn ends_all(rank: usize, signal: &str) {
    let case = Case::new();
    let mut processes = case.run_of_four();
    let dead = processes.remove(rank);
    let name = dead.pid();
    dead.signal(signal);
    let begun = Instant::now();
    for process in processes {
        let output = process.ends(ENDED.saturating_sub(begun.elapsed()));
        let text = told(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!("rank {rank} (")), "{text}");
        assert!(text.contains(&format!("pid {name})")), "{text}");
        assert!(text.contains("its last step was "), "{text}");
    }
    drop(dead);
    case.goes_on();
}

#[test]
fn a_process_that_is_killed_ends_the_others_which_name_it() {
    ends_all(2, "-KILL");
}

#[test]
fn a_process_that_hangs_ends_the_others_which_name_it() {
    ends_all(1, "-STOP");
}

#[test]
fn the_first_process_that_is_killed_ends_the_others_which_name_it() {
    ends_all(0, "-KILL");
}

#[test]
fn the_first_process_that_hangs_ends_the_others_which_name_it() {
    ends_all(0, "-STOP");
}

#[test]
fn a_process_that_is_asked_to_stop_stops_all_after_the_same_step() {
    let case = Case::new();
    let processes = case.run_of_four();
    processes[3].signal("-INT");
    let outputs: Vec<_> = processes.into_iter().map(|process| process.ends(PATIENCE)).collect();
    let text = String::from_utf8_lossy(&outputs[0].stdout).into_owned();
    let step = text.split_whitespace().skip_while(|word| *word != "step").nth(1);
    let step = step.unwrap_or_else(|| panic!("{text}: {}", told(&outputs[0])));
    let step = step.trim_end_matches(';');
    for output in &outputs {
        assert_eq!(output.status.code(), Some(130), "{}", told(output));
    }
    for output in &outputs[1..] {
        assert!(told(output).contains(&format!("ended after step {step},")), "{}", told(output));
    }
    case.goes_on();
}

#[test]
fn processes_that_want_different_things_or_do_not_come_are_told() {
    let case = Case::new();
    let processes = [case.start(0, 2, &["--lr", "0.1"]), case.start(1, 2, &["--lr", "0.2"])];
    for process in processes {
        let output = process.ends(PATIENCE);
        assert_eq!(output.status.code(), Some(1));
        let text = told(&output);
        assert!(text.contains("process 1 (") && text.contains("--lr is 0.2, not 0.1"), "{text}");
    }
    let output = case.start(0, 3, &["--wait", "1"]).ends(PATIENCE);
    assert!(told(&output).contains("processes 1, 2 of 3 did not come"), "{}", told(&output));
    let output = case.start(1, 3, &["--wait", "1"]).ends(PATIENCE);
    assert!(told(&output).contains("process 0 was not there"), "{}", told(&output));
    assert!(!case.out().exists(), "who is refused leaves no trace");
}

#[test]
fn processes_of_several_ranks_end_a_run_together() {
    let case = Case::new();
    let start = |rank, devices| {
        case.start(rank, 2, &["--devices", devices, "--max-steps", "4", "--log-every", "1"])
    };
    // A process may have more ranks than another.
    let processes = [start(0, "cpu:1"), start(1, "cpu:3")];
    let [first, other] = processes.map(|process| process.ends(PATIENCE));
    for output in [&first, &other] {
        assert_eq!(output.status.code(), Some(0), "{}", told(output));
    }
    assert!(String::from_utf8_lossy(&first.stdout).contains("finished after step 4"));
    assert!(other.stdout.is_empty(), "the first process tells");
    let metrics = fs::read_to_string(case.out().join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 4, "{metrics}");
}
