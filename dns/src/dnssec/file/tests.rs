use std::os::unix::fs::PermissionsExt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use nearcast_shared::clock::Timestamp;
use nearcast_shared::rtype;

use super::*;
use crate::dnssec::canonical::{Set, signed_data};
use crate::dnssec::rrsig::{Rrsig, Window, labels};

/// RFC 6605 section 6.1.
const P256: [&str; 2] = [
    "example.net. 3600 IN DNSKEY 257 3 13 (\n        GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edb\n        \
     krSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA== )\n",
    "Private-key-format: v1.2\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=\n",
];

/// RFC 8080 section 6.1.
const ED25519: [&str; 2] = [
    "example.com. 3600 IN DNSKEY 257 3 15 (\n             l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4= )\n",
    "Private-key-format: v1.2\nAlgorithm: 15 (ED25519)\nPrivateKey: ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=\n",
];

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Writes the files of a pair and reads the key.
fn read(zone: &str, [public, private]: [&str; 2]) -> Result<Key, String> {
    let folder = tempfile::tempdir().unwrap();
    let stem = format!("K{zone}.+013+00001");
    fs::write(folder.path().join(format!("{stem}.key")), public).unwrap();
    let path = folder.path().join(format!("{stem}.private"));
    fs::write(&path, private).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let files = KeyFile::list(folder.path()).unwrap();
    assert_eq!(files[0].0, zone);
    files[0].1.read(&name(zone)).map_err(|error| error.to_string())
}

fn signed(key: &Key, set: &Set<'_>, begins: i64, ends: i64) -> Vec<u8> {
    let at = Timestamp::from_seconds;
    let rrsig = Rrsig {
        covered: set.rtype,
        algorithm: key.algorithm().number(),
        labels: labels(set.owner),
        ttl: set.ttl,
        window: Window { begins: at(begins), ends: at(ends), due: at(ends) },
        tag: key.tag(),
        signer: key.zone(),
    };
    signed_data(&rrsig, set)
}

#[test]
fn the_example_of_rfc_6605() {
    let key = read("example.net", P256).unwrap();
    let ds = "example.net. IN DS 55648 13 2 B4C8C1FE2E7477127B27115656AD6256F424625BF5C1E2770CE6D6E37DF61D17";
    assert_eq!(key.ds_text(), ds);
    let rdatas = |each: &mut dyn FnMut(&[u8])| each(&[192, 0, 2, 1]);
    let set = Set { owner: b"\x03WWW\x07Example\x03net\x00", rtype: rtype::A, ttl: 3600, rdatas: &rdatas };
    let at = |stamp| parse_stamp(stamp).unwrap().seconds();
    let data = signed(&key, &set, at("20100812100439"), at("20100909100439"));
    let signature: Vec<u8> =
        base64::decode("qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==")
            .unwrap();
    let point = [&[4], key.public()].concat();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    public.verify(&data, &signature).unwrap();
    public.verify(&data, &key.pair().sign(&data).unwrap()).unwrap();
}

#[test]
fn the_example_of_rfc_8080() {
    let key = read("example.com", ED25519).unwrap();
    let ds = "example.com. IN DS 3613 15 2 3AA5AB37EFCE57F737FC1627013FEE07BDF241BD10F3B1964AB55C78E79A304B";
    assert_eq!(key.ds_text(), ds);
    let rdatas = |each: &mut dyn FnMut(&[u8])| each(b"\x00\x0a\x04MAIL\x07example\x03com\x00");
    let set = Set { owner: b"\x07example\x03com\x00", rtype: rtype::MX, ttl: 3600, rdatas: &rdatas };
    let signature = key.pair().sign(&signed(&key, &set, 1_438_207_200, 1_440_021_600)).unwrap();
    let wanted = "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==";
    assert_eq!(base64::encode_string(&signature), wanted);
}

