//! A network whose round trips take time: a TUN device that sends every packet back, late. The servers listen on this
//! side, at `NEAR`. What is sent to `FAR` comes back with source and destination swapped, so that it reaches a server
//! as if it came from `FAR`, and so do the answers. Setting a connection up takes its time like everything else.

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

/// Runs this program with these arguments in such a network, which is theirs alone, with the TUN device as stdin. That
/// is made in Perl, as it takes an `ioctl` (`TUNSETIFF`, with `IFF_TUN` and `IFF_NO_PI`), which Rust has no safe way to
/// make.
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

/// What sends packets back, in the program that `run` ran. The kernel can't delay them everywhere: `netem` is seldom
/// there.
pub struct Relay(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How long a packet takes.
    delay: Duration,
    /// How much longer than that each one took.
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
            before_all_others();
            let mut packet = [0; 2000];
            loop {
                let length = far.read(&mut packet).unwrap();
                let due = Instant::now() + reader.lock().unwrap().delay;
                // IPv4 only: the kernel looks for neighbours with IPv6 by itself.
                if packet[0] >> 4 == 4 {
                    packet[12..20].rotate_left(4);
                    sender.send((due, packet[..length].to_vec())).unwrap();
                }
            }
        });
        let writer = Arc::clone(&state);
        thread::spawn(move || {
            before_all_others();
            for (due, packet) in receiver {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                near.write_all(&packet).unwrap();
                writer.lock().unwrap().late.push(due.elapsed());
            }
        });
        Relay(state)
    }

    /// From now on, round trips take this long.
    pub fn set(&self, round_trip: Duration) {
        *self.0.lock().unwrap() = State { delay: round_trip / 2, late: vec![] };
    }

    /// How late 99 of 100 packets were at most, since then.
    pub fn late(&self) -> Duration {
        let late = &mut self.0.lock().unwrap().late;
        late.sort();
        late[late.len() * 99 / 100]
    }
}

/// Has this thread run as soon as it can, on a busy machine, too. Takes root; without, packets are later.
fn before_all_others() {
    let thread = fs::read_link("/proc/thread-self").unwrap();
    let _ = Command::new("chrt").args(["--fifo", "--pid", "10"]).arg(thread.file_name().unwrap()).output();
}
