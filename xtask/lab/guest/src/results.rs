//! The line to the host.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use zcrx_lab_guest::protocol::{Message, PORT};

/// Artefacts are cut to this size, bytes: a log that runs away must not fill the host's disk.
const FILE_CAP: usize = 4 << 20;

/// Where results go.
pub(crate) struct Results(Box<dyn Write>);

impl Results {
    /// The virtio-serial port of the lab.
    pub(crate) fn port() -> Result<Self> {
        for entry in fs::read_dir("/sys/class/virtio-ports").context("no virtio-serial device")? {
            let entry = entry.context("cannot read /sys/class/virtio-ports")?;
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == PORT {
                let device = Path::new("/dev").join(entry.file_name());
                let file = File::options()
                    .write(true)
                    .open(&device)
                    .with_context(|| format!("cannot open {}", device.display()))?;
                return Ok(Self(Box::new(file)));
            }
        }
        anyhow::bail!("no virtio-serial port is named {PORT}")
    }

    /// Standard output, where the guest is a process of the host.
    pub(crate) fn standard_output() -> Self {
        Self(Box::new(io::stdout()))
    }

    /// Says one thing.
    pub(crate) fn say(&mut self, message: &Message) -> Result<()> {
        let mut line = serde_json::to_vec(message).context("cannot write a message")?;
        line.push(b'\n');
        self.0.write_all(&line).and_then(|()| self.0.flush()).context("cannot reach the host")
    }

    /// Hands over one artefact.
    pub(crate) fn file(&mut self, scenario: &str, name: &str, content: &[u8]) -> Result<()> {
        let content = &content[..content.len().min(FILE_CAP)];
        self.say(&Message::File {
            scenario: scenario.to_owned(),
            name: name.to_owned(),
            bytes: content.len() as u64,
        })?;
        self.0.write_all(content).and_then(|()| self.0.flush()).context("cannot reach the host")
    }
}
