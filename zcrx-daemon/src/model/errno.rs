//! The kernel's names of its errors.

use nix::errno::Errno;

/// The name of a positive errno, `EINVAL` for 22; the number itself where there is no name for it.
pub fn errno_label(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => errno.to_string(),
        known => format!("{known:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(errno_label(libc::EINVAL), "EINVAL");
        assert_eq!(errno_label(libc::EEXIST), "EEXIST");
        // EWOULDBLOCK and EAGAIN are one number: the kernel's own text says EAGAIN.
        assert_eq!(errno_label(libc::EAGAIN), "EAGAIN");
        assert_eq!(errno_label(4095), "4095");
    }
}
