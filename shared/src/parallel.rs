//! Parallel loops: rayon natively, plain loops in WebAssembly.

#[cfg(feature = "native")]
use rayon::prelude::*;

/// The number of threads.
pub(crate) fn cores() -> usize {
    #[cfg(feature = "native")]
    {
        rayon::current_num_threads()
    }
    #[cfg(not(feature = "native"))]
    1
}

/// Calls `work(i, chunk)` for each consecutive chunk of `size` elements of `out`; the last may be
/// shorter.
#[cfg(feature = "native")]
pub(crate) fn for_each_chunk<T: Send>(
    out: &mut [T],
    size: usize,
    work: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    out.par_chunks_mut(size)
        .enumerate()
        .for_each(|(i, chunk)| work(i, chunk));
}

/// Calls `work` on each item.
#[cfg(feature = "native")]
pub(crate) fn for_each<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync + Send) {
    items.into_par_iter().for_each(work);
}

/// Calls `work` on each item, in order: each free thread takes the next item. Put long items first,
/// and short ones that fill gaps last.
#[cfg(feature = "native")]
pub(crate) fn for_each_in_order<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let items = std::sync::Mutex::new(items.into_iter());
    // The lock is not held while an item is processed.
    let next = || {
        items
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .next()
    };
    rayon::broadcast(|_| {
        while let Some(item) = next() {
            work(item);
        }
    });
}

/// The results of `work` on each of `items`, in order.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    #[cfg(feature = "native")]
    {
        items.par_iter().map(work).collect()
    }
    #[cfg(not(feature = "native"))]
    items.iter().map(work).collect()
}

/// Splits `data` into consecutive pieces of the given lengths, which add up to `data.len()`.
#[cfg(feature = "native")]
pub(crate) fn split<T>(mut data: &mut [T], lengths: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    lengths
        .map(|n| {
            let (head, tail) = std::mem::take(&mut data).split_at_mut(n);
            data = tail;
            head
        })
        .collect()
}
