//! Sums over the rows of a matrix.

multiversion! {
    /// Adds each row of x (rows, width) to `sums` (width).
    pub(crate) fn add_column_sums(x: &[f32], sums: &mut [f32]) {
        for row in x.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    }
}

multiversion! {
    /// y += x
    pub(crate) fn add(y: &mut [f32], x: &[f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
    }
}

multiversion! {
    /// Adds `bias` (width) to each row of x (rows, width).
    pub(crate) fn add_bias(x: &mut [f32], bias: &[f32]) {
        for row in x.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
        }
    }
}
