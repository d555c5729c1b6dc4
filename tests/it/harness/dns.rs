//! DNS queries byte by byte, over UDP and TCP.

use std::io::{BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};

use super::DEADLINE;
use super::origin::is_closed;

/// The id of every query here that is given no other.
pub(crate) const ID: u16 = 0x1234;

/// A query.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    name: String,
    kind: RecordType,
    id: u16,
    /// The data of an OPT record, if there is one.
    options: Option<Vec<u8>>,
    /// DO, which needs that record.
    dnssec_ok: bool,
}

impl Query {
    pub(crate) fn new(name: &str, kind: RecordType) -> Self {
        Self { name: name.to_owned(), kind, id: ID, options: None, dnssec_ok: false }
    }

    /// For the address of `name` nearest to `subnet`.
    pub(crate) fn from(name: &str, kind: RecordType, subnet: &str) -> Self {
        Self::new(name, kind).subnet(subnet)
    }

    /// With this id.
    pub(crate) fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// With EDNS and this option.
    pub(crate) fn option(mut self, code: u16, data: &[u8]) -> Self {
        let options = self.options.get_or_insert_default();
        options.extend(code.to_be_bytes());
        options.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        options.extend(data);
        self
    }

    /// With EDNS and DO.
    pub(crate) fn wanting_signatures(mut self) -> Self {
        self.options.get_or_insert_default();
        self.dnssec_ok = true;
        self
    }

    /// For a client in that network, such as `192.0.2.0/24`.
    pub(crate) fn subnet(self, network: &str) -> Self {
        let (address, source) = network.split_once('/').unwrap();
        let source: u8 = source.parse().unwrap();
        let (family, octets) = match address.parse().unwrap() {
            IpAddr::V4(v4) => (1, v4.octets().to_vec()),
            IpAddr::V6(v6) => (2, v6.octets().to_vec()),
        };
        let data = [&[0, family, source, 0], &octets[..usize::from(source).div_ceil(8)]].concat();
        self.option(8, &data)
    }

    /// On the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let additionals = u8::from(self.options.is_some());
        let mut packet = [&self.id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, additionals]].concat();
        // A dot within a label stands behind a backslash.
        for label in self.name.replace("\\.", "\0").split('.').filter(|label| !label.is_empty()) {
            packet.push(u8::try_from(label.len()).unwrap());
            packet.extend(label.replace('\0', ".").as_bytes());
        }
        packet.push(0);
        packet.extend(u16::from(self.kind).to_be_bytes());
        packet.extend([0, 1]);
        if let Some(options) = &self.options {
            packet.extend([0, 0, 41, 0x04, 0xd0, 0, 0, if self.dnssec_ok { 0x80 } else { 0 }, 0]);
            packet.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
            packet.extend(options);
        }
        packet
    }

    /// Asks over UDP; all bytes of the reply.
    pub(crate) fn raw_udp(&self, to: SocketAddr) -> Vec<u8> {
        let client = Udp::connect(to);
        client.send(&self.bytes());
        client.receive_raw()
    }

    /// Asks over TCP; all bytes of the reply.
    pub(crate) fn raw_tcp(&self, to: SocketAddr) -> Vec<u8> {
        Tcp::connect(to).exchange(self)
    }

    /// Asks over UDP.
    pub(crate) fn udp(&self, to: SocketAddr) -> Reply {
        Udp::connect(to).ask(&self.bytes())
    }

    /// Asks over UDP, from this address of the machine.
    pub(crate) fn udp_from(&self, from: IpAddr, to: SocketAddr) -> Reply {
        Udp::between(from, to).ask(&self.bytes())
    }

    /// Asks over TCP; `None` when nobody listens there.
    pub(crate) fn try_tcp(&self, to: SocketAddr) -> Option<Reply> {
        TcpStream::connect(to).ok().map(|_| self.tcp(to))
    }

    /// Asks over TCP; `None` when the connection ends instead.
    pub(crate) fn ask_tcp(&self, to: SocketAddr) -> Option<Reply> {
        Tcp::connect(to).try_ask(self)
    }

    /// Asks over TCP.
    pub(crate) fn tcp(&self, to: SocketAddr) -> Reply {
        Tcp::connect(to).ask(self)
    }
}

/// A TCP connection of one client.
pub(crate) struct Tcp(BufReader<TcpStream>);

impl Tcp {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends a query and reads its reply.
    pub(crate) fn ask(&mut self, query: &Query) -> Reply {
        self.try_ask(query).unwrap()
    }

