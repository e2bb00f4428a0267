//! `zcrxd pages`: man pages and shell completions of the command line, for packages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Exit, complain};

/// Shells that get completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory for man/ and completions/; created if absent
    directory: PathBuf,
}

pub(super) fn run(args: &Args) -> Exit {
    match write(&args.directory) {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&format!("cannot write to {}: {error}", args.directory.display()));
            Exit::Host
        }
    }
}

/// Writes a man page for each command and a completion for each shell.
fn write(directory: &Path) -> io::Result<()> {
    let man = directory.join("man");
    fs::create_dir_all(&man)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), &man)?;
    for shell in SHELLS {
        let folder = directory.join("completions").join(shell.to_string());
        fs::create_dir_all(&folder)?;
        clap_complete::generate_to(shell, &mut Cli::command(), "zcrxd", folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_shell_a_completion() -> io::Result<()> {
        let directory = std::env::temp_dir().join(format!("zcrxd-pages-{}", std::process::id()));
        write(&directory)?;
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let page = fs::read_to_string(directory.join(format!("man/zcrxd-{name}.1")))?;
            assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
            for file in ["bash/zcrxd.bash", "zsh/_zcrxd", "fish/zcrxd.fish"] {
                let completion = fs::read_to_string(directory.join("completions").join(file))?;
                assert!(completion.contains(name), "{file} does not know {name}");
            }
        }
        assert!(!directory.join("man/zcrxd-pages.1").exists(), "a hidden command has a page");
        fs::remove_dir_all(directory)
    }
}
