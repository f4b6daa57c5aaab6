//! From batches to a trained encoder: [`step`] (loss and gradients), [`optim`] (AdamW),
//! [`schedule`] (the learning rate).

pub mod optim;
pub mod schedule;
pub mod step;
