//! Memory given back to the system: what the allocator keeps for later, where a process that drains has no later; and
//! the code that only a start needs.

use std::ffi::c_void;

use rustix::mm::{Advice, madvise};

/// Gives back what this thread holds and does not use.
pub fn release() {
    #[expect(unsafe_code, reason = "the allocator has no other door")]
    // SAFETY: it may be called by any thread at any time.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

/// Gives back the pages of the program's own code that a start has touched. What is run again is mapped again, from
/// the page cache, at its next use: a parser of documents and a command line do not stay resident for ever.
pub fn forget_start() {
    let (Ok(maps), Ok(program)) = (std::fs::read_to_string("/proc/self/maps"), std::fs::read_link("/proc/self/exe"))
    else {
        return;
    };
    let program = program.to_string_lossy();
    for (start, end) in maps.lines().filter_map(|it| code_of(it, &program)) {
        let at: *mut c_void = std::ptr::with_exposed_provenance_mut(start);
        #[expect(unsafe_code, reason = "advice on memory has no safe door")]
        // SAFETY: the range is the code of this program as the kernel lists it: file-backed, private and never
        // written, so that a page that is dropped is read from the file again as it was (madvise(2), MADV_DONTNEED).
        let advised = unsafe { madvise(at, end - start, Advice::LinuxDontNeed) };
        if let Err(error) = advised {
            tracing::debug!(%error, "the code of the start stays resident");
        }
    }
}

/// The range of a line of `/proc/self/maps`, where it is code of `program` that nobody can write (proc_pid_maps(5)).
fn code_of(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights) = (fields.next()?, fields.next()?);
    let path = line.split_once('/').map(|(_, path)| path)?;
    if rights != "r-xp" || Some(path) != program.strip_prefix('/') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (address(start)?, address(end)?);
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_is_forgotten() {
        let line = |rights, path| format!("559f36a9f000-559f37843000 {rights} 00495000 fe:00 5860499    {path}");
        let of = |line: &str| code_of(line, "/usr/bin/agent gateway");
        assert_eq!(of(&line("r-xp", "/usr/bin/agent gateway")), Some((0x559f_36a9_f000, 0x559f_3784_3000)));
        for (rights, path) in [
            ("r--p", "/usr/bin/agent gateway"),
            ("rwxp", "/usr/bin/agent gateway"),
            ("r-xp", "/usr/lib/libc.so.6"),
            ("r-xp", "[vdso]"),
            ("r-xp", ""),
        ] {
            assert_eq!(of(&line(rights, path)), None, "{rights} {path}");
        }
        // This very program goes on.
        forget_start();
        assert_eq!(of("nonsense"), None);
    }
}
