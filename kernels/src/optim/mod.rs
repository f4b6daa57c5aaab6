//! AdamW over all parameters of a network at once.
//!
//! What there is a number of for each value of each parameter, gradients and moments, is kept as a
//! backend does best ([`Optimize::Values`]): on a GPU in one buffer, where a network's parameters
//! are views of another, so that a step is one launch; on the CPU as a tensor a parameter. [`Places`]
//! says where each parameter lies. Processes that train together add the gradients' buffer.

mod cpu;
mod gpu;
#[cfg(test)]
mod parity;

use std::fmt;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Tensor, TensorPrimitive};

/// A backend that has an optimizer's passes over all parameters.
pub trait Optimize: Backend {
    /// A number for each value of each parameter.
    type Values: Clone + fmt::Debug + Send;
    /// What [`Optimize::adamw`] is told of the parameters, where it is told; kept from step to step.
    type Table: fmt::Debug + Send;

    /// What is asked for is queued and the host goes on; so a number that it reads stops it.
    const QUEUED: bool;

    /// Each parameter begins at a multiple of so many values.
    fn alignment(device: &Self::Device) -> usize;

    /// sum + factor · parts, one part a parameter; of one that is none, sum alone. Without a sum it
    /// is 0.
    fn collect(
        places: &Places,
        sum: Option<Self::Values>,
        parts: Vec<Option<FloatTensor<Self>>>,
        factor: f64,
        device: &Self::Device,
    ) -> Self::Values;

    /// 0 for each.
    fn zeros(places: &Places, device: &Self::Device) -> Self::Values;

    /// The Euclidean norm, `[1]`.
    fn norm(values: &Self::Values) -> FloatTensor<Self>;

    /// The values of parameters, to be written to.
    fn hold(
        places: &Places,
        parameters: Vec<FloatTensor<Self>>,
        device: &Self::Device,
    ) -> Self::Values;

    /// The parameters whose values these are, and the values where they lie beneath them.
    fn give(
        places: &Places,
        values: Self::Values,
    ) -> (Vec<FloatTensor<Self>>, Option<Self::Values>);

    /// The table of those parameters that `present` names.
    fn table(
        places: &Places,
        rates: &[Rate],
        present: &[bool],
        device: &Self::Device,
    ) -> Self::Table;

    /// One step in place; parameters that the table leaves out stay what they are.
    fn adamw(
        step: &Step<Self>,
        table: &Self::Table,
        parameters: &mut Self::Values,
        gradient: &Self::Values,
        moments: &mut Moments<Self>,
    );

    /// The sum of what several devices of this process hold, on each of them; all ask for it at
    /// once. Or the values as they are, where the backend has no way.
    fn across(
        values: Self::Values,
        _devices: &[Self::Device],
    ) -> Result<Self::Values, Self::Values> {
        Err(values)
    }

    /// The values of each parameter, on the host.
    fn read(places: &Places, values: &Self::Values) -> Vec<Vec<f32>>;

    /// From the values of each parameter on the host.
    fn write(places: &Places, values: Vec<Vec<f32>>, device: &Self::Device) -> Self::Values;
}

/// Where parameters lie in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    shapes: Vec<Shape>,
    starts: Vec<usize>,
    len: usize,
}

impl Places {
    /// Parameters of these shapes, one after the other, each from a multiple of `alignment` values.
    pub fn new(shapes: Vec<Shape>, alignment: usize) -> Self {
        let mut len = 0;
        let place = |shape: &Shape| {
            let start = len;
            len += shape.num_elements().next_multiple_of(alignment.max(1));
            start
        };
        let starts = shapes.iter().map(place).collect();
        Self { shapes, starts, len }
    }

    /// Values in all, with those between parameters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values of the parameter `at`.
    pub fn count(&self, at: usize) -> usize {
        self.shapes[at].num_elements()
    }

    /// Where the parameter after `at` begins, or all end.
    fn next(&self, at: usize) -> usize {
        self.starts.get(at + 1).copied().unwrap_or(self.len)
    }
}

/// What a parameter is stepped with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// What its learning rate is multiplied by.
    pub scale: f64,
    /// Decoupled weight decay.
    pub decay: f32,
}

/// The gradients of all parameters.
#[derive(Debug, Clone)]
pub struct Gradient<B: Optimize> {
    values: B::Values,
    /// The parameters that have one.
    present: Vec<bool>,
}

impl<B: Optimize> Gradient<B> {
    /// Their common Euclidean norm, `[1]`, on the device.
    pub fn norm(&self) -> Tensor<B, 1> {
        Tensor::from_primitive(TensorPrimitive::Float(B::norm(&self.values)))
    }
}

/// The gradients' moving averages.
#[derive(Debug)]
pub struct Moments<B: Optimize> {
    /// Of the gradients.
    pub first: B::Values,
    /// Of their squares.
    pub second: B::Values,
}

/// A gradient longer than `limit` is scaled to it.
#[derive(Debug, Clone)]
pub struct Clip<B: Backend> {
    /// The longest.
    pub limit: f64,
    /// The gradient's, of [`Gradient::norm`].
    pub norm: Tensor<B, 1>,
}

