//! What is on its way to a device.

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
        if self.what.is_some() {
            B::arrive(&self.device);
        }
    }
}
