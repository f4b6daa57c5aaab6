//! What is on its way to a device.

use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::panicking;

use super::Inputs;

/// What was sent to a device, where nothing may read it before it has arrived.
#[derive(Debug)]
pub struct Sent<B: Inputs, T> {
    /// None once it has arrived.
    what: Option<T>,
    device: B::Device,
}

impl<B: Inputs, T> Sent<B, T> {
    /// `what` was sent.
    pub fn new(what: T, device: &B::Device) -> Self {
        Self { what: Some(what), device: device.clone() }
    }

    /// As [`new`](Self::new), of what there may not be.
    pub fn maybe(sent: Option<Self>, device: &B::Device) -> Sent<B, Option<T>> {
        Sent::new(sent.map(Self::open), device)
    }

    /// It. What the calling thread asks the device for from now on waits for it there; the thread does
    /// not.
    pub fn arrived(self) -> T {
        B::arrive(&self.device);
        self.open()
    }

    /// This and what was sent to the same device besides.
    pub fn with<U>(self, other: Sent<B, U>) -> Sent<B, (T, U)> {
        let device = self.device.clone();
        Sent::new((self.open(), other.open()), &device)
    }

    /// What `change`, which reads none of it, makes of it.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Sent<B, U> {
        let device = self.device.clone();
        Sent::new(change(self.open()), &device)
    }

    /// The same for a backend over this one.
    pub(super) fn over<C: Inputs<Device = B::Device>>(self) -> Sent<C, T> {
        let device = self.device.clone();
        Sent::new(self.open(), &device)
    }

    fn open(mut self) -> T {
        self.what.take().expect("it is taken out but here")
    }
}

impl<B: Inputs, T> Drop for Sent<B, T> {
    /// Its memory may serve others only once nothing is copied there any more.
    fn drop(&mut self) {
        if let Some(what) = self.what.take() {
            release(what, || B::arrive(&self.device));
        }
    }
}

/// Drops `what` once it has arrived; if that can't be had, its memory serves nobody. A thread that
/// panics already goes on with its first panic: a second one would end the program.
fn release<T>(what: T, arrive: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(arrive)) {
        forget(what);
        if !panicking() {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Releases what it holds when it is dropped, from a device that is lost.
    struct Lost(Arc<()>);

    impl Drop for Lost {
        fn drop(&mut self) {
            release(Arc::clone(&self.0), || panic!("the device is lost"));
        }
    }

    #[test]
    fn a_lost_device_does_not_hide_the_first_panic() {
        let held = Arc::new(());
        let first = catch_unwind(|| {
            let _sent = Lost(Arc::clone(&held));
            panic!("first");
        });
        assert_eq!(first.unwrap_err().downcast_ref(), Some(&"first"));
        // What may still be written to is not freed.
        assert_eq!(Arc::strong_count(&held), 2);
        let alone = catch_unwind(|| drop(Lost(Arc::clone(&held))));
        assert_eq!(alone.unwrap_err().downcast_ref(), Some(&"the device is lost"));
        release(Arc::clone(&held), || {});
        assert_eq!(Arc::strong_count(&held), 3);
    }
}
