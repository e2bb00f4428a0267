//! Names of interfaces, in this network namespace.

use nix::net::if_::{if_indextoname, if_nametoindex};

use super::Netlink;

/// The name of an interface; `None` if it is gone.
pub fn interface_name(index: u32) -> Option<String> {
    // nix takes the NULL of a failed call for success and answers with an empty name.
    if_indextoname(index).ok()?.into_string().ok().filter(|name| !name.is_empty())
}

/// The kernel's name of an interface that is given by its name or an alternative name; `None` if there is none.
pub fn kernel_name(name: &str) -> Option<String> {
    Netlink::new().link(name).ok().map(|link| link.name)
}

/// Index of an interface that is given by its name or an alternative name; `None` if there is none.
pub fn kernel_index(name: &str) -> Option<u32> {
    // The C library refuses names of 16 and more characters, which can only be alternative names.
    if name.len() < libc::IFNAMSIZ {
        return if_nametoindex(name).ok();
    }
    Netlink::new().link(name).ok().map(|link| link.index)
}

#[cfg(test)]
mod tests {
    use super::{interface_name, kernel_index, kernel_name};

    #[test]
    fn an_interface_has_its_own_name() {
        assert_eq!(kernel_name("lo").as_deref(), Some("lo"));
        assert_eq!((kernel_index("lo"), kernel_index("no-such-interface-and-too-long")), (Some(1), None));
        assert_eq!(kernel_name("no-such-interface-and-too-long"), None);
    }

    #[test]
    fn what_is_not_there_has_no_name() {
        assert_eq!(interface_name(1).as_deref(), Some("lo"), "interface 1 is lo in every network namespace");
        assert_eq!(interface_name(i32::MAX as u32), None);
    }
}
