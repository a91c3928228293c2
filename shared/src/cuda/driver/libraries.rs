//! Functions of NVIDIA's libraries, loaded at run time. Starsight is built without these libraries
//! and runs without a GPU.
//!
//! Only functions that have not changed since CUDA 11 are used, so that one build runs with every
//! version since.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use libloading::Library;

use crate::Error;

/// `CUdeviceptr`
pub type DevicePointer = u64;
/// `CUcontext`, `CUstream`, `CUevent`, `CUmodule`, `CUfunction`, `nvrtcProgram`, `cublasHandle_t`
pub type Handle = *mut c_void;

/// Folder of a toolkit that is not on the library path.
const TOOLKIT: &str = "/usr/local/cuda/lib64/";

/// Opens the first of the named libraries that is found.
fn open(what: &str, names: &[&str], help: &str) -> Result<Library, Error> {
    let paths = names
        .iter()
        .map(|name| (*name).to_string())
        .chain(names.iter().map(|name| format!("{TOOLKIT}{name}")));
    for path in paths {
        // SAFETY: NVIDIA's libraries may be loaded at any time.
        if let Ok(library) = unsafe { Library::new(path) } {
            return Ok(library);
        }
    }
    Err(Error::Device(format!(
        "{what} was not found (looked for {}): {help}",
        names.join(", ")
    )))
}

