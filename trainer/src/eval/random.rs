//! Where what is random in fine-tuning comes from.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A random stream for each purpose, seed and number.
pub(super) fn random(purpose: &str, seed: u64, number: u64) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new_derive_key(purpose);
    hasher.update(&seed.to_le_bytes()).update(&number.to_le_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}
