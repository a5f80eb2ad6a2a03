//! Runs the executable as a step of a CI job and collects its results. It gets nothing of this process's environment.

use std::fmt;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketType};

use crate::stand_in::StandIn;
use crate::stand_in::http::{Request, read_request};
use crate::stand_in::tls::HOST;

/// The executable that cargo built for the tests.
pub const BUILT_EXE: &str = env!("CARGO_BIN_EXE_token-mint");

/// This variable names another executable to test, for example the static one.
pub const OTHER_EXE: &str = "TOKEN_MINT_TEST_EXE";

/// No server listens at this URL. A test names it where no request should arrive: a real index must never get one.
pub const UNREACHABLE_URL: &str = "http://127.0.0.1:9";

/// A run that takes longer is killed, and its test fails.
const RUN_TIMEOUT: Duration = Duration::from_secs(30 * SLOW_FACTOR);

/// The factor for all time limits. Wine is slow while many programs use the network: they share one server process.
pub const SLOW_FACTOR: u64 = if cfg!(windows) { 4 } else { 1 };

/// How long after its deadline a run may end on a busy machine.
pub const SLACK: Duration = Duration::from_secs(if cfg!(windows) { 30 } else { 4 });

/// A step that is about to run token-mint.
pub struct Step {
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// A run fails its test if it prints one of these.
    secrets: Vec<String>,
    pub dir: tempfile::TempDir,
}

/// The result of a step.
pub struct Outcome {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// The content of `$GITHUB_OUTPUT`.
    pub step_output: String,
    /// The content of `$GITHUB_STEP_SUMMARY`.
    pub summary: String,
    pub elapsed: Duration,
}

impl Step {
    /// A step with no environment at all.
    pub fn bare() -> Step {
        Step { args: vec![], env: vec![], secrets: vec![], dir: tempfile::tempdir().unwrap() }
    }

    /// A step of a GitHub job that lacks the permission `id-token: write`. Its step output is an empty file.
    pub fn on_github() -> Step {
        let step = Step::bare();
        let path = step.step_output_path();
        std::fs::write(&path, "").unwrap();
        // No test asks a real index what it publishes.
        let step = step.env("TOKEN_MINT_INDEX", UNREACHABLE_URL).env("TOKEN_MINT_OFFLINE", "1");
        let summary = step.summary_path();
        std::fs::write(&summary, "").unwrap();
        let step = step.env("GITHUB_STEP_SUMMARY", summary.to_str().unwrap());
        step.env("GITHUB_ACTIONS", "true").env("GITHUB_OUTPUT", path.to_str().unwrap())
    }

    /// A step of the job that the stand-ins know.
    pub fn of(servers: &StandIn) -> Step {
        servers.job_env().into_iter().fold(Step::on_github(), |step, (name, value)| step.env(name, &value))
    }

