//! The commands of a document: its blocks of shell, line by line.

use anyhow::{Result, ensure};

/// How a block begins that is not for this host: with a comment such as `# on the build machine`.
const ELSEWHERE: &str = "# on ";

/// Returns the lines of each block of shell that is for this host, in the order of the document.
pub(super) fn blocks(document: &str) -> Result<Vec<Vec<&str>>> {
    let mut blocks = Vec::new();
    let mut open: Option<Vec<&str>> = None;
    for line in document.lines() {
        match (&mut open, line) {
            (None, "```sh") => open = Some(Vec::new()),
            (Some(_), "```") => {
                let block = open.take().unwrap_or_default();
                let elsewhere = block.first().is_some_and(|first| first.starts_with(ELSEWHERE));
                if !elsewhere {
                    blocks.push(block);
                }
            }
            (Some(block), line) => block.push(line),
            (None, _) => {}
        }
    }
    ensure!(open.is_none(), "the last block of the document has no end");
    ensure!(!blocks.is_empty(), "the document has no block of shell");
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use anyhow::Context;

    use super::*;

    #[test]
    fn blocks_for_another_machine_are_left_out() -> Result<()> {
        let document =
            "Text\n```sh\n# on Fedora\ndnf\n```\n```yaml\nno: shell\n```\n```sh\none\n\ntwo\n```\n";
        assert_eq!(blocks(document)?, [["one", "", "two"]]);
        Ok(())
    }

    #[test]
    fn a_document_without_commands_is_an_error() {
        assert!(blocks("Text\n").is_err());
        assert!(blocks("```sh\nnever ends\n").is_err());
    }

    #[test]
    fn bash_accepts_every_block_of_the_quick_start() -> Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/quick-start.md");
        let document =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for block in blocks(&document)? {
            let text = block.join("\n");
            let status =
                Command::new("bash").args(["-n", "-c", &text]).status().context("cannot start bash")?;
            assert!(status.success(), "{text}");
        }
        Ok(())
    }
}
