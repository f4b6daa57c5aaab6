//! What steps gave, which stays on the device until somebody looks.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::step::Losses;

/// Steps that are kept unseen: what they were made of lies on the host.
const MOST: usize = 128;

/// What a step gave; `W` says of what a batch was made.
pub struct Made<B: Backend, W> {
    /// The optimizer step, from 1.
    pub step: u64,
    /// The losses of each batch.
    pub batches: Vec<(Losses<B>, W)>,
    /// The gradient's norm, `[1]`, where it was taken.
    pub norm: Option<Tensor<B, 1>>,
}

/// [`Made`] on the host.
pub struct Read<W> {
    /// The optimizer step, from 1.
    pub step: u64,
    /// The loss of each tap, of each batch.
    pub batches: Vec<(Vec<f64>, W)>,
    /// The gradient's norm, where it was taken.
    pub norm: Option<f64>,
}

/// The steps that nobody has looked at yet, in order.
pub struct Unseen<B: Backend, W> {
    steps: Vec<Made<B, W>>,
}

impl<B: Backend, W> Unseen<B, W> {
    /// There are none.
    pub fn none() -> Self {
        Self { steps: vec![] }
    }

    /// Keeps what a step gave.
    pub fn keep(&mut self, made: Made<B, W>) {
        self.steps.push(made);
    }

    /// There are so many that they are to be looked at.
    pub fn full(&self) -> bool {
        self.steps.len() >= MOST
    }

    /// Reads all at once: the host waits but once, and not at all where there is none.
    pub fn read(&mut self) -> Vec<Read<W>> {
        let steps = std::mem::take(&mut self.steps);
        if steps.is_empty() {
            return vec![];
        }
        let batches = steps.iter().flat_map(|made| &made.batches).map(|(losses, _)| losses);
        let norms: Vec<_> = steps.iter().filter_map(|made| made.norm.as_ref()).collect();
        let (losses, norms) = Losses::read_all(&batches.collect::<Vec<_>>(), &norms);
        let (mut losses, mut norms) = (losses.into_iter(), norms.into_iter());
        let on_host = |made: Made<B, W>| Read {
            step: made.step,
            norm: made.norm.and_then(|_| norms.next()),
            batches: {
                let of_what = made.batches.into_iter().map(|(_, of_what)| of_what);
                losses.by_ref().zip(of_what).collect()
            },
        };
        steps.into_iter().map(on_host).collect()
    }
}
