//! Which nodes a client command talks to, and with what token.
//!
//! A token leaves this machine over https only. Over plain http it goes to loopback addresses and nowhere else, whatever
//! the config or the command line says.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::{HeaderValue, Uri};
use nearcast_shared::config::{Config, Inputs, Mistakes, units};
use nearcast_shared::trust::{self, TrustError};
use thiserror::Error;

use super::super::run::BAD_CONFIG;
use super::Client;
use crate::control::chain;

/// The config file that is read when none is named and it is there.
const DEFAULT_CONFIG: &str = "nearcast.toml";

const TOKEN_VARIABLE: &str = "NEARCAST_ADMIN_TOKEN";

/// Which nodes to talk to, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Nodes")]
pub(in crate::cli) struct Nodes {
    /// The fleet's config file: every PoP that has an `admin` URL in it is asked; if none has one, this machine's own
    /// admin listener [default: nearcast.toml, if it is there].
    #[arg(long, value_name = "FILE", env = "NEARCAST_CONFIG")]
    config: Option<PathBuf>,
    /// Which PoP of the config this machine is; only needed where no PoP has an `admin` URL.
    #[arg(long, value_name = "NAME", env = "NEARCAST_POP")]
    pop: Option<String>,
    /// Base URL of one node's admin listener, such as http://127.0.0.1:9053, instead of those in the config; may be
    /// repeated.
    #[arg(long, value_name = "URL")]
    admin: Vec<String>,
    /// File that holds the admin token [default: NEARCAST_ADMIN_TOKEN, else the token of the config].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of certificate authorities that https is verified by, besides Mozilla's [default: the config's
    /// origin.ca].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// For the whole call to one node.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = units::duration)]
    timeout: Duration,
}

/// Why nobody can be asked: the command line or the config must change.
#[derive(Debug, Error)]
pub(in crate::cli) enum Unusable {
    /// The config has mistakes.
    #[error("{0}")]
    Config(#[from] Mistakes),
    /// Neither a config nor a URL.
    #[error("which node? give --config FILE, or --admin URL; there is no {DEFAULT_CONFIG} here")]
    NoConfig,
    /// A URL of the command line.
    #[error("`{0}` is not the base URL of an admin listener; write such as https://fra.example.net:9053")]
    NotAUrl(String),
    /// The token would be readable on the way.
    #[error(
        "the token would cross the network to {0} in the clear: give that listener [admin] tls and use https://, \
         or reach it on its own loopback address, such as through ssh -L 9053:127.0.0.1:9053"
    )]
    InTheClear(String),
    /// No PoP has an `admin` URL, and which one this machine is was not said.
    #[error(
        "no [[pop]] of {} has an admin URL: give --pop NAME for this machine's own node ({names}), or --admin URL",
        config.display()
    )]
    WhichPop { config: PathBuf, names: String },
    /// The system chooses the port at each start.
    #[error("listen.admin of {} has port 0: give --admin URL with the port that the node logged", .0.display())]
    PortUnknown(PathBuf),
    /// There is no token.
    #[error(
        "no admin token: give --token-file FILE, set {TOKEN_VARIABLE}, or name a config that has [admin] token or \
         token-file"
    )]
    NoToken,
    /// The file of the token.
    #[error("{}: {error}", path.display())]
    TokenFile { path: PathBuf, error: io::Error },
    /// It cannot stand in a header.
    #[error("the token of {0} is not one line of visible ASCII characters")]
    BadToken(TokenSource),
    /// The authorities.
    #[error("{}", chain(.0))]
    Trust(#[from] TrustError),
}

impl Unusable {
    /// Says so; the exit code is 2.
    pub(in crate::cli) fn exit(&self) -> ExitCode {
        eprintln!("{self}");
        ExitCode::from(BAD_CONFIG)
    }
}

/// Where a token came from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum TokenSource {
    File(PathBuf),
    Environment,
    Config(PathBuf),
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Config(path) => write!(f, "{}", path.display()),
            Self::Environment => f.write_str(TOKEN_VARIABLE),
        }
    }
}

/// One node's admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Node {
    /// Its PoP, or host and port where the PoP is not known.
    pub(in crate::cli) name: String,
    pub(super) url: Uri,
}

