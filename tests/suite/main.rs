//! Parity with reference vectors, and the two programs end to end.

mod golden;
mod parity_vit;
