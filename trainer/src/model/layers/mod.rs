//! The small parts that every network here is made of: [`linear`], [`norm`], [`attention`], [`mlp`],
//! and [`block`], which puts them together.
//!
//! What they do is done by the operations of [`kernels`], whole with their gradients; here are their
//! parameters. The residual stream `[views, tokens, width]` is f32. Under
//! [`Precision::Bf16`](super::Precision::Bf16) the factors of matrix products are rounded to
//! bfloat16; sums, norms and softmax stay f32.

pub mod attention;
pub mod block;
pub mod linear;
pub mod mlp;
pub mod norm;

pub use attention::{Attention, attention_branch};
pub use block::{Block, Branches};
pub use linear::{Deconv, Linear};
pub use mlp::Mlp;
pub use norm::{LayerNorm, NORM_EPSILON};
