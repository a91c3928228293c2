//! A narrow door to a device: memory, copies, launches, products, and marks in the order of its work.
//!
//! All work goes to the device in one order, and is done in that order; the host does not wait for it unless it says so. Two devices stand behind the door: a GPU
//! ([`driver`](super::driver)), and in the tests an emulated one, which runs the same kernels on the processor.

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

/// Which of the three products of a linear layer y (rows, outputs) = x (rows, inputs) wᵀ, w (outputs, inputs). All matrices are row-major.
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
    /// Which one.
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
    /// What the operands are stored in.
    pub precision: Precision,
    /// Whether the result is f32 whatever the operands are.
    pub wide: bool,
    /// Whether it is added to what is there.
    pub add: bool,
}

impl Product {
    /// What the result is stored in.
    pub fn result_precision(&self) -> Precision {
        if self.wide {
            Precision::F32
        } else {
            self.precision
        }
    }

    /// The product as BLAS wants it. To BLAS a matrix lies by columns: what is (m, n) by rows is (n, m) to it. So the transpose of each product is asked for, its operands
    /// exchanged.
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

/// BLAS' product: result (m, n) = left (m, k) right (k, n), all by columns.
pub(super) struct Gemm {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub left: Operand,
    pub right: Operand,
    /// Its columns are m apart.
    pub result: Address,
    pub add: bool,
}

/// An operand: as many elements lie between its columns, or, when it is taken transposed, its rows.
pub(super) struct Operand {
    pub at: Address,
    pub stride: usize,
    pub transposed: bool,
}

/// What computes.
pub trait Device: Send + Sync {
    /// What it is called.
    fn name(&self) -> String;

    /// Memory; what it holds is undefined.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] when there is not so much.
    fn allocate(&self, bytes: usize) -> Result<Address, Error>;

    /// Gives memory back, when the work that was sent is done.
    ///
    /// # Safety
    /// The address comes from [`Device::allocate`] and is not used again.
    unsafe fn free(&self, address: Address);

    /// Memory of the host that the device reads and writes by itself.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] when there is not so much.
    fn lock(&self, bytes: usize) -> Result<*mut u8, Error>;

    /// Gives it back.
    ///
    /// # Safety
    /// The pointer comes from [`Device::lock`] with as many bytes, and no copy is under way.
    unsafe fn unlock(&self, pointer: *mut u8, bytes: usize);

    /// Zeroes memory.
    ///
    /// # Safety
    /// So many bytes are there.
    ///
    /// # Errors
    /// [`Error::Device`] when the device refuses; so for all that follow.
    unsafe fn zero(&self, at: Address, bytes: usize) -> Result<(), Error>;

    /// Copies to the device.
    ///
    /// # Safety
    /// So many bytes are there on both sides, and those of the host stay as they are until the copy is done.
    ///
    /// # Errors
    /// As [`Device::zero`].
    unsafe fn upload(&self, from: *const u8, to: Address, bytes: usize) -> Result<(), Error>;

    /// Copies from the device.
    ///
    /// # Safety
    /// As [`Device::upload`]; what stands at `to` is not read until the copy is done.
    ///
    /// # Errors
    /// As [`Device::zero`].
    unsafe fn download(&self, from: Address, to: *mut u8, bytes: usize) -> Result<(), Error>;

    /// Compiles kernels, and returns those of these names.
    ///
    /// # Errors
    /// [`Error::Device`] with the compiler's words when it refuses.
    fn load(&self, source: &str, names: &[&str]) -> Result<Vec<Function>, Error>;

    /// Runs a kernel on so many blocks of so many threads. Its only argument is a struct with these bytes.
    ///
    /// # Safety
    /// The kernel takes that struct, and finds at its addresses what it expects.
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

    /// A matrix product.
    ///
    /// # Safety
    /// The matrices are there in these sizes.
    ///
    /// # Errors
    /// As [`Device::zero`].
    unsafe fn multiply(&self, product: &Product) -> Result<(), Error>;

    /// A new mark, not yet set.
    ///
    /// # Errors
    /// As [`Device::zero`].
    fn mark(&self) -> Result<u64, Error>;

    /// Sets a mark after all that was sent so far.
    ///
    /// # Errors
    /// As [`Device::zero`].
    fn set_mark(&self, mark: u64) -> Result<(), Error>;

    /// Whether all before the mark is done.
    ///
    /// # Errors
    /// [`Error::Device`] when some of it failed.
    fn is_done(&self, mark: u64) -> Result<bool, Error>;

    /// Waits until it is.
    ///
    /// # Errors
    /// As [`Device::is_done`].
    fn wait(&self, mark: u64) -> Result<(), Error>;

