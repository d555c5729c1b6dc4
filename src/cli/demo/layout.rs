//! Where everything of the demo is: addresses, ports, files, and the fleet's config.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nearcast_shared::config::ListenAddress;
use nearcast_shared::sockets;

/// The first line of our config files: others are not overwritten.
const HEADER: &str = "# Written by `nearcast demo`, anew at each start.";

/// The name that the demo's site has.
pub(super) const DOMAIN: &str = "www.cdn.example.net";

/// Where the origin listens.
pub(super) const ORIGIN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);

/// A PoP of the demo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DemoPop {
    pub(super) name: &'static str,
    pub(super) city: &'static str,
    /// Latitude and longitude in degrees.
    location: (f64, f64),
    pub(super) address: Ipv4Addr,
}

/// The fleet.
pub(super) const POPS: [DemoPop; 3] = [
    DemoPop { name: "fra", city: "Frankfurt", location: (50.03, 8.57), address: Ipv4Addr::new(127, 0, 0, 11) },
    DemoPop { name: "iad", city: "Virginia", location: (38.95, -77.45), address: Ipv4Addr::new(127, 0, 0, 12) },
    DemoPop { name: "sin", city: "Singapore", location: (1.36, 103.99), address: Ipv4Addr::new(127, 0, 0, 13) },
];

/// `fra, iad, sin`.
pub(super) fn names() -> String {
    POPS.map(|pop| pop.name).join(", ")
}

/// Where everything of one demo is.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Absolute.
    pub(super) dir: PathBuf,
    pub(super) http_port: u16,
    pub(super) dns_port: u16,
    pub(super) admin_port: u16,
}

impl Layout {
    /// The fleet's config file.
    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("demo.toml")
    }

    /// What a PoP's process prints.
    pub(super) fn log(&self, pop: &DemoPop) -> PathBuf {
        self.dir.join(format!("{}.log", pop.name))
    }

    /// All of them, for messages.
    pub(super) fn logs(&self) -> String {
        POPS.map(|pop| self.log(&pop).display().to_string()).join(", ")
    }

    /// An empty log.
    pub(super) fn new_log(&self, pop: &DemoPop) -> anyhow::Result<File> {
        let path = self.log(pop);
        let context = || format!("{}: cannot be written", path.display());
        File::create(&path).with_context(context)?;
        OpenOptions::new().append(true).open(&path).with_context(context)
    }

    /// Its last lines.
    pub(super) fn log_end(&self, pop: &DemoPop) -> String {
        let text = std::fs::read(self.log(pop)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// Makes sure that everybody can listen where they should.
    ///
    /// # Errors
    /// Every address that is taken, and what to do about it.
    pub(super) fn check_free(&self) -> anyhow::Result<()> {
        // All are held until all are checked, so that two equal ports show too.
        let (mut streams, mut datagrams, mut taken) = (Vec::new(), Vec::new(), Vec::new());
        let mut check = |address: Ipv4Addr, port: u16, whose: String, option: &str, udp: bool| {
            let address = ListenAddress::Socket(SocketAddr::new(address.into(), port));
            let udp = if udp { sockets::udp(address, 1).map(|found| datagrams.push(found)) } else { Ok(()) };
            let outcome = udp.and_then(|()| sockets::tcp(address, 1).map(|found| streams.push(found)));
            if let Err(error) = outcome {
                taken.push(obstacle(address, &whose, option, &error));
            }
        };
        check(ORIGIN, self.http_port, "HTTP of the origin".to_owned(), "--http-port", false);
        for pop in &POPS {
            check(pop.address, self.http_port, format!("HTTP of {}", pop.name), "--http-port", false);
            check(pop.address, self.dns_port, format!("DNS of {}", pop.name), "--dns-port", true);
            check(pop.address, self.admin_port, format!("admin of {}", pop.name), "--admin-port", false);
        }
        if !taken.is_empty() {
            bail!("the demo cannot listen where it should (does another one run?):\n  {}", taken.join("\n  "));
        }
        Ok(())
    }

    /// Writes the config, for this user's eyes only, with a new admin token.
    ///
    /// # Errors
    /// When it cannot be written, or would replace a file that is not ours.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let path = self.config();
        replace(&path, &self.config_text(&token()))
    }

    fn config_text(&self, token: &str) -> String {
        let Self { http_port, dns_port, admin_port, .. } = self;
        let mut text = format!(
            r#"{HEADER}

[listen]
https = []

[runtime]
workers = 1

[state]
path = "{{pop}}/state"

[admin]
token = "{token}"

[cache]
memory = "64 MiB"
disk = {{ path = "{{pop}}/cache", size = "256 MiB" }}

# A PoP that dies is noticed within 3 x 1 s, and half a second for the last probe.
[health]
interval = "1s"
timeout = "500ms"
rise = 2
fall = 3

# Short, so that nobody waits for the demo to end. The TTL below is shorter still.
[shutdown]
linger = "2s"
grace = "5s"

[log]
access = "stdout"

[[zone]]
name = "cdn.example.net"
nameservers = ["ns1.cdn.example.net", "ns2.cdn.example.net", "ns3.cdn.example.net"]
ttl = 1

# The addresses are there for browsers, which do not ask our DNS.
[[site]]
domains = ["{DOMAIN}", {addresses}]
origin = "http://{ORIGIN}:{http_port}"
"#,
            addresses = POPS.map(|pop| format!("\"{}\"", pop.address)).join(", "),
        );
        for DemoPop { name, city, location: (latitude, longitude), address } in POPS {
            text.push_str(&format!(
                r#"
# {city}
[[pop]]
name = "{name}"
location = [{latitude}, {longitude}]
addresses = ["{address}"]
listen = {{ http = ["{address}:{http_port}"], dns = ["{address}:{dns_port}"], admin = "{address}:{admin_port}" }}
admin = "http://{address}:{admin_port}"
"#
            ));
        }
        text
    }
}

