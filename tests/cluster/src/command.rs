//! Runs programs with a time limit.

use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::error::{Error, Result, last_lines};
use crate::patience::Patience;

/// How many lines of a failed program's output go into the error.
const OUTPUT_LINES: usize = 30;

/// Runs a command to its end and returns its standard output; anything but success is an error.
pub fn run(command: &mut Command, limit: Duration) -> Result<String> {
    succeed(command, None, limit)
}

/// As [`run`], with a text on standard input.
pub(crate) fn run_with_input(
    command: &mut Command,
    input: &str,
    limit: Duration,
) -> Result<String> {
    succeed(command, Some(input), limit)
}

fn succeed(command: &mut Command, input: Option<&str>, limit: Duration) -> Result<String> {
    let output = output(command, input, limit)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Command {
        command: line(command),
        status: output.status.to_string(),
        output: what_it_said(&output.stdout, &output.stderr),
    })
}

/// Runs a command to its end, whatever that is.
pub(crate) fn output(
    command: &mut Command,
    input: Option<&str>,
    limit: Duration,
) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| Error::Start {
        program: program.clone(),
        source,
    })?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (status, stdout, stderr) = std::thread::scope(|scope| {
        if let (Some(mut pipe), Some(text)) = (stdin, input) {
            // A program that ends before it has read everything says why by its status.
            scope.spawn(move || pipe.write_all(text.as_bytes()).ok());
        }
        let stdout = scope.spawn(move || read_all(stdout));
        let stderr = scope.spawn(move || read_all(stderr));
        let status = wait(&mut child, limit);
        (
            status,
            stdout.join().unwrap_or_default(),
            stderr.join().unwrap_or_default(),
        )
    });
    match status.map_err(|source| Error::Start { program, source })? {
        Some(status) => Ok(Output {
            status,
            stdout,
            stderr,
        }),
        None => Err(Error::Slow {
            command: line(command),
            limit,
            output: what_it_said(&stdout, &stderr),
        }),
    }
}

/// Waits for a child; one that is too slow is killed and gives `None`.
pub(crate) fn wait(
    child: &mut Child,
    limit: Duration,
) -> std::io::Result<Option<std::process::ExitStatus>> {
    let mut patience = Patience::new(limit);
    // From 1 ms, so that short programs cost nothing, to 20 ms, so that long ones cost nothing.
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if patience.is_over() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The command as a line for messages.
pub(crate) fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn read_all(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is still worth showing.
        pipe.read_to_end(&mut bytes).ok();
    }
    bytes
}

fn what_it_said(stdout: &[u8], stderr: &[u8]) -> String {
    let said = if stderr.trim_ascii().is_empty() {
        stdout
    } else {
        stderr
    };
    last_lines(&String::from_utf8_lossy(said), OUTPUT_LINES).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn input_goes_in_and_output_comes_out() {
        let text = run_with_input(&mut Command::new("cat"), "hello", Duration::from_secs(5));
        assert_eq!(text.unwrap(), "hello");
    }

    #[test]
    fn a_failure_shows_what_the_program_said() {
        let error = run(
            Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"]),
            Duration::from_secs(5),
        )
        .unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("(exit status: 3): no such thing"),
            "{error}"
        );
    }

    #[test]
    fn a_slow_program_is_killed() {
        let start = Instant::now();
        let error = run(Command::new("sleep").arg("60"), Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, Error::Slow { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
