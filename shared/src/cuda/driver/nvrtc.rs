//! Compiles CUDA C at run time.

use std::ffi::{CStr, CString, c_char};

use super::libraries::{Handle, Nvrtc};
use crate::Error;

/// Compiles `source` to machine code for an architecture such as `sm_90`.
///
/// # Errors
/// [`Error::Device`] with the compiler's message when compilation fails.
pub fn compile(nvrtc: &Nvrtc, source: &str, architecture: &str) -> Result<Vec<u8>, Error> {
    let source = CString::new([include_str!("runtime.cu"), source].concat())
        .map_err(|e| Error::Device(e.to_string()))?;
    let mut program: Handle = std::ptr::null_mut();
    let none = std::ptr::null();
    // SAFETY: the source is a string that outlives the call, and there are no headers.
    let created = unsafe {
        (nvrtc.create)(
            &raw mut program,
            source.as_ptr(),
            c"starsight.cu".as_ptr(),
            0,
            none,
            none,
        )
    };
    check(nvrtc, "preparing the kernels", created)?;
    let code = compile_program(nvrtc, program, architecture);
    // SAFETY: the program was created above.
    unsafe { (nvrtc.destroy)(&raw mut program) };
    code
}

fn compile_program(nvrtc: &Nvrtc, program: Handle, architecture: &str) -> Result<Vec<u8>, Error> {
    let architecture = CString::new(format!("--gpu-architecture={architecture}"))
        .map_err(|e| Error::Device(e.to_string()))?;
    let options = [architecture.as_ptr(), c"--std=c++17".as_ptr()];
    // SAFETY: the options are strings that outlive the call.
    let compiled = unsafe { (nvrtc.compile)(program, options.len() as i32, options.as_ptr()) };
    if let Err(error) = check(nvrtc, "compiling the kernels", compiled) {
        // SAFETY: the buffers have the sizes that the compiler reports.
        let log = unsafe {
            text(
                |size| (nvrtc.log_size)(program, size),
                |to| (nvrtc.log)(program, to),
            )
        };
        return Err(Error::Device(format!(
            "{error}\n{}",
            String::from_utf8_lossy(&log)
        )));
    }
    // SAFETY: as above.
    Ok(unsafe {
        text(
            |size| (nvrtc.code_size)(program, size),
            |to| (nvrtc.code)(program, to),
        )
    })
}

/// Reads bytes through two functions: `size` reports how many there are, and `write` writes them.
unsafe fn text(size: impl Fn(*mut usize) -> i32, write: impl Fn(*mut c_char) -> i32) -> Vec<u8> {
    let mut n = 0;
    if size(&raw mut n) != 0 {
        return Vec::new();
    }
    let mut out = vec![0u8; n];
    if write(out.as_mut_ptr().cast()) != 0 {
        out.clear();
    }
    out
}

fn check(nvrtc: &Nvrtc, what: &str, result: i32) -> Result<(), Error> {
    if result == 0 {
        return Ok(());
    }
    // SAFETY: the function returns a static string.
    let said = unsafe { CStr::from_ptr((nvrtc.error_string)(result)) };
    Err(Error::Device(format!("{what}: {}", said.to_string_lossy())))
}
