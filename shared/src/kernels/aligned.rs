//! Buffers aligned to cache lines. No vector then crosses two lines, which processors read and
//! write more slowly.

use std::ops::{Deref, DerefMut};

use aligned_vec::{AVec, ConstAlign};

/// Bytes of a cache line.
const LINE: usize = 64;

/// A contiguous array that starts on a cache line. Its memory only grows.
pub struct Aligned<T> {
    values: AVec<T, ConstAlign<LINE>>,
    len: usize,
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Aligned {
            values: AVec::new(LINE),
            len: 0,
        }
    }
}

impl<T: Copy + Default> Aligned<T> {
    /// An array of `n` zeros.
    pub fn zeros(n: usize) -> Self {
        let mut zeros = Self::default();
        zeros.sized(n);
        zeros
    }

    /// Sets the length to `n` and returns the elements. Existing values are kept.
    pub fn sized(&mut self, n: usize) -> &mut [T] {
        if self.values.len() < n {
            self.values.resize(n, T::default());
        }
        self.len = n;
        self
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[..self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_on_a_line_and_keeps_what_it_held() {
        let mut x = Aligned::<[f32; 5]>::zeros(7);
        assert_eq!(x.as_ptr().addr() % 64, 0);
        assert_eq!(*x, [[0.0; 5]; 7]);
        x.sized(100).fill([1.0; 5]);
        x.sized(3)[0] = [2.0; 5];
        let x = x.sized(100);
        assert_eq!((x.len(), x[0], x[99]), (100, [2.0; 5], [1.0; 5]));
        assert!(Aligned::<u32>::default().is_empty());
    }
}
