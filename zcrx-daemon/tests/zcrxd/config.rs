//! What a person gets who writes a configuration file.

use crate::harness::{Outcome, TestDirectory, output, refusal, zcrxd};

#[test]
fn valid_file_is_printed_with_every_default() -> Outcome {
    let place = TestDirectory::new("config-good")?;
    let file = place.file("zcrxd.toml", "[[queue]]\nlisten = [\"127.0.0.1:7000\"]\narea = \"8MiB\"\n")?;
    let said = output(zcrxd(&["check-config", &file]))?;
    assert_eq!(said.status.code(), Some(0));
    let text = String::from_utf8(said.stdout)?;
    assert_eq!(text.lines().next(), Some(format!("# {file} is valid, 1 queue").as_str()));
    for line in ["area = \"8MiB\"", "backend = \"auto\"", "listen_addresses = [\"127.0.0.1:9965\"]"] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    // What it prints is a file that amounts to the same.
    let printed = place.file("printed.toml", &text)?;
    let again = output(zcrxd(&["check-config", &printed]))?;
    let effective = |text: &str| text.lines().skip(1).collect::<Vec<_>>().join("\n");
    assert_eq!(effective(&String::from_utf8(again.stdout)?), effective(&text));
    Ok(())
}

#[test]
fn invalid_file_gets_one_line_per_error_and_exit_code_2() -> Outcome {
    let place = TestDirectory::new("config-bad")?;
    let file = place
        .file("zcrxd.toml", "[[queue]]\nlisten = [\"127.0.0.1:7000\"]\nrefill_entries = 0\nsink = \"x\"\n")?;
    for command in [vec!["check-config", &file], vec!["run", "--config", &file]] {
        let (code, said) = refusal(zcrxd(&command))?;
        assert_eq!(code, Some(2));
        assert_eq!(
            said,
            format!(
                "zcrxd: {file}:3:18: refill_entries 0 is out of range; write a number from 1 to 32768\n\
                 zcrxd: {file}:4:8: sink \"x\" is not known; write discard, verify, forward:HOST:PORT, \
                 forward:unix:PATH or file:DIRECTORY\n"
            )
        );
    }
    Ok(())
}

#[test]
fn unknown_key_is_refused_with_its_position() -> Outcome {
    let place = TestDirectory::new("config-unknown")?;
    let file = place.file("zcrxd.toml", "[probes]\nenable = true\n")?;
    let (code, said) = refusal(zcrxd(&["check-config", &file]))?;
    assert_eq!(code, Some(2));
    assert_eq!(
        said,
        format!(
            "zcrxd: {file}:2:1: unknown field `enable`, expected one of `enabled`, `mechanism`, `statistics`, `residence`, \
             `disabled`, `keep_counts`\n"
        )
    );
    Ok(())
}

#[test]
fn unknown_probe_is_refused_with_the_names_there_are() -> Outcome {
    let place = TestDirectory::new("config-probe")?;
    let file = place.file("zcrxd.toml", "[probes]\ndisabled = [\"copy\", \"copies\"]\n")?;
    let (code, said) = refusal(zcrxd(&["check-config", &file]))?;
    assert_eq!(code, Some(2));
    let place = format!("zcrxd: {file}:2:21: there is no probe \"copies\"");
    assert!(said.starts_with(&place) && said.contains("delivery"), "{said}");
    Ok(())
}

#[test]
fn missing_file_is_named() -> Outcome {
    let (code, said) = refusal(zcrxd(&["run", "--config", "/no/such/zcrxd.toml"]))?;
    assert_eq!(code, Some(2));
    assert!(said.starts_with("zcrxd: /no/such/zcrxd.toml: cannot read the configuration: "), "{said}");
    Ok(())
}

#[test]
fn invalid_flag_is_named() -> Outcome {
    let (code, said) = refusal(zcrxd(&["run", "--listen", "127.0.0.1:0", "--area", "5000"]))?;
    assert_eq!(code, Some(2));
    assert!(said.starts_with("zcrxd: --area: area 5000 is not a multiple of the page size"), "{said}");
    let (code, _) = refusal(zcrxd(&["run", "--no-such-flag"]))?;
    assert_eq!(code, Some(2));
    Ok(())
}

#[test]
fn result_that_cannot_be_written_is_no_success() -> Outcome {
    let place = TestDirectory::new("config-full")?;
    let file = place.file("zcrxd.toml", "")?;
    let mut command = zcrxd(&["check-config", &file]);
    command.stdout(std::fs::File::options().write(true).open("/dev/full")?);
    command.stderr(std::process::Stdio::piped());
    let said = command.spawn()?.wait_with_output()?;
    assert_eq!(said.status.code(), Some(1));
    let text = String::from_utf8(said.stderr)?;
    assert!(text.starts_with("zcrxd: cannot write the result: "), "{text}");
    Ok(())
}

#[test]
fn runbook_prints_pages_of_alerts_and_causes() -> Outcome {
    for (name, begin) in [("ZcrxQueueStarving", "# ZcrxQueueStarving\n"), ("slow_consumer", "# ")] {
        let said = output(zcrxd(&["runbook", name]))?;
        assert_eq!(said.status.code(), Some(0));
        assert!(String::from_utf8(said.stdout)?.starts_with(begin), "{name}");
    }
    let (code, said) = refusal(zcrxd(&["runbook", "no-such-alert"]))?;
    assert_eq!(code, Some(2));
    assert!(said.contains("ZcrxQueueStarving"), "{said}");
    Ok(())
}