impl Node {
    fn new(name: &str, url: Uri) -> Result<Self, Unusable> {
        let node = Self { name: name.to_owned(), url };
        if node.is_plain() && !node.is_this_machine() {
            return Err(Unusable::InTheClear(node.to_string()));
        }
        Ok(node)
    }

    pub(super) fn is_plain(&self) -> bool {
        self.url.scheme_str() == Some("http")
    }

    /// By what it says. A name other than localhost may mean this machine, but who answers for the name decides that.
    fn is_this_machine(&self) -> bool {
        match self.host().parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host().eq_ignore_ascii_case("localhost"),
        }
    }

    pub(super) fn host(&self) -> &str {
        self.url.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    pub(super) fn port(&self) -> u16 {
        self.url.port_u16().unwrap_or(if self.is_plain() { 80 } else { 443 })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        write!(f, "{}://{authority}", self.url.scheme_str().unwrap_or_default())
    }
}

impl Nodes {
    /// The nodes and the token of a config, and nothing else.
    pub(in crate::cli) fn of_config(path: PathBuf, timeout: Duration) -> Result<Client, Unusable> {
        let nodes = Self { config: Some(path), pop: None, admin: Vec::new(), token_file: None, ca: None, timeout };
        nodes.client_with(None)
    }

    /// Decides on nodes and token.
    ///
    /// # Errors
    /// When the command line, the environment and the config together do not name both, or name an unsafe way.
    pub(in crate::cli) fn client(&self) -> Result<Client, Unusable> {
        self.client_with(std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()))
    }

    pub(super) fn client_with(&self, environment: Option<String>) -> Result<Client, Unusable> {
        let own_token = self.token_file.is_some() || environment.is_some();
        let config = match self.config_path() {
            Some(path) if self.config.is_some() || self.admin.is_empty() || !own_token => Some(self.load(&path)?),
            _ => None,
        };
        let (token, token_source) = self.token(environment, config.as_ref())?;
        let authorities = [self.ca.as_deref(), config.as_ref().and_then(|config| config.origin.ca.as_deref())];
        Ok(Client {
            nodes: self.choose(config.as_ref())?,
            authorization: bearer(&token).ok_or(Unusable::BadToken(token_source.clone()))?,
            token_source,
            tls: trust::client_config(authorities.into_iter().flatten().next(), &[b"http/1.1"])?,
            timeout: self.timeout,
        })
    }

    /// The config as the node of --pop reads it, for who asks no node.
    ///
    /// # Errors
    /// When there is none, or one with mistakes.
    pub(in crate::cli) fn config(&self) -> Result<Config, Unusable> {
        let path = self.config_path().ok_or(Unusable::NoConfig)?;
        Ok(Config::load(&path, &Inputs { pop: self.pop.clone(), offline: true, ..Inputs::default() })?)
    }

    fn config_path(&self) -> Option<PathBuf> {
        let default = || Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists());
        self.config.clone().or_else(default)
    }

    /// What clients need is the same whichever PoP reads the file, unless it is about this machine's own node.
    fn load(&self, path: &Path) -> Result<Config, Mistakes> {
        let pop = self.pop.clone().or_else(|| Config::pop_names(path).into_iter().next());
        Config::load(path, &Inputs { pop, ..Inputs::default() })
    }

    fn token(&self, environment: Option<String>, config: Option<&Config>) -> Result<(String, TokenSource), Unusable> {
        if let Some(path) = &self.token_file {
            let text =
                std::fs::read_to_string(path).map_err(|error| Unusable::TokenFile { path: path.clone(), error })?;
            return Ok((text.trim().to_owned(), TokenSource::File(path.clone())));
        }
        if let Some(token) = environment {
            return Ok((token, TokenSource::Environment));
        }
        let config = config.ok_or(if self.admin.is_empty() { Unusable::NoConfig } else { Unusable::NoToken })?;
        let token = config.admin.token.as_ref().ok_or(Unusable::NoToken)?;
        Ok((token.reveal().to_owned(), TokenSource::Config(config.file.clone())))
    }

    fn choose(&self, config: Option<&Config>) -> Result<Vec<Node>, Unusable> {
        if !self.admin.is_empty() {
            return self.admin.iter().map(|text| from_text(text)).collect();
        }
        let config = config.ok_or(Unusable::NoConfig)?;
        let with_admin = config.pops.iter().filter_map(|pop| Some((&pop.name, pop.admin.clone()?)));
        let nodes: Vec<Node> = with_admin.map(|(name, url)| Node::new(name, url)).collect::<Result<_, _>>()?;
        if !nodes.is_empty() {
            return Ok(nodes);
        }
        if self.pop.is_none() && config.pops.len() > 1 {
            let names: Vec<&str> = config.pops.iter().map(|pop| pop.name.as_str()).collect();
            return Err(Unusable::WhichPop { config: config.file.clone(), names: names.join(", ") });
        }
        own(config).map(|node| vec![node])
    }
}

