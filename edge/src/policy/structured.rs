//! Structured Fields (RFC 9651) as they come: several lines of one field are one value.

use http::{HeaderMap, HeaderName};
use sfv::{FieldType, List, Parser};

/// The List that all lines of a field make up; `None` when there is none, or it is not one.
///
/// "If parsing fails, either the entire field value MUST be ignored (i.e., treated as if the field were not present in the
/// section), or .." (RFC 9651 section 4.2).
pub fn list(headers: &HeaderMap, name: &HeaderName) -> Option<List> {
    let mut lines = headers.get_all(name).iter();
    let mut joined = lines.next()?.as_bytes().to_vec();
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.as_bytes());
    }
    List::parse(Parser::new(&joined)).ok()
}
