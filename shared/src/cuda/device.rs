//! The interface to a device: memory, copies, kernel launches, matrix products and events.
//!
//! The device executes work in the order in which it is submitted. The host waits only when it
//! calls a function that waits. Two devices implement the interface: a GPU
//! ([`driver`](super::driver)) and, in tests, an emulated device that runs the same kernels on the
//! CPU.

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

use super::Precision;
use crate::Error;

/// An address in a device's memory.
pub type Address = u64;

/// A kernel of a loaded program.
#[derive(Debug, Clone, Copy)]
pub struct Function(pub u64);

/// One of the three products of a linear layer y (rows, outputs) = x (rows, inputs) wᵀ with w
/// (outputs, inputs). All matrices are row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// y = x wᵀ, of x and w.
    Output,
    /// dx = dy w, of dy and w.
    Input,
    /// dw = dyᵀ x, of dy and x.
    Weight,
}

/// A matrix product: bf16 or f32 operands, sums in f32.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// Which product of the linear layer.
    pub form: Form,
    /// Rows of x and y.
    pub rows: usize,
    /// Width of y.
    pub outputs: usize,
    /// Width of x.
    pub inputs: usize,
    /// The operands, in the order in which [`Form`] names them.
    pub operands: [Address; 2],
    /// The result.
    pub result: Address,
    /// Precision of the operands.
    pub precision: Precision,
    /// Whether the result is f32 even if the operands are not.
    pub wide: bool,
    /// Whether the product is added to the existing result.
    pub add: bool,
}

impl Product {
    /// Precision of the result.
    pub fn result_precision(&self) -> Precision {
        if self.wide {
            Precision::F32
        } else {
            self.precision
        }
    }

    /// The product in BLAS terms. BLAS is column-major, so it sees a row-major (m, n) matrix as (n,
    /// m). Each product is therefore computed as its transpose, with the operands exchanged.
    pub(super) fn by_columns(&self) -> Gemm {
        let Product {
            form,
            rows,
            outputs,
            inputs,
            operands: [a, b],
            result,
            add,
            ..
        } = *self;
        let operand = |at, stride, transposed| Operand {
            at,
            stride,
            transposed,
        };
        let gemm = |m, n, k, left, right| Gemm {
            m,
            n,
            k,
            left,
            right,
            result,
            add,
        };
        match form {
            Form::Output => gemm(
                outputs,
                rows,
                inputs,
                operand(b, inputs, true),
                operand(a, inputs, false),
            ),
            Form::Input => gemm(
                inputs,
                rows,
                outputs,
                operand(b, inputs, false),
                operand(a, outputs, false),
            ),
            Form::Weight => gemm(
                inputs,
                outputs,
                rows,
                operand(b, inputs, false),
                operand(a, outputs, true),
            ),
        }
    }
}

/// A BLAS product: result (m, n) = left (m, k) right (k, n), all column-major.
pub(super) struct Gemm {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub left: Operand,
    pub right: Operand,
    /// The stride between its columns is m.
    pub result: Address,
    pub add: bool,
}

/// An operand. `stride` is the distance between its columns or, if it is transposed, between its
/// rows.
pub(super) struct Operand {
    pub at: Address,
    pub stride: usize,
    pub transposed: bool,
}

/// A device that stores arrays and runs kernels.
pub trait Device: Send + Sync {
    /// The device's name.
    fn name(&self) -> String;

    /// Allocates memory with undefined contents.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] when there is not enough memory.
    fn allocate(&self, bytes: usize) -> Result<Address, Error>;

    /// Frees memory once the submitted work is done.
    ///
    /// # Safety
    /// The address must come from [`Device::allocate`] and must not be used again.
    unsafe fn free(&self, address: Address);

    /// Allocates page-locked host memory, which the device can read and write directly.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] when there is not enough memory.
    fn allocate_pinned(&self, bytes: usize) -> Result<*mut u8, Error>;

    /// Frees page-locked memory.
    ///
    /// # Safety
    /// The pointer must come from [`Device::allocate_pinned`] with the same `bytes`, and no copy
    /// may be in flight.
    unsafe fn free_pinned(&self, pointer: *mut u8, bytes: usize);

    /// Zeroes memory.
    ///
    /// # Safety
    /// `bytes` bytes must be allocated at the address.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails; all later calls then fail too.
    unsafe fn zero(&self, at: Address, bytes: usize) -> Result<(), Error>;

