//! A real server process with a directory of its own.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{Client, binary, process, wait};

/// How a server is started.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// `ENGRAM__SECTION__KEY` variables.
    pub env: Vec<(String, String)>,
    /// Data directory; a temporary one where absent.
    pub data_dir: Option<PathBuf>,
    /// Longest time from the start to readiness.
    pub ready_within: Duration,
    /// `cgroup.procs` file of the control group the process joins before it runs.
    pub group: Option<PathBuf>,
    /// Largest address space, bytes.
    pub address_space: Option<u64>,
    /// Largest file, bytes: a disk that is full without a disk of its own. [`Server::lift_file_size`] ends it.
    pub file_size: Option<u64>,
    /// Another program in place of `engram`.
    pub program: Option<PathBuf>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            env: Vec::new(),
            data_dir: None,
            ready_within: Duration::from_secs(60),
            group: None,
            address_space: None,
            file_size: None,
            program: None,
        }
    }
}

impl ServerOptions {
    /// Sets `section.key`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        let name = key.split('.').map(str::to_uppercase).collect::<Vec<_>>().join("__");
        self.env.push((format!("ENGRAM__{name}"), value.to_string()));
        self
    }

    /// Uses this data directory.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not become ready, with the end of its log.
    pub fn start(self) -> Result<Server> {
        Server::start(self)
    }
}

/// A running (or stopped) server. Its process ends with this value.
#[derive(Debug)]
pub struct Server {
    options: ServerOptions,
    home: Option<TempDir>,
    data_dir: PathBuf,
    child: Option<Child>,
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    ready_after: Duration,
    keep: bool,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not become ready, with the end of its log.
    pub fn start(options: ServerOptions) -> Result<Self> {
        let mut server = Self::new(options)?;
        server.start_again()?;
        Ok(server)
    }

