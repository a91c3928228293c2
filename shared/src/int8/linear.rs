//! A linear layer with integer weights.

use std::ops::Range;

use super::kernel::{InitialSums, Int8Kernel, PANEL, Panel, STEP, Sums};
use super::rows::{QuantizedRows, Span};

/// Rows that are multiplied with a panel before the next panel is read. The panel stays in the L1
/// cache, and there are enough rows to hide the reading of the next one. The number is a multiple
/// of the tile heights 2, 3, 4 and 8.
pub(super) const ROWS: usize = 96;

/// The weight (outputs, inputs) in panels, with a scale for each output, and the bias.
pub(super) struct Linear {
    /// The range of the panels in the file's bytes.
    panels: Range<usize>,
    outputs: usize,
    /// (panels)
    starts: Vec<InitialSums>,
    /// (panels)
    columns: Vec<Columns>,
}

/// Converts the sums of a panel to results. A row with span s and sum t gives
/// `t * (s.scale * scale) + (s.middle * total + bias)`.
#[derive(Clone, Copy)]
struct Columns {
    scale: [f32; PANEL],
    /// The sum of the output's weights, times its scale.
    total: [f32; PANEL],
    bias: [f32; PANEL],
}

/// Bytes of the panels of a linear layer.
#[cfg(any(test, feature = "native"))]
pub(super) fn panel_bytes(outputs: usize, inputs: usize) -> usize {
    outputs.next_multiple_of(PANEL) * inputs.next_multiple_of(STEP)
}

/// The index in the panels of the weight of an output for an input.
#[cfg(any(test, feature = "native"))]
pub(super) fn place(inputs: usize, output: usize, input: usize) -> usize {
    let padded = inputs.next_multiple_of(STEP);
    output / PANEL * PANEL * padded + input / 4 * 4 * PANEL + output % PANEL * 4 + input % 4
}

impl Linear {
    /// Builds a layer whose panels are the bytes `range` of `integers`, each a signed 7-bit weight.
    pub fn new(
        integers: &[u8],
        range: Range<usize>,
        (outputs, inputs): (usize, usize),
        scales: &[f32],
        bias: &[f32],
    ) -> Linear {
        let columns = |(i, panel): (usize, &[u8])| {
            let mut columns = Columns {
                scale: [0.0; PANEL],
                total: [0.0; PANEL],
                bias: [0.0; PANEL],
            };
            for c in 0..PANEL.min(outputs - i * PANEL) {
                let quads = panel[4 * c..].chunks(4 * PANEL);
                let sum: i32 = quads
                    .flat_map(|quad| &quad[..4])
                    .map(|w| i32::from(*w as i8))
                    .sum();
                columns.scale[c] = scales[i * PANEL + c];
                columns.total[c] = sum as f32 * columns.scale[c];
                columns.bias[c] = bias[i * PANEL + c];
            }
            columns
        };
        let panels = integers[range.clone()].chunks_exact(PANEL * inputs.next_multiple_of(STEP));
        Linear {
            starts: panels.clone().map(InitialSums::of).collect(),
            columns: panels.enumerate().map(columns).collect(),
            panels: range,
            outputs,
        }
    }

    /// y (rows, outputs) = x (rows, inputs) wᵀ + bias. `sums` is a scratch buffer.
    pub fn apply(
        &self,
        kernel: Int8Kernel,
        integers: &[u8],
        x: &QuantizedRows,
        y: &mut [f32],
        sums: &mut Vec<Sums>,
    ) {
        sums.resize(ROWS, [0; PANEL]);
        let panels = integers[self.panels.clone()]
            .chunks_exact(PANEL * x.width)
            .zip(&self.starts);
        let blocks = x.values.chunks(ROWS * x.width).zip(x.spans.chunks(ROWS));
        for ((values, spans), y) in blocks.zip(y.chunks_mut(ROWS * self.outputs)) {
            let sums = &mut sums[..spans.len()];
            for (i, ((weights, start), columns)) in panels.clone().zip(&self.columns).enumerate() {
                kernel.run(values, Panel { weights, start }, sums);
                let first = i * PANEL;
                results(
                    sums,
                    spans,
                    columns,
                    &mut y[first..],
                    self.outputs,
                    PANEL.min(self.outputs - first),
                );
            }
        }
    }
}

multiversion! {
    /// Writes the results of a panel to the first `n` columns of y, whose rows are `stride` apart.
    // Plain loops: a closure that the compiler does not inline is compiled without the instruction
    // set of this version, and ran as scalar code.
    fn results(sums: &[Sums], spans: &[Span], columns: &Columns, y: &mut [f32], stride: usize, n: usize) {
        let Columns { scale, total, bias } = columns;
        for ((sums, span), y) in sums.iter().zip(spans).zip(y.chunks_mut(stride)) {
            let mut row = [0f32; PANEL];
            for i in 0..PANEL {
                row[i] = sums[i] as f32 * (span.scale * scale[i]) + (span.middle * total[i] + bias[i]);
            }
            match y.first_chunk_mut::<PANEL>() {
                Some(y) if n == PANEL => *y = row,
                _ => y[..n].copy_from_slice(&row[..n]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn a_layer_gives_what_its_integers_stand_for() {
        for (rows, outputs, inputs) in [(1, 5, 6), (9, 16, 8), (70, 37, 300)] {
            let weight =
                |o: usize, i: usize| (rng::bits(5, (o * inputs + i) as u64) % 127) as i32 - 63;
            // There are bytes before the panels, and padding weights are 0.
            let mut integers = vec![0; 3 + panel_bytes(outputs, inputs)];
            for (o, i) in (0..outputs).flat_map(|o| (0..inputs).map(move |i| (o, i))) {
                integers[3 + place(inputs, o, i)] = weight(o, i) as u8;
            }
            let (scales, bias) = (
                rng::normals(6, outputs, 0.01),
                rng::normals(7, outputs, 1.0),
            );
            let range = 3..integers.len();
            let layer = Linear::new(&integers, range, (outputs, inputs), &scales, &bias);
            let mut x = QuantizedRows::default();
            x.take(&rng::normals(8, rows * inputs, 2.0), inputs);
            for kernel in Int8Kernel::available() {
                let mut y = vec![f32::NAN; rows * outputs];
                layer.apply(kernel, &integers, &x, &mut y, &mut Vec::new());
                for (r, o) in (0..rows).flat_map(|r| (0..outputs).map(move |o| (r, o))) {
                    let Span { scale, middle, .. } = x.spans[r];
                    let product = |i: usize| {
                        f64::from(scale * (f32::from(x.values[r * x.width + i]) - 64.0) + middle)
                            * f64::from(weight(o, i))
                    };
                    let wanted = (0..inputs).map(product).sum::<f64>() * f64::from(scales[o])
                        + f64::from(bias[o]);
                    let found = f64::from(y[r * outputs + o]);
                    assert!(
                        (found - wanted).abs() < 1e-4 * (1.0 + wanted.abs()),
                        "{found}, wanted {wanted}"
                    );
                }
            }
        }
    }
}
