//! The server side of vfio-user: one socket, one QEMU, one function.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_NORESIZE, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_NUM_IRQS,
    VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion};

use crate::nic::{BARS, Nic, Pair};

/// A socket on which one NIC of a pair waits for QEMU.
pub(crate) struct Endpoint<N> {
    server: Server,
    backend: Backend<N>,
}

impl<N: Nic> Endpoint<N> {
    /// Binds the socket.
    pub(crate) fn bind(path: &Path, pair: Arc<Pair<N>>, end: usize) -> Result<Self> {
        let listener = UnixListener::bind(path).with_context(|| format!("cannot bind {}", path.display()))?;
        let server = Server::from_owned_fd(OwnedFd::from(listener), true, interrupts::<N>(), regions::<N>());
        Ok(Self { server, backend: Backend { pair, end } })
    }

    /// Serves one QEMU until it disconnects.
    pub(crate) fn serve(mut self) -> Result<()> {
        self.server.run(&mut self.backend).context("the connection to QEMU broke")
    }
}

fn regions<N: Nic>() -> Vec<ServerRegion> {
    let size = |index: u32| match index {
        VFIO_PCI_CONFIG_REGION_INDEX => N::CONFIG_SIZE,
        _ => N::BARS.get((index - VFIO_PCI_BAR0_REGION_INDEX) as usize).copied().unwrap_or(0),
    };
    (0..VFIO_PCI_NUM_REGIONS)
        .map(|index| {
            let size = size(index);
            let flags = if size > 0 { VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE } else { 0 };
            let argsz = size_of::<vfio_region_info>() as u32;
            let region_info = vfio_region_info { argsz, index, size, flags, ..Default::default() };
            ServerRegion { region_info, sparse_areas: Vec::new(), mmap_fd: None }
        })
        .collect()
}

fn interrupts<N: Nic>() -> Vec<IrqInfo> {
    (0..VFIO_PCI_NUM_IRQS)
        .map(|index| match index {
            VFIO_PCI_MSIX_IRQ_INDEX => IrqInfo {
                index,
                count: u32::from(N::VECTORS),
                flags: VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
            },
            _ => IrqInfo { index, count: 0, flags: 0 },
        })
        .collect()
}

struct Backend<N> {
    pair: Arc<Pair<N>>,
    end: usize,
}

impl<N: Nic> Backend<N> {
    fn with<T>(&self, call: impl FnOnce(&mut N) -> T) -> T {
        self.pair.with(self.end, call)
    }
}

/// A region's number as the index of a base address register.
fn bar(region: u32) -> Option<usize> {
    let bar = (region - VFIO_PCI_BAR0_REGION_INDEX) as usize;
    (bar < BARS).then_some(bar)
}

impl<N: Nic> ServerBackend for Backend<N> {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        data.fill(0);
        self.with(|nic| {
            if region == VFIO_PCI_CONFIG_REGION_INDEX {
                let port = nic.port();
                port.config.read(offset, data);
                port.lab.answer(&port.config, offset, data);
            } else if let Some(bar) = bar(region) {
                nic.read(bar, offset, data);
            }
        });
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.with(|nic| {
            if region == VFIO_PCI_CONFIG_REGION_INDEX {
                nic.port().config.write(offset, data);
            } else if let Some(bar) = bar(region) {
                nic.write(bar, offset, data);
            }
        });
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        file: Option<File>,
    ) -> io::Result<()> {
        // Read-only memory comes without a descriptor, and no device writes there.
        let Some(file) = file.filter(|_| flags.contains(DmaMapFlags::WRITE)) else { return Ok(()) };
        self.with(|nic| nic.port().memory.map(address, size, file, offset))
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        self.with(|nic| {
            let memory = &mut nic.port().memory;
            if flags.contains(DmaUnmapFlags::UNMAP_ALL) {
                memory.unmap_all();
            } else {
                memory.unmap(address, size);
            }
        });
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.with(Nic::reset);
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        files: Vec<File>,
    ) -> io::Result<()> {
        if index == VFIO_PCI_MSIX_IRQ_INDEX {
            self.with(|nic| {
                let vectors = &mut nic.port().vectors;
                if flags & VFIO_IRQ_SET_DATA_EVENTFD != 0 {
                    vectors.connect(start, count, files);
                } else if flags & VFIO_IRQ_SET_ACTION_TRIGGER != 0 && count == 0 {
                    vectors.disconnect();
                } else if flags & VFIO_IRQ_SET_ACTION_TRIGGER != 0 {
                    vectors.connect(start, count, Vec::new());
                }
            });
        }
        Ok(())
    }
}