    /// Sends a query and reads its reply; `None` when the connection ends instead.
    pub(crate) fn try_ask(&mut self, query: &Query) -> Option<Reply> {
        self.0.get_mut().write_all(&framed(query)).ok()?;
        self.receive().ok().map(|reply| Reply::parse(&reply))
    }

    /// Sends a query and takes its reply as it is.
    pub(crate) fn exchange(&mut self, query: &Query) -> Vec<u8> {
        self.0.get_mut().write_all(&framed(query)).unwrap();
        self.receive().unwrap()
    }

    /// Sends all queries at once and reads their replies, in the order they come in.
    pub(crate) fn ask_all<const N: usize>(&mut self, queries: &[Query; N]) -> [Reply; N] {
        let bytes: Vec<u8> = queries.iter().flat_map(framed).collect();
        self.0.get_mut().write_all(&bytes).unwrap();
        [(); N].map(|()| Reply::parse(&self.receive().unwrap()))
    }

    /// Sends these bytes as one message.
    pub(crate) fn send(&mut self, packet: &[u8]) {
        let framed = [&u16::try_from(packet.len()).unwrap().to_be_bytes()[..], packet].concat();
        self.0.get_mut().write_all(&framed).unwrap();
    }

    /// The next message.
    pub(crate) fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        let mut length = [0; 2];
        self.0.read_exact(&mut length)?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        self.0.read_exact(&mut reply)?;
        Ok(reply)
    }

    /// Whether the other side closes the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        is_closed(&mut self.0)
    }
}

/// A query as it goes over TCP.
fn framed(query: &Query) -> Vec<u8> {
    let bytes = query.bytes();
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
}

/// A UDP socket of one client.
pub(crate) struct Udp(UdpSocket);

impl Udp {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::between(Ipv4Addr::LOCALHOST.into(), to)
    }

    fn between(from: IpAddr, to: SocketAddr) -> Self {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(socket)
    }

    /// Sends a packet.
    pub(crate) fn send(&self, packet: &[u8]) {
        self.0.send(packet).unwrap();
    }

    /// Sends a packet and reads the reply, if there is one soon.
    pub(crate) fn try_ask(&self, packet: &[u8]) -> Option<Reply> {
        self.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut reply = [0; 4096];
        let replied = self.0.send(packet).and_then(|_| self.0.recv(&mut reply));
        self.0.set_read_timeout(Some(DEADLINE)).unwrap();
        replied.ok().map(|length| Reply::parse(&reply[..length]))
    }

    /// Sends a packet and reads the next reply, whichever packet that is to.
    pub(crate) fn ask(&self, packet: &[u8]) -> Reply {
        self.send(packet);
        self.receive()
    }

    /// The next reply.
    pub(crate) fn receive(&self) -> Reply {
        Reply::parse(&self.receive_raw())
    }

    /// The next reply, as it is.
    pub(crate) fn receive_raw(&self) -> Vec<u8> {
        let mut reply = [0; 4096];
        let length = self.0.recv(&mut reply).expect("a reply in time");
        reply[..length].to_vec()
    }
}

/// A reply.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply(pub(crate) Message);

impl Reply {
    /// Reads a message.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self(Message::from_vec(bytes).unwrap())
    }

    pub(crate) fn code(&self) -> ResponseCode {
        self.0.metadata.response_code
    }

    /// The data of its answers.
    pub(crate) fn data(&self) -> Vec<String> {
        self.0.answers.iter().map(|record| record.data.to_string()).collect()
    }

    /// The data of this EDNS option.
    pub(crate) fn option(&self, code: u16) -> Option<Vec<u8>> {
        let option = self.0.edns.as_ref()?.option(EdnsCode::from(code))?;
        Some(Vec::try_from(option).unwrap())
    }

    /// The only answer's data.
    pub(crate) fn address(&self) -> String {
        let data = self.data();
        assert_eq!(data.len(), 1, "{self:?}");
        data[0].clone()
    }

    /// The client subnet it echoes: its address, source and scope.
    pub(crate) fn subnet(&self) -> Option<(String, u8, u8)> {
        match self.0.edns.as_ref()?.option(EdnsCode::Subnet)? {
            EdnsOption::Subnet(subnet) => {
                Some((subnet.addr().to_string(), subnet.source_prefix(), subnet.scope_prefix()))
            }
            other => panic!("{other:?}"),
        }
    }
}
