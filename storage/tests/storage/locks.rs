//! One holder at a time.

use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use storage::testing::{Fault, FaultProxy};
use storage::{Storage, StorageError};

use crate::{AnyServer, LEASE, Place, small};

everywhere! {
    two_locks_exclude_each_other_until_one_is_released
    of_many_that_lock_at_once_one_holds_it
    ;
    a_lock_that_is_not_renewed_is_taken_over_and_its_holder_told
    a_lock_is_kept_in_spite_of_faults
}

fn two_locks_exclude_each_other_until_one_is_released(place: &Place) {
    let at = place.root.join("folder/lock");
    let other = place.storage.clone();
    let lock = place.storage.lock(&at).unwrap().expect("free");
    assert!(other.lock(&at).unwrap().is_none());
    lock.check().unwrap();
    drop(lock);
    let again = other.lock(&at).unwrap().expect("released");
    assert!(place.storage.lock(&at).unwrap().is_none());
    drop(again);
}

fn of_many_that_lock_at_once_one_holds_it(place: &Place) {
    let at = place.root.join("lock");
    let (start, held) = (Barrier::new(6), AtomicUsize::new(0));
    let locks: Vec<_> = std::thread::scope(|threads| {
        let takers: Vec<_> = (0..6)
            .map(|_| {
                threads.spawn(|| {
                    start.wait();
                    let lock = place.storage.lock(&at).unwrap();
                    held.fetch_add(usize::from(lock.is_some()), Ordering::SeqCst);
                    lock
                })
            })
            .collect();
        takers.into_iter().map(|taker| taker.join().unwrap()).collect()
    });
    assert_eq!(held.load(Ordering::SeqCst), 1);
    drop(locks);
}

#[test]
fn a_lock_is_held_for_longer_than_its_lease() {
    let place = Place::on(crate::s3());
    let at = place.root.join("lock");
    let lock = place.storage.lock(&at).unwrap().expect("free");
    std::thread::sleep(LEASE * 2);
    lock.check().unwrap();
    assert!(place.storage.lock(&at).unwrap().is_none());
}

fn a_lock_that_is_not_renewed_is_taken_over_and_its_holder_told(server: AnyServer) {
    let cut = Arc::new(AtomicBool::new(false));
    let is_cut = Arc::clone(&cut);
    let proxy = FaultProxy::start(server.endpoint(), move |_| {
        is_cut.load(Ordering::SeqCst).then_some(Fault::Refuse)
    })
    .unwrap();
    let first = Storage::new(small(server.options_through(&proxy))).unwrap();
    let second = Storage::new(small(server.options())).unwrap();
    let at = server.address("lock");

    let lock = first.lock(&at).unwrap().expect("free");
    lock.check().unwrap();
    cut.store(true, Ordering::SeqCst);
    let taken = second.lock(&at).unwrap().expect("stale");
    assert!(matches!(lock.check(), Err(StorageError::LockLost { .. })));
    cut.store(false, Ordering::SeqCst);
    // What the first holder does now is no harm to the second.
    drop(lock);
    taken.check().unwrap();
    assert!(first.lock(&at).unwrap().is_none());
}

fn a_lock_is_kept_in_spite_of_faults(server: AnyServer) {
    let proxy = FaultProxy::start(server.endpoint(), |request| {
        [Some(Fault::Lost), None, Some(Fault::SlowDown), None, None][request.index % 5]
    })
    .unwrap();
    let storage = Storage::new(small(server.options_through(&proxy))).unwrap();
    let at = server.address("lock");
    let lock = storage.lock(&at).unwrap().expect("free");
    std::thread::sleep(LEASE * 2);
    lock.check().unwrap();
    assert!(Storage::new(small(server.options())).unwrap().lock(&at).unwrap().is_none());
    drop(lock);
    assert_eq!(storage.stat(&at).unwrap(), None);
}
