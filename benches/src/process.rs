//! Child processes: the server, the loader, a bare build; what they print and how much memory they take.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::inside::Settings;

/// `USER_HZ`, which is 100 on every machine this runs on.
const TICKS_PER_SECOND: f64 = 100.0;
const POLL: Duration = Duration::from_millis(10);
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Largest memory a process had, and the processor time it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peak {
    /// `VmHWM`: all resident pages, those of mapped files included.
    pub resident: u64,
    /// Largest `RssAnon` that was seen: memory that is not just cached file.
    pub anonymous: u64,
    /// Seconds of all its threads, in the kernel too, in steps of 10 ms.
    pub cpu: f64,
}

impl Peak {
    /// Looks at a process; a process that is gone changes nothing.
    pub fn look(&mut self, pid: u32) {
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return };
        let kib = |key: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(key))?;
            line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
        };
        self.resident = self.resident.max(kib("VmHWM:").unwrap_or(0) * 1024);
        self.anonymous = self.anonymous.max(kib("RssAnon:").unwrap_or(0) * 1024);
        self.cpu = self.cpu.max(cpu_seconds(pid).unwrap_or(0.0));
    }
}

/// Memory of this process that is not cached file.
pub fn anonymous_now() -> u64 {
    let mut peak = Peak::default();
    peak.look(std::process::id());
    peak.anonymous
}

/// Processor time of a process: `utime` and `stime` of `/proc/PID/stat`, whose second field is a name in parentheses that may hold anything.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

/// A program that ended.
#[derive(Debug)]
pub struct Ended {
    /// Its standard output.
    pub stdout: String,
    /// From start to end.
    pub wall: Duration,
    /// Its memory.
    pub peak: Peak,
}

/// A command that dies with this process and gets none of our server settings.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let ours: Vec<OsString> =
        std::env::vars_os().map(|v| v.0).filter(|k| k.to_string_lossy().starts_with("ENGRAM__")).collect();
    for name in ours {
        command.env_remove(name);
    }
    // SAFETY: between fork and exec only one system call on plain values is made.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command
}

/// Runs a command to its end; `others` are looked at while it runs.
///
/// # Errors
/// Where it cannot be started, fails, or takes longer than `within`.
pub fn run(
    mut command: Command,
    folder: &Path,
    within: Duration,
    others: &mut [(u32, &mut Peak)],
) -> Result<Ended> {
    let (out, err) = (folder.join("stdout"), folder.join("stderr"));
    command.stdin(Stdio::null()).stdout(fs::File::create(&out)?).stderr(fs::File::create(&err)?);
    let program = command.get_program().to_owned();
    let start = Instant::now();
    let mut child = Kill(command.spawn().with_context(|| format!("start {}", program.display()))?);
    let mut peak = Peak::default();
    let status = loop {
        peak.look(child.0.id());
        for (pid, peak) in &mut *others {
            peak.look(*pid);
        }
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        if start.elapsed() > within {
            bail!("{} did not end within {within:?}", program.display());
        }
        std::thread::sleep(POLL);
    };
    let wall = start.elapsed();
    let said = fs::read_to_string(err).unwrap_or_default();
    ensure!(status.success(), "{} ended with {status}: {said}", program.display());
    Ok(Ended { stdout: fs::read_to_string(out)?, wall, peak })
}

/// A child that is killed when this value goes.
#[derive(Debug)]
struct Kill(Child);

impl Drop for Kill {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The `engram` program: `ENGRAM_BIN`, or the one beside this program, which is built where it is missing.
///
/// # Errors
/// Where it cannot be built.
pub fn engram() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("ENGRAM_BIN") {
        return Ok(given.into());
    }
    let this = std::env::current_exe().context("where is this program?")?;
    let folder = this.parent().context("a program has a folder")?;
    let path = folder.join("engram");
    if path.exists() {
        return Ok(path);
    }
    eprintln!("building the server");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "-p", "engram-cli", "--bin", "engram"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")))
        .env("CARGO_TARGET_DIR", folder.parent().context("the target folder")?)
        .status()
        .context("cargo build of the server")?;
    ensure!(built.success() && path.exists(), "the server could not be built");
    Ok(path)
}

/// A running server with its data in `home/data`; it is killed when this value goes.
#[derive(Debug)]
pub struct Server {
    child: Kill,
    /// `http://ADDRESS` of its gRPC port.
    pub url: String,
    /// `ADDRESS` of its HTTP port.
    pub http: String,
    /// Its memory so far.
    pub peak: Peak,
}

impl Server {
    /// Starts a server on free ports, with the settings that everyone gets by default and `extra` arguments.
    ///
    /// # Errors
    /// Where it does not become ready, with its log.
    pub fn start(home: &Path, extra: &Settings) -> Result<Self> {
        let (ready, log) = (home.join("ready"), home.join("server.log"));
        let _ = fs::remove_file(&ready);
        let mut command = command(&engram()?);
        command.arg("serve").arg("--data-dir").arg(home.join("data")).arg("--ready-file").arg(&ready);
        command.args(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        for (key, value) in extra {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let out = fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let mut child = Kill(command.spawn().context("start the server")?);
        let start = Instant::now();
        let (url, http) = loop {
            let said = fs::read_to_string(&ready).ok().and_then(|t| serde_json::from_str::<Value>(&t).ok());
            let address = |front: &str| said.as_ref().and_then(|v| v.get(front)?.as_str());
            if let (Some(grpc), Some(http)) = (address("grpc"), address("http")) {
                break (format!("http://{grpc}"), http.to_owned());
            }
            let ended = child.0.try_wait()?;
            if ended.is_some() || start.elapsed() > READY_WITHIN {
                bail!(
                    "the server is not ready ({ended:?}): {}",
                    fs::read_to_string(&log).unwrap_or_default()
                );
            }
            std::thread::sleep(POLL);
        };
        Ok(Self { child, url, http, peak: Peak::default() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Looks at its memory.
    pub fn look(&mut self) {
        self.peak.look(self.child.0.id());
    }

    /// Ends it in an orderly way; the memory it took at most.
    ///
    /// # Errors
    /// Where it does not end, or not with success.
    pub fn stop(mut self) -> Result<Peak> {
        self.look();
        let pid = i32::try_from(self.pid())?;
        // SAFETY: `kill` takes two integers; the child was not waited for, so the id is still its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.0.try_wait()? {
                ensure!(status.success(), "the server stopped with {status}");
                return Ok(self.peak);
            }
            ensure!(start.elapsed() < STOP_WITHIN, "the server does not stop");
            std::thread::sleep(POLL);
        }
    }
}

/// Bytes of all files below a folder.
pub fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |e: fs::DirEntry| match e.metadata() {
        Ok(m) if m.is_dir() => folder_bytes(&e.path()),
        Ok(m) => m.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_has_taken_processor_time() {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(200) {
            std::hint::black_box(start.elapsed());
        }
        let mut peak = Peak::default();
        peak.look(std::process::id());
        assert!(peak.cpu > 0.0 && peak.cpu < 60.0, "{peak:?}");
        assert!(peak.resident >= peak.anonymous && peak.anonymous > 0, "{peak:?}");
    }
}