    /// A step of a GitHub job with these URLs and the audience `pypi`. Its request token is a fixed secret.
    pub fn with_endpoints(request_url: &str, index: &str) -> Step {
        Step::on_github()
            .env("ACTIONS_ID_TOKEN_REQUEST_URL", request_url)
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "a-request-token-that-is-secret")
            .secret("a-request-token-that-is-secret")
            .args(&["--index", index])
            .env("TOKEN_MINT_AUDIENCE", "pypi")
    }

    /// Sets a variable. An earlier value is replaced.
    pub fn env(mut self, name: &str, value: &str) -> Step {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Step {
        self.env.retain(|(n, _)| n != name);
        self
    }

    pub fn args(mut self, args: &[&str]) -> Step {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Makes `run` fail if this text is printed.
    pub fn secret(mut self, secret: &str) -> Step {
        self.secrets.push(secret.to_owned());
        self
    }

    pub fn summary_path(&self) -> PathBuf {
        self.dir.path().join("summary.md")
    }

    pub fn step_output_path(&self) -> PathBuf {
        self.dir.path().join("step output")
    }

    /// Runs the step and fails if it shows a secret of its own or of these servers.
    pub fn run_with(self, servers: &StandIn) -> Outcome {
        let (outcome, secrets) = self.run_unchecked(RUN_TIMEOUT);
        check_leaks(&outcome, &[secrets, servers.secrets()].concat());
        outcome
    }

    /// Runs the step and fails if it shows a secret of its own.
    pub fn run(self) -> Outcome {
        self.run_within(RUN_TIMEOUT)
    }

    /// The command, for tests that handle its streams themselves.
    pub fn command(&self) -> Command {
        let mut command = Command::new(std::env::var_os(OTHER_EXE).unwrap_or(BUILT_EXE.into()));
        command.args(&self.args).env_clear().envs(self.env.iter().map(|(n, v)| (n, v))).current_dir(self.dir.path());
        // Windows needs it for the network and for random numbers.
        command.envs(std::env::var_os("SystemRoot").map(|folder| ("SystemRoot", folder)));
        command.stdin(Stdio::null());
        command
    }

    /// A shell command. `script` runs token-mint as `"$0" "$@"`.
    pub fn command_in_shell(&self, script: &str) -> Command {
        wrapped(&["sh", "-c", script], &self.command())
    }

    /// A step in which no CI system is recognised. Its ID token is in a variable.
    pub fn outside_ci(servers: &StandIn) -> Step {
        let step = Step::bare().env("TOKEN_MINT_INDEX", &servers.index.url("/legacy/"));
        step.env("TOKEN_MINT_ID_TOKEN_ENV", "MY_ID_TOKEN").env("MY_ID_TOKEN", &servers.id_token("pypi"))
    }

    /// Writes a shell script of this name to the step's folder and puts the folder on the step's `PATH`.
    pub fn with_program(self, name: &str, script: &str) -> Step {
        let program = self.dir.path().join(name);
        install(&program, 0o755, format!("#!/bin/sh\n{script}\n").as_bytes());
        let path = format!("{}:/usr/bin:/bin", self.dir.path().display());
        self.env("PATH", &path)
    }

    /// Makes the step trust this CA. That works in builds that use the system's root certificates.
    pub fn trusting(self, ca_pem: &str) -> Step {
        let path = self.dir.path().join("ca.pem");
        std::fs::write(&path, ca_pem).unwrap();
        self.env("SSL_CERT_FILE", path.to_str().unwrap())
    }

    /// Replaces the address of the servers, which speak TLS, by `HOST`. No resolver knows that name, but a proxy may.
    pub fn by_host_name(self, servers: &StandIn) -> Step {
        let job = servers.job_env().into_iter().filter(|(_, value)| value.starts_with("https://"));
        let step = job.fold(self, |step, (name, value)| step.env(name, &value.replace("127.0.0.1", HOST)));
        step.trusting(servers.ca_pem.as_ref().unwrap())
    }

    /// The same as `run`, with another limit of time.
    pub fn run_within(self, timeout: Duration) -> Outcome {
        let (outcome, secrets) = self.run_unchecked(timeout);
        check_leaks(&outcome, &secrets);
        outcome
    }

    fn run_unchecked(self, timeout: Duration) -> (Outcome, Vec<String>) {
        let start = Instant::now();
        let mut child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (reader(child.stdout.take().unwrap()), reader(child.stderr.take().unwrap()));
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > timeout {
                child.kill().unwrap();
                panic!("token-mint {:?} did not end within {timeout:?}", self.args);
            }
            thread::sleep(Duration::from_millis(2));
        };
        let elapsed = start.elapsed();
        let outcome = Outcome {
            status: status.code().unwrap_or(-1),
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
            step_output: std::fs::read_to_string(self.step_output_path()).unwrap_or_default(),
            summary: std::fs::read_to_string(self.summary_path()).unwrap_or_default(),
            elapsed,
        };
        (outcome, self.secrets)
    }
}

/// A command that consists of these words, then of the words of `command`. It has the same environment and folder.
pub fn wrapped(words: &[&str], command: &Command) -> Command {
    let mut wrapper = Command::new(words[0]);
    wrapper.args(&words[1..]).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    wrapper.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        wrapper.current_dir(folder);
    }
    wrapper
}

/// Runs a program as another user than root.
pub const AS_NOBODY: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];

/// The step with these words before its command. It runs a copy of the executable that every user may execute.
#[cfg(unix)]
pub fn wrapped_copy(words: &[&str], step: &Step) -> Command {
    use std::os::unix::fs::PermissionsExt;
    let exe = step.dir.path().join("token-mint");
    install(&exe, 0o755, &std::fs::read(step.command().get_program()).unwrap());
    std::fs::set_permissions(step.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let run_copy = ["sh", "-c", "shift; exec \"$0\" \"$@\"", exe.to_str().unwrap()];
    wrapped(&[words, &run_copy].concat(), &step.command())
}

/// Runs a command and returns its status and its stderr, which is recorded for the leak check.
pub fn run_for_stderr(command: &mut Command) -> (Option<i32>, String) {
    let output = output(command);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Runs a command and returns all of its output. Its stderr is recorded for the leak check.
pub fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    record_for_leak_check(&without_masks(&String::from_utf8_lossy(&output.stderr)), &[]);
    output
}

/// Waits until the condition holds. It fails after ten seconds, which are enough on a busy machine.
#[track_caller]
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "the condition did not hold in time");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Starts a program with the default action for each signal. The tests themselves may run with ignored signals.
pub const NO_SIGNAL_IGNORED: &[&str] = if cfg!(target_os = "linux") { &["env", "--default-signal"] } else { &["env"] };

