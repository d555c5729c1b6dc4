//! Whether the bytes of an answer can be trusted to be one answer, where hyper leaves that to us.

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::Failure;

/// Refuses answers that hyper takes but we must not.
pub(super) fn checked(answer: Response<Incoming>) -> Result<Response<Incoming>, Failure> {
    // "A server MUST NOT switch to a protocol that was not indicated by the client in the corresponding request's Upgrade
    // header field" (RFC 9110 section 7.8), and we never send one. hyper skips all other interim answers.
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::Broken);
    }
    if !codings_are_ours(answer.headers()) {
        return Err(Failure::Coding);
    }
    Ok(answer)
}

/// Whether the transfer codings are such as may come unasked: none, `chunked` and, though it is none, `identity`.
///
/// Others are for those who ask for them in TE (RFC 9112 section 7.4), which we never do, and hyper does not undo them: such
/// a body would be passed on, and stored, as if it were the content. "A sender MUST NOT apply the chunked transfer coding
/// more than once to a message body" (section 6.1).
fn codings_are_ours(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter().peekable();
    if lines.peek().is_none() {
        return true;
    }
    let mut codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut named = codings.by_ref().filter(|coding| !coding.is_empty());
    let only = named.next().filter(|_| named.next().is_none());
    only.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked") || coding.eq_ignore_ascii_case(b"identity"))
}

/// Whether the end of the answer's body can be told from a broken connection (RFC 9112 section 8): HTTP/2 says so
/// itself, HTTP/1 by length or last chunk.
pub fn has_a_sure_end(answer: &Response<Incoming>) -> bool {
    // hyper reads a body whose last transfer coding is not chunked until the connection closes.
    let last = answer.headers().get_all(TRANSFER_ENCODING).iter().next_back().and_then(|line| line.to_str().ok());
    let last = last.and_then(|line| line.rsplit(',').next()).map(str::trim);
    answer.version() == Version::HTTP_2
        || last.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        || http_body::Body::size_hint(answer.body()).exact().is_some()
        || http_body::Body::is_end_stream(answer.body())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn ours(lines: &[&[u8]]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(TRANSFER_ENCODING, HeaderValue::from_bytes(line).unwrap());
        }
        codings_are_ours(&headers)
    }

    #[test]
    fn codings() {
        let rows: [(&str, &[&[u8]], bool); 18] = [
            ("none", &[], true),
            ("chunked", &[b"chunked"], true),
            ("any case", &[b"ChunkeD"], true),
            ("space around", &[b"\t chunked "], true),
            ("empty elements", &[b", chunked,,"], true),
            ("an empty line besides", &[b"", b"chunked"], true),
            ("identity", &[b"identity"], true),
            ("an empty line", &[b""], false),
            ("gzip first", &[b"gzip, chunked"], false),
            ("gzip on a line of its own", &[b"gzip", b"chunked"], false),
            ("gzip last", &[b"chunked, gzip"], false),
            ("unknown", &[b"foo"], false),
            ("chunked twice", &[b"chunked, chunked"], false),
            ("chunked twice on two lines", &[b"chunked", b"chunked"], false),
            ("identity, too", &[b"identity, chunked"], false),
            ("a parameter", &[b"chunked;x=1"], false),
            ("not ASCII", &[b"\xffchunked"], false),
            ("something behind", &[b"chunked x"], false),
        ];
        for (name, lines, wanted) in rows {
            assert_eq!(ours(lines), wanted, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_names_another_coding_is_never_ours(
            before in "(chunked|identity|[ ,]){0,3}",
            other in "[a-bd-hj-z][a-z]{0,6}",
            after in "(, ?(chunked|identity)){0,2}",
        ) {
            let line = format!("{before},{other}{after}");
            prop_assert!(!ours(&[line.as_bytes()]));
        }
    }
}
