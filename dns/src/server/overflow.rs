//! Queries that the kernel dropped because a socket's receive buffer was full: nobody here saw them, so only the kernel
//! can say how many they are.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Where the kernel lists sockets, one a line (proc_pid_net(5)).
const TABLES: [&str; 2] = ["/proc/self/net/udp", "/proc/self/net/udp6"];
/// Which words of a line are the socket's inode and the datagrams that it dropped.
const INODE: usize = 9;
const DROPS: usize = 12;

/// Shows `dns_udp_overflows_total`.
#[derive(Debug)]
pub struct OverflowCollector {
    /// By inode, which no two sockets have at one time.
    sockets: HashSet<u64>,
}

impl OverflowCollector {
    /// Of these, which must stay open for as long.
    ///
    /// # Errors
    /// When there is no file to be had.
    pub fn new<'s>(sockets: impl IntoIterator<Item = &'s UdpSocket>) -> io::Result<Self> {
        let inode = |socket: &UdpSocket| Ok(File::from(OwnedFd::from(socket.try_clone()?)).metadata()?.ino());
        Ok(Self { sockets: sockets.into_iter().map(inode).collect::<io::Result<_>>()? })
    }

    /// What the kernel says now; a table that cannot be read has nothing.
    fn dropped(&self) -> u64 {
        let tables = TABLES.iter().filter_map(|table| File::open(table).ok());
        tables.map(|table| dropped(BufReader::new(table), &self.sockets)).sum()
    }
}

impl Collector for OverflowCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Queries that the kernel dropped since dns.udp-receive-buffer was full";
        let metric = encoder.encode_descriptor("dns_udp_overflows", help, None, MetricType::Counter)?;
        ConstCounter::new(self.dropped()).encode(metric)
    }
}

fn dropped(table: impl BufRead, sockets: &HashSet<u64>) -> u64 {
    let of_line = |line: String| {
        let number = |at| line.split_ascii_whitespace().nth(at)?.parse::<u64>().ok();
        number(INODE).filter(|inode| sockets.contains(inode)).and_then(|_| number(DROPS))
    };
    table.lines().map_while(Result::ok).filter_map(of_line).sum()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use nix::sys::socket::setsockopt;
    use nix::sys::socket::sockopt::RcvBuf;

    use super::*;

    #[test]
    fn a_table_of_the_kernel() {
        const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  371: 0100007F:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 00000000a1b2c3d4 42
  372: 0100007F:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 00000000a1b2c3d4 9
  373: 0100007F:14EA 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4713 2 00000000a1b2c3d4 7
 cut: 0100007F:14EA 00000000:0000 07
";
        assert_eq!(dropped(TABLE.as_bytes(), &HashSet::from([4711, 4713, 1])), 49);
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let [full, other] = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        // The kernel takes no less than its least.
        setsockopt(&full, RcvBuf, &1).unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let collector = OverflowCollector::new([&full, &other]).unwrap();
        assert_eq!(collector.dropped(), 0);
        // Loopback delivers within the call, so all were taken or dropped when it returns.
        (0..100).for_each(|_| assert_eq!(client.send_to(&[0; 1000], full.local_addr().unwrap()).unwrap(), 1000));
        full.set_nonblocking(true).unwrap();
        let taken = std::iter::from_fn(|| full.recv(&mut [0; 1000]).ok()).count();
        assert_eq!(collector.dropped(), 100 - taken as u64);
        assert!(taken < 100);
    }
}