    /// Submits a copy to the device.
    ///
    /// # Safety
    /// `bytes` bytes must be allocated at both addresses, and the host's bytes must not change
    /// until the copy is done.
    ///
    /// # Errors
    /// As [`Device::zero`].
    unsafe fn upload(&self, from: *const u8, to: Address, bytes: usize) -> Result<(), Error>;

    /// Submits a copy from the device.
    ///
    /// # Safety
    /// As [`Device::upload`]; in addition, `to` must not be read until the copy is done.
    ///
    /// # Errors
    /// As [`Device::zero`].
    unsafe fn download(&self, from: Address, to: *mut u8, bytes: usize) -> Result<(), Error>;

    /// Compiles kernels and returns those named in `names`.
    ///
    /// # Errors
    /// [`Error::Device`] with the compiler's message when compilation fails.
    fn load(&self, source: &str, names: &[&str]) -> Result<Vec<Function>, Error>;

    /// Submits a kernel launch. The kernel's only argument is a struct whose bytes are `arguments`.
    ///
    /// # Safety
    /// `arguments` must be the struct that the kernel takes, and its addresses must be valid for
    /// the kernel's reads and writes.
    ///
    /// # Errors
    /// As [`Device::zero`].
    unsafe fn launch(
        &self,
        function: Function,
        blocks: [u32; 3],
        threads: u32,
        arguments: &[MaybeUninit<u8>],
    ) -> Result<(), Error>;

    /// Submits a matrix product.
    ///
    /// # Safety
    /// The matrices must be allocated in the sizes of `product`.
    ///
    /// # Errors
    /// As [`Device::zero`].
    unsafe fn multiply(&self, product: &Product) -> Result<(), Error>;

    /// Creates an event that is not yet recorded.
    ///
    /// # Errors
    /// As [`Device::zero`].
    fn create_event(&self) -> Result<u64, Error>;

    /// Records an event after all work submitted so far.
    ///
    /// # Errors
    /// As [`Device::zero`].
    fn record_event(&self, event: u64) -> Result<(), Error>;

    /// Whether all work before the event is done.
    ///
    /// # Errors
    /// [`Error::Device`] when some of that work failed.
    fn is_done(&self, event: u64) -> Result<bool, Error>;

    /// Waits until all work before the event is done.
    ///
    /// # Errors
    /// As [`Device::is_done`].
    fn wait(&self, event: u64) -> Result<(), Error>;

    /// Destroys an event.
    fn destroy_event(&self, event: u64);
}

/// A point in the sequence of a device's work.
pub(super) struct Event {
    device: Arc<dyn Device>,
    id: u64,
}

impl Event {
    /// Creates an event that is not yet recorded; waiting for it returns at once.
    pub fn new(device: &Arc<dyn Device>) -> Result<Event, Error> {
        Ok(Event {
            id: device.create_event()?,
            device: device.clone(),
        })
    }

    /// Records the event after all work submitted so far.
    pub fn record(&self) -> Result<(), Error> {
        self.device.record_event(self.id)
    }

    /// Whether all work before the event is done.
    pub fn is_done(&self) -> Result<bool, Error> {
        self.device.is_done(self.id)
    }

    /// Waits until all work before the event is done.
    pub fn wait(&self) -> Result<(), Error> {
        self.device.wait(self.id)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.device.destroy_event(self.id);
    }
}

/// Plain data that a device may hold.
pub(super) trait Plain: Copy + Default + fmt::Debug {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for f32 {}

/// An array of `T` in a device's memory.
pub(super) struct Buffer<T> {
    device: Arc<dyn Device>,
    address: Address,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// Allocates `len` elements with undefined contents.
    pub fn new(device: &Arc<dyn Device>, len: usize) -> Result<Buffer<T>, Error> {
        // CUDA does not allocate zero bytes.
        let address = device.allocate((len * size_of::<T>()).max(1))?;
        Ok(Buffer {
            device: device.clone(),
            address,
            len,
            of: PhantomData,
        })
    }

    /// Allocates `len` elements with all bits zero.
    pub fn zeroed(device: &Arc<dyn Device>, len: usize) -> Result<Buffer<T>, Error> {
        let buffer = Buffer::new(device, len)?;
        buffer.zero(0..len)?;
        Ok(buffer)
    }

