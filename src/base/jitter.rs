//! Spreading what would otherwise happen to many at the same moment.

use std::time::Duration;

/// A number from 0 to 1. Without randomness it is only less spread.
pub fn random_share() -> f64 {
    let mut random = [0; 2];
    match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => f64::from(u16::from_ne_bytes(random)) / f64::from(u16::MAX),
        Err(_) => 0.5,
    }
}

/// A span that is up to a fifth shorter or longer, so that many do not come at the same moment.
pub fn jittered(span: Duration) -> Duration {
    span.mul_f64(0.8 + 0.4 * random_share())
}
