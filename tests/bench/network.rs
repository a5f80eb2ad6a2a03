//! A network with slow round trips: a TUN device returns each packet after a delay. The servers listen at `NEAR`. A
//! packet to `FAR` comes back with source and destination swapped, so it reaches a server as if it came from `FAR`. The
//! replies take the same way. So the set-up of a connection is slow, too.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::geteuid;

pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Runs this program with these arguments in a new network namespace, with the TUN device as stdin. Perl makes the
/// device, as that takes an `ioctl` (`TUNSETIFF`, with `IFF_TUN` and `IFF_NO_PI`), which needs unsafe code in Rust.
pub fn run(args: &[&str]) -> io::Result<Output> {
    let enter = format!(
        r#"my $request = pack "a16 S x22", "tun0", 0x1001;
        open STDIN, "+<", "/dev/net/tun" and ioctl STDIN, 0x400454ca, $request or print STDERR "/dev/net/tun: $!\n" and exit 3;
        system "ip address add {NEAR}/24 dev tun0 && ip link set tun0 up && ip link set lo up" and exit 3;
        exec @ARGV"#
    );
    let as_root = if geteuid().is_root() { &[][..] } else { &["--map-root-user"] };
    let mut command = Command::new("unshare");
    command.args(as_root).args(["--net", "perl", "-e", &enter]).arg(std::env::current_exe()?).args(args).output()
}

/// Returns the packets, in the program that `run` started. The kernel's own delay, `netem`, is not available
/// everywhere.
pub struct Relay(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The delay of a packet.
    delay: Duration,
    /// By how much each packet exceeded that delay.
    late: Vec<Duration>,
}

impl Relay {
    pub fn start() -> Relay {
        let state = Arc::new(Mutex::new(State::default()));
        let device = || File::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
        let (mut far, mut near) = (device(), device());
        let (sender, receiver) = mpsc::channel();
        let reader = Arc::clone(&state);
        thread::spawn(move || {
            prioritise_this_thread();
            let mut packet = [0; 2000];
            loop {
                let length = far.read(&mut packet).unwrap();
                let due = Instant::now() + reader.lock().unwrap().delay;
                // Only IPv4 packets are returned. The kernel itself sends IPv6 packets to discover neighbours.
                if packet[0] >> 4 == 4 {
                    packet[12..20].rotate_left(4);
                    sender.send((due, packet[..length].to_vec())).unwrap();
                }
            }
        });
        let writer = Arc::clone(&state);
        thread::spawn(move || {
            prioritise_this_thread();
            for (due, packet) in receiver {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                near.write_all(&packet).unwrap();
                writer.lock().unwrap().late.push(due.elapsed());
            }
        });
        Relay(state)
    }

    /// Sets the duration of round trips from now on.
    pub fn set(&self, round_trip: Duration) {
        *self.0.lock().unwrap() = State { delay: round_trip / 2, late: vec![] };
    }

    /// The 99th percentile of how late packets were since `set`.
    pub fn late(&self) -> Duration {
        let late = &mut self.0.lock().unwrap().late;
        late.sort();
        late[late.len() * 99 / 100]
    }
}

/// Gives this thread real-time priority, for a busy machine. Without root, this does nothing, and packets are later.
fn prioritise_this_thread() {
    let thread = fs::read_link("/proc/thread-self").unwrap();
    let _ = Command::new("chrt").args(["--fifo", "--pid", "10"]).arg(thread.file_name().unwrap()).output();
}
