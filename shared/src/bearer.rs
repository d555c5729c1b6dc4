//! The token that a request brings: `Authorization: Bearer ..` (RFC 6750 section 2.1).

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The token of that field, if it has one.
pub fn given(headers: &HeaderMap) -> Option<&[u8]> {
    let (kind, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    kind.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn table() {
        let rows = [
            ("one", Some("Bearer correct-horse"), Some("correct-horse")),
            ("the scheme's case does not matter", Some("bEARER correct-horse"), Some("correct-horse")),
            ("an empty one", Some("Bearer "), Some("")),
            ("another scheme", Some("Basic correct-horse"), None),
            ("no scheme", Some("correct"), None),
            ("no field", None, None),
        ];
        for (name, field, wanted) in rows {
            let headers = field.map(|value| (AUTHORIZATION, HeaderValue::from_static(value))).into_iter().collect();
            assert_eq!(given(&headers), wanted.map(str::as_bytes), "{name}");
        }
    }
}