macro_rules! library {
    ($(#[$doc:meta])* $table:ident($what:literal, $names:expr, $help:expr) { $($function:ident as $symbol:literal($($type:ty),*) -> $result:ty;)* }) => {
        $(#[$doc])*
        pub struct $table {
            $(pub $function: unsafe extern "C" fn($($type),*) -> $result,)*
            _library: Library,
        }

        impl $table {
            /// Loads the library and its functions.
            ///
            /// # Errors
            /// [`Error::Device`] when the library is not found or lacks a function.
            pub fn open() -> Result<$table, Error> {
                let library = open($what, $names, $help)?;
                $(
                    // SAFETY: the type is that of NVIDIA's header.
                    let $function = *unsafe { library.get(concat!($symbol, "\0").as_bytes()) }
                        .map_err(|_| Error::Device(format!("{} has no {}: it is too old", $what, $symbol)))?;
                )*
                Ok($table { $($function,)* _library: library })
            }
        }
    };
}

library! {
    /// NVIDIA's driver.
    Driver(
        "NVIDIA's driver",
        if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so.1", "libcuda.so"] },
        "this machine has no NVIDIA GPU, or its driver is not installed"
    ) {
        init as "cuInit"(c_uint) -> c_int;
        error_name as "cuGetErrorName"(c_int, *mut *const c_char) -> c_int;
        error_string as "cuGetErrorString"(c_int, *mut *const c_char) -> c_int;
        device_count as "cuDeviceGetCount"(*mut c_int) -> c_int;
        device as "cuDeviceGet"(*mut c_int, c_int) -> c_int;
        device_name as "cuDeviceGetName"(*mut c_char, c_int, c_int) -> c_int;
        device_attribute as "cuDeviceGetAttribute"(*mut c_int, c_int, c_int) -> c_int;
        retain as "cuDevicePrimaryCtxRetain"(*mut Handle, c_int) -> c_int;
        release as "cuDevicePrimaryCtxRelease_v2"(c_int) -> c_int;
        set_current as "cuCtxSetCurrent"(Handle) -> c_int;
        stream_create as "cuStreamCreate"(*mut Handle, c_uint) -> c_int;
        stream_synchronize as "cuStreamSynchronize"(Handle) -> c_int;
        stream_destroy as "cuStreamDestroy_v2"(Handle) -> c_int;
        allocate as "cuMemAlloc_v2"(*mut DevicePointer, usize) -> c_int;
        free as "cuMemFree_v2"(DevicePointer) -> c_int;
        host_allocate as "cuMemHostAlloc"(*mut *mut c_void, usize, c_uint) -> c_int;
        host_free as "cuMemFreeHost"(*mut c_void) -> c_int;
        upload as "cuMemcpyHtoDAsync_v2"(DevicePointer, *const c_void, usize, Handle) -> c_int;
        download as "cuMemcpyDtoHAsync_v2"(*mut c_void, DevicePointer, usize, Handle) -> c_int;
        set_bytes as "cuMemsetD8Async"(DevicePointer, u8, usize, Handle) -> c_int;
        event_create as "cuEventCreate"(*mut Handle, c_uint) -> c_int;
        event_record as "cuEventRecord"(Handle, Handle) -> c_int;
        event_query as "cuEventQuery"(Handle) -> c_int;
        event_synchronize as "cuEventSynchronize"(Handle) -> c_int;
        event_destroy as "cuEventDestroy_v2"(Handle) -> c_int;
        module_load as "cuModuleLoadData"(*mut Handle, *const c_void) -> c_int;
        module_unload as "cuModuleUnload"(Handle) -> c_int;
        module_function as "cuModuleGetFunction"(*mut Handle, Handle, *const c_char) -> c_int;
        launch as "cuLaunchKernel"(Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void) -> c_int;
    }
}

/// What to do when a library of the toolkit is missing.
const TOOLKIT_HELP: &str = "install the CUDA toolkit, or Python's nvidia packages, and put the folder of its libraries on LD_LIBRARY_PATH";

library! {
    /// NVRTC, the run-time compiler.
    Nvrtc("CUDA's run-time compiler NVRTC", &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so"], TOOLKIT_HELP) {
        error_string as "nvrtcGetErrorString"(c_int) -> *const c_char;
        create as "nvrtcCreateProgram"(*mut Handle, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> c_int;
        destroy as "nvrtcDestroyProgram"(*mut Handle) -> c_int;
        compile as "nvrtcCompileProgram"(Handle, c_int, *const *const c_char) -> c_int;
        log_size as "nvrtcGetProgramLogSize"(Handle, *mut usize) -> c_int;
        log as "nvrtcGetProgramLog"(Handle, *mut c_char) -> c_int;
        code_size as "nvrtcGetCUBINSize"(Handle, *mut usize) -> c_int;
        code as "nvrtcGetCUBIN"(Handle, *mut c_char) -> c_int;
    }
}

library! {
    /// cuBLAS, for matrix products.
    Cublas("CUDA's library of matrix products cuBLAS", &["libcublas.so.13", "libcublas.so.12", "libcublas.so.11", "libcublas.so"], TOOLKIT_HELP) {
        create as "cublasCreate_v2"(*mut Handle) -> c_int;
        destroy as "cublasDestroy_v2"(Handle) -> c_int;
        set_stream as "cublasSetStream_v2"(Handle, Handle) -> c_int;
        set_workspace as "cublasSetWorkspace_v2"(Handle, *mut c_void, usize) -> c_int;
        multiply as "cublasGemmEx"(
            Handle, c_int, c_int, c_int, c_int, c_int, *const c_void, *const c_void, c_int, c_int, *const c_void, c_int, c_int, *const c_void,
            *mut c_void, c_int, c_int, c_int, c_int
        ) -> c_int;
    }
}

impl Driver {
    /// Turns a result of the driver into an error with the driver's message.
    ///
    /// # Errors
    /// [`Error::Device`] when `result` is not success.
    pub fn check(&self, what: &str, result: c_int) -> Result<(), Error> {
        if result == 0 {
            return Ok(());
        }
        let (mut name, mut text) = (std::ptr::null(), std::ptr::null());
        // SAFETY: both functions set the pointer to a static string, or to null.
        unsafe {
            (self.error_name)(result, &raw mut name);
            (self.error_string)(result, &raw mut text);
        }
        let said = |text: *const c_char| {
            if text.is_null() {
                String::new()
            } else {
                // SAFETY: a static string of the driver that ends with a zero byte.
                unsafe { CStr::from_ptr(text) }
                    .to_string_lossy()
                    .into_owned()
            }
        };
        Err(Error::Device(format!(
            "{what}: {} ({})",
            said(text),
            said(name)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_missing_is_named_with_what_helps() {
        let error = open("a library", &["libnothing-of-this-name.so"], "install it")
            .expect_err("there is none")
            .to_string();
        assert_eq!(
            error,
            "a library was not found (looked for libnothing-of-this-name.so): install it"
        );
    }
}
