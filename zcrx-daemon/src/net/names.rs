//! Names and indices of interfaces, in this network namespace.

use nix::net::if_::{if_indextoname, if_nameindex, if_nametoindex};

/// The index of an interface; `None` if there is none of that name.
pub fn interface_index(name: &str) -> Option<u32> {
    if_nametoindex(name).ok()
}

/// The name of an interface; `None` if it is gone.
pub fn interface_name(index: u32) -> Option<String> {
    // nix takes the NULL of a failed call for success and answers with an empty name.
    if_indextoname(index).ok()?.into_string().ok().filter(|name| !name.is_empty())
}

/// The names of all interfaces, by index; empty where they cannot be listed.
pub fn interface_names() -> Vec<String> {
    let Ok(interfaces) = if_nameindex() else { return Vec::new() };
    interfaces.to_slice().iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found_both_ways() {
        let index = interface_index("lo").expect("every network namespace has lo");
        assert_eq!(interface_name(index).as_deref(), Some("lo"));
        assert!(interface_names().contains(&"lo".to_owned()));
    }

    #[test]
    fn an_interface_that_is_not_there_is_none() {
        assert_eq!(interface_index("no-such-if0"), None);
        assert_eq!(interface_name(u32::MAX), None);
    }
}
