//! Whether the bytes of an answer can be trusted to be one answer, where hyper leaves that to us.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use super::{Answer, Failure};

/// Refuses answers that hyper takes but we must not, and rights the lengths that they announce.
pub(super) fn checked(mut answer: Response<Answer>) -> Result<Response<Answer>, Failure> {
    // "A server MUST NOT switch to a protocol that was not indicated by the client in the corresponding request's Upgrade
    // header field" (RFC 9110 section 7.8), and we never send one. hyper skips all other interim answers.
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::Broken);
    }
    let bodiless = http_body::Body::is_end_stream(answer.body());
    let headers = answer.headers_mut();
    if headers.contains_key(TRANSFER_ENCODING) {
        if !bodiless && !codings_are_ours(headers) {
            return Err(Failure::Coding);
        }
        // "Such a message might indicate an attempt to perform request smuggling or response splitting and ought to be
        // handled as an error" (RFC 9112 section 6.3).
        if headers.remove(CONTENT_LENGTH).is_some() && !bodiless {
            return Err(Failure::Broken);
        }
    }
    right_length(headers);
    Ok(answer)
}

/// Leaves one valid Content-Length, or none. The same number several times is to be refused or made one (RFC 9110
/// section 8.6); and hyper does not look at any where no body follows.
fn right_length(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    match (lines.next(), lines.next()) {
        (None, _) => return,
        (Some(only), None) if digits(only.as_bytes()).is_some() => return,
        _ => {}
    }
    let values = headers.get_all(CONTENT_LENGTH).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut values = values.map(|value| digits(value.trim_ascii()));
    match values.next().flatten().filter(|first| values.all(|other| other == Some(*first))) {
        Some(length) => headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
        None => headers.remove(CONTENT_LENGTH),
    };
}

fn digits(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

/// Whether the transfer coding is such as may come unasked: `chunked` and, though it is none, `identity`.
///
/// Others are for those who ask for them in TE (RFC 9112 section 7.4), which we never do, and hyper does not undo them: such
/// a body would be passed on, and stored, as if it were the content. "A sender MUST NOT apply the chunked transfer coding
/// more than once to a message body" (section 6.1).
fn codings_are_ours(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(TRANSFER_ENCODING).iter();
    let mut codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut named = codings.by_ref().filter(|coding| !coding.is_empty());
    let only = named.next().filter(|_| named.next().is_none());
    only.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked") || coding.eq_ignore_ascii_case(b"identity"))
}

/// Whether the end of the answer's body can be told from a broken connection (RFC 9112 section 8): HTTP/2 says so
/// itself, HTTP/1 by length or last chunk.
pub fn has_a_sure_end(answer: &Response<Answer>) -> bool {
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
        let rows: [(&str, &[&[u8]], bool); 17] = [
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

    fn righted(lines: &[String]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CONTENT_LENGTH, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        right_length(&mut headers);
        headers.get_all(CONTENT_LENGTH).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn lengths() {
        let rows: [(&[&str], &[&str]); 15] = [
            (&[], &[]),
            (&["5"], &["5"]),
            (&["0"], &["0"]),
            (&["5", "5"], &["5"]),
            (&["5, 5"], &["5"]),
            (&["5,5", " 05"], &["5"]),
            (&["5", "6"], &[]),
            (&["5, 6"], &[]),
            (&["5", "x"], &[]),
            (&["5,"], &[]),
            (&[""], &[]),
            (&["+5"], &[]),
            (&["-5"], &[]),
            (&["5 5"], &[]),
            (&["18446744073709551616"], &[]),
        ];
        for (lines, wanted) in rows {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(righted(&lines), wanted, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn one_valid_length_or_none(lines in proptest::collection::vec("[0-9+, x]{0,4}", 0..4)) {
            let once = righted(&lines);
            prop_assert!(once.len() <= 1 && once.iter().all(|length| length.parse::<u64>().is_ok()));
            prop_assert_eq!(righted(&once), once);
        }

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
