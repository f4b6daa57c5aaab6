//! On the processor: parameter by parameter, in place, large ones over the cores.

use burn::backend::Flex;
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{Shape, TensorData};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{Moments, Optimize, Places, Rate, Step};

/// Values that a thread takes at once.
const PIECE: usize = 1 << 16;

impl Optimize for Flex {
    /// A tensor a parameter; one of nothing where there is none.
    type Values = Vec<FlexTensor>;
    /// None for parameters that are left out.
    type Table = Vec<Option<Rate>>;

    const QUEUED: bool = false;

    fn alignment(_device: &Self::Device) -> usize {
        1
    }

    fn collect(
        _places: &Places,
        sum: Option<Self::Values>,
        parts: Vec<Option<FloatTensor<Self>>>,
        factor: f64,
        _device: &Self::Device,
    ) -> Self::Values {
        let factor = factor as f32;
        let scaled = |part: Option<FlexTensor>| {
            let mut part = part.map_or_else(nothing, |part| part.to_contiguous());
            if factor != 1.0 {
                in_pieces(values_mut(&mut part), |part| part.iter_mut().for_each(|x| *x *= factor));
            }
            part
        };
        let Some(mut sum) = sum else { return parts.into_iter().map(scaled).collect() };
        for (sum, part) in sum.iter_mut().zip(parts) {
            let Some(part) = part else { continue };
            if values(sum).is_empty() {
                *sum = scaled(Some(part));
                continue;
            }
            let part = part.to_contiguous();
            let pieces = values_mut(sum).par_chunks_mut(PIECE).zip(values(&part).par_chunks(PIECE));
            pieces.for_each(|(sum, part)| {
                sum.iter_mut().zip(part).for_each(|(sum, &x)| *sum += x * factor);
            });
        }
        sum
    }

    fn zeros(places: &Places, _device: &Self::Device) -> Self::Values {
        places.shapes.iter().map(|shape| tensor(vec![0.0; shape.num_elements()])).collect()
    }

    fn norm(all: &Self::Values) -> FloatTensor<Self> {
        let of_piece = |piece: &[f32]| {
            let (eights, rest) = piece.as_chunks::<8>();
            let mut sums = [0.0; 8];
            for eight in eights {
                for (sum, &x) in sums.iter_mut().zip(eight) {
                    *sum += f64::from(x) * f64::from(x);
                }
            }
            let rest: f64 = rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            sums.iter().sum::<f64>() + rest
        };
        let of_one = |one: &FlexTensor| {
            let pieces: Vec<f64> = values(one).par_chunks(PIECE).map(of_piece).collect();
            pieces.into_iter().sum::<f64>()
        };
        tensor(vec![all.iter().map(of_one).sum::<f64>().sqrt() as f32])
    }

    fn hold(
        _places: &Places,
        parameters: Vec<FloatTensor<Self>>,
        _device: &Self::Device,
    ) -> Self::Values {
        parameters
    }

    fn give(
        _places: &Places,
        values: Self::Values,
    ) -> (Vec<FloatTensor<Self>>, Option<Self::Values>) {
        (values, None)
    }

    fn table(
        _places: &Places,
        rates: &[Rate],
        present: &[bool],
        _device: &Self::Device,
    ) -> Self::Table {
        rates.iter().zip(present).map(|(&rate, present)| present.then_some(rate)).collect()
    }

    fn adamw(
        step: &Step<Self>,
        table: &Self::Table,
        parameters: &mut Self::Values,
        gradient: &Self::Values,
        moments: &mut Moments<Self>,
    ) {
        let clip = step.clip.as_ref().map_or(1.0, |clip| {
            let norm: f64 = clip.norm.clone().into_data().iter::<f64>().sum();
            if norm > clip.limit { clip.limit / norm } else { 1.0 }
        });
        let moments = moments.first.iter_mut().zip(&mut moments.second);
        let all = parameters.iter_mut().zip(gradient).zip(moments).zip(table);
        for (((parameter, gradient), (first, second)), rate) in all {
            let Some(rate) = rate else { continue };
            let pass = Pass::new(step, rate, clip as f32);
            let pieces = values_mut(parameter).par_chunks_mut(PIECE);
            let pieces = pieces.zip(values(gradient).par_chunks(PIECE));
            let pieces = pieces.zip(values_mut(first).par_chunks_mut(PIECE));
            let pieces = pieces.zip(values_mut(second).par_chunks_mut(PIECE));
            pieces.for_each(|(((parameter, gradient), first), second)| {
                pass.over(parameter, gradient, first, second);
            });
        }
    }

    fn read(_places: &Places, all: &Self::Values) -> Vec<Vec<f32>> {
        all.iter().map(|one| values(&one.to_contiguous()).to_vec()).collect()
    }

    fn write(_places: &Places, all: Vec<Vec<f32>>, _device: &Self::Device) -> Self::Values {
        all.into_iter().map(tensor).collect()
    }
}

/// What is done to each value of a parameter.
#[derive(Clone, Copy)]
struct Pass {
    betas: (f32, f32),
    corrections: (f32, f32),
    epsilon: f32,
    rate: f32,
    /// What is left of a value after its decay.
    kept: f32,
    clip: f32,
}

impl Pass {
    fn new(step: &Step<Flex>, rate: &Rate, clip: f32) -> Self {
        let decay = f64::from(rate.decay);
        let rate = step.lr * rate.scale;
        Self {
            betas: step.betas,
            corrections: step.corrections(),
            epsilon: step.epsilon,
            rate: rate as f32,
            kept: (1.0 - rate * decay) as f32,
            clip,
        }
    }

    fn over(self, parameter: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let moments = first.iter_mut().zip(second);
        for ((x, &gradient), (first, second)) in parameter.iter_mut().zip(gradient).zip(moments) {
            let gradient = gradient * self.clip;
            *first = *first * self.betas.0 + gradient * (1.0 - self.betas.0);
            *second = *second * self.betas.1 + gradient * gradient * (1.0 - self.betas.1);
            let root = (*second / self.corrections.1).sqrt() + self.epsilon;
            *x = *x * self.kept - *first / self.corrections.0 / root * self.rate;
        }
    }
}

fn tensor(values: Vec<f32>) -> FlexTensor {
    let count = values.len();
    FlexTensor::from_data(TensorData::new(values, [count]))
}

fn nothing() -> FlexTensor {
    Flex::float_empty(Shape::new([0]), &Default::default(), burn::tensor::FloatDType::F32)
}

/// The values of a tensor that lies in one piece.
fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().unwrap_or_default()
}

/// The values of a tensor, which becomes one of its own if it is not.
fn values_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    *tensor = tensor.to_contiguous();
    tensor.storage_mut()
}

fn in_pieces(values: &mut [f32], of: impl Fn(&mut [f32]) + Sync + Send) {
    values.par_chunks_mut(PIECE).for_each(of);
}
