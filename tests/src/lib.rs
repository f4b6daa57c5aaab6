//! The project's tests across crates; see `suite/`.
