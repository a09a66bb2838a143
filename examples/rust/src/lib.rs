//! A plugin in Rust: `primes.count` counts the primes below `n`, may be stopped, and reports progress.
//!
//! `stevedore.h` is small enough to write down by hand what one needs of it. Two rules: what is declared here is
//! what stands in the header of the version you build for (`STV_ABI_VERSION`), and no panic may leave an op. A panic
//! in an `extern "C"` function aborts, which costs the worker; `guarded` makes it the job's failure instead.

use std::os::raw::c_char;
use std::panic::{catch_unwind, AssertUnwindSafe};

// --- stevedore.h, as far as it is used here ---------------------------------------------------

#[repr(C)]
pub struct Job {
    _opaque: [u8; 0],
}

type Status = i32; // enum stv_status
const STV_OK: Status = 0;
const STV_STOPPED: Status = 2;

const STV_ABI_VERSION: u32 = 1;
const STV_IDEMPOTENT: u32 = 1;

#[repr(C)]
pub struct Op {
    name: *const c_char,
    run: extern "C" fn(*mut Job) -> Status,
    doc: *const c_char,
    flags: u32,
}

#[repr(C)]
pub struct Plugin {
    abi_version: u32,
    op_size: u32,
    name: *const c_char,
    version: *const c_char,
    ops: *const Op,
    op_count: usize,
    init: Option<extern "C" fn() -> *const c_char>,
    finish: Option<extern "C" fn()>,
}

extern "C" {
    fn stv_arg_int(job: *mut Job, name: *const c_char, value: *mut i64) -> bool;
    fn stv_bad_arg(job: *mut Job, name: *const c_char, expected: *const c_char) -> Status;
    fn stv_reply_int(job: *mut Job, value: i64) -> Status;
    fn stv_fail(job: *mut Job, code: *const c_char, format: *const c_char, ...) -> Status;
    fn stv_should_stop(job: *mut Job) -> bool;
    fn stv_progress(job: *mut Job, done: u64, total: u64);
}

const fn text(bytes: &'static [u8]) -> *const c_char {
    bytes.as_ptr() as *const c_char
}

// --- the op -----------------------------------------------------------------------------------

/// The work itself knows nothing of jobs: it asks after each piece whether to go on.
fn count_primes(n: u64, mut go_on: impl FnMut(u64) -> bool) -> Option<u64> {
    let mut count = 0;
    for candidate in 2..n {
        if candidate % 4096 == 0 && !go_on(candidate) {
            return None;
        }
        let is_prime = (2..)
            .take_while(|d| d * d <= candidate)
            .all(|d| candidate % d != 0);
        count += u64::from(is_prime);
    }
    Some(count)
}

fn run_count(job: *mut Job) -> Status {
    let mut n = 0i64;
    // SAFETY: the worker calls this with a job of its own, on the thread that runs it.
    unsafe {
        if !stv_arg_int(job, text(b"n\0"), &mut n) || !(0..=100_000_000).contains(&n) {
            return stv_bad_arg(job, text(b"n\0"), text(b"an integer from 0 to 100000000\0"));
        }
        let counted = count_primes(n as u64, |done| {
            stv_progress(job, done, n as u64);
            !stv_should_stop(job)
        });
        match counted {
            Some(count) => stv_reply_int(job, count as i64),
            None => STV_STOPPED,
        }
    }
}

/// An op that has a bug, to show what becomes of a panic.
fn run_panic(_job: *mut Job) -> Status {
    let empty: Vec<u8> = Vec::new();
    if empty[std::hint::black_box(7)] == 0 {
        return STV_STOPPED;
    }
    STV_OK
}

fn guarded(job: *mut Job, run: fn(*mut Job) -> Status) -> Status {
    catch_unwind(AssertUnwindSafe(|| run(job))).unwrap_or_else(|_| unsafe {
        stv_fail(
            job,
            text(b"panic\0"),
            text(b"the op panicked: its message is in the log\0"),
        )
    })
}

extern "C" fn count(job: *mut Job) -> Status {
    guarded(job, run_count)
}

extern "C" fn panic(job: *mut Job) -> Status {
    guarded(job, run_panic)
}

struct Ops([Op; 2]);
struct Exported(#[allow(dead_code)] Plugin);

// SAFETY: both are constant, and what they point to is too.
unsafe impl Sync for Ops {}
unsafe impl Sync for Exported {}

static OPS: Ops = Ops([
    Op {
        name: text(b"primes.count\0"),
        run: count,
        doc: text(b"How many primes there are below `n`.\0"),
        flags: STV_IDEMPOTENT,
    },
    Op {
        name: text(b"primes.panic\0"),
        run: panic,
        doc: text(b"Panics.\0"),
        flags: 0,
    },
]);

#[no_mangle]
#[used]
static stevedore_plugin: Exported = Exported(Plugin {
    abi_version: STV_ABI_VERSION,
    op_size: std::mem::size_of::<Op>() as u32,
    name: text(b"primes\0"),
    version: text(b"1.0.0\0"),
    ops: OPS.0.as_ptr(),
    op_count: 2,
    init: None,
    finish: None,
});
