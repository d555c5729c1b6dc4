//! The two files of a key, with a zero byte between them: what is read is written so that it is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearcast_dns::fuzzing::key_files;
use nearcast_shared::name::Name;

fuzz_target!(|data: &[u8]| {
    let Some((public, private)) = std::str::from_utf8(data).ok().and_then(|text| text.split_once('\0')) else { return };
    let zone = Name::parse("example.net").expect("a name");
    let Some((public, private)) = key_files(public, private, &zone) else { return };
    assert_eq!(key_files(&public, &private, &zone), Some((public, private)));
});
