//! The device interface for NVIDIA GPUs.

mod libraries;
mod nvrtc;

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

use self::libraries::{Cublas, Driver, Handle, Nvrtc};
use super::Precision;
use super::device::{Address, Device, Function, Gemm, Product};
use crate::Error;

/// `CUDA_ERROR_OUT_OF_MEMORY`, `CUDA_ERROR_NOT_READY`
const OUT_OF_MEMORY: c_int = 2;
const NOT_READY: c_int = 600;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR`
const CAPABILITY: [c_int; 2] = [75, 76];
/// `CU_STREAM_NON_BLOCKING`, `CU_EVENT_DISABLE_TIMING`
const NON_BLOCKING: u32 = 1;
const DISABLE_TIMING: u32 = 2;
/// `CUDA_R_32F`, `CUDA_R_16BF`, `CUBLAS_COMPUTE_32F`, `CUBLAS_GEMM_DEFAULT`
const F32: c_int = 0;
const BF16: c_int = 14;
const COMPUTE_F32: c_int = 68;
const DEFAULT: c_int = -1;
/// cuBLAS's workspace, which it uses to split long sums: 32 MiB, as NVIDIA recommends for Hopper.
const WORKSPACE: usize = 32 << 20;
/// bf16 products need Ampere or later.
const OLDEST: (c_int, c_int) = (8, 0);

/// A loaded program.
#[derive(Clone, Copy)]
struct Module(Handle);

/// The first GPU of this machine, with one stream of work.
pub struct Gpu {
    driver: Driver,
    nvrtc: Nvrtc,
    cublas: Cublas,
    name: String,
    capability: (c_int, c_int),
    ordinal: c_int,
    context: Handle,
    stream: Handle,
    products: Handle,
    /// Serialises calls of cuBLAS, whose handle only one thread may use at a time.
    turn: Mutex<()>,
    workspace: Address,
    /// Compiled modules, keyed by source.
    modules: Mutex<HashMap<String, Module>>,
}

// SAFETY: the driver may be called from any thread that has made the context current, which every
// call here does. Only one thread at a time calls cuBLAS.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}

impl Gpu {
    /// Opens the first GPU.
    ///
    /// # Errors
    /// [`Error::Device`] that says what is missing: the driver, a GPU, NVRTC or cuBLAS.
    pub fn open() -> Result<Gpu, Error> {
        let driver = Driver::open()?;
        // SAFETY: `cuInit` is the first driver call, as the driver requires.
        driver.check("starting NVIDIA's driver", unsafe { (driver.init)(0) })?;
        let mut count = 0;
        // SAFETY: the driver writes the count.
        driver.check("counting GPUs", unsafe {
            (driver.device_count)(&raw mut count)
        })?;
        if count == 0 {
            return Err(Error::Device(
                "NVIDIA's driver is installed, but finds no GPU: CUDA_VISIBLE_DEVICES may hide it"
                    .into(),
            ));
        }
        let mut ordinal = 0;
        // SAFETY: the driver writes the ordinal of the first of at least one device.
        driver.check("opening the GPU", unsafe {
            (driver.device)(&raw mut ordinal, 0)
        })?;
        let mut name = [0; 128];
        // SAFETY: the driver writes at most `name.len()` characters.
        driver.check("reading the GPU's name", unsafe {
            (driver.device_name)(name.as_mut_ptr(), name.len() as c_int, ordinal)
        })?;
        let name: String = name
            .iter()
            .map_while(|c: &c_char| (*c != 0).then_some(*c as u8 as char))
            .collect();
        let [mut major, mut minor] = [0; 2];
        for (value, attribute) in [(&mut major, CAPABILITY[0]), (&mut minor, CAPABILITY[1])] {
            // SAFETY: the driver writes the value.
            driver.check("querying the GPU", unsafe {
                (driver.device_attribute)(value, attribute, ordinal)
            })?;
        }
        if (major, minor) < OLDEST {
            return Err(Error::Device(format!(
                "the GPU {name} has compute capability {major}.{minor}; wanted at least {}.{}",
                OLDEST.0, OLDEST.1
            )));
        }
        let (nvrtc, cublas) = (Nvrtc::open()?, Cublas::open()?);
        let [mut context, mut stream, mut products] = [std::ptr::null_mut(); 3];
        // SAFETY: the driver writes the handle of the device's context.
        driver.check("opening the GPU", unsafe {
            (driver.retain)(&raw mut context, ordinal)
        })?;
        // SAFETY: the context was retained above.
        driver.check("opening the GPU", unsafe { (driver.set_current)(context) })?;
        // SAFETY: the driver writes the handle.
        driver.check("creating a stream", unsafe {
            (driver.stream_create)(&raw mut stream, NON_BLOCKING)
        })?;
        // SAFETY: cuBLAS writes its handle; a context is current.
        check_cublas("starting cuBLAS", unsafe {
            (cublas.create)(&raw mut products)
        })?;
        let mut gpu = Gpu {
            driver,
            nvrtc,
            cublas,
            name,
            capability: (major, minor),
            ordinal,
            context,
            stream,
            products,
            turn: Mutex::default(),
            workspace: 0,
            modules: Mutex::default(),
        };
        // SAFETY: both handles are open.
        check_cublas("starting cuBLAS", unsafe {
            (gpu.cublas.set_stream)(gpu.products, gpu.stream)
        })?;
        gpu.workspace = gpu.allocate(WORKSPACE)?;
        // SAFETY: the workspace has this size and is freed after the handle is destroyed.
        check_cublas("starting cuBLAS", unsafe {
            (gpu.cublas.set_workspace)(gpu.products, gpu.workspace as *mut c_void, WORKSPACE)
        })?;
        Ok(gpu)
    }

    /// Whether this machine has a GPU and its driver. NVRTC and cuBLAS may still be missing.
    pub fn is_there() -> bool {
        let count = |driver: &Driver| {
            let mut count = 0;
            // SAFETY: the driver writes the count.
            unsafe {
                (driver.init)(0) == 0 && (driver.device_count)(&raw mut count) == 0 && count > 0
            }
        };
        Driver::open().is_ok_and(|driver| count(&driver))
    }

    /// Makes the GPU's context current on this thread.
    fn enter(&self) -> Result<(), Error> {
        // SAFETY: the context is retained as long as `self` exists.
        self.driver.check("selecting the GPU", unsafe {
            (self.driver.set_current)(self.context)
        })
    }

    fn compile(&self, source: &str) -> Result<Module, Error> {
        let (major, minor) = self.capability;
        let code = nvrtc::compile(&self.nvrtc, source, &format!("sm_{major}{minor}"))?;
        let mut module = std::ptr::null_mut();
        // SAFETY: the code is an image from the compiler, and the driver copies it.
        self.driver.check("loading the kernels", unsafe {
            (self.driver.module_load)(&raw mut module, code.as_ptr().cast())
        })?;
        Ok(Module(module))
    }

    /// Checks the result of an allocation.
    fn allocated(&self, bytes: usize, result: c_int) -> Result<(), Error> {
        if result == OUT_OF_MEMORY {
            return Err(Error::DeviceMemory { bytes });
        }
        self.driver.check("allocating GPU memory", result)
    }
}

/// Checks a status of cuBLAS, which is only a number without a message.
fn check_cublas(what: &str, status: c_int) -> Result<(), Error> {
    match status {
        0 => Ok(()),
        // CUBLAS_STATUS_ALLOC_FAILED
        3 => Err(Error::DeviceMemory { bytes: 0 }),
        other => Err(Error::Device(format!("{what}: cuBLAS status {other}"))),
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: all handles were opened in `open` and are not used again. Errors are ignored: a
        // call can fail here only if the device is lost.
        unsafe {
            (self.driver.set_current)(self.context);
            (self.driver.stream_synchronize)(self.stream);
            (self.cublas.destroy)(self.products);
            (self.driver.free)(self.workspace);
            for module in self
                .modules
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .values()
            {
                (self.driver.module_unload)(module.0);
            }
            (self.driver.stream_destroy)(self.stream);
            (self.driver.release)(self.ordinal);
        }
    }
}

impl Device for Gpu {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn allocate(&self, bytes: usize) -> Result<Address, Error> {
        self.enter()?;
        let mut address = 0;
        // SAFETY: the driver writes the address.
        self.allocated(bytes, unsafe {
            (self.driver.allocate)(&raw mut address, bytes)
        })?;
        Ok(address)
    }

    unsafe fn free(&self, address: Address) {
        // SAFETY: the caller guarantees it; the driver waits for work that uses the memory.
        unsafe {
            (self.driver.set_current)(self.context);
            (self.driver.free)(address);
        }
    }

    fn allocate_pinned(&self, bytes: usize) -> Result<*mut u8, Error> {
        self.enter()?;
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the driver writes the pointer.
        self.allocated(bytes, unsafe {
            (self.driver.host_allocate)(&raw mut pointer, bytes, 0)
        })?;
        Ok(pointer.cast())
    }

    unsafe fn free_pinned(&self, pointer: *mut u8, _bytes: usize) {
        // SAFETY: the caller guarantees it.
        unsafe {
            (self.driver.set_current)(self.context);
            (self.driver.host_free)(pointer.cast());
        }
    }

    unsafe fn zero(&self, at: Address, bytes: usize) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: the caller guarantees that `bytes` bytes are allocated there.
        self.driver.check("zeroing memory", unsafe {
            (self.driver.set_bytes)(at, 0, bytes, self.stream)
        })
    }

    unsafe fn upload(&self, from: *const u8, to: Address, bytes: usize) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: the caller guarantees that both ranges are allocated and stay so until the copy is done.
        self.driver.check("copying to the GPU", unsafe {
            (self.driver.upload)(to, from.cast(), bytes, self.stream)
        })
    }

    unsafe fn download(&self, from: Address, to: *mut u8, bytes: usize) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: the caller guarantees that both ranges are allocated and stay so until the copy is done.
        self.driver.check("copying from the GPU", unsafe {
            (self.driver.download)(to.cast(), from, bytes, self.stream)
        })
    }

    fn load(&self, source: &str, names: &[&str]) -> Result<Vec<Function>, Error> {
        self.enter()?;
        // The kernels are cached because a training run ends by rating with the trained model,
        // which uses the same kernels.
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let Module(module) = match modules.get(source) {
            Some(module) => *module,
            None => {
                let module = self.compile(source)?;
                modules.insert(source.to_string(), module);
                module
            }
        };
        let find = |name: &&str| {
            let symbol = CString::new(*name).map_err(|e| Error::Device(e.to_string()))?;
            let mut function = std::ptr::null_mut();
            // SAFETY: the module is loaded, and the symbol ends with a zero byte.
            self.driver.check(name, unsafe {
                (self.driver.module_function)(&raw mut function, module, symbol.as_ptr())
            })?;
            Ok(Function(function as u64))
        };
        names.iter().map(find).collect()
    }

    unsafe fn launch(
        &self,
        function: Function,
        [x, y, z]: [u32; 3],
        threads: u32,
        arguments: &[MaybeUninit<u8>],
    ) -> Result<(), Error> {
        self.enter()?;
        let (stream, none) = (self.stream, std::ptr::null_mut());
        let mut parameters = [arguments.as_ptr().cast_mut().cast::<c_void>()];
        let parameters = parameters.as_mut_ptr();
        // SAFETY: the function is one of this device; the caller guarantees that its arguments fit
        // the kernel.
        let result = unsafe {
            (self.driver.launch)(
                function.0 as Handle,
                x,
                y,
                z,
                threads,
                1,
                1,
                0,
                stream,
                parameters,
                none,
            )
        };
        self.driver.check("launching a kernel", result)
    }

    unsafe fn multiply(&self, product: &Product) -> Result<(), Error> {
        self.enter()?;
        let Gemm {
            m,
            n,
            k,
            left,
            right,
            result,
            add,
        } = product.by_columns();
        let kind = |precision| {
            if precision == Precision::Bf16 {
                BF16
            } else {
                F32
            }
        };
        let (stored, to) = (kind(product.precision), kind(product.result_precision()));
        let (one, beta) = (1f32, f32::from(u8::from(add)));
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller guarantees that the operands and the result have the sizes of the
        // product.
        let status = unsafe {
            (self.cublas.multiply)(
                self.products,
                left.transposed.into(),
                right.transposed.into(),
                m as c_int,
                n as c_int,
                k as c_int,
                (&raw const one).cast(),
                left.at as *const c_void,
                stored,
                left.stride as c_int,
                right.at as *const c_void,
                stored,
                right.stride as c_int,
                (&raw const beta).cast(),
                result as *mut c_void,
                to,
                m as c_int,
                COMPUTE_F32,
                DEFAULT,
            )
        };
        check_cublas("computing a matrix product", status)
    }

    fn create_event(&self) -> Result<u64, Error> {
        self.enter()?;
        let mut event = std::ptr::null_mut();
        // SAFETY: the driver writes the handle.
        self.driver.check("creating an event", unsafe {
            (self.driver.event_create)(&raw mut event, DISABLE_TIMING)
        })?;
        Ok(event as u64)
    }

    fn record_event(&self, event: u64) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: the event belongs to this device.
        self.driver.check("recording an event", unsafe {
            (self.driver.event_record)(event as Handle, self.stream)
        })
    }

    fn is_done(&self, event: u64) -> Result<bool, Error> {
        self.enter()?;
        // SAFETY: the event belongs to this device.
        match unsafe { (self.driver.event_query)(event as Handle) } {
            NOT_READY => Ok(false),
            result => self
                .driver
                .check("computing on the GPU", result)
                .map(|()| true),
        }
    }

    fn wait(&self, event: u64) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: the event belongs to this device.
        self.driver.check("computing on the GPU", unsafe {
            (self.driver.event_synchronize)(event as Handle)
        })
    }

    fn destroy_event(&self, event: u64) {
        // SAFETY: the event belongs to this device and is not used again.
        unsafe {
            (self.driver.set_current)(self.context);
            (self.driver.event_destroy)(event as Handle);
        }
    }
}

/// Compiles kernels to machine code for an architecture such as `sm_90`. Needs NVRTC but no GPU.
///
/// # Errors
/// [`Error::Device`] when NVRTC is not found or compilation fails.
#[cfg(test)]
pub(super) fn compile_for(source: &str, architecture: &str) -> Result<Vec<u8>, Error> {
    nvrtc::compile(&Nvrtc::open()?, source, architecture)
}
