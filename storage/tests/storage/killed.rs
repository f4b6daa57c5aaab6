//! What a program that is killed leaves behind.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use storage::{Address, Storage, StorageOptions};

use crate::{Keeps, PART, Place, noise, small};

/// Names the address that a child process of these tests writes to and locks.
const ADDRESS: &str = "STORAGE_TEST_ADDRESS";

/// Run in a process of its own by the tests below; does nothing in a run of all tests.
#[test]
fn to_be_killed() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let address = Address::parse(&address).unwrap();
    let storage = Storage::new(small(StorageOptions::default())).unwrap();
    let _lock = storage.lock(&address.join("lock")).unwrap().expect("free");
    let mut writer = storage.writer(&address.join("object")).unwrap();
    writer.write_all(&noise(3 * PART)).unwrap();
    println!("\nat work");
    std::thread::sleep(Duration::from_secs(60));
}

fn start(place: &Place) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "killed::to_be_killed", "--nocapture"]);
    child.env(ADDRESS, place.root.to_string()).stdout(Stdio::piped());
    if let Keeps::Server(server) = &place.keeps {
        child.envs(server.environment(&server.endpoint()));
    }
    let mut child = child.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "at work"), "the child did not get to work");
    child
}

everywhere! { a_killed_writer_leaves_nothing_to_be_seen_and_its_lock_comes_free }

fn a_killed_writer_leaves_nothing_to_be_seen_and_its_lock_comes_free(place: &Place) {
    let mut child = start(place);
    let (lock, object) = (place.root.join("lock"), place.root.join("object"));
    assert!(place.storage.lock(&lock).unwrap().is_none());
    assert_eq!(place.storage.sweep(&place.root).unwrap(), 0);
    child.kill().unwrap();
    child.wait().unwrap();

    assert_eq!(place.storage.stat(&object).unwrap(), None);
    let lock = place.storage.lock(&lock).unwrap().expect("its holder is gone");
    let seen = place.storage.list(&place.root).unwrap();
    assert!(seen.iter().all(|listed| listed.relative == "lock"), "{seen:?}");

    place.storage.put(&object, "whole").unwrap();
    assert_eq!(place.storage.read(&object).unwrap(), "whole");
    let swept = place.storage.sweep(&place.root).unwrap();
    assert_eq!(swept, usize::from(matches!(place.keeps, Keeps::Folder(_))));
    assert_eq!(place.storage.read(&object).unwrap(), "whole");
    drop(lock);
}