/// What is the same for all parameters of a step.
#[derive(Debug)]
pub struct Step<B: Backend> {
    /// The learning rate, before a parameter's own factor.
    pub lr: f64,
    /// The decay rates of the two moments.
    pub betas: (f32, f32),
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Steps made, this one among them.
    pub steps: i32,
    /// How the gradient is clipped.
    pub clip: Option<Clip<B>>,
}

impl<B: Backend> Step<B> {
    /// What the moments are divided by: they began at 0.
    fn corrections(&self) -> (f32, f32) {
        (1.0 - self.betas.0.powi(self.steps), 1.0 - self.betas.1.powi(self.steps))
    }
}

/// AdamW (arXiv 1711.05101), and what it keeps from step to step.
#[derive(Debug)]
pub struct AdamW<B: Optimize> {
    betas: (f32, f32),
    epsilon: f32,
    rates: Vec<Rate>,
    places: Places,
    device: B::Device,
    steps: u64,
    /// The parameters' values, where the network has views of them.
    held: Option<B::Values>,
    moments: Option<Moments<B>>,
    /// The table of the parameters that had a gradient.
    table: Option<(Vec<bool>, B::Table)>,
}

impl<B: Optimize> AdamW<B> {
    /// An optimizer of parameters of these shapes that has made no step.
    pub fn new(
        shapes: Vec<Shape>,
        rates: Vec<Rate>,
        betas: (f32, f32),
        epsilon: f32,
        device: &B::Device,
    ) -> Self {
        let places = Places::new(shapes, B::alignment(device));
        let device = device.clone();
        let (held, moments, table) = (None, None, None);
        Self { betas, epsilon, rates, places, device, steps: 0, held, moments, table }
    }

    /// sum + factor · parts: the gradients of all parameters, of which `parts` has one a parameter.
    pub fn collect(
        &self,
        sum: Option<Gradient<B>>,
        parts: Vec<Option<FloatTensor<B>>>,
        factor: f64,
    ) -> Gradient<B> {
        let mut present: Vec<bool> = parts.iter().map(Option::is_some).collect();
        let sum = sum.map(|sum| {
            present.iter_mut().zip(sum.present).for_each(|(here, before)| *here |= before);
            sum.values
        });
        let values = B::collect(&self.places, sum, parts, factor, &self.device);
        Gradient { values, present }
    }

    /// The sum of the gradients of all of `devices`, which ask for it at once, added there by the
    /// backend.
    ///
    /// # Errors
    /// The gradient as it is, where the backend has no way.
    pub fn across(
        &self,
        gradient: Gradient<B>,
        devices: &[B::Device],
    ) -> Result<Gradient<B>, Gradient<B>> {
        let Gradient { values, present } = gradient;
        match B::across(values, devices) {
            Ok(values) => Ok(Gradient { values, present }),
            Err(values) => Err(Gradient { values, present }),
        }
    }

    /// A gradient on the host, parameter by parameter: what processes that train together add.
    pub fn read(&self, gradient: &Gradient<B>) -> Vec<Vec<f32>> {
        B::read(&self.places, &gradient.values)
    }

    /// A gradient of the same parameters with other values, from the host.
    pub fn write(&self, gradient: Gradient<B>, values: Vec<Vec<f32>>) -> Gradient<B> {
        Gradient { values: B::write(&self.places, values, &self.device), ..gradient }
    }

    /// The parameters need not be passed to the next step.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// The parameters after one step. Where they are views ([`AdamW::holds`]) those of the step
    /// before change with them.
    pub fn step(
        &mut self,
        parameters: Vec<FloatTensor<B>>,
        gradient: &Gradient<B>,
        lr: f64,
        clip: Option<Clip<B>>,
    ) -> Vec<FloatTensor<B>> {
        let Self { places, device, rates, .. } = self;
        self.steps += 1;
        let (betas, epsilon, steps) = (self.betas, self.epsilon, self.steps as i32);
        let step = Step { lr, betas, epsilon, steps, clip };
        let table = match self.table.take() {
            Some((present, table)) if present == gradient.present => table,
            _ => B::table(places, rates, &gradient.present, device),
        };
        let mut values = match self.held.take() {
            Some(held) => held,
            None => B::hold(places, parameters, device),
        };
        let moments = self.moments.get_or_insert_with(|| Moments {
            first: B::zeros(places, device),
            second: B::zeros(places, device),
        });
        B::adamw(&step, &table, &mut values, &gradient.values, moments);
        self.table = Some((gradient.present.clone(), table));
        let (parameters, held) = B::give(places, values);
        self.held = held;
        parameters
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The values of each parameter, on the host; none if they are not held.
    pub fn parameters(&self) -> Option<Vec<Vec<f32>>> {
        self.held.as_ref().map(|held| B::read(&self.places, held))
    }

    /// The two moments of each parameter, on the host; none before the first step.
    pub fn moments(&self) -> Option<[Vec<Vec<f32>>; 2]> {
        let Moments { first, second } = self.moments.as_ref()?;
        Some([first, second].map(|values| B::read(&self.places, values)))
    }

    /// Goes on from the moments of each parameter after so many steps.
    pub fn load(&mut self, steps: u64, [first, second]: [Vec<Vec<f32>>; 2]) {
        let write = |values| B::write(&self.places, values, &self.device);
        self.moments = Some(Moments { first: write(first), second: write(second) });
        self.steps = steps;
    }
}
