//! A zone file: what is read of it, written as records of unknown types (RFC 3597), is read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearcast_shared::config::zone_text;
use nearcast_shared::name::Name;

fuzz_target!(|text: &[u8]| {
    let zone = Name::parse("example.net").expect("a name");
    let (records, _) = zone_text(text, &zone, 30);
    let mut again = String::new();
    for record in &records {
        let data: String = record.rdata.iter().map(|byte| format!("{byte:02x}")).collect();
        let length = record.rdata.len();
        again.push_str(&format!("{}. {} IN TYPE{} \\# {length} {data}\n", record.name, record.ttl, record.rtype));
    }
    let (read, mistakes) = zone_text(again.as_bytes(), &zone, 30);
    assert_eq!((mistakes, &read), (0, &records), "{again}");
});
