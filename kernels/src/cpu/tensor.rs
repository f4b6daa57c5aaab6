//! Flex's tensors as slices, and back.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use burn::backend::Flex;
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::FlexTensor;

/// The values of a tensor in order. Copied only where they don't lie so.
pub struct Floats(FlexTensor);

impl Floats {
    /// Of a tensor of f32.
    pub fn of(tensor: &FlexTensor) -> Self {
        match tensor.is_contiguous() {
            true => Self(tensor.clone()),
            false => Self(tensor.to_contiguous()),
        }
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.as_slice().expect("operations take f32, and it is contiguous")
    }
}

/// Lengths of a tensor's dimensions.
pub fn dims<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    let shape = tensor.layout().shape();
    std::array::from_fn(|at| shape[at])
}

/// A tensor of `values`.
pub fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Numbers of a tensor of whatever width, in order.
pub fn ints<const D: usize>(tensor: &Tensor<Flex, D, Int>) -> Vec<i64> {
    tensor.to_data().iter::<i64>().collect()
}

/// A multiplier for each view.
pub fn scales(scale: Option<&Tensor<Flex, 1>>) -> Option<Floats> {
    scale.map(|scale| Floats::of(&crate::float(scale.clone())))
}

thread_local! {
    /// Buffers that nobody has now.
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(vec![]) };
}

/// A buffer of the thread's own for what is gone when an operation ends: memory of the system is
/// zeroed page by page, which costs as much as a pass over it.
pub struct Scratch {
    /// As many as there ever were, so that none is written for nothing.
    values: Vec<f32>,
    len: usize,
}

impl Scratch {
    /// `len` values; whatever was there before.
    pub fn of(len: usize) -> Self {
        let mut values = FREE.with_borrow_mut(|free| {
            let fits = (0..free.len()).filter(|&at| free[at].len() >= len);
            let smallest = fits.min_by_key(|&at| free[at].len());
            smallest.map_or_else(Vec::new, |at| free.swap_remove(at))
        });
        if values.len() < len {
            values.resize(len, 0.0);
        }
        Self { values, len }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        // A thread that ends has no buffers any more.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            free.push(values);
            if free.len() > KEPT {
                let smallest = (0..free.len()).min_by_key(|&at| free[at].len()).unwrap_or(0);
                free.swap_remove(smallest);
            }
        });
    }
}

/// So many buffers are kept, as many as an operation has at once.
const KEPT: usize = 12;

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}
