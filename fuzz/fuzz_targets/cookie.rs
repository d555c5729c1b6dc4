//! A cookie option: what we gave a client is valid for it and for a while, and nothing else is.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use nearcast_dns::fuzzing::cookie;
use nearcast_shared::clock::Timestamp;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fuzz_target!(|data: &[u8]| {
    let (client, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let is_valid = |data: &[u8], client: IpAddr, seconds: i64| {
        let at = Timestamp::from_seconds(NOW.seconds() + seconds);
        cookie(data, client, at).is_some_and(|(valid, _)| valid)
    };
    // RFC 7873 section 5.2.2: too short for a client's part, or for both, or too long.
    let is_wrong = !matches!(data.len(), 8 | 16..=40);
    let Some((valid, answer)) = cookie(data, client, NOW) else {
        assert!(is_wrong, "{} bytes", data.len());
        return;
    };
    assert!(!is_wrong, "{} bytes", data.len());
    // The fuzzer sees what is compared, and so may make one that is valid, but not for two clients.
    assert!(!valid || data.len() == 24 && !is_valid(data, other, 0), "forged: {data:?}");
    let ours = answer.expect("every client gets one");
    assert_eq!(ours[..8], data[..8], "the client's part");
    if valid {
        return;
    }
    assert!(is_valid(&ours, client, 0) && is_valid(&ours, client, 3600) && is_valid(&ours, client, -300));
    assert!(!is_valid(&ours, client, 3601) && !is_valid(&ours, client, -301), "too old, too new");
    assert!(!is_valid(&ours, other, 0), "of somebody else");
    for bit in 0..ours.len() * 8 {
        let mut changed = ours.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!is_valid(&changed, client, 0), "changed in bit {bit}");
    }
});
