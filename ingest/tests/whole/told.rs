//! What the program says, and that it leaves alone what is not its to touch.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::case::{Case, picture, tar};

fn made(case: &Case, args: &[&str]) -> String {
    let (success, said) = case.ingest(&[args, &Case::FLAGS[..]].concat());
    assert!(success, "{said}");
    said
}

#[test]
fn whoever_meets_a_set_without_its_manifest_is_told_of_repair() {
    let case = Case::mixed();
    made(&case, &["raw", "--out", "out"]);
    made(&case, &["part.tar", "--append", "--out", "out"]);
    let whole = case.files("out");
    for damage in [None, Some("{\"schema_version\": 1")] {
        match damage {
            None => fs::remove_file(case.path("out/manifest.json")).unwrap(),
            Some(text) => fs::write(case.path("out/manifest.json"), text).unwrap(),
        }
        let before = case.files("out");
        for args in [
            &["raw", "--out", "out"][..],
            &["part.tar", "--append", "--out", "out"],
            &["rows.parquet", "--append", "--out", "out"],
            &["rows.parquet", "--out", "out"],
        ] {
            let (success, said) = case.ingest(&[args, &Case::FLAGS[..]].concat());
            assert!(!success && said.contains("`ingest repair out`"), "{args:?}: {said}");
        }
        for command in ["inspect", "verify"] {
            let (success, said) = case.ingest(&[command, "out"]);
            assert!(!success && said.contains("`ingest repair out`"), "{command}: {said}");
        }
        assert!(case.files("out") == before, "nothing was touched");
        let (success, said) = case.ingest(&["repair", "out"]);
        assert!(success && said.contains("manifest.json"), "{said}");
        assert!(case.files("out") == whole);
    }
}

#[test]
fn an_append_in_progress_outlives_the_loss_of_the_manifest() {
    let case = Case::mixed();
    made(&case, &["raw", "--out", "out"]);
    // A plan of the second version, as a run leaves it that is killed.
    made(&case, &["raw", "--out", "other"]);
    let mut killed = case
        .command(
            &[&["part.tar", "rows.parquet", "--append", "--out", "out"], &Case::FLAGS[..]].concat(),
        )
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let plan = case.path("out/.ingest/plan.json");
    while !plan.exists() && killed.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    if !plan.exists() {
        // It was quicker than this test.
        return;
    }
    fs::remove_file(case.path("out/manifest.json")).unwrap();
    let (success, said) = case.ingest(&[&["raw", "--out", "out"], &Case::FLAGS[..]].concat());
    assert!(!success && said.contains("`ingest repair out`"), "{said}");
    assert!(plan.exists(), "what was begun is kept");
}

#[test]
fn an_output_on_the_web_is_refused() {
    let case = Case::mixed();
    let (success, said) = case.ingest(&["raw", "--out", "http://127.0.0.1:1/shards"]);
    assert!(!success && said.contains("--out") && said.contains("can only be read"), "{said}");
}

#[test]
fn a_web_source_that_does_not_answer_is_told_while_it_is_tried_again() {
    let case = Case::empty();
    let args = [&["http://127.0.0.1:1/a.tar", "--out", "out"], &Case::FLAGS[..]].concat();
    let mut program = case.command(&args).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let told = lines.map_while(Result::ok).find(|line| line.contains("127.0.0.1:1/a.tar yet"));
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(told.is_some_and(|line| line.contains("trying for another")));
}

#[test]
fn a_name_cannot_steer_the_terminal() {
    let case = Case::empty();
    let hostile = "cat\x1b[2J/\x1b]0;owned\x07.png".to_owned();
    case.put("part.tar", tar(&[(hostile.clone(), picture(1)), (hostile + "x", b"none".to_vec())]));
    made(&case, &["part.tar", "--out", "out"]);
    let (success, said) = case.ingest(&["inspect", "out"]);
    assert!(success && said.contains("cat\\x1b[2J") && said.contains("owned\\x07"), "{said}");
    assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
}

