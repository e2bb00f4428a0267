//! Other programs, with failures that say which command, how it ended and what it last said.

use std::io::{self, BufRead, ErrorKind};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// How much of a failed program's output is worth repeating, lines.
const LAST_LINES: usize = 15;

/// Runs a program to its end and returns its standard output.
///
/// Nothing it prints is shown unless it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| not_started(command, &error))?;
    check(command, &output)?;
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} printed something that is not UTF-8", line(command)))
}

/// Runs a program to its end for its effect.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| not_started(command, &error))?;
    check(command, &output)
}

/// Runs a program to its end, showing what it prints, and returns whether it succeeded and what it printed.
pub fn shown(command: &mut Command) -> Result<(bool, String)> {
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    let other = writer.try_clone().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer).stderr(other);
    let child = command.spawn().map_err(|error| not_started(command, &error));
    // The command holds the ends that are written to; while they are open the reading would not end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child?;
    let mut printed = String::new();
    for line in io::BufReader::new(reader).split(b'\n') {
        let line =
            line.with_context(|| format!("cannot read what {} prints", command.get_program().display()))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        printed += &line;
        printed.push('\n');
    }
    let status =
        child.wait().with_context(|| format!("cannot wait for {}", command.get_program().display()))?;
    Ok((status.success(), printed))
}

/// The full path of a program on `PATH` (or in the `sbin` folders that a user's `PATH` may lack).
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Like [`find`], with an error that says which package to install.
pub fn require(program: &str, package: &str) -> Result<std::path::PathBuf> {
    find(program).with_context(|| format!("{program} is not installed: apt-get install {package}"))
}

fn check(command: &Command, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said =
        if output.stderr.iter().all(u8::is_ascii_whitespace) { &output.stdout } else { &output.stderr };
    let said = String::from_utf8_lossy(said);
    let lines: Vec<_> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n  ");
    bail!("{} failed ({}):\n  {last}", line(command), output.status)
}

fn not_started(command: &Command, error: &io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        ErrorKind::NotFound => ": is it installed?",
        _ => "",
    };
    anyhow::anyhow!("cannot run {}: {error}{remedy}", command.get_program().display())
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
