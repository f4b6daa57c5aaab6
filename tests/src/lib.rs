//! The project's tests across crates; they stand in `suite/`.
