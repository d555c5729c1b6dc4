//! Files as they are found, and what is told of them.

use super::*;

fn zone() -> Name {
    Name::parse("example.net").unwrap()
}

/// Writes files into a folder and reads the first.
fn read_all(files: &[(&str, &str)]) -> (tempfile::TempDir, Content) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let content = read(&folder.path().join(files[0].0), folder.path(), &zone(), 30);
    (folder, content)
}

fn records(files: &[(&str, &str)]) -> Vec<String> {
    let (_folder, content) = read_all(files);
    assert_eq!(content.mistakes, []);
    let shown = |(at, record): &(Line, Record)| {
        let Record { name, ttl, rtype, .. } = record;
        format!("{}: {name} {ttl} {}", at.line, rtype::text(*rtype))
    };
    content.records.iter().map(shown).collect()
}

fn mistakes(files: &[(&str, &str)]) -> Vec<String> {
    let (folder, content) = read_all(files);
    let shown = |(at, message): &(Line, String)| {
        format!("{}:{}: {message}", at.file.strip_prefix(folder.path()).unwrap().display(), at.line)
    };
    content.mistakes.iter().map(shown).collect()
}

#[test]
fn owners_ttls_and_classes() {
    let text = "\
a A 192.0.2.1
  IN AAAA 2001:db8::1
b 60 TXT x
\tTXT y
$TTL 1h30m
c A 192.0.2.1
d IN 2m A 192.0.2.1
e 3m IN A 192.0.2.1
f a 192.0.2.1
@ in mx ( 10
   mail ) ; the end
MX MX 10 a
$ORIGIN sub
@ A 192.0.2.1
g.h A 192.0.2.1
i.example.com. A 192.0.2.1
$origin example.org.
j CLASS1 TYPE4711 \\# 0
";
    let wanted = [
        "1: a.example.net 30 A",
        "2: a.example.net 30 AAAA",
        "3: b.example.net 60 TXT",
        // RFC 1035 section 5.1: "Omitted class and TTL values are default to the last explicitly stated values."
        "4: b.example.net 60 TXT",
        "6: c.example.net 5400 A",
        "7: d.example.net 120 A",
        "8: e.example.net 180 A",
        "9: f.example.net 5400 A",
        "10: example.net 5400 MX",
        "12: mx.example.net 5400 MX",
        "14: sub.example.net 5400 A",
        "15: g.h.sub.example.net 5400 A",
        "16: i.example.com 5400 A",
        "18: j.example.org 5400 TYPE4711",
    ];
    assert_eq!(records(&[("zone", text)]), wanted);
}

#[test]
fn times() {
    let rows = [
        ("0", Some(0)),
        ("300", Some(300)),
        ("1h30m", Some(5400)),
        ("1W2d3H4m5S", Some(604_800 + 2 * 86_400 + 3 * 3600 + 4 * 60 + 5)),
        ("2147483647", Some(i32::MAX as u32)),
        ("2147483648", None),
        ("9999w", None),
        ("99999999999", None),
        ("", None),
        ("h", None),
        ("1x", None),
        ("-1", None),
    ];
    for (text, wanted) in rows {
        assert_eq!(seconds(text), wanted, "{text}");
    }
}

#[test]
fn includes() {
    let main = "$INCLUDE parts/one.zone one\na A 192.0.2.1\n$INCLUDE \"parts/two.zone\"\n  TXT z\n";
    let files = [
        ("zone", main),
        ("parts/one.zone", "$TTL 9\n@ A 192.0.2.1\n$ORIGIN far.example.\nb A 192.0.2.1\n"),
        ("parts/two.zone", "c A 192.0.2.1\n$INCLUDE one.zone two\n"),
    ];
    let wanted = [
        "2: one.example.net 9 A",
        "4: b.far.example 9 A",
        // Neither the origin nor the TTL of a file within is left behind.
        "2: a.example.net 30 A",
        "1: c.example.net 30 A",
        "2: two.example.net 9 A",
        "4: b.far.example 9 A",
        "4: a.example.net 30 TXT",
    ];
    assert_eq!(records(&files), wanted);
}

