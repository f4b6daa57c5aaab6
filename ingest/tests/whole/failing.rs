//! What fails from outside: each a sentence, and nothing lost.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use ingest::{IngestError, Progress, Settings, Silent, run};
use shards::ShardSet;

use crate::case::{Case, picture};

/// Does something once, when the first shard is finished.
struct Meanwhile<'a> {
    done: AtomicBool,
    what: &'a (dyn Fn() + Sync),
}

impl<'a> Meanwhile<'a> {
    fn new(what: &'a (dyn Fn() + Sync)) -> Self {
        Self { done: AtomicBool::new(false), what }
    }
}

impl Progress for Meanwhile<'_> {
    fn shard(&self, _: u64) -> std::ops::ControlFlow<()> {
        if !self.done.swap(true, Ordering::SeqCst) {
            (self.what)();
        }
        std::ops::ControlFlow::Continue(())
    }
}

#[test]
fn a_folder_that_vanishes_stops_the_run_and_its_return_finishes_it() {
    let case = Case::empty();
    // More than the stream is ahead.
    for number in 0..600 {
        case.put(&format!("raw/{number}.png"), picture(number));
    }
    let settings = |out: &str| {
        let mut settings = case.settings(&["raw"], out);
        settings.ingest.pictures_per_shard = 40;
        settings
    };
    run(&settings("whole"), &Silent).unwrap();
    let vanish = || fs::rename(case.path("raw"), case.path("elsewhere")).unwrap();
    let error = run(&settings("out"), &Meanwhile::new(&vanish)).unwrap_err();
    assert!(matches!(error, IngestError::Vanished { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("raw is gone") && said.contains("run the same again"), "{said}");
    assert!(!case.path("out/manifest.json").exists());

    fs::rename(case.path("elsewhere"), case.path("raw")).unwrap();
    run(&settings("out"), &Silent).unwrap();
    assert!(case.files("whole") == case.files("out"));
}

#[test]
fn an_output_that_can_no_longer_be_written_leaves_what_is_published_readable() {
    let case = Case::mixed();
    let first = case.run(&["raw"], "out").manifest;
    let whole = case.files("out");
    // A file where a folder must be: not even root writes through it.
    fs::write(case.path("out/.ingest"), "").unwrap();
    let settings = Settings { append: true, ..case.settings(&["part.tar"], "out") };
    let error = run(&settings, &Silent).unwrap_err();
    assert!(error.to_string().contains(".ingest"), "{error}");
    let set = ShardSet::open(&case.path("out")).unwrap();
    assert_eq!(set.manifest(), &first);
    assert_eq!(case.rows("out").len() as u64, first.rows);
    fs::remove_file(case.path("out/.ingest")).unwrap();
    assert!(case.files("out") == whole);
}

/// A disk of one MiB, where the system lets this user make one.
#[cfg(target_os = "linux")]
struct SmallDisk(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn new(at: std::path::PathBuf, bytes: u64) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(&at)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(at))
    }

    fn grow(&self, bytes: u64) {
        let grown = std::process::Command::new("mount")
            .args(["-o", &format!("remount,size={bytes}")])
            .arg(&self.0)
            .status();
        assert!(grown.unwrap().success());
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_with_room_the_run_goes_on() {
    let case = Case::mixed();
    let whole = case.run(&Case::SOURCES, "whole").manifest;
    let Some(disk) = SmallDisk::new(case.path("disk"), whole.bytes / 2) else {
        eprintln!("no small disk can be made here; passed over");
        return;
    };
    let settings = case.settings(&Case::SOURCES, "disk/out");
    let error = run(&settings, &Silent).unwrap_err();
    let said = format!("{:#}", anyhow::Error::from(error));
    assert!(said.contains("disk/out") && said.to_lowercase().contains("no space"), "{said}");
    assert!(!case.path("disk/out/manifest.json").exists());
    disk.grow(8 * whole.bytes + (1 << 20));
    run(&settings, &Silent).unwrap();
    assert!(case.files("whole") == case.files("disk/out"));
}
