//! All cores where there are some to use: rayon natively, a plain loop in WebAssembly.

/// Calls `work(i, chunk)` for each consecutive chunk of `size` elements of `out`; the last may be shorter.
pub(crate) fn for_each_chunk<T: Send>(out: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync + Send) {
    #[cfg(feature = "native")]
    {
        use rayon::prelude::*;
        out.par_chunks_mut(size).enumerate().for_each(|(i, chunk)| work(i, chunk));
    }
    #[cfg(not(feature = "native"))]
    out.chunks_mut(size).enumerate().for_each(|(i, chunk)| work(i, chunk));
}

/// Calls `work` on each item.
pub(crate) fn for_each<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync + Send) {
    #[cfg(feature = "native")]
    {
        use rayon::prelude::*;
        items.into_par_iter().for_each(work);
    }
    #[cfg(not(feature = "native"))]
    items.into_iter().for_each(work);
}

/// The results of `work` on each of `items`, in order.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    #[cfg(feature = "native")]
    {
        use rayon::prelude::*;
        items.par_iter().map(work).collect()
    }
    #[cfg(not(feature = "native"))]
    items.iter().map(work).collect()
}

/// Splits `data` into consecutive pieces of the given lengths, which add up to `data.len()`.
pub(crate) fn split<T>(mut data: &mut [T], lengths: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    lengths
        .map(|n| {
            let (head, tail) = std::mem::take(&mut data).split_at_mut(n);
            data = tail;
            head
        })
        .collect()
}
