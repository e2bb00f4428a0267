//! Whether payload was received without a copy, as the NIC and the kernel count it.

use anyhow::{Result, ensure};

use super::kprobe::Kprobe;
use super::nic::Nic;

/// What NIC and kernel have counted when a transfer begins.
pub(crate) struct ZeroCopy<'a> {
    nic: &'a Nic,
    copies: Option<Kprobe>,
    before: u64,
}

impl<'a> ZeroCopy<'a> {
    /// Begins to count. What is sent twice is written to the area twice: the sender must not take slow for lost.
    pub(crate) fn watch(nic: &'a Nic) -> Result<Self> {
        nic.patient_sender()?;
        let copies = Kprobe::count("io_zcrx_copy_chunk");
        Ok(Self { nic, copies, before: nic.stat("rx1_niov_bytes")? })
    }

    /// Fails unless the NIC wrote all the bytes that were received to buffers of the area, and the kernel copied none.
    pub(crate) fn verify(self, received: u64) -> Result<()> {
        let written = self.nic.stat("rx1_niov_bytes")? - self.before;
        let resent = self.nic.segments_resent()?;
        ensure!(
            written == received || (resent > 0 && written > received),
            "the NIC wrote {written} bytes to buffers of the area, {received} were received, {resent} segments resent"
        );
        for ordinary in ["rx1_page_bytes", "rx1_unsplit_bytes"] {
            // A driver's emulated device does not know which buffers are ordinary pages.
            let bytes = self.nic.stat_if_counted(ordinary)?.unwrap_or(0);
            ensure!(bytes == 0, "{ordinary} is {bytes}: not all went into the area");
        }
        if let Some(copies) = self.copies {
            let hits = copies.hits()?;
            ensure!(hits == 0, "the kernel copied {hits} chunks");
        }
        Ok(())
    }
}
