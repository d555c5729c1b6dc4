//! How DNS answers are given.

use std::num::NonZeroU32;
use std::path::Path;

use super::super::file::{self, At};
use super::super::{CookieSecret, Cookies, Inputs, Manners, QueryLog, RateLimit};
use super::{Compiler, span_of};

/// Secrets that are in force at once: the one that makes cookies, the ones before it, and the next.
const SECRETS_MAX: usize = 8;
/// Bytes of a string of a TXT record (RFC 1035 section 3.3).
const STRING_MAX: usize = 255;
/// Bytes of a name server identifier: with all other options and the longest name it has to fit 512 bytes.
const NSID_MAX: usize = 64;
/// Answers a second: beyond, intervals are too short to be told apart.
const RATE_MAX: u32 = 1_000_000;

impl Compiler<'_> {
    pub(super) fn manners(&mut self, dns: &file::Dns, inputs: &Inputs) -> Manners {
        let udp_size = dns.udp_size.as_ref().map_or(1232, |size| *size.get_ref());
        let smaller = dns.udp_size_without_cookie.as_ref().map(|given| {
            self.number("dns.udp-size-without-cookie", &Some(given.clone()), 512..=udp_size.max(512), 512)
        });
        let cookies = self.cookies(&dns.cookies, inputs);
        if smaller.is_some() && cookies.is_none() {
            let message = "needs cookies: with dns.cookies.on = false nobody could have one";
            self.gather.at(span_of(&dns.udp_size_without_cookie), "dns.udp-size-without-cookie", message);
        }
        Manners {
            nsid: self.text("dns.nsid", &dns.nsid, NSID_MAX),
            version: self.text("dns.version", &dns.version, STRING_MAX),
            id: self.text("dns.id", &dns.id, STRING_MAX),
            cookies,
            udp_size_without_cookie: smaller,
            rate_limit: dns.rate_limit.as_ref().map(|limit| self.rate_limit(limit)),
        }
    }

    /// What is told of the server, with `{pop}` filled in.
    fn text(&mut self, key: &str, given: &At<String>, bytes_max: usize) -> Option<String> {
        let given = given.as_ref()?;
        let text = given.get_ref().replace("{pop}", &self.pop);
        if text.is_empty() || text.len() > bytes_max {
            self.gather.at(Some(given.span()), key, format!("must be from 1 to {bytes_max} bytes"));
        }
        Some(text)
    }

    fn cookies(&mut self, cookies: &file::Cookies, inputs: &Inputs) -> Option<Cookies> {
        let file = cookies.secret_file.as_ref().filter(|_| !inputs.offline);
        let secrets = file.and_then(|entry| {
            let path = self.path("dns.cookies.secret-file", entry)?;
            self.judge("dns.cookies.secret-file", entry.span(), secrets(&path))
        });
        let is_on = cookies.on.unwrap_or(true);
        let required = cookies.required.as_ref().is_some_and(|required| *required.get_ref());
        if required && !is_on {
            let message = "needs cookies: with dns.cookies.on = false nobody could have one";
            self.gather.at(span_of(&cookies.required), "dns.cookies.required", message);
        }
        is_on.then_some(Cookies { secrets: secrets.unwrap_or_default(), required })
    }

    fn rate_limit(&mut self, limit: &file::RateLimit) -> RateLimit {
        let mut rate = |key: &str, given: &At<u32>, default| {
            NonZeroU32::new(self.number(&format!("dns.rate-limit.{key}"), given, 0..=RATE_MAX, default))
        };
        let all = rate("all", &limit.all, 300);
        let answers = rate("answers", &limit.answers, 200);
        let negative = rate("negative", &limit.negative, 50);
        let errors = rate("errors", &limit.errors, 20);
        let table_size = match &limit.table_size {
            Some(size) => self.size("dns.rate-limit.table-size", size).unwrap_or(4 << 20),
            None => 4 << 20,
        };
        if !(64 << 10..=1 << 30).contains(&table_size) {
            let message = "must be from 64 KiB to 1 GiB";
            self.gather.at(span_of(&limit.table_size), "dns.rate-limit.table-size", message);
        }
        RateLimit {
            all,
            answers,
            negative,
            errors,
            slip: self.number("dns.rate-limit.slip", &limit.slip, 0..=100, 2),
            v4_prefix: self.number("dns.rate-limit.ipv4-prefix", &limit.ipv4_prefix, 8..=32, 24),
            v6_prefix: self.number("dns.rate-limit.ipv6-prefix", &limit.ipv6_prefix, 16..=128, 56),
            exempt: self.networks("dns.rate-limit.exempt", limit.exempt.as_deref()),
            log_only: limit.log_only.unwrap_or(false),
            table_size: usize::try_from(table_size).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn query_log(&mut self, log: &file::QueryLog) -> QueryLog {
        let sample = self.number("dns.query-log.sample", &log.sample, 0.0..=1.0, 0.01);
        QueryLog { to: self.log_target(&log.to), sample }
    }
}

/// A secret of 32 hexadecimal digits on each line; what begins with `#` is none.
fn secrets(path: &Path) -> Result<Vec<CookieSecret>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let secrets = lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| secret(line).ok_or_else(|| format!("{}, line {number}: {FORM}", path.display())))
        .collect::<Result<Vec<_>, _>>()?;
    if (1..=SECRETS_MAX).contains(&secrets.len()) {
        Ok(secrets)
    } else {
        Err(format!("{}: there must be from 1 to {SECRETS_MAX} secrets; {FORM}", path.display()))
    }
}

