//! What adds numbers of several CUDA devices on them: NCCL, which is looked for at run time.

/// Whether it is there.
pub fn has_nccl() -> bool {
    // SAFETY: it is loaded by its name and not called.
    unsafe { cudarc::nccl::sys::is_culib_present() }
}
