//! Why a registration failed, and what would remedy it.

use crate::model::{Registration, on_interface};
use zcrx_uapi::registration::{Kind, explain, remedy_by_words};

/// Explanation of a refused registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kernel's own words; without them, what the errno can mean.
    pub why: String,
    /// Whether these are the kernel's own words.
    pub said_by_kernel: bool,
    /// What would make the registration succeed.
    pub remedy: String,
}

/// Explains a registration that was refused; `None` for one that was not.
pub fn refusal(registration: &Registration) -> Option<Refusal> {
    if registration.errno == 0 {
        return None;
    }
    // Without a device there is no interface to name. A kernel without type information looks the
    // same, but there is none of those that has zcrx.
    let kind = if registration.ifindex.is_some() { Kind::Device } else { Kind::Nodev };
    let explanation = explain(registration.errno, kind);
    let words = registration.words.as_deref();
    let remedy = words.and_then(remedy_by_words).unwrap_or(explanation.remedy);
    // The commands are there to be pasted.
    let remedy = on_interface(remedy, registration.interface.as_deref());
    let why = words.unwrap_or(explanation.meaning).to_owned();
    Some(Refusal { why, said_by_kernel: words.is_some(), remedy })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fixture;

    fn refused() -> Registration {
        let all = fixture::full().host.probe.recent_registrations;
        all.into_iter().find(|registration| registration.errno == libc::EINVAL).expect("one is refused")
    }

    #[test]
    fn the_kernels_words_are_worth_more_than_its_number() {
        let explained = Registration { words: Some("hds-thresh is not zero".to_owned()), ..refused() };
        let explained = refusal(&explained).expect("it was refused");
        assert_eq!((explained.why.as_str(), explained.said_by_kernel), ("hds-thresh is not zero", true));
        assert_eq!(explained.remedy, "`ethtool -G eth0 hds-thresh 0`");
        let unexplained = refusal(&refused()).expect("it was refused");
        assert!(!unexplained.said_by_kernel);
        assert!(unexplained.why.contains("header split is off"), "{}", unexplained.why);
        assert!(unexplained.remedy.contains("ethtool -G eth0 tcp-data-split on"), "{}", unexplained.remedy);
    }

    #[test]
    fn words_nobody_knows_are_told_with_the_numbers_remedy() {
        let strange = Registration { words: Some("no such luck".to_owned()), ..refused() };
        let strange = refusal(&strange).expect("it was refused");
        assert_eq!(strange.why, "no such luck");
        assert_eq!(Some(strange.remedy), refusal(&refused()).map(|refusal| refusal.remedy));
    }

    #[test]
    fn without_an_interface_no_command_for_one_is_given() {
        let nodev = Registration { ifindex: None, interface: None, ..refused() };
        assert!(!refusal(&nodev).expect("it was refused").remedy.contains("ethtool"));
        assert_eq!(refusal(&Registration { errno: 0, ..refused() }), None);
    }
}