#[test]
fn keys_come_back_from_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("new/keys");
    let at = |seconds| Some(Timestamp::from_seconds(seconds));
    let times = Times {
        created: at(5),
        publish: at(10),
        offer: at(20),
        activate: at(30),
        withdraw: at(40),
        inactive: at(50),
        delete: at(60),
    };
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let mut key = Key::generate(&name("a.example.net"), algorithm, times).unwrap();
        key.other.push("DSPublish: 20260101000000".to_owned());
        let private = write(&keys, &key).unwrap();
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
        let [(zone, file)] = &KeyFile::list(&keys).unwrap()[..] else { panic!("one key") };
        let again = file.read(&name(zone)).unwrap();
        assert_eq!((again.tag(), again.flags(), again.times), (key.tag(), 257, times));
        assert_eq!((again.dnskey(), &again.other), (key.dnskey(), &key.other));
        assert!(!format!("{again:?}").contains("rivate"), "{again:?}");
        remove(&keys, &again).unwrap();
        assert!(KeyFile::list(&keys).unwrap().is_empty());
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::generate(&name("example.net"), Algorithm::EcdsaP256, Times::default()).unwrap();
    let private = write(folder.path(), &key).unwrap();
    for (mode, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o660, true)] {
        fs::set_permissions(&private, fs::Permissions::from_mode(mode)).unwrap();
        let read = KeyFile::of(folder.path(), &key).read(&name("example.net"));
        assert_eq!(matches!(read, Err(KeyFileError::Exposed { .. })), refused, "{mode:o}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let [public, private] = P256;
    let with_time = |line: &str| private.replace("v1.2", "v1.3") + line;
    let time = "is not a time such as 20261126174500";
    let rows = [
        ("no record", "; nothing\n".to_owned(), private.to_owned(), "must have `example.net. IN DNSKEY"),
        (
            "another zone",
            public.replace("net.", "org."),
            private.to_owned(),
            "is a key of example.org., not of example.net.",
        ),
        ("RSA", public.replace(" 13 ", " 8 "), private.to_owned(), "algorithm 8 is not supported; 13"),
        ("a revoked key", public.replace("257", "385"), private.to_owned(), "is revoked"),
        ("no zone key", public.replace("257", "1"), private.to_owned(), "257 or 256"),
        (
            "half a key",
            public.replace("krSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==", "kg=="),
            private.to_owned(),
            "has 34 bytes",
        ),
        ("no base64", public.replace("krSq", "k*Sq"), private.to_owned(), "the public key: "),
        ("another key", public.to_owned(), private.replace("GU6S", "GU6T"), "not that of the .key file"),
        ("another algorithm", public.to_owned(), private.replace("13 (", "15 ("), "another than that of the .key"),
        (
            "no format",
            public.to_owned(),
            private.replace("Private-key-format: v1.2\n", ""),
            "has no `Private-key-format",
        ),
        (
            "a new format",
            public.to_owned(),
            private.replace("v1.2", "v2.0"),
            "Private-key-format v2.0 is not supported",
        ),
        ("no key", public.to_owned(), private.replace("PrivateKey", "Key"), "has no `PrivateKey"),
        ("no colon", public.to_owned(), format!("{private}what\n"), "has no colon"),
        ("no time", public.to_owned(), with_time("Publish: tomorrow\n"), time),
        ("revocation", public.to_owned(), with_time("Revoke: 20300101000000\n"), "revoked keys are not supported"),
    ];
    for (what, public, private, wanted) in rows {
        let found = read("example.net", [&public, &private]).unwrap_err();
        assert!(found.contains(wanted), "{what}: {found}");
        assert!(!found.contains("GU6S"), "{what}: the private key is told: {found}");
    }
    assert!(read("example.net", [public, &"x".repeat(70_000)]).unwrap_err().contains("too large"));
}

#[test]
fn old_files_are_used_always_and_new_ones_when_they_say() {
    let [public, private] = P256;
    assert!(read("example.net", P256).unwrap().times.is_active(Timestamp(1)));
    let new = private.replace("v1.2", "v1.3");
    assert_eq!(read("example.net", [public, &new]).unwrap().times, Times::default());
    let timed = new + "Publish: 20260101000000\nActivate: 20260102000000\nDSPublish: 20260101000000\n";
    let key = read("example.net", [public, &timed]).unwrap();
    assert!(key.times.is_active(parse_stamp("20260102000000").unwrap()));
    assert!(!key.times.is_active(parse_stamp("20260101235959").unwrap()));
    assert_eq!(key.other, ["DSPublish: 20260101000000"]);
}

#[test]
fn an_odd_end_is_not_kept() {
    let [public, private] = P256;
    let key = read("example.net", [public, &format!("{private}DSPublish: 20260101000000\r")]).unwrap();
    assert_eq!(key.other, ["DSPublish: 20260101000000"]);
}
