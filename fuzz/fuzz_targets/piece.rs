//! A stored piece as the disk gives it back: any bytes are refused or read, and what is read is written and read again as the
//! same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearcast_edge::store::Piece;

fuzz_target!(|bytes: &[u8]| {
    let Ok(piece) = Piece::decode(bytes.to_vec().into()) else { return };
    let mut written = Vec::new();
    piece.encode(&mut written).expect("what was read can be written");
    let again = Piece::decode(written.into()).expect("what was written can be read");
    assert_eq!(piece, again);
});
