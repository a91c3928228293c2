//! An emulated device: the kernels' own sources, compiled by the system's C compiler and run on the
//! CPU.
//!
//! It executes work as late as a real device might. Submitted work is only queued, and runs when
//! someone waits for it. This exposes code that reads a result too early, or changes data that is
//! still to be copied. New memory holds NaNs, and guard bytes around each allocation detect writes
//! out of bounds.

use std::alloc::Layout;
use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use half::bf16;
use libloading::Library;

use super::Precision;
use super::device::{Address, Device, Function, Gemm, Operand, Product};
use crate::Error;

/// Number and value of the guard bytes before and after each allocation.
const FENCE: usize = 64;
const FENCED: u8 = 0xa5;
/// Initial value of each byte: NaN both as f32 and as bf16.
const FRESH: u8 = 0xff;

type Entry = unsafe extern "C" fn(*const u32, u32, *const c_void) -> *const c_char;

/// The emulated device.
pub struct Emulated {
    inner: Mutex<Inner>,
    /// Bytes of memory that the device has.
    memory: usize,
}

#[derive(Default)]
struct Inner {
    entries: Vec<(String, Entry)>,
    /// Size of each allocation in bytes.
    pieces: HashMap<Address, usize>,
    queue: VecDeque<Operation>,
    /// Numbers of operations submitted and done.
    sent: u64,
    done: u64,
    /// Number of operations that must be done for each event.
    events: HashMap<u64, u64>,
    next_event: u64,
    failed: Option<String>,
}

#[derive(Debug)]
enum Operation {
    Zero(Address, usize),
    Copy(Address, Address, usize),
    Launch((String, Entry), [u32; 3], u32, Vec<MaybeUninit<u8>>),
    Multiply(Product),
}

impl Emulated {
    /// A device with `memory` bytes of memory.
    pub fn new(memory: usize) -> Emulated {
        Emulated {
            inner: Mutex::default(),
            memory,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an operation; it runs, in order, when its result is waited for.
    fn enqueue(&self, operation: Operation) {
        let mut inner = self.inner();
        inner.queue.push_back(operation);
        inner.sent += 1;
    }
}

fn layout(bytes: usize) -> Result<Layout, Error> {
    Layout::from_size_align(bytes + 2 * FENCE, 256).map_err(|e| Error::Device(e.to_string()))
}

impl Inner {
    /// Runs the queued operations up to number `until`.
    fn run(&mut self, until: u64) -> Result<(), Error> {
        while self.done < until && self.failed.is_none() {
            let Some(operation) = self.queue.pop_front() else {
                break;
            };
            self.done += 1;
            // SAFETY: the sender guaranteed the addresses.
            self.failed = unsafe { run(&operation) }.err();
            if !self.are_fences_whole() {
                self.failed = Some(format!("{operation:?} has written outside its buffers"));
            }
        }
        match &self.failed {
            None => Ok(()),
            Some(what) => Err(Error::Device(what.clone())),
        }
    }

    /// Whether all guard bytes are unchanged.
    fn are_fences_whole(&self) -> bool {
        let whole = |from: *const u8| {
            // SAFETY: both guards belong to the allocation.
            unsafe { std::slice::from_raw_parts(from, FENCE) }
                .iter()
                .all(|x| *x == FENCED)
        };
        self.pieces.iter().all(|(address, bytes)| {
            let start = *address as usize as *const u8;
            whole(start.wrapping_sub(FENCE)) && whole(start.wrapping_add(*bytes))
        })
    }
}

/// Only one thread at a time may use the runtime's fibers.
static TURN: Mutex<()> = Mutex::new(());

unsafe fn run(operation: &Operation) -> Result<(), String> {
    match operation {
        // SAFETY: the caller guarantees that `bytes` bytes are allocated there.
        Operation::Zero(at, bytes) => unsafe {
            std::ptr::write_bytes(*at as usize as *mut u8, 0, *bytes);
        },
        // SAFETY: the caller guarantees that both ranges are allocated.
        Operation::Copy(from, to, bytes) => unsafe {
            std::ptr::copy(*from as usize as *const u8, *to as usize as *mut u8, *bytes);
        },
        Operation::Launch((name, entry), blocks, threads, arguments) => {
            // The struct may need more than a byte's alignment.
            let mut aligned = vec![0u64; arguments.len().div_ceil(8)];
            // SAFETY: `aligned` has at least as many bytes as the arguments.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    arguments.as_ptr().cast::<u8>(),
                    aligned.as_mut_ptr().cast(),
                    arguments.len(),
                );
            };
            let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: the caller guarantees that the arguments are those of this kernel; one thread
            // runs it.
            let fault = unsafe { entry(blocks.as_ptr(), *threads, aligned.as_ptr().cast()) };
            if !fault.is_null() {
                // SAFETY: the runtime returns a message that ends with a zero byte and lasts.
                let fault = unsafe { CStr::from_ptr(fault) };
                return Err(format!("{name}: {}", fault.to_string_lossy()));
            }
        }
        // SAFETY: the caller guarantees the sizes of operands and result.
        Operation::Multiply(product) => unsafe { multiply(product) },
    }
    Ok(())
}