#[test]
fn a_preview_does_not_take_the_place_of_a_file_of_the_set() {
    let case = Case::mixed();
    made(&case, &["raw", "--out", "out"]);
    let whole = case.files("out");
    for file in ["shard-00000.parquet", "manifest.json", "manifest-00001.json", "rejects.jsonl"] {
        let (success, said) = case.ingest(&["inspect", "out", "--out", &format!("out/{file}")]);
        assert!(!success && said.contains(file) && said.contains("another file"), "{said}");
    }
    assert!(case.files("out") == whole);
    assert!(case.ingest(&["inspect", "out", "--preview", "out/preview.png"]).0);
}

#[test]
fn a_set_of_rejects_alone_is_not_called_unfinished() {
    let case = Case::empty();
    case.put("raw/a.jpg", "none");
    let (success, _) = case.ingest(&[&["raw", "--out", "out"], &Case::FLAGS[..]].concat());
    assert!(!success);
    let (success, said) = case.ingest(&["inspect", "out"]);
    assert!(!success && said.contains("every picture was rejected"), "{said}");
    assert!(said.contains("out/rejects.jsonl") && !said.contains("unfinished"), "{said}");
}

#[test]
fn what_is_no_set_is_left_as_it_is() {
    let case = Case::empty();
    case.put("raw/a.png", picture(1));
    for command in ["inspect", "verify", "repair"] {
        for folder in ["raw", "nowhere"] {
            let (success, said) = case.ingest(&[command, folder]);
            assert!(!success && said.contains("no shard set"), "{command} {folder}: {said}");
        }
    }
    assert!(!case.path("nowhere").exists());
    assert_eq!(case.files("raw").len(), 1);
}

#[test]
fn an_append_names_only_the_settings_that_were_given() {
    let case = Case::mixed();
    let (success, said) = case.ingest(&["raw", "--out", "out", "--size", "32", "--cells", "8"]);
    assert!(success, "{said}");
    let args = ["part.tar", "--append", "--out", "out", "--size", "64", "--cells", "8"];
    let (success, said) = case.ingest(&args);
    assert!(!success && said.contains("--size was 32"), "{said}");
    assert!(!said.contains("--shard-pictures"), "{said}");
}

#[test]
fn a_damaged_shard_is_named_once_with_the_way_out() {
    let case = Case::mixed();
    made(&case, &["raw", "--out", "out"]);
    let shard = case.path("out/shard-00000.parquet");
    let bytes = fs::read(&shard).unwrap();
    fs::write(&shard, &bytes[..bytes.len() / 2]).unwrap();
    let (success, said) = case.ingest(&["inspect", "out", "--rows", "100"]);
    assert!(!success && said.contains("`ingest repair out`"), "{said}");
    let error = said.lines().find(|line| line.starts_with("error:")).unwrap();
    let parts: Vec<_> = error.split(": ").collect();
    let mut unique = parts.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(parts.len(), unique.len(), "{error}");
}

/// Where a signal can be sent by its name.
#[cfg(unix)]
#[test]
fn an_interrupted_run_says_that_the_same_command_goes_on() {
    let case = Case::empty();
    for number in 0..900 {
        case.put(&format!("raw/{number}.png"), picture(number));
    }
    let args = [&["raw", "--out", "out"], &Case::FLAGS[..]].concat();
    let mut program = case.command(&args).stderr(Stdio::piped()).spawn().unwrap();
    while !case.path("out/shard-00000.parquet").exists() {
        assert!(program.try_wait().unwrap().is_none(), "it should not have ended yet");
        std::thread::yield_now();
    }
    let sent = Command::new("kill").args(["-INT", &program.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = program.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("are kept") && said.contains("the same command goes on"), "{said}");
    made(&case, &["raw", "--out", "out"]);
}

/// `head` takes a line and goes.
#[cfg(unix)]
#[test]
fn a_reader_that_goes_ends_the_program_quietly() {
    let case = Case::mixed();
    made(&case, &["raw", "--out", "out"]);
    let mut program = case
        .command(&["inspect", "out", "--rows", "10"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(program.stdout.take());
    let output = program.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
