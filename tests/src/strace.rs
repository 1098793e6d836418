//! A tracer attached to a running server: what it asks the system for, and faults put in its way.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{process, wait};

/// An attached tracer; detaches on drop.
#[derive(Debug)]
pub struct Strace {
    child: Child,
    output: PathBuf,
}

/// One finished system call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Name.
    pub name: String,
    /// Arguments as printed, descriptors with their paths.
    pub arguments: String,
    /// Seconds since the epoch when it began.
    pub begin: f64,
    /// Seconds since the epoch when it returned.
    pub end: f64,
    /// What it returned, as printed.
    pub returned: String,
}

impl Call {
    /// Whether it returned an error.
    pub fn failed(&self) -> bool {
        self.returned.starts_with('-') || self.returned.starts_with('?')
    }
}

impl Strace {
    /// Attaches to all threads of `pid`. `None` where strace is missing or ptrace is not permitted; the reason is
    /// printed.
    pub fn attach(pid: u32, expressions: &[&str], dir: &Path) -> Option<Self> {
        let output = dir.join("strace.out");
        let notes = std::fs::File::create(dir.join("strace.err")).ok()?;
        let mut command = Command::new("strace");
        command.args(["-f", "-q", "-y", "-ttt", "-T", "-s", "0", "-p", &pid.to_string(), "-o"]).arg(&output);
        for e in expressions {
            command.args(["-e", e]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(notes);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(e) => {
                println!("SKIPPED: strace cannot be run ({e})");
                return None;
            }
        };
        let mut tracer = Self { child, output };
        let attached = wait::until("strace to attach", Duration::from_secs(20), || {
            all_threads_traced(pid) || tracer.child.try_wait().is_ok_and(|s| s.is_some())
        });
        if attached.is_err() || !all_threads_traced(pid) {
            let why = std::fs::read_to_string(dir.join("strace.err")).unwrap_or_default();
            println!("SKIPPED: strace cannot trace here ({})", why.trim());
            return None;
        }
        Some(tracer)
    }

    /// Detaches and returns what was seen.
    ///
    /// # Errors
    /// Where the output cannot be read.
    pub fn finish(mut self) -> Result<Vec<Call>> {
        self.detach();
        let text = std::fs::read_to_string(&self.output).context("output of strace")?;
        Ok(parse(&text))
    }

    fn detach(&mut self) {
        process::signal(self.child.id(), libc::SIGINT);
        let child = &mut self.child;
        let gone = wait::until("strace to detach", Duration::from_secs(10), || {
            child.try_wait().is_ok_and(|s| s.is_some())
        });
        if gone.is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Whether every thread has a tracer.
fn all_threads_traced(pid: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().all(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.lines().any(|l| l.strip_prefix("TracerPid:").is_some_and(|t| t.trim() != "0"))
    })
}

/// Calls in the output of `strace -f -ttt -T -y`, in the order in which they returned.
fn parse(text: &str) -> Vec<Call> {
    let mut unfinished: Vec<(String, f64, String)> = Vec::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(2, ' ');
        let (Some(thread), Some(rest)) = (parts.next(), parts.next()) else { continue };
        let Some((time, what)) = rest.trim_start().split_once(' ') else { continue };
        let Ok(time) = time.parse::<f64>() else { continue };
        if let Some(head) = what.strip_suffix(" <unfinished ...>") {
            unfinished.push((thread.to_owned(), time, head.to_owned()));
        } else if let Some(tail) = what.strip_prefix("<... ") {
            let Some(at) = unfinished.iter().position(|u| u.0 == thread) else { continue };
            let (_, begin, head) = unfinished.swap_remove(at);
            let tail = tail.split_once("resumed>").map_or("", |t| t.1);
            calls.extend(call(begin, &format!("{head}{tail}"), Some(time)));
        } else {
            calls.extend(call(time, what, None));
        }
    }
    calls
}

/// `name(arguments) = returned <seconds>`
fn call(begin: f64, text: &str, resumed: Option<f64>) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    // The last ` = `: names of errors come with parentheses of their own, and short calls are padded before the sign.
    let (arguments, rest) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let (returned, lasted) = match rest.rsplit_once(" <") {
        Some((returned, lasted)) => (returned, lasted.trim_end_matches('>').parse().unwrap_or(0.0)),
        None => (rest, 0.0),
    };
    let end = resumed.unwrap_or(0.0).max(begin + lasted);
    Some(Call {
        name: name.into(),
        arguments: arguments.into(),
        begin,
        end,
        returned: returned.trim().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_were_interrupted_are_joined() {
        let text = "12 100.000001 fdatasync(7</d/1.log> <unfinished ...>\n\
                    13 100.000100 pwrite64(7</d/1.log>, \"\"..., 10, 0) = 10 <0.000005>\n\
                    12 100.000500 <... fdatasync resumed>) = 0 <0.000499>\n\
                    12 100.000600 fdatasync(7</d/1.log>) = -1 EIO (Input/output error) (INJECTED) <0.000010>\n\
                    12 100.000700 close(7</d/1.log>)               = 0 <0.000001>\n";
        let calls = parse(text);
        assert_eq!(calls.len(), 4);
        assert_eq!((calls[0].name.as_str(), calls[0].returned.as_str()), ("pwrite64", "10"));
        assert_eq!(calls[1].arguments, "7</d/1.log>");
        assert!((calls[1].begin - 100.000_001).abs() < 1e-6 && calls[1].end >= 100.000_499);
        assert_eq!((calls[2].arguments.as_str(), calls[2].failed()), ("7</d/1.log>", true));
        assert_eq!((calls[3].name.as_str(), calls[3].failed()), ("close", false));
    }
}
