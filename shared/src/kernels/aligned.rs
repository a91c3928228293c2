//! Buffers aligned to cache lines. No vector then crosses two lines, which processors read and
//! write more slowly.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Bytes of a cache line.
const LINE: usize = 64;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// A type for which every bit pattern is a valid value.
///
/// # Safety
/// Every bit pattern must be a valid value of the type, and its alignment must not exceed that of a
/// line.
pub unsafe trait Plain: Copy {}

// SAFETY: a number without padding; every bit pattern is valid.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl<const N: usize> Plain for [f32; N] {}

/// A contiguous array that starts on a cache line. Its memory only grows.
pub struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    of: PhantomData<T>,
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Aligned {
            lines: Vec::new(),
            len: 0,
            of: PhantomData,
        }
    }
}

impl<T: Plain> Aligned<T> {
    /// An array of `n` zeros.
    pub fn zeros(n: usize) -> Self {
        let mut zeros = Self::default();
        zeros.sized(n);
        zeros
    }

    /// Sets the length to `n` and returns the elements. Existing values are kept.
    pub fn sized(&mut self, n: usize) -> &mut [T] {
        let lines = (n * size_of::<T>()).div_ceil(LINE);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0; LINE]));
        }
        self.len = n;
        self
    }
}

impl<T: Plain> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lines hold at least `len` elements, and every bit pattern is a valid `T`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
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
