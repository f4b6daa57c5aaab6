//! The small parts that every network here is made of: [`linear`], [`norm`], [`attention`], [`mlp`],
//! and [`block`], which puts them together.
//!
//! The residual stream `[batch, tokens, width]` is f32. Under
//! [`Precision::Bf16`](super::Precision::Bf16) matrix products take and give bfloat16; norms and
//! softmax go back to f32.

pub mod attention;
pub mod block;
pub mod linear;
pub mod mlp;
pub mod norm;

pub use attention::Attention;
pub use block::{Block, Branches};
pub use linear::{Deconv, Linear, to_f32};
pub use mlp::Mlp;
pub use norm::{LayerNorm, NORM_EPSILON};
