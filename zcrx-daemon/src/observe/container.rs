//! The container and the pod of a process, from the path of its cgroup.

/// Characters of a container's id: a SHA-256 in hexadecimal.
const ID_LENGTH: usize = 64;

/// What a cgroup's path says of its container. Names of pods are not in the path: the kubelet knows them by these ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Container<'a> {
    /// The container's id; empty outside a container.
    pub id: &'a str,
    /// The part of the path that names the pod; empty outside Kubernetes.
    pod: &'a str,
}

impl<'a> Container<'a> {
    /// Reads a path of cgroup v2. The systemd driver of runtimes writes `…-pod<UID>.slice/cri-containerd-<ID>.scope`, the
    /// cgroupfs driver `…/pod<UID>/<ID>`; a process may be in a cgroup below its container's.
    pub(crate) fn of(cgroup: &'a str) -> Self {
        let mut container = Self::default();
        for part in cgroup.split('/') {
            let scope = part.strip_suffix(".scope").unwrap_or(part);
            let id = scope.rsplit('-').next().unwrap_or_default();
            if id.len() == ID_LENGTH && id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                container.id = id;
            }
            let slice = part.strip_suffix(".slice").unwrap_or(part);
            if let Some((before, uid)) = slice.rsplit_once("pod")
                && (before.is_empty() || before.ends_with('-'))
                && is_uid(uid)
            {
                container.pod = uid;
            }
        }
        container
    }

    /// The pod's UID as the API server writes it; empty outside Kubernetes.
    pub(crate) fn pod_uid(&self) -> String {
        // A slice's name cannot have dashes, which stand for folders there.
        self.pod.replace('_', "-")
    }
}

/// Whether this is a UUID, with dashes or underscores; or the hash that names a static pod.
fn is_uid(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let others = text.bytes().filter(|byte| matches!(byte, b'-' | b'_')).count();
    digits == 32 && (others == 0 || others == 4) && text.len() == digits + others
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9b1c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8";
    const UID: &str = "8c7bdd41-3b1f-4f3f-9f3e-0c6c1d0a7e55";

    #[test]
    fn each_runtime_and_driver_names_pod_and_container() {
        let underscores = UID.replace('-', "_");
        for path in [
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscores}.slice/cri-containerd-{ID}.scope"
            ),
            format!("/kubepods.slice/kubepods-pod{underscores}.slice/crio-{ID}.scope"),
            format!("/kubepods/besteffort/pod{UID}/{ID}"),
            format!("/../../kubepods-besteffort-pod{underscores}.slice/cri-containerd-{ID}.scope/init.scope"),
        ] {
            let container = Container::of(&path);
            assert_eq!((container.id, container.pod_uid().as_str()), (ID, UID), "{path}");
        }
    }

    #[test]
    fn containers_outside_kubernetes_have_no_pod() {
        for path in [
            format!("/system.slice/docker-{ID}.scope"),
            format!("/user.slice/user-0.slice/user@0.service/user.slice/libpod-{ID}.scope/container"),
        ] {
            let container = Container::of(&path);
            assert_eq!((container.id, container.pod_uid().as_str()), (ID, ""), "{path}");
        }
    }

    #[test]
    fn other_cgroups_are_no_container() {
        for path in ["", "/", "/system.slice/zcrxd.service", "/system.slice/tripod1.slice", "/pod/podman"] {
            assert_eq!(Container::of(path), Container::default(), "{path}");
        }
    }
}
