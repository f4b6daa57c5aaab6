//! AdamW over named parameters, with weight decay on matrices and what a method adds to them.
//!
//! Gradients come from the graph one a parameter, in the order of [`state::table`]
//! ([`Gradients`]); [`Optimizer::collect`] adds those of a step into one ([`Gradient`]), which is
//! measured, clipped and stepped with as a whole, on the device.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Tensor, TensorPrimitive};
use kernels::optim::{AdamW, Clip, Rate};
use kernels::{Trainable, float};

use crate::model::state::{self, HostTensor, ParamInfo, State, StateError};
use crate::model::{Decay, ModelConfig};

/// A parameter or its gradient, on the backend that does the work.
type Inner<B> = FloatTensor<<B as AutodiffBackend>::InnerBackend>;

/// The gradients of a step in one: what processes that train together would add.
pub type Gradient<B> = kernels::optim::Gradient<<B as AutodiffBackend>::InnerBackend>;

/// The gradient of each parameter as the graph gives it, in the order of [`state::table`]; none
/// where a parameter had no part in the loss.
#[derive(Debug, Clone)]
pub struct Gradients<B: AutodiffBackend>(Vec<Option<Inner<B>>>);

impl<B: AutodiffBackend> Gradients<B> {
    /// Takes a module's gradients out of `grads`.
    pub fn take<M: Module<B>>(module: &M, grads: &mut B::Gradients) -> Self {
        let mut visitor = Take::<B> { grads, taken: vec![] };
        module.visit(&mut visitor);
        Self(visitor.taken)
    }

    /// The gradients of two modules, one after the other.
    pub fn chain(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Adds the gradients of another part of the batch.
    pub fn plus(self, other: Self) -> Self {
        let sum = |pair| match pair {
            (Some(a), Some(b)) => Some(float(flat::<B>(a) + flat::<B>(b))),
            (a, b) => a.or(b),
        };
        Self(self.0.into_iter().zip(other.0).map(sum).collect())
    }

    /// Each parameter's gradient in PyTorch's shape.
    pub fn to_state(&self, params: &[ParamInfo]) -> State {
        let named = params.iter().zip(&self.0).filter_map(|(param, grad)| {
            let values = state::to_host(flat::<B>(grad.clone()?));
            Some((param.name.clone(), param.to_torch(values)))
        });
        named.collect()
    }
}

/// A tensor in a row.
fn flat<B: AutodiffBackend>(tensor: Inner<B>) -> Tensor<B::InnerBackend, 1> {
    use burn::tensor::TensorMetadata;
    use burn::tensor::ops::FloatTensorOps;

    let count = tensor.shape().num_elements();
    let tensor = B::InnerBackend::float_reshape(tensor, Shape::new([count]));
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

struct Take<'a, B: AutodiffBackend> {
    grads: &'a mut B::Gradients,
    taken: Vec<Option<Inner<B>>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Take<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.taken.push(param.val().grad_remove(self.grads).map(float));
    }
}

/// AdamW's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// The decay rates of the two moments.
    pub betas: (f64, f64),
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// What it applies to.
    pub decay: Decay,
}

/// AdamW with the state of every parameter.
pub struct Optimizer<B: Trainable> {
    params: Vec<ParamInfo>,
    adamw: AdamW<B::InnerBackend>,
}

/// The prefix of a first moment's name in a checkpoint.
const FIRST: &str = "exp_avg.";
/// The prefix of a second moment's name in a checkpoint.
const SECOND: &str = "exp_avg_sq.";

impl<B: Trainable> Optimizer<B> {
    /// An optimizer that has made no step.
    pub fn new<M: Module<B>>(
        model: &M,
        config: &ModelConfig,
        settings: AdamWSettings,
        device: &B::Device,
    ) -> Self {
        Self::with_scales(model, config, settings, |_| 1.0, device)
    }

    /// One that multiplies each parameter's learning rate by a factor of its own.
    pub fn with_scales<M: Module<B>>(
        model: &M,
        config: &ModelConfig,
        settings: AdamWSettings,
        scale: impl Fn(&ParamInfo) -> f64,
        device: &B::Device,
    ) -> Self {
        let params = state::table(model, config);
        let rate = |param: &ParamInfo| {
            let decays = param.decays(settings.decay);
            let decay = if decays { settings.weight_decay as f32 } else { 0.0 };
            Rate { scale: scale(param), decay }
        };
        let rates = params.iter().map(rate).collect();
        let shapes = params.iter().map(|param| Shape::from(param.shape.clone())).collect();
        let betas = (settings.betas.0 as f32, settings.betas.1 as f32);
        Self { adamw: AdamW::new(shapes, rates, betas, 1e-8, device), params }
    }

    /// The parameters, in the order of the gradients.
    pub fn params(&self) -> &[ParamInfo] {
        &self.params
    }