/// Starts the step with these words before its command, and waits until its COMMAND prints `ready`.
pub fn started(step: &Step, words: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut command = wrapped(&[words, NO_SIGNAL_IGNORED].concat(), &step.command());
    let mut child = spawned(command.stdout(Stdio::piped()));
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, stdout)
}

/// Sends a signal to a process, or to a process group if `to` is a negative number.
pub fn send(signal: &str, to: &str) {
    assert!(Command::new("kill").args([signal, "--", to]).status().unwrap().success());
}

/// Waits for a process that has to end within 20 seconds, and returns its status.
#[track_caller]
pub fn status(child: &mut Child) -> Option<i32> {
    status_within(Duration::from_secs(20), child)
}

/// Waits for a process that has to end within this time, and returns its status. It fails if the process runs longer.
#[track_caller]
pub fn status_within(timeout: Duration, child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() > timeout {
            child.kill().unwrap();
            panic!("the process did not end within {timeout:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

impl Outcome {
    /// Fails unless the status is this one, stderr has all these pieces, and no token was handed over.
    #[track_caller]
    pub fn assert_failed(&self, status: i32, pieces: &[&str]) {
        assert_eq!(self.status, status, "{self}");
        assert!(self.stderr.contains("token-mint: error: "), "{self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        for piece in pieces {
            assert!(self.stderr.contains(piece), "no {piece:?} in {self}");
        }
        assert_eq!(self.stdout, "", "{self}");
        assert_eq!(self.step_output, "", "{self}");
    }

    #[track_caller]
    pub fn assert_done(&self) {
        assert_eq!(self.status, 0, "{self}");
    }

    /// The value of a step output. As for the runner, the last one of a name counts.
    pub fn output(&self, name: &str) -> Option<&str> {
        self.step_output.lines().filter_map(|line| line.split_once('=')).rfind(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The values of all `::add-mask::` commands, in order.
    pub fn masks(&self) -> Vec<&str> {
        self.stderr.lines().filter_map(|line| line.strip_prefix("::add-mask::")).collect()
    }

    /// The annotations of the level error.
    pub fn annotations(&self) -> Vec<&str> {
        self.stderr.lines().filter_map(|line| line.strip_prefix("::error title=token-mint::")).collect()
    }

    /// The lines of stderr, without workflow commands and without empty lines at the start.
    pub fn messages(&self) -> String {
        let commands = ["::add-mask::", "::error title=token-mint::", "::warning title=token-mint::"];
        let lines = self.stderr.lines().filter(|line| !commands.iter().any(|command| line.starts_with(command)));
        lines.skip_while(|line| line.is_empty()).map(|line| format!("{line}\n")).collect()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { status, stdout, stderr, step_output, summary, elapsed } = self;
        write!(
            f,
            "a run of {elapsed:?} with status {status}\n--- stdout\n{stdout}--- stderr\n{stderr}--- step output\n\
             {step_output}--- summary\n{summary}---"
        )
    }
}

/// Records the messages and the secrets of a run in a file. `tests/leaks` searches all of these files after all tests.
fn record_for_leak_check(messages: &str, secrets: &[String]) {
    let folder = PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/said"));
    std::fs::create_dir_all(&folder).unwrap();
    let name = crate::stand_in::random_hex(16);
    std::fs::write(folder.join(name), serde_json::json!({"messages": messages, "secrets": secrets}).to_string())
        .unwrap();
}

/// Blocks each attempt to open this file until the returned value is dropped. A network file system can do that, too.
pub fn blocked(path: &Path) -> impl Drop + use<> {
    struct Holder(Child);
    impl Drop for Holder {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    // `open` waits while another process holds a lease of the file (`F_SETLEASE` in `fcntl(2)`).
    let lease = "import fcntl, signal, sys\nsignal.signal(signal.SIGIO, signal.SIG_IGN)\nfile = open(sys.argv[1], 'r+')\n\
                 fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\nprint('held', flush=True)\nsignal.pause()";
    let mut holder = Command::new("python3").args(["-c", lease]).arg(path).stdout(Stdio::piped()).spawn().unwrap();
    holder.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    Holder(holder)
}

/// Both ends of a pipe that is full.
pub fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filling = writer.try_clone().unwrap();
    thread::spawn(move || filling.write_all(&[b' '; 1024 * 1024]));
    thread::sleep(Duration::from_millis(100));
    (reader, writer)
}

/// Starts a command. Its stderr is recorded for the leak check.
pub fn spawned(command: &mut Command) -> Child {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let stderr = reader(child.stderr.take().unwrap());
    thread::spawn(move || record_for_leak_check(&without_masks(&stderr.join().unwrap()), &[]));
    child
}

/// stderr without the lines that mask a value.
pub fn without_masks(stderr: &str) -> String {
    stderr.lines().filter(|line| !line.starts_with("::add-mask::")).map(|line| format!("{line}\n")).collect()
}

/// Fails if a secret shows. Only an API token may be on stdout or in the step output: the caller checks that.
#[track_caller]
fn check_leaks(outcome: &Outcome, secrets: &[String]) {
    record_for_leak_check(&format!("{}{}", without_masks(&outcome.stderr), outcome.summary), secrets);
    for secret in secrets {
        let what = format!("the secret {}…", &secret[..secret.len().min(12)]);
        assert!(!outcome.messages().contains(secret), "{what} in a message: {outcome}");
        assert!(!outcome.annotations().concat().contains(secret), "{what} in an annotation: {outcome}");
        assert!(!outcome.summary.contains(secret), "{what} in the summary: {outcome}");
        if !secret.starts_with("pypi-") {
            assert!(!outcome.stdout.contains(secret), "{what} on stdout: {outcome}");
            assert!(!outcome.step_output.contains(secret), "{what} in the step output: {outcome}");
        }
    }
}

fn reader(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).expect("the output is UTF-8")
    })
}

/// Does this for each item, many at a time, since most runs only wait. Under wine, fewer can keep their time limits.
pub fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    const MOST: usize = if cfg!(windows) { 8 } else { 32 };
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..items.len().min(MOST))
            .map(|_| {
                scope.spawn(|| {
                    while let Some(item) = items.get(next.fetch_add(1, Ordering::SeqCst)) {
                        work(item);
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

/// A server that reads a request and then handles the connection as the test says.
pub struct ScriptedServer {
    scheme: &'static str,
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Instant>>>,
    requests: Arc<Mutex<Vec<Request>>>,
    /// Reserves the port on which nobody listens.
    refusing: Option<OwnedFd>,
}

impl ScriptedServer {
    pub fn serving(serve: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> ScriptedServer {
        ScriptedServer::serving_requests(move |_, stream| serve(stream))
    }

    /// The same, but the function gets the request, too.
    pub fn serving_requests(serve: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> ScriptedServer {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&requests);
        let server = ScriptedServer::accepting(move |stream| {
            if let Ok(request) = read_request(stream) {
                record.lock().unwrap().push(request.clone());
                serve(&request, stream);
            }
        });
        ScriptedServer { requests, ..server }
    }

    /// A server that calls this function with each connection and does not read a request.
    pub fn accepting(serve: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> ScriptedServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (serve, record) = (Arc::new(serve), Arc::clone(&connections));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                record.lock().unwrap().push(Instant::now());
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(&mut stream));
            }
        });
        ScriptedServer { scheme: "http", address, connections, requests: Arc::default(), refusing: None }
    }

    /// The same server, with `https` in its URL.
    pub fn over_https(self) -> ScriptedServer {
        ScriptedServer { scheme: "https", ..self }
    }

    /// A port where nobody listens.
    pub fn refusing() -> ScriptedServer {
        #[cfg(windows)]
        rustix::net::wsa_startup().unwrap();
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
        ScriptedServer {
            refusing: Some(socket),
            address,
            scheme: "http",
            connections: Arc::default(),
            requests: Arc::default(),
        }
    }

    /// False for a port where nobody listens.
    pub fn listens(&self) -> bool {
        self.refusing.is_none()
    }

    /// Answers every request with these bytes and closes the connection.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> ScriptedServer {
        let bytes = bytes.into();
        ScriptedServer::serving(move |stream| {
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            // Without this read, a reset could arrive before the bytes do.
            let _ = stream.read(&mut [0; 64]);
        })
    }

    /// Answers each request with this status and body.
    pub fn replying(status: u16, body: &str) -> ScriptedServer {
        ScriptedServer::answering(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The time of each connection.
    pub fn connections(&self) -> Vec<Instant> {
        self.connections.lock().unwrap().clone()
    }
}

/// Writes an executable file, by means of another process. If this process wrote it, a child that another test starts
/// meanwhile would inherit the open file, and executing it would fail with "Text file busy".
pub fn install(path: &Path, mode: u32, content: &[u8]) {
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat >\"$0\" && chmod \"$1\" \"$0\""]).arg(path).arg(format!("{mode:o}"));
    let mut writer = writer.stdin(Stdio::piped()).spawn().unwrap();
    writer.stdin.take().unwrap().write_all(content).unwrap();
    assert!(writer.wait().unwrap().success());
}
