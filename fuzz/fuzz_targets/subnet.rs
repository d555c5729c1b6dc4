//! The data of an EDNS Client Subnet option: what is taken names a network just as RFC 7871 section 6 writes it.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use nearcast_dns::fuzzing::subnet;

fuzz_target!(|data: &[u8]| {
    match subnet(data) {
        Err(()) => {}
        // Withheld: no family, or one of them, and no address.
        Ok(None) => assert!(matches!(data, [0, 0..=2, 0, 0]), "{data:?}"),
        Ok(Some((address, source))) => assert_eq!(written(address, source), data),
    }
});

/// "ADDRESS [..] MUST be truncated to the number of bits indicated by the SOURCE PREFIX-LENGTH field, padding with 0 bits to
/// pad to the end of the last octet needed."
fn written(address: IpAddr, source: u8) -> Vec<u8> {
    let (family, bytes) = match address {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let length = usize::from(source).div_ceil(8);
    let mut data = vec![0, family, source, 0];
    for (at, byte) in bytes.iter().take(length).enumerate() {
        let bits = (usize::from(source) - at * 8).min(8);
        data.push(byte & !(0xff_u16 >> bits) as u8);
    }
    assert_eq!(data.len(), 4 + length);
    assert!(bytes[length..].iter().all(|byte| *byte == 0), "{address}/{source}");
    data
}