/// A product as BLAS defines it, in plain loops.
unsafe fn multiply(product: &Product) {
    let Gemm {
        m,
        n,
        k,
        left,
        right,
        result,
        add,
    } = product.by_columns();
    let read = |at: Address, i: usize, precision| match precision {
        // SAFETY: the caller guarantees the sizes of operands and result.
        Precision::F32 => unsafe { *(at as usize as *const f32).add(i) },
        Precision::Bf16 => {
            // SAFETY: as above.
            f32::from_bits(u32::from(unsafe { *(at as usize as *const u16).add(i) }) << 16)
        }
    };
    let element = |of: &Operand, row: usize, column: usize| {
        let i = if of.transposed {
            row * of.stride + column
        } else {
            column * of.stride + row
        };
        read(of.at, i, product.precision)
    };
    let to = product.result_precision();
    for column in 0..n {
        for row in 0..m {
            let i = column * m + row;
            let products = (0..k).map(|l| element(&left, row, l) * element(&right, l, column));
            let sum = products.sum::<f32>() + if add { read(result, i, to) } else { 0.0 };
            match to {
                // SAFETY: the caller guarantees the size of the result.
                Precision::F32 => unsafe { *(result as usize as *mut f32).add(i) = sum },
                // SAFETY: as above.
                Precision::Bf16 => unsafe {
                    *(result as usize as *mut u16).add(i) = bf16::from_f32(sum).to_bits();
                },
            }
        }
    }
}

impl Device for Emulated {
    fn name(&self) -> String {
        "an emulated device".into()
    }

    fn allocate(&self, bytes: usize) -> Result<Address, Error> {
        let mut inner = self.inner();
        if inner.pieces.values().sum::<usize>() + bytes > self.memory {
            return Err(Error::DeviceMemory { bytes });
        }
        // SAFETY: the layout is not empty, and all that is written lies within it.
        let start = unsafe {
            let start = std::alloc::alloc(layout(bytes)?);
            std::ptr::write_bytes(start, FENCED, bytes + 2 * FENCE);
            std::ptr::write_bytes(start.add(FENCE), FRESH, bytes);
            start.add(FENCE)
        };
        inner.pieces.insert(start as Address, bytes);
        Ok(start as Address)
    }

    unsafe fn free(&self, address: Address) {
        let mut inner = self.inner();
        let sent = inner.sent;
        let _ = inner.run(sent);
        if let Some(layout) = inner
            .pieces
            .remove(&address)
            .and_then(|bytes| layout(bytes).ok())
        {
            // SAFETY: it was allocated with this layout.
            unsafe { std::alloc::dealloc((address as usize - FENCE) as *mut u8, layout) };
        }
    }

    fn allocate_pinned(&self, bytes: usize) -> Result<*mut u8, Error> {
        // SAFETY: the layout is not empty.
        Ok(unsafe { std::alloc::alloc(layout(bytes)?) })
    }

    unsafe fn free_pinned(&self, pointer: *mut u8, bytes: usize) {
        if let Ok(layout) = layout(bytes) {
            // SAFETY: it was allocated with this layout.
            unsafe { std::alloc::dealloc(pointer, layout) };
        }
    }

    unsafe fn zero(&self, at: Address, bytes: usize) -> Result<(), Error> {
        self.enqueue(Operation::Zero(at, bytes));
        Ok(())
    }

    unsafe fn upload(&self, from: *const u8, to: Address, bytes: usize) -> Result<(), Error> {
        self.enqueue(Operation::Copy(from as Address, to, bytes));
        Ok(())
    }

