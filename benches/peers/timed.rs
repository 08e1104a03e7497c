//! Other programs, run to their end and timed.

use std::process::{Command, Stdio};
use std::time::Instant;

/// How many milliseconds the whole process took; a failure ends the benchmark.
pub(crate) fn milliseconds(command: &mut Command, input: &str) -> f64 {
    use std::io::Write as _;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let took = begun.elapsed();
    let words = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{words}",
        output.status
    );
    took.as_secs_f64() * 1e3
}