#[test]
fn all_mistakes_have_their_places() {
    let main = " A 192.0.2.1
a A 192.0.2.300
b..c A 192.0.2.1
  A 192.0.2.1
d A
e
f CH A 192.0.2.1
g 1x A 192.0.2.1
h XYZ 1
i DNAME a
$TTL soon
$ORIGIN
$GENERATE 1-9 a A 192.0.2.$
$FOO
$INCLUDE missing.zone
$INCLUDE part.zone
j TXT \"open
k A 192.0.2.1
";
    let told = mistakes(&[("zone", main), ("part.zone", "a A nowhere\n")]);
    let wanted = [
        ("zone:1: ", "there is no name"),
        ("zone:2: ", "A: "),
        ("zone:3: ", "`b..c` is not a domain name"),
        ("zone:4: ", "there is no name"),
        ("zone:5: ", "A: the data is missing"),
        ("zone:6: ", "the type is missing"),
        ("zone:7: ", "there is only the class IN"),
        ("zone:8: ", "`1x` is not a time"),
        ("zone:9: ", "`XYZ` is no type of records"),
        ("zone:10: ", "DNAME is not supported"),
        ("zone:11: ", "`soon` is not a time"),
        ("zone:12: ", "must be $ORIGIN NAME"),
        ("zone:13: ", "$GENERATE is not supported"),
        ("zone:14: ", "`$FOO` is none of"),
        ("zone:15: ", "missing.zone: "),
        ("part.zone:1: ", "A: "),
        ("zone:17: ", "a quoted string must end on its line"),
    ];
    for (told, (place, words)) in told.iter().zip(wanted) {
        assert!(told.starts_with(place) && told.contains(words), "{told} is not {place}{words}");
    }
    assert_eq!(told.len(), wanted.len(), "{told:?}");
}

#[test]
fn nothing_outside_the_folder_is_included() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "root:x:0:0\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&secret, folder.path().join("link")).unwrap();
    std::fs::write(folder.path().join("inside"), "a A 192.0.2.1\n").unwrap();
    std::os::unix::fs::symlink("inside", folder.path().join("alias")).unwrap();
    let zonefile = folder.path().join("zone");
    for (named, words) in [
        (secret.to_str().unwrap(), Some("must be in the config's folder")),
        ("link", Some("must be in the config's folder")),
        ("../secret", Some("`..` is not allowed")),
        ("alias", None),
    ] {
        std::fs::write(&zonefile, format!("$INCLUDE {named}\n")).unwrap();
        let content = read(&zonefile, folder.path(), &zone(), 30);
        match words {
            Some(words) => {
                assert!(content.mistakes[0].1.contains(words), "{named}: {:?}", content.mistakes);
                assert!(!content.mistakes[0].1.contains("root"), "nothing of it is shown");
            }
            None => assert_eq!((content.records.len(), content.mistakes.len()), (1, 0)),
        }
    }
}

#[test]
fn a_file_that_includes_itself_ends() {
    let told = mistakes(&[("zone", "$INCLUDE zone\n")]);
    assert_eq!(told, ["zone:1: more than 8 files within files"]);
}

#[test]
fn what_is_no_zone_file_at_all_is_not_told_without_end() {
    let noise = "x y z\n".repeat(5000);
    let told = mistakes(&[("zone", &noise)]);
    assert_eq!(told.len(), MISTAKES_MAX + 1);
    assert!(told[MISTAKES_MAX].contains("and more"));
}

#[test]
fn records_outside_of_files() {
    let made = |data: &str| record(&zone(), "@", 300, "mx", data).map(|record| record.rdata);
    assert_eq!(made("10 a"), made("( 10\n a.example.net. ) ; why"));
    assert!(made("10 a\n20 b").unwrap_err().contains("one line for each record"));
    assert!(made("").unwrap_err().contains("the data is missing"));
    assert!(made("10 \"a").unwrap_err().contains("a quoted string"));
    assert!(record(&zone(), "a..b", 1, "A", "192.0.2.1").unwrap_err().contains("`a..b` is not a domain name"));
    assert!(record(&zone(), "a", 1, "AXFR", "x").unwrap_err().contains("a type of questions"));
}