    unsafe fn download(&self, from: Address, to: *mut u8, bytes: usize) -> Result<(), Error> {
        self.enqueue(Operation::Copy(from, to as Address, bytes));
        Ok(())
    }

    fn load(&self, source: &str, names: &[&str]) -> Result<Vec<Function>, Error> {
        let library = library(source)?;
        let mut inner = self.inner();
        let mut functions = Vec::new();
        for name in names {
            // SAFETY: the runtime defines each kernel's entry with this type.
            let entry: Entry = *unsafe { library.get(name.as_bytes()) }
                .map_err(|e| Error::Device(e.to_string()))?;
            functions.push(Function(inner.entries.len() as u64));
            inner.entries.push(((*name).to_string(), entry));
        }
        Ok(functions)
    }

    unsafe fn launch(
        &self,
        function: Function,
        blocks: [u32; 3],
        threads: u32,
        arguments: &[MaybeUninit<u8>],
    ) -> Result<(), Error> {
        // Errors of the kernel surface when its result is waited for, as on a GPU.
        let entry = self.inner().entries[function.0 as usize].clone();
        self.enqueue(Operation::Launch(
            entry,
            blocks,
            threads,
            arguments.to_vec(),
        ));
        Ok(())
    }

    unsafe fn multiply(&self, product: &Product) -> Result<(), Error> {
        self.enqueue(Operation::Multiply(*product));
        Ok(())
    }

    fn create_event(&self) -> Result<u64, Error> {
        let mut inner = self.inner();
        inner.next_event += 1;
        let event = inner.next_event;
        inner.events.insert(event, 0);
        Ok(event)
    }

    fn record_event(&self, event: u64) -> Result<(), Error> {
        let mut inner = self.inner();
        let sent = inner.sent;
        inner.events.insert(event, sent);
        Ok(())
    }

    fn is_done(&self, event: u64) -> Result<bool, Error> {
        let inner = self.inner();
        Ok(inner.done >= inner.events[&event])
    }

    fn wait(&self, event: u64) -> Result<(), Error> {
        let mut inner = self.inner();
        let until = inner.events[&event];
        inner.run(until)
    }

    fn destroy_event(&self, event: u64) {
        self.inner().events.remove(&event);
    }
}

/// Compiles the kernels to a shared library. Each source is compiled once and stays loaded until
/// the program exits.
fn library(source: &str) -> Result<&'static Library, Error> {
    static LIBRARIES: Mutex<Option<HashMap<String, &'static Library>>> = Mutex::new(None);
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    let libraries = libraries.get_or_insert_default();
    if let Some(library) = libraries.get(source) {
        return Ok(library);
    }
    let library: &'static Library = Box::leak(Box::new(compile(source)?));
    libraries.insert(source.to_string(), library);
    Ok(library)
}

/// Counts libraries: the loader does not load a second one of the same name.
static COMPILED: AtomicUsize = AtomicUsize::new(0);

fn compile(source: &str) -> Result<Library, Error> {
    let failed = |what: String| {
        Error::Device(format!(
            "the kernels cannot be compiled for the processor: {what}"
        ))
    };
    let number = COMPILED.fetch_add(1, Ordering::Relaxed);
    let folder =
        std::env::temp_dir().join(format!("starsight-kernels-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| failed(e.to_string()))?;
    let (code, library) = (folder.join("kernels.c"), folder.join("kernels.so"));
    let built = std::fs::write(&code, [include_str!("runtime.c"), source].concat())
        .map_err(|e| failed(e.to_string()))
        .and_then(|()| {
            let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
            let flags = [
                "-std=gnu11",
                "-O1",
                "-shared",
                "-fPIC",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-Wno-unknown-pragmas",
            ];
            let output = Command::new(compiler)
                .args(flags)
                .arg(&code)
                .arg("-o")
                .arg(&library)
                .arg("-lm")
                .output();
            let output = output.map_err(|e| failed(e.to_string()))?;
            if !output.status.success() {
                return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
            }
            // SAFETY: the library was just compiled, and loading it runs no code.
            unsafe { Library::new(&library) }.map_err(|e| failed(e.to_string()))
        });
    // A loaded library no longer needs its file.
    let _ = std::fs::remove_dir_all(&folder);
    built
}
