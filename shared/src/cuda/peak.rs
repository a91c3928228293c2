//! A device's peak rate of matrix products.

use std::sync::Arc;
use std::time::Instant;

use super::Precision;
use super::device::{Buffer, Device, Event, Form, Product};
use crate::Error;

/// Products submitted together, so that the host's overhead does not count.
const TOGETHER: usize = 10;

/// Measures 10^9 floating-point operations per second in products of `side` x `side` matrices: the
/// best of five rounds.
///
/// # Errors
/// [`Error::DeviceMemory`] when three such matrices do not fit; [`Error::Device`] when the device
/// fails.
pub fn peak(device: &Arc<dyn Device>, precision: Precision, side: usize) -> Result<f64, Error> {
    let matrix = || Buffer::<u8>::zeroed(device, side * side * precision.bytes());
    let [a, b, c] = [matrix()?, matrix()?, matrix()?];
    // Some chips multiply zeros faster than other numbers. If each byte is 0x3c, a number is about
    // 0.01 in both f32 and bf16.
    for operand in [&a, &b] {
        operand.write(0, &vec![0x3c; side * side * precision.bytes()])?;
    }
    let operands = [a.start(), b.start()];
    let product = Product {
        form: Form::Output,
        rows: side,
        outputs: side,
        inputs: side,
        operands,
        result: c.start(),
        precision,
        wide: false,
        add: false,
    };
    let (done, mut best) = (Event::new(device)?, f64::INFINITY);
    for _ in 0..5 {
        let clock = Instant::now();
        for _ in 0..TOGETHER {
            // SAFETY: all three matrices are allocated in this size.
            unsafe { device.multiply(&product)? };
        }
        done.record()?;
        done.wait()?;
        best = best.min(clock.elapsed().as_secs_f64());
    }
    Ok((2 * TOGETHER * side.pow(3)) as f64 / best / 1e9)
}
