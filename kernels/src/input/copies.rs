//! Copies to a device.
//!
//! On CUDA they have a stream of their own, so that a batch is copied while kernels work on the one
//! before. CubeCL has one thread for each device that does what all others ask of it, and its streams
//! are but numbers there: a thread of one's own for copies would change nothing. What the order of
//! streams needs is this:
//! - Memory is the reader's stream's. A copy waits for all that was asked of that stream before
//!   (`MultiStream::resolve`), so what was there has been read.
//! - The reader's stream waits for the copies before it reads ([`arrive`]).
//! - CubeCL keeps the bytes until it is asked to let go of what was copied, which it does by itself
//!   where a stream launches kernels only; so it is asked here ([`staged`]). It waits then for the
//!   copies before those since it was asked the last time.
//!
//! Memory of the stream of copies would not do: CubeCL gives it away again when nobody holds it on the
//! host, whether or not another stream's kernels are still to read it.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use burn::tensor::{Bytes, DType};
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::device::{Device, DeviceId};
use cubecl::device_handle::DeviceHandle;
use cubecl::prelude::ComputeClient;
use cubecl::server::{ComputeServer, Handle};
use cubecl::stream_id::StreamId;

use crate::asked;
use crate::gpu::frame::empty_on;

/// Bytes of copies after which CubeCL is asked to let go of those before.
const KEPT: usize = 64 << 20;
/// What a small copy counts as, so that there are not too many of them.
const LEAST: usize = 1 << 20;
/// Bytes of memory that stands for a stream; nobody writes there.
const MARK: u64 = 256;

/// What a device's clients talk to.
pub fn server<R: CubeRuntime>(device: &R::Device) -> DeviceHandle<R::Server> {
    // A client begins it.
    R::client(device);
    DeviceHandle::new(device.to_id())
}

/// The stream of copies, where they have one of their own.
fn own<R: CubeRuntime>(client: &ComputeClient<R>) -> Option<StreamId> {
    /// That of a thread that asks for nothing else.
    static OWN: LazyLock<Option<StreamId>> = LazyLock::new(|| {
        let thread = thread::Builder::new().spawn(StreamId::current).ok();
        thread.and_then(|thread| thread.join().ok())
    });
    // Vulkan has one queue for all.
    if R::name(client) == "cuda" { *OWN } else { None }
}

/// Sends `bytes` from where they lie. The calling thread must not read the tensor before it has had it
/// [`arrive`].
pub fn send<R: CubeRuntime>(bytes: Bytes, dtype: DType, device: &R::Device) -> CubeTensor<R> {
    let (client, length) = (R::client(device), bytes.len());
    let own = own(&client);
    let stream = own.unwrap_or_else(StreamId::current);
    let tensor = empty_on(client, device, [length / dtype.size()], dtype);
    let handle = tensor.handle.clone();
    let descriptor = handle.copy_descriptor([length].into(), [1].into(), size_of::<u8>());
    let full = own.is_some() && staged(device.to_id(), length);
    asked::upload(length);
    // A client's own ways copy what they are given to memory that is not pinned.
    server::<R>(device).submit(move |server| {
        server.write(vec![(descriptor, bytes)], stream);
        if full {
            // A device that fails fails the reader's stream, too, where it is heard.
            let _ = server.flush(stream);
        }
    });
    tensor
}

/// Has what the calling thread asks for from now on wait, on the device, for all that was sent.
pub fn arrive<R: CubeRuntime>(device: &R::Device) {
    let Some(copies) = own(&R::client(device)) else { return };
    let reader = StreamId::current();
    server::<R>(device).submit(move |server| {
        // A stream that is given memory of another's waits for what that was asked for until now.
        let mark = Handle::new(copies, MARK);
        server.initialize_memory(mark.memory.clone(), MARK, copies);
        let _ = server.get_resource(mark.binding(), reader);
    });
}

/// Counts a copy to a device; whether CubeCL is to be asked to let go of those before.
fn staged(device: DeviceId, length: usize) -> bool {
    /// Bytes since it was last asked.
    static SINCE: LazyLock<Mutex<HashMap<DeviceId, usize>>> = LazyLock::new(Default::default);
    let mut all = SINCE.lock().unwrap_or_else(PoisonError::into_inner);
    let since = all.entry(device).or_default();
    *since += length.max(LEAST);
    let full = *since >= KEPT;
    if full {
        *since = 0;
    }
    full
}
