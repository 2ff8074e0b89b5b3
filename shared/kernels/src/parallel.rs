//! Fixed splitting of work: chunks depend on the shape alone, so results do not depend on the number of threads.

use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Elements of one chunk of an elementwise operation: 64 KiB of `f32`, a few microseconds of work.
pub(crate) const CHUNK: usize = 16 * 1024;

/// How many rows of `columns` elements make a chunk.
pub(crate) fn rows_per_chunk(columns: usize) -> usize {
    (CHUNK / columns.max(1)).max(1)
}

/// Builds `len` values, each chunk filled by one task; `fill` gets the chunk's index and its part.
///
/// The memory is first touched by the task that fills it, while it stays in that core's cache. It is not zeroed: `fill`
/// writes each element and reads none (tests fill it with NaN first).
pub(crate) fn build(len: usize, chunk: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    let spare = &mut values.spare_capacity_mut()[..len];
    for_each_chunk(spare, chunk, |index, part| fill(index, unwritten(part)));
    // SAFETY: every chunk of the first `len` elements was filled above.
    unsafe { values.set_len(len) };
    values
}

/// [`build`] whose `fill` gets zeros, to add to.
pub(crate) fn build_zeroed(len: usize, chunk: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    build(len, chunk, |index, part| {
        part.fill(0.0);
        fill(index, part);
    })
}

/// [`build`] for two outputs of the same length.
pub(crate) fn build2(
    len: usize,
    chunk: usize,
    fill: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let (mut first, mut second) = (Vec::with_capacity(len), Vec::with_capacity(len));
    let (a, b) = (&mut first.spare_capacity_mut()[..len], &mut second.spare_capacity_mut()[..len]);
    if len <= chunk {
        if len > 0 {
            fill(0, unwritten(a), unwritten(b));
        }
    } else {
        a.par_chunks_mut(chunk)
            .zip(b.par_chunks_mut(chunk))
            .enumerate()
            .for_each(|(index, (a, b))| fill(index, unwritten(a), unwritten(b)));
    }
    // SAFETY: every chunk of the first `len` elements of both was filled above.
    unsafe {
        first.set_len(len);
        second.set_len(len);
    }
    (first, second)
}

/// A new vector whose elements tasks write by [`Shared::row`], each element by one task.
pub(crate) struct Shared {
    values: Vec<f32>,
    start: *mut f32,
    len: usize,
}

// SAFETY: the pointer is used through `Shared::row` alone, whose callers vouch that no two tasks write the same element.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(len: usize) -> Self {
        let mut values = Vec::with_capacity(len);
        let start = values.as_mut_ptr();
        Self { values, start, len }
    }

    /// As [`Self::new`], in the memory of a vector that is no longer needed.
    pub(crate) fn reuse(mut values: Vec<f32>, len: usize) -> Self {
        values.clear();
        values.reserve(len);
        let start = values.as_mut_ptr();
        Self { values, start, len }
    }

    /// In memory that is there already.
    ///
    /// # Safety
    /// The slice outlives this, no one else uses it meanwhile, and [`Self::written`] and [`Self::into_buffer`] are not asked.
    pub(crate) unsafe fn over(values: &mut [f32]) -> Self {
        Self { values: Vec::new(), start: values.as_mut_ptr(), len: values.len() }
    }

    /// The memory, for [`Self::reuse`]; what was written is gone.
    pub(crate) fn into_buffer(self) -> Vec<f32> {
        self.values
    }

    /// A pointer to an element, for reading once it is written.
    pub(crate) fn at(&self, index: usize) -> *const f32 {
        self.start.wrapping_add(index)
    }

    /// The elements `start .. start + len`, to be written.
    ///
    /// # Safety
    /// No other live borrow, of this thread or another, covers any of them, and what is borrowed is written before it is
    /// read.
    #[expect(clippy::mut_from_ref, reason = "tasks write disjoint parts of one vector; the caller vouches for it")]
    pub(crate) unsafe fn row(&self, start: usize, len: usize) -> &mut [f32] {
        assert!(start <= self.len && len <= self.len - start, "a row lies inside the vector");
        // SAFETY: inside the capacity by the check above, exclusive by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// A pointer to the first of some elements, to be written.
    pub(crate) fn first(&self, start: usize, len: usize) -> *mut f32 {
        assert!(start <= self.len && len <= self.len - start, "what is written lies inside the vector");
        self.start.wrapping_add(start)
    }

    /// The vector.
    ///
    /// # Safety
    /// Each element has been written.
    pub(crate) unsafe fn written(mut self) -> Vec<f32> {
        // SAFETY: the capacity is `len`, and the caller vouches that the elements are initialised.
        unsafe { self.values.set_len(self.len) };
        self.values
    }
}

/// Runs `work` on each chunk of `values`, in parallel where there is more than one.
pub(crate) fn for_each_chunk<T: Send>(values: &mut [T], chunk: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if values.len() <= chunk {
        // A hop into the thread pool costs more than a small chunk's work.
        if !values.is_empty() {
            work(0, values);
        }
    } else {
        values.par_chunks_mut(chunk).enumerate().for_each(|(index, part)| work(index, part));
    }
}

/// The sum over chunks of a vector that each chunk computes, added in the order of the chunks.
pub(crate) fn sum_of_parts(chunks: usize, len: usize, part: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let parts = build_zeroed(chunks * len, len.max(1), part);
    let mut total = vec![0.0; len];
    for part in parts.chunks_exact(len.max(1)) {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    total
}

/// Memory to be written; in tests, what is left out or read shows as NaN.
fn unwritten(part: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    if cfg!(test) {
        part.fill(MaybeUninit::new(f32::NAN));
    }
    // SAFETY: `MaybeUninit<f32>` has the layout of `f32`, and `build` demands that elements are written, not read.
    unsafe { &mut *(std::ptr::from_mut(part) as *mut [f32]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_filled_once() {
        for len in [0, 1, 7, 8, 9, 100] {
            let values = build_zeroed(len, 8, |index, part| {
                part.iter_mut().enumerate().for_each(|(i, value)| *value += (index * 8 + i) as f32);
            });
            assert_eq!(values, (0..len).map(|i| i as f32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn parts_are_added_in_order() {
        assert_eq!(sum_of_parts(3, 2, |index, part| part.fill(index as f32)), [3.0, 3.0]);
        assert!(sum_of_parts(3, 0, |_, _| ()).is_empty());
    }
}