    /// A server that is not started yet.
    ///
    /// # Errors
    /// Where no temporary directory can be made.
    pub fn new(options: ServerOptions) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("engram-test-").tempdir()?;
        let data_dir = options.data_dir.clone().unwrap_or_else(|| home.path().join("data"));
        let ready_after = Duration::ZERO;
        Ok(Self {
            options,
            home: Some(home),
            data_dir,
            child: None,
            grpc: None,
            http: None,
            ready_after,
            keep: false,
        })
    }

    /// Keeps log and data when this value goes; a failing test does so by itself.
    pub fn keep_files(&mut self) {
        self.keep = true;
    }

    fn home(&self) -> &Path {
        self.home.as_ref().map_or(Path::new("/nonexistent"), TempDir::path)
    }

    /// Variables of the next start.
    pub fn options_mut(&mut self) -> &mut ServerOptions {
        &mut self.options
    }

    /// Data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Everything the server printed so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.home().join("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Address of the gRPC listener.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc.expect("the server is running")
    }

    /// Address of the HTTP listener.
    pub fn http(&self) -> SocketAddr {
        self.http.expect("the server is running")
    }

    /// Time from the start of the process to readiness.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// A client over a connection of its own.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn client(&self) -> Result<Client> {
        Client::connect(self.grpc()).await
    }

    /// Starts the process without waiting for it.
    ///
    /// # Errors
    /// Where the binary cannot be run.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the server is running already");
        let _ = std::fs::remove_file(self.ready_file());
        let log = OpenOptions::new().create(true).append(true).open(self.home().join("server.log"))?;
        let mut command = match &self.options.program {
            Some(program) => Command::new(program),
            None => Command::new(binary::engram()?),
        };
        command.arg("serve").arg("--data-dir").arg(&self.data_dir).arg("--ready-file").arg(self.ready_file());
        let inherited: Vec<OsString> = std::env::vars_os()
            .map(|(k, _)| k)
            .filter(|k| k.to_string_lossy().starts_with("ENGRAM__"))
            .collect();
        for name in inherited {
            command.env_remove(name);
        }
        command.env("ENGRAM__LISTEN__GRPC", "127.0.0.1:0").env("ENGRAM__LISTEN__HTTP", "127.0.0.1:0");
        command.envs(self.options.env.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        limit(&mut command, &self.options);
        self.child = Some(command.spawn().context("start the server")?);
        Ok(())
    }

    /// Lets files grow again.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn lift_file_size(&mut self) -> Result<()> {
        self.options.file_size = None;
        let pid = i32::try_from(self.pid())?;
        let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: reads one struct of ours; the old limit is not asked for.
        let done = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) };
        ensure!(done == 0, "the limit cannot be lifted: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not become ready, with the end of its log.
    pub fn start_again(&mut self) -> Result<()> {
        let start = Instant::now();
        self.spawn()?;
        self.await_ready(start)
    }

    /// Waits until a spawned server is ready.
    ///
    /// # Errors
    /// Where it ends or does not become ready, with the end of its log.
    pub fn await_ready(&mut self, start: Instant) -> Result<()> {
        let file = self.ready_file();
        loop {
            if let Some((grpc, http)) = std::fs::read_to_string(&file).ok().as_deref().and_then(addresses) {
                (self.grpc, self.http) = (Some(grpc), http);
                self.ready_after = start.elapsed();
                return Ok(());
            }
            if let Some(status) = self.exited()? {
                self.child = None;
                bail!(
                    "the server ended before it was ready ({status}); its log ends with:\n{}",
                    self.log_end()
                );
            }
            if start.elapsed() > self.options.ready_within {
                bail!(
                    "the server is not ready after {:?}; its log ends with:\n{}",
                    start.elapsed(),
                    self.log_end()
                );
            }
            // A look at the ready file, with the deadline above; the time to the first answer is a figure of tests.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The exit status, if the process has ended.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// Ends the process as a crash would: SIGKILL, no last words.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        (self.grpc, self.http) = (None, None);
    }

    /// Asks the server to stop, and waits for it.
    ///
    /// # Errors
    /// Where it does not end, or not with success.
    pub fn stop(&mut self) -> Result<()> {
        process::signal(self.pid(), libc::SIGTERM);
        let mut status = None;
        let ended = wait::until("the server to stop", Duration::from_secs(60), || {
            status = self.exited().ok().flatten();
            status.is_some()
        });
        self.kill9();
        ended?;
        ensure!(
            status.is_some_and(|s| s.success()),
            "the server stopped with {status:?}:\n{}",
            self.log_end()
        );
        Ok(())
    }

    /// Stops the server and starts it again.
    ///
    /// # Errors
    /// Those of both.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start_again()
    }

    /// Body of an HTTP answer, with its status.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub fn http_get(&self, path: &str) -> Result<(u16, String)> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.http())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no HTTP status")?;
        Ok((status, body.to_owned()))
    }

    fn ready_file(&self) -> PathBuf {
        self.home().join("ready")
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// What the process does to itself before it becomes the server.
fn limit(command: &mut Command, options: &ServerOptions) {
    let (group, address_space, file_size) = (options.group.clone(), options.address_space, options.file_size);
    // SAFETY: between fork and exec only system calls on plain values are made; the path was allocated before.
    unsafe {
        command.pre_exec(move || {
            // The server goes when the test goes, however that ends.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if let Some(group) = &group {
                // "0" is the writing process itself.
                std::fs::write(group, "0")?;
            }
            if let Some(bytes) = address_space {
                let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
                libc::setrlimit(libc::RLIMIT_AS, &raw const limit);
            }
            if let Some(bytes) = file_size {
                // Ignored, the signal becomes an error of the write.
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
                libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
            }
            Ok(())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
        let keep = self.keep || std::thread::panicking() || std::env::var_os("ENGRAM_KEEP").is_some();
        if keep && let Some(home) = self.home.take() {
            let path = home.keep();
            let data = self.data_dir.display();
            eprintln!("log and data of the server are kept in {} (data: {data})", path.display());
        }
    }
}

/// The addresses in a ready file: one JSON object, or one `name=address` a line.
fn addresses(text: &str) -> Option<(SocketAddr, Option<SocketAddr>)> {
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(text) {
        let at = |key: &str| json.get(key)?.as_str()?.parse().ok();
        return Some((at("grpc")?, at("http")));
    }
    if !text.ends_with('\n') {
        return None;
    }
    let at = |key: &str| {
        let value = text.lines().find_map(|line| {
            let (name, value) = line.split_once(['=', ' '])?;
            (name.trim().trim_end_matches(':') == key).then(|| value.trim().trim_matches('"'))
        });
        value.and_then(|v| v.trim_start_matches("http://").parse().ok())
    };
    Some((at("grpc")?, at("http")))
}
