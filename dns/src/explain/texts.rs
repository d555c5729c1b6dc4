//! An explanation as a TXT record: for `dig TXT _explain.<name>`, by those whom the config allows it.

use crate::explain::{Explanation, PopExplanation};

/// The label before a steered name, on the wire.
pub(crate) const LABEL: &[u8] = b"\x08_explain";
/// Bytes of a string (RFC 1035 section 3.3).
const STRING_MAX: usize = 255;
/// PoPs of the ranking that are told.
const RANKED_MAX: usize = 16;

/// The data of a TXT record with these strings, each of at most 255 bytes.
pub(crate) fn rdata(strings: &[String]) -> Vec<u8> {
    let cut = |text: &String| text.as_bytes()[..text.len().min(255)].to_vec();
    strings.iter().map(cut).flat_map(|text| [vec![text.len() as u8], text].concat()).collect()
}

/// The strings of the record, in this order: client, location, policy, answer, the ranking, why.
pub(crate) fn texts(it: &Explanation) -> Vec<String> {
    let mut all = vec![
        format!("client {}", it.client),
        located(it),
        match &it.rule {
            Some(rule) => format!("policy {}, rule {rule}", it.policy),
            None => format!("policy {}", it.policy),
        },
        answered(it),
        format!("scope /{}, ttl {} s", it.scope, it.ttl),
    ];
    all.extend(it.ranking.iter().take(RANKED_MAX).enumerate().map(|(place, pop)| ranked(place, pop)));
    if it.ranking.len() > RANKED_MAX {
        all.push(format!("and {} more PoPs", it.ranking.len() - RANKED_MAX));
    }
    all.push(it.why.clone());
    all.iter().flat_map(|text| pieces(text)).collect()
}

fn located(it: &Explanation) -> String {
    let place = it.subdivision.as_ref().or(it.country.as_ref()).map(|place| format!(" {place}")).unwrap_or_default();
    let asn = it.asn.map(|asn| format!(" AS{asn}")).unwrap_or_default();
    match &it.location {
        Some(at) => format!("location {:.2}, {:.2}{place}{asn}", at.latitude, at.longitude),
        None => format!("location unknown{place}{asn}"),
    }
}

fn answered(it: &Explanation) -> String {
    let addresses: Vec<String> = it.addresses.iter().map(ToString::to_string).collect();
    let what = it.cname.as_ref().map_or_else(|| addresses.join(", "), |name| format!("CNAME {name}"));
    format!("answer {}: {what}", it.pop.as_deref().unwrap_or("of no PoP"))
}

fn ranked(place: usize, pop: &PopExplanation) -> String {
    let distance = pop.distance_km.map(|km| format!(" {km:.0} km")).unwrap_or_default();
    let origin = if pop.reaches_origin { "" } else { ", does not reach the origin" };
    let state = if pop.up { "up" } else { "DOWN" };
    format!("{}. {}{distance} group {} {state} ({}){origin}", place + 1, pop.name, pop.group, pop.reason.token())
}

/// Cuts between characters.
fn pieces(text: &str) -> Vec<String> {
    let (mut rest, mut pieces) = (text, Vec::new());
    while rest.len() > STRING_MAX {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(STRING_MAX));
        pieces.push(piece.to_owned());
        rest = after;
    }
    pieces.push(rest.to_owned());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_cut_between_characters() {
        let text = "é".repeat(300);
        let cut = pieces(&text);
        assert_eq!(cut.iter().map(String::len).collect::<Vec<_>>(), [254, 254, 92]);
        assert_eq!(cut.concat(), text);
        assert_eq!(pieces(""), [""]);
    }
}
