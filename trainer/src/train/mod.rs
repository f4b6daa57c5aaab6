//! From batches to a trained encoder: [`batch`] (onto the device), [`step`] (loss and gradients),
//! [`slices`] (over the cores), [`optim`] (AdamW), [`schedule`] (the learning rate), `trainee` (the
//! network that is trained), `begin` (what a run needs), [`run`] (the loop of a rank), `together` (all
//! ranks of a run: [`TrainRequest`]), `told` (what it says), [`unseen`] (what steps gave, until it is
//! read), `guard` (what stops it), `clock` (its time), [`error`].

pub mod batch;
mod begin;
mod clock;
pub mod error;
mod guard;
pub mod optim;
pub mod run;
pub mod schedule;
pub mod slices;
pub mod step;
mod together;
mod told;
mod trainee;
pub mod unseen;

pub use together::{Place, TrainRequest};
