//! Taps: the layers whose output is reconstructed (LocalMIM, figure 2a).

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use kernels::Kernels;

use super::layers::LayerNorm;

/// What is tapped while `x` goes up through the layers of an encoder.
#[derive(Debug)]
pub struct Taps<'a, B: Backend> {
    after: &'a [usize],
    norms: &'a [LayerNorm<B>],
    local_gradients: bool,
    latents: Vec<Tensor<B, 3>>,
}

impl<'a, B: Kernels> Taps<'a, B> {
    /// Taps after the layers `after`, counted from 1, with a norm each. With `local_gradients` each
    /// layer learns from the next tap alone.
    pub fn new(after: &'a [usize], norms: &'a [LayerNorm<B>], local_gradients: bool) -> Self {
        Self { after, norms, local_gradients, latents: Vec::with_capacity(after.len()) }
    }

    /// `x` `[views, prefix + tokens, width]` comes out of layer `layer`: at a tap, `x` normed is one
    /// of the latents, z = norm(x).
    ///
    /// Gives what the next layer is given: `x`, cut off from the gradient of what is above where
    /// each layer learns from the next tap alone (LocalMIM, section 3.2); none after the last tap,
    /// for layers above it would have no gradient.
    pub fn pass(&mut self, layer: usize, x: Tensor<B, 3>) -> Option<Tensor<B, 3>> {
        let Some(tap) = self.after.iter().position(|&after| after == layer) else { return Some(x) };
        self.latents.push(self.norms[tap].forward(x.clone()));
        match self.latents.len() == self.after.len() {
            true => None,
            false if self.local_gradients => Some(x.detach()),
            false => Some(x),
        }
    }

    /// The latents, from the lowest tap up.
    pub fn latents(self) -> Vec<Tensor<B, 3>> {
        self.latents
    }
}