/// This machine's own node.
fn own(config: &Config) -> Result<Node, Unusable> {
    let listen = config.listen.admin;
    if listen.port() == 0 {
        return Err(Unusable::PortUnknown(config.file.clone()));
    }
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if config.admin.tls.is_some() { "https" } else { "http" };
    let text = format!("{scheme}://{}", SocketAddr::new(ip, listen.port()));
    let url = text.parse().map_err(|_| Unusable::NotAUrl(text))?;
    Node::new(&config.this_pop().name, url)
}

fn from_text(text: &str) -> Result<Node, Unusable> {
    let usable = |url: &Uri| {
        let scheme = matches!(url.scheme_str(), Some("http" | "https"));
        let authority = url.authority().is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
        scheme && authority && matches!(url.path(), "" | "/") && url.query().is_none()
    };
    let url = text.parse::<Uri>().ok().filter(usable).ok_or_else(|| Unusable::NotAUrl(text.to_owned()))?;
    let name = url.authority().map(ToString::to_string).unwrap_or_default();
    Node::new(&name, url)
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok().filter(|_| visible)?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        nodes: Nodes,
    }

    pub(in crate::cli) fn nodes(arguments: &[&str]) -> Nodes {
        Line::parse_from([&["nearcast"], arguments].concat()).nodes
    }

    fn config(pops: &str, pop: &str) -> Config {
        let inputs = Inputs { pop: Some(pop.to_owned()), ..Inputs::default() };
        Config::parse(pops, Path::new("fleet.toml"), &inputs).unwrap()
    }

    fn urls(nodes: &Nodes, config: Option<&Config>) -> Result<Vec<(String, String)>, String> {
        let chosen = nodes.choose(config).map_err(|error| error.to_string())?;
        Ok(chosen.iter().map(|node| (node.name.clone(), node.to_string())).collect())
    }

    fn pair(name: &str, url: &str) -> (String, String) {
        (name.to_owned(), url.to_owned())
    }

    const BARE: &str = "[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n\
                        [[pop]]\nname = \"iad\"\naddresses = [\"192.0.2.2\"]\nlisten = { admin = \"127.0.0.7:9053\" }\n";

    const WITH_ADMIN: &str = "[admin]\ntoken = \"correct-horse\"\n\
        [[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\nadmin = \"https://fra.example.net:9053\"\n\
        [[pop]]\nname = \"iad\"\naddresses = [\"192.0.2.2\"]\n\
        [[pop]]\nname = \"sin\"\naddresses = [\"192.0.2.3\"]\nadmin = \"http://127.0.0.13:9053/\"\n";

    #[test]
    fn nodes_of_the_config_in_its_order() {
        let wanted = vec![pair("fra", "https://fra.example.net:9053"), pair("sin", "http://127.0.0.13:9053")];
        assert_eq!(urls(&nodes(&[]), Some(&config(WITH_ADMIN, "iad"))), Ok(wanted));
    }

    #[test]
    fn nodes_of_the_command_line_come_first() {
        let given = nodes(&["--admin", "http://127.0.0.1:9053", "--admin", "https://sin.example.net"]);
        let wanted = Ok(vec![
            pair("127.0.0.1:9053", "http://127.0.0.1:9053"),
            pair("sin.example.net", "https://sin.example.net"),
        ]);
        assert_eq!(urls(&given, Some(&config(WITH_ADMIN, "fra"))), wanted);
        assert_eq!(urls(&given, None), wanted);
    }

    #[test]
    fn without_admin_urls_this_machine_is_asked() {
        let of_iad = urls(&nodes(&["--pop", "iad"]), Some(&config(BARE, "iad")));
        assert_eq!(of_iad, Ok(vec![pair("iad", "http://127.0.0.7:9053")]));
        let only = BARE.split("[[pop]]").take(2).collect::<Vec<_>>().join("[[pop]]");
        assert_eq!(urls(&nodes(&[]), Some(&config(&only, "fra"))), Ok(vec![pair("fra", "http://127.0.0.1:9053")]));
        let tls =
            format!("[listen]\nadmin = \"[::]:9053\"\n[admin]\ntls = {{ certificate = \"c\", key = \"k\" }}\n{only}");
        assert_eq!(urls(&nodes(&[]), Some(&config(&tls, "fra"))), Ok(vec![pair("fra", "https://[::1]:9053")]));
    }

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(
            urls(&nodes(&[]), Some(&config(BARE, "fra"))).unwrap_err(),
            "no [[pop]] of fleet.toml has an admin URL: give --pop NAME for this machine's own node (fra, iad), \
             or --admin URL"
        );
        assert!(urls(&nodes(&[]), None).unwrap_err().contains("--config FILE, or --admin URL"));
        let any_port = format!("[listen]\nadmin = \"127.0.0.1:0\"\n{BARE}");
        assert!(urls(&nodes(&["--pop", "fra"]), Some(&config(&any_port, "fra"))).unwrap_err().contains("port 0"));
        for bad in ["fra:9053", "ftp://fra", "http://", "https://fra/v1", "https://me@fra", "https://fra?x"] {
            let error = urls(&nodes(&["--admin", bad]), None).unwrap_err();
            assert!(error.starts_with(&format!("`{bad}` is not the base URL")), "{error}");
        }
    }

    #[test]
    fn no_token_in_the_clear_off_this_machine() {
        let rows = [
            ("http://127.0.0.1:9053", true),
            ("http://127.3.2.1", true),
            ("http://[::1]:9053", true),
            ("http://[::ffff:127.0.0.1]:9053", true),
            ("http://localhost:9053", true),
            ("http://LOCALHOST:9053", true),
            ("http://192.0.2.1:9053", false),
            ("http://[2001:db8::1]:9053", false),
            ("http://0.0.0.0:9053", false),
            ("http://fra.example.net:9053", false),
            ("http://localhost.example.net:9053", false),
            ("http://127.0.0.1.example.net:9053", false),
            ("https://192.0.2.1:9053", true),
            ("https://fra.example.net:9053", true),
        ];
        for (url, allowed) in rows {
            match urls(&nodes(&["--admin", url]), None) {
                Ok(_) => assert!(allowed, "{url}"),
                Err(error) => assert!(!allowed && error.contains("in the clear"), "{url}: {error}"),
            }
        }
        let exposed = WITH_ADMIN.replace("https://fra", "http://fra");
        let error = urls(&nodes(&[]), Some(&config(&exposed, "fra"))).unwrap_err();
        assert!(error.contains("http://fra.example.net:9053 in the clear"), "{error}");
    }

    #[test]
    fn tokens_by_rank() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "from-the-file\n").unwrap();
        let with_file = nodes(&["--token-file", path.to_str().unwrap()]);
        let config = config(WITH_ADMIN, "fra");
        let environment = || Some("from-outside".to_owned());
        let token = |nodes: &Nodes, environment, config| nodes.token(environment, config).map(|(token, _)| token);
        assert_eq!(token(&with_file, environment(), Some(&config)).unwrap(), "from-the-file");
        assert_eq!(token(&nodes(&[]), environment(), Some(&config)).unwrap(), "from-outside");
        assert_eq!(token(&nodes(&[]), None, Some(&config)).unwrap(), "correct-horse");
        assert!(matches!(token(&nodes(&[]), None, None), Err(Unusable::NoConfig)));
        assert!(matches!(token(&nodes(&["--admin", "http://[::1]"]), None, None), Err(Unusable::NoToken)));
        assert!(matches!(token(&nodes(&["--token-file", "/no/such"]), None, None), Err(Unusable::TokenFile { .. })));
        assert_eq!((bearer("a b"), bearer(""), bearer("a\nb").is_some()), (None, None, false));
    }
}