    /// Sets all bits of a range of elements to zero.
    pub fn zero(&self, range: Range<usize>) -> Result<(), Error> {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} of {}",
            self.len
        );
        // SAFETY: the range lies within the buffer.
        unsafe {
            self.device
                .zero(self.at(range.start), range.len() * size_of::<T>())
        }
    }

    /// The address of an element.
    pub fn at(&self, index: usize) -> Address {
        assert!(index <= self.len, "element {index} of {}", self.len);
        self.address + (index * size_of::<T>()) as Address
    }

    /// The address of the first element.
    pub fn start(&self) -> Address {
        self.address
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies `from` to the elements from index `first`, and waits until the copy is done.
    pub fn write(&self, first: usize, from: &[T]) -> Result<(), Error> {
        assert!(
            first + from.len() <= self.len,
            "{} elements from {first} on of {}",
            from.len(),
            self.len
        );
        // SAFETY: the range lies within the buffer, and the slice outlives the wait.
        unsafe {
            self.device
                .upload(from.as_ptr().cast(), self.at(first), size_of_val(from))?;
        };
        finish(&self.device)
    }

    /// Copies the elements from index `first` to `to`, after all submitted work is done.
    pub fn read(&self, first: usize, to: &mut [T]) -> Result<(), Error> {
        assert!(
            first + to.len() <= self.len,
            "{} elements from {first} on of {}",
            to.len(),
            self.len
        );
        // SAFETY: as in `write`.
        unsafe {
            self.device
                .download(self.at(first), to.as_mut_ptr().cast(), size_of_val(to))?;
        };
        finish(&self.device)
    }

    /// Submits a copy of the first `len` elements of `from`, which must not change until the copy
    /// is done.
    pub fn send(&self, from: &PinnedBuffer<T>, len: usize) -> Result<(), Error> {
        assert!(
            len <= self.len && len <= from.len,
            "{len} elements of {} to {}",
            from.len,
            self.len
        );
        // SAFETY: the assertion checks that both sides have `len` elements.
        unsafe {
            self.device
                .upload(from.pointer.cast(), self.address, len * size_of::<T>())
        }
    }

    /// Submits a copy of the first `len` elements to `to`. The copy is complete when an event that
    /// is recorded afterwards is done.
    pub fn fetch(&self, to: &mut PinnedBuffer<T>, len: usize) -> Result<(), Error> {
        assert!(
            len <= self.len && len <= to.len,
            "{len} elements of {} to {}",
            self.len,
            to.len
        );
        // SAFETY: as in `send`.
        unsafe {
            self.device
                .download(self.address, to.pointer.cast(), len * size_of::<T>())
        }
    }
}

/// Waits until all submitted work is done.
pub(super) fn finish(device: &Arc<dyn Device>) -> Result<(), Error> {
    let event = Event::new(device)?;
    event.record()?;
    event.wait()
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        // SAFETY: only this buffer owns the address, and the device finishes submitted work before
        // it frees memory.
        unsafe { self.device.free(self.address) };
    }
}

/// An array of `T` in page-locked host memory, for copies to and from a device.
pub(super) struct PinnedBuffer<T> {
    device: Arc<dyn Device>,
    pointer: *mut T,
    len: usize,
}

// SAFETY: it owns its memory, as a Vec does.
unsafe impl<T: Send> Send for PinnedBuffer<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for PinnedBuffer<T> {}

impl<T: Plain> PinnedBuffer<T> {
    /// Allocates `len` elements with default values.
    pub fn new(device: &Arc<dyn Device>, len: usize) -> Result<PinnedBuffer<T>, Error> {
        let pointer = device
            .allocate_pinned((len * size_of::<T>()).max(1))?
            .cast::<T>();
        for i in 0..len {
            // SAFETY: `len` elements were allocated.
            unsafe { pointer.add(i).write(T::default()) };
        }
        Ok(PinnedBuffer {
            device: device.clone(),
            pointer,
            len,
        })
    }

    /// The elements. The caller waits for the event after the last copy first: no copy may be in
    /// flight.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: all elements were written.
        unsafe { std::slice::from_raw_parts(self.pointer, self.len) }
    }

    /// The elements, for writing. No copy may be in flight.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.len) }
    }
}

impl<T> Drop for PinnedBuffer<T> {
    fn drop(&mut self) {
        // Wait for a copy that may be in flight. If waiting fails, the device is lost and copies
        // nothing.
        let _ = finish(&self.device);
        // SAFETY: the pointer came from the same device with the same number of bytes.
        unsafe {
            self.device
                .free_pinned(self.pointer.cast(), (self.len * size_of::<T>()).max(1));
        };
    }
}