const FORM: &str = "a secret is 32 hexadecimal digits, such as of `openssl rand -hex 16`";

fn secret(text: &str) -> Option<CookieSecret> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
    Some(CookieSecret(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::super::Config;
    use super::*;

    const ONE: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    fn parse(text: &str) -> Result<Manners, String> {
        let text = format!("{text}\n[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n");
        let config = Config::parse(&text, Path::new("/etc/nearcast.toml"), &Inputs::default());
        config.map(|config| config.manners).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn mistakes() {
        let nsid = format!("[dns]\nnsid = \"{}\"", "x".repeat(65));
        let rows = [
            ("[dns]\nnsid = \"\"", "dns.nsid: must be from 1 to 64 bytes"),
            (&nsid, "dns.nsid: must be from 1 to 64 bytes"),
            ("[dns]\nversion = \"\"", "dns.version: must be from 1 to 255 bytes"),
            ("[dns.cookies]\non = false\nrequired = true", "dns.cookies.required: needs cookies"),
            ("[dns]\nudp-size-without-cookie = 1300", "dns.udp-size-without-cookie: must be from 512 to 1232"),
            ("[dns]\nudp-size-without-cookie = 512\ncookies.on = false", "dns.udp-size-without-cookie: needs cookies"),
            ("[dns.cookies]\nsecret-file = \"/nowhere/at/all\"", "dns.cookies.secret-file: /nowhere/at/all"),
            ("[dns.rate-limit]\nanswers = 1000001", "dns.rate-limit.answers: must be from 0 to 1000000"),
            ("[dns.rate-limit]\nipv4-prefix = 33", "dns.rate-limit.ipv4-prefix: must be from 8 to 32"),
            ("[dns.rate-limit]\ntable-size = \"1 KiB\"", "dns.rate-limit.table-size: must be from 64 KiB to 1 GiB"),
            ("[dns.rate-limit]\nexempt = [\"home\"]", "dns.rate-limit.exempt: `home` is not a network"),
            ("[dns.query-log]\nsample = 1.5", "dns.query-log.sample: must be from 0 to 1"),
        ];
        for (text, wanted) in rows {
            let said = parse(text).unwrap_err();
            assert!(said.contains(wanted), "{text}: {said}");
        }
    }

    #[test]
    fn limits_are_off_unless_the_table_is_there() {
        assert_eq!(parse("").unwrap().rate_limit, None);
        let limit = parse("[dns.rate-limit]\nerrors = 0").unwrap().rate_limit.unwrap();
        assert_eq!((limit.answers.map(NonZeroU32::get), limit.errors, limit.slip), (Some(200), None, 2));
        assert_eq!(parse("[dns]\nid = \"{pop}-1\"").unwrap().id.as_deref(), Some("fra-1"));
    }

    #[test]
    fn files_of_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        // (text, secrets or what is said)
        let rows = [
            (ONE.to_owned(), Ok(1)),
            (format!("# the newest\n{ONE}\n\n  {ONE}  \n"), Ok(2)),
            (String::new(), Err("from 1 to 8 secrets")),
            ("# nothing\n".to_owned(), Err("from 1 to 8 secrets")),
            (format!("{ONE}\n").repeat(9), Err("from 1 to 8 secrets")),
            (format!("{ONE}\n{}", &ONE[1..]), Err("line 2: a secret is 32 hexadecimal digits")),
            (format!("+{}", &ONE[1..]), Err("line 1")),
            (format!("{ONE}0"), Err("line 1")),
        ];
        for (text, wanted) in rows {
            std::fs::write(&path, &text).unwrap();
            match (secrets(&path), wanted) {
                (Ok(secrets), Ok(count)) => assert_eq!(secrets.len(), count, "{text}"),
                (Err(said), Err(wanted)) => assert!(said.contains(wanted), "{said}"),
                (got, wanted) => panic!("{text}: {got:?}, not {wanted:?}"),
            }
        }
        assert!(secrets(&folder.path().join("none")).is_err());
        std::fs::write(&path, ONE).unwrap();
        assert_eq!(secrets(&path).unwrap()[0].0[..3], [0xe5, 0xe9, 0x73]);
        assert!(!format!("{:?}", secrets(&path).unwrap()).contains("229"), "nothing of it shows");
    }
}
