//! Memory that the allocator keeps for later, given back to the system: a process that drains has no later.

/// Gives back what this thread holds and does not use.
pub fn release() {
    #[expect(unsafe_code, reason = "the allocator has no other door")]
    // SAFETY: it may be called by any thread at any time.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
