//! Ranges of bodies that are too large to be stored: clients get what they asked for all the same.

use crate::harness::client::Ask;
use crate::harness::node::Setup;
use crate::harness::origin::{Origin, Reply};
use crate::harness::vast::Vast;

#[test]
fn a_byte_of_what_is_too_large_to_be_stored() {
    let vast = Vast::new(1 << 30, 1);
    let sent = vast.clone();
    let origin = Origin::start(move |seen| Reply::ranged(seen, &sent, "\"v1\""));
    // A quarter of the memory, far less than a gibibyte, is the most that is stored.
    let node = Setup::new(&origin).start();
    for (value, place) in [("bytes=0-0", "bytes 0-0"), ("bytes=1000-1999", "bytes 1000-1999")] {
        for _ in 0..2 {
            let answer = node.ask(&Ask::get("/big").field("range", value));
            assert_eq!(answer.status, 206, "{value}");
            assert_eq!(answer.field("content-range"), Some(format!("{place}/{}", vast.length)), "{value}");
        }
    }
}