    /// How many numbers they are.
    pub fn count(&self) -> usize {
        self.params.iter().map(|param| param.shape.iter().product::<usize>()).sum()
    }

    /// `sum` and `factor` times the gradients.
    pub fn collect(
        &self,
        sum: Option<Gradient<B>>,
        gradients: Gradients<B>,
        factor: f64,
    ) -> Gradient<B> {
        self.adamw.collect(sum, gradients.0, factor)
    }

    /// The sum over devices of this process, added by them; or the gradient as it is.
    ///
    /// # Errors
    /// The gradient, where the backend has no way.
    pub fn across(
        &self,
        gradient: Gradient<B>,
        devices: &[B::Device],
    ) -> Result<Gradient<B>, Gradient<B>> {
        self.adamw.across(gradient, devices)
    }

    /// The gradient that `sum` makes of this one's values, `[values]` on the host.
    ///
    /// # Errors
    /// Those of `sum`.
    pub fn summed<E>(
        &self,
        gradient: Gradient<B>,
        sum: impl FnOnce(Vec<f32>) -> Result<Vec<f32>, E>,
    ) -> Result<Gradient<B>, E> {
        let own = self.adamw.read(&gradient);
        let counts: Vec<_> = own.iter().map(Vec::len).collect();
        let all = sum(own.concat())?;
        let mut rest = all.as_slice();
        let take = |count: usize| {
            let (first, others) = rest.split_at(count);
            rest = others;
            first.to_vec()
        };
        let all = counts.into_iter().map(take).collect();
        Ok(self.adamw.write(gradient, all))
    }

    /// Makes one step. On a GPU the network's tensors are from then on views of what the optimizer
    /// writes to, and so are those of its copies.
    pub fn step<M: Module<B>>(
        &mut self,
        model: &mut M,
        gradient: &Gradient<B>,
        lr: f64,
        clip: Option<Clip<B::InnerBackend>>,
    ) {
        let mut parameters = vec![];
        if !self.adamw.holds() {
            // Nobody else has them then, and they can be written to in place.
            *model = model.clone().map(&mut TakeOut::<B> { taken: &mut parameters });
        }
        let stepped = self.adamw.step(parameters, gradient, lr, clip);
        *model = model.clone().map(&mut PutBack::<B> { parameters: stepped.into_iter() });
    }

    /// The parameters on the host; none if only the network has them.
    pub fn parameters(&self) -> Option<State> {
        Some(self.named("", self.adamw.parameters()?).collect())
    }

    /// The moments on the host, named after their parameters; and the steps behind them.
    pub fn to_state(&self) -> (State, u64) {
        let Some([first, second]) = self.adamw.moments() else { return (State::new(), 0) };
        let moments = self.named(FIRST, first).chain(self.named(SECOND, second));
        (moments.collect(), self.adamw.steps())
    }

    fn named<'a>(
        &'a self,
        prefix: &'a str,
        values: Vec<Vec<f32>>,
    ) -> impl Iterator<Item = (String, HostTensor)> + 'a {
        let name = move |(param, values): (&ParamInfo, Vec<f32>)| {
            (format!("{prefix}{}", param.name), param.to_torch(values))
        };
        self.params.iter().zip(values).map(name)
    }

    /// Takes the moments of [`Optimizer::to_state`] up again.
    ///
    /// # Errors
    /// [`StateError`] if a moment is missing or of another shape.
    pub fn load(&mut self, state: &State, steps: u64) -> Result<(), StateError> {
        if steps == 0 {
            return Ok(());
        }
        let of = |prefix: &str| {
            let one = |param: &ParamInfo| {
                let name = format!("{prefix}{}", param.name);
                let tensor = state.get(&name).ok_or(StateError::Missing(name))?;
                param.from_torch(tensor)
            };
            self.params.iter().map(one).collect::<Result<Vec<_>, _>>()
        };
        self.adamw.load(steps, [of(FIRST)?, of(SECOND)?]);
        Ok(())
    }
}

/// Takes a network's parameters, and leaves nothing in their places.
struct TakeOut<'a, B: Trainable> {
    taken: &'a mut Vec<Inner<B>>,
}

impl<B: Trainable> ModuleMapper<B> for TakeOut<'_, B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let nothing = Tensor::empty([1; D], &tensor.device());
        self.taken.push(float(tensor.inner()));
        Param::from_mapped_value(id, nothing, mapper)
    }
}

/// Puts parameters in a network's places.
struct PutBack<B: Trainable> {
    parameters: std::vec::IntoIter<Inner<B>>,
}

impl<B: Trainable> ModuleMapper<B> for PutBack<B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        // One for each parameter that was taken, in the same order.
        let tensor = match self.parameters.next() {
            Some(stepped) => {
                let stepped =
                    Tensor::<B::InnerBackend, D>::from_primitive(TensorPrimitive::Float(stepped));
                Tensor::from_inner(stepped).require_grad()
            }
            None => tensor,
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}