fn obstacle(address: ListenAddress, whose: &str, option: &str, error: &std::io::Error) -> String {
    let ListenAddress::Socket(address) = address else { return error.to_string() };
    match error.kind() {
        ErrorKind::AddrInUse => format!("{address} ({whose}) is taken: free it, or choose another port with {option}"),
        ErrorKind::AddrNotAvailable => {
            let ip = address.ip();
            format!("{ip} is not an address of this machine: give it one, on macOS with `sudo ifconfig lo0 alias {ip}`")
        }
        _ => format!("{address} ({whose}): {error}; {option} chooses another port"),
    }
}

/// 128 random bits.
fn token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The old file goes first, so that neither its mode nor a link is taken over.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("{}: cannot be written", path.display());
    match std::fs::read_to_string(path) {
        Ok(old) if !old.starts_with(HEADER) => {
            bail!("{} is there and was not written by a demo: choose another --dir", path.display())
        }
        Ok(_) => std::fs::remove_file(path).with_context(context)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(context),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use nearcast_shared::config::{Config, Inputs};

    use super::*;

    pub(in crate::cli::demo) fn layout(dir: &Path) -> Layout {
        Layout { dir: dir.to_owned(), http_port: 8080, dns_port: 5300, admin_port: 9053 }
    }

    pub(in crate::cli::demo) fn config(pop: &str) -> Config {
        let layout = layout(Path::new("/demo"));
        let inputs = Inputs { pop: Some(pop.to_owned()), ..Inputs::default() };
        Config::parse(&layout.config_text(&token()), &layout.config(), &inputs).unwrap()
    }

    #[test]
    fn the_config_is_right_for_every_pop() {
        for pop in POPS {
            let config = config(pop.name);
            assert_eq!(config.this_pop().name, pop.name);
            assert_eq!(config.listen.admin, format!("{}:9053", pop.address).parse().unwrap());
            assert_eq!(config.listen.http, [ListenAddress::Socket(format!("{}:8080", pop.address).parse().unwrap())]);
            assert_eq!(config.listen.https, []);
            assert_eq!(config.state, Path::new("/demo").join(pop.name).join("state"));
            assert!(config.cache.object_max >= 20 << 20);
            assert!(config.pops.iter().all(|pop| pop.admin.is_some()));
        }
    }

    #[test]
    fn the_file_is_private_and_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let read = || std::fs::read_to_string(layout.config()).unwrap();
        layout.write().unwrap();
        let first = read();
        layout.write().unwrap();
        assert_ne!(read(), first);
        assert_eq!(std::fs::metadata(layout.config()).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(layout.config(), "[admin]\n").unwrap();
        assert!(layout.write().unwrap_err().to_string().contains("choose another --dir"));
        assert_eq!(read(), "[admin]\n");
    }

    #[test]
    fn the_end_of_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        assert_eq!(layout.log_end(&POPS[0]), "");
        let lines: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
        std::fs::write(layout.log(&POPS[0]), lines.join("\n")).unwrap();
        assert_eq!(layout.log_end(&POPS[0]), lines[2..].join("\n"));
    }

    #[test]
    fn obstacles_say_what_to_do() {
        let address = ListenAddress::Socket("127.0.0.11:8080".parse().unwrap());
        let say = |kind: ErrorKind| obstacle(address, "HTTP of fra", "--http-port", &kind.into());
        assert_eq!(
            say(ErrorKind::AddrInUse),
            "127.0.0.11:8080 (HTTP of fra) is taken: free it, or choose another port with --http-port"
        );
        assert!(say(ErrorKind::AddrNotAvailable).contains("lo0 alias 127.0.0.11"));
        assert!(say(ErrorKind::PermissionDenied).ends_with("--http-port chooses another port"));
    }
}