    /// Gives a mark back.
    fn forget(&self, mark: u64);
}

/// A mark in the order of a device's work.
pub(super) struct Mark {
    device: Arc<dyn Device>,
    id: u64,
}

impl Mark {
    /// A mark, not yet set: nothing has to be waited for.
    pub fn new(device: &Arc<dyn Device>) -> Result<Mark, Error> {
        Ok(Mark {
            id: device.mark()?,
            device: device.clone(),
        })
    }

    /// Sets it after all that was sent so far.
    pub fn set(&self) -> Result<(), Error> {
        self.device.set_mark(self.id)
    }

    /// Whether all before it is done.
    pub fn is_done(&self) -> Result<bool, Error> {
        self.device.is_done(self.id)
    }

    /// Waits until it is.
    pub fn wait(&self) -> Result<(), Error> {
        self.device.wait(self.id)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.device.forget(self.id);
    }
}

/// Plain data that a device may hold.
pub(super) trait Plain: Copy + Default + fmt::Debug {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for f32 {}

/// Memory of a device, an array of `T`.
pub(super) struct Buffer<T> {
    device: Arc<dyn Device>,
    address: Address,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// Room for `len` elements; what it holds is undefined.
    pub fn new(device: &Arc<dyn Device>, len: usize) -> Result<Buffer<T>, Error> {
        // No device gives an empty piece.
        let address = device.allocate((len * size_of::<T>()).max(1))?;
        Ok(Buffer {
            device: device.clone(),
            address,
            len,
            of: PhantomData,
        })
    }

    /// The same, all bits zero.
    pub fn zeroed(device: &Arc<dyn Device>, len: usize) -> Result<Buffer<T>, Error> {
        let buffer = Buffer::new(device, len)?;
        buffer.zero(0..len)?;
        Ok(buffer)
    }

    /// Sets the bits of some elements to zero.
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

    /// Copies `from` to the elements from `first` on, and waits until that is done.
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
                .upload(from.as_ptr().cast(), self.at(first), size_of_val(from))?
        };
        finish(&self.device)
    }

    /// Copies elements, from `first` on, once all that was sent is done.
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
                .download(self.at(first), to.as_mut_ptr().cast(), size_of_val(to))?
        };
        finish(&self.device)
    }

    /// Sends a copy of the first elements of `from`, which must stay as they are until it is done.
    pub fn send(&self, from: &Locked<T>, len: usize) -> Result<(), Error> {
        assert!(
            len <= self.len && len <= from.len,
            "{len} elements of {} to {}",
            from.len,
            self.len
        );
        // SAFETY: so many elements are there on both sides.
        unsafe {
            self.device
                .upload(from.pointer.cast(), self.address, len * size_of::<T>())
        }
    }

    /// Asks for a copy of the first elements, which is there when a mark set after this is done.
    pub fn fetch(&self, to: &mut Locked<T>, len: usize) -> Result<(), Error> {
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

/// Waits until all that was sent is done.
pub(super) fn finish(device: &Arc<dyn Device>) -> Result<(), Error> {
    let mark = Mark::new(device)?;
    mark.set()?;
    mark.wait()
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        // SAFETY: nothing else knows the address; what was sent and uses it is done first.
        unsafe { self.device.free(self.address) };
    }
}

/// Memory of the host that copies to and from a device run through, an array of `T`.
pub(super) struct Locked<T> {
    device: Arc<dyn Device>,
    pointer: *mut T,
    len: usize,
}

// SAFETY: it owns its memory, as a Vec does.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Locked<T> {}

impl<T: Plain> Locked<T> {
    /// `len` elements.
    pub fn new(device: &Arc<dyn Device>, len: usize) -> Result<Locked<T>, Error> {
        let pointer = device.lock((len * size_of::<T>()).max(1))?.cast::<T>();
        for i in 0..len {
            // SAFETY: so many elements are there.
            unsafe { pointer.add(i).write(T::default()) };
        }
        Ok(Locked {
            device: device.clone(),
            pointer,
            len,
        })
    }

    /// The elements. No copy may be under way: the mark after it says so.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: all elements were written.
        unsafe { std::slice::from_raw_parts(self.pointer, self.len) }
    }

    /// The elements, to be written. No copy may be under way.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.len) }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // A copy may be under way; when waiting fails, the device is lost and copies nothing.
        let _ = finish(&self.device);
        // SAFETY: it came from the same device with as many bytes.
        unsafe {
            self.device
                .unlock(self.pointer.cast(), (self.len * size_of::<T>()).max(1))
        };
    }
}
