//! Several ranges in one answer (RFC 9110 sections 14.6 and 15.3.7.2).

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::assembly::Assembly;
use crate::store::object::Object;

/// Makes `body` be `parts` of the body of `object`, each behind its own header, and `headers` say so. "A server that
/// generates a multipart response .. MUST NOT generate a Content-Range header field in the header section of a multipart
/// response"; the type of the whole moves into the parts.
pub(super) fn write(body: &mut Assembly, headers: &mut HeaderMap, object: &Object, parts: &[(u64, u64)]) {
    // Long enough that no body holds it by chance, and nobody can foresee it.
    let boundary = format!("{:032x}", rand::random::<u128>());
    let kind = headers.get(CONTENT_TYPE).cloned();
    for (first, end) in parts {
        let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
        if let Some(kind) = &kind {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(kind.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(
            format!("Content-Range: bytes {first}-{}/{}\r\n\r\n", end - 1, object.length).as_bytes(),
        );
        body.bytes(head);
        body.range(object, *first, *end);
    }
    body.bytes(format!("\r\n--{boundary}--\r\n"));
    headers.remove(CONTENT_RANGE);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.left().unwrap_or(0)));
    let kind = format!("multipart/byteranges; boundary={boundary}");
    headers.insert(CONTENT_TYPE, HeaderValue::try_from(kind).expect("hexadecimal digits"));
}
