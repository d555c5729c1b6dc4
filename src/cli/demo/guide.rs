//! What the demo says once all is up: commands to try, and what to expect.

use std::fmt;
use std::path::{Path, PathBuf};

use super::fleet::VARIABLES;
use super::layout::{DOMAIN, Layout, ORIGIN, POPS};

/// A client that the demo pretends to be: who, its network as a resolver sends it, an address in it, and its PoP.
struct Visitor {
    who: &'static str,
    network: &'static str,
    address: &'static str,
    pop: &'static str,
}

const VISITORS: [Visitor; 3] = [
    Visitor { who: "ETH Zurich", network: "129.132.19.0/24", address: "129.132.19.216", pop: "fra" },
    Visitor { who: "MIT, Boston", network: "18.9.22.0/24", address: "18.9.22.69", pop: "iad" },
    Visitor { who: "University of Singapore", network: "137.132.21.0/24", address: "137.132.21.27", pop: "sin" },
];

/// All that the commands need to know.
#[derive(Debug)]
pub(super) struct Guide<'a> {
    pub(super) program: PathBuf,
    pub(super) layout: &'a Layout,
    /// In the order of [`POPS`].
    pub(super) pids: Vec<u32>,
    /// What `sha256sum` says of the large file.
    pub(super) video: &'a str,
}

impl Guide<'_> {
    /// A command of this program; CONFIG stands for the fleet's config file.
    pub(super) fn command(&self, arguments: impl fmt::Display) -> String {
        let arguments = arguments.to_string().replace("CONFIG", &quote(&self.layout.config()));
        format!("{} {arguments}", quote(&self.program))
    }

    fn dig(&self, asked: usize, visitor: &Visitor) -> String {
        let (server, port) = (POPS[asked].address, self.layout.dns_port);
        format!("dig @{server} -p {port} {DOMAIN} +short +subnet={}", visitor.network)
    }

    /// Shows the headers of an answer.
    fn curl(&self, asked: usize, path: &str) -> String {
        let (address, port) = (POPS[asked].address, self.layout.http_port);
        format!("curl -s -o /dev/null -D - -H 'Host: {DOMAIN}' http://{address}:{port}{path}")
    }

    fn fleet(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nThree PoPs are up and serve {DOMAIN} from the origin {ORIGIN}:{}.\n", self.layout.http_port)?;
        for (pop, pid) in POPS.iter().zip(&self.pids) {
            let log = self.layout.log(pop);
            writeln!(f, "  {}  {:<9}  {}  pid {pid:<7}  {}", pop.name, pop.city, pop.address, log.display())?;
        }
        writeln!(f, "\nTheir config: {}", self.layout.config().display())?;
        writeln!(f, "In a browser: http://{}:{}/", POPS[0].address, self.layout.http_port)?;
        let set: Vec<&str> = VARIABLES.into_iter().filter(|name| std::env::var_os(name).is_some()).collect();
        if !set.is_empty() {
            writeln!(f, "First, in the terminal where you try these: unset {}", set.join(" "))?;
        }
        writeln!(f, "Below the guide stands what the origin is asked. In another terminal:")
    }

    fn steering(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n1. The nearest PoP for the client's network, whichever PoP is asked:")?;
        for visitor in &VISITORS {
            let pop = POPS.iter().find(|pop| pop.name == visitor.pop);
            let answer = pop.map(|pop| pop.address.to_string()).unwrap_or_default();
            writeln!(f, "  {:<82}# {answer} ({}): {}", self.dig(0, visitor), visitor.pop, visitor.who)?;
        }
        writeln!(f, "   and why:")?;
        let explain = format!("explain --config CONFIG {DOMAIN} {}", VISITORS[2].address);
        writeln!(f, "  {}", self.command(explain))
    }

    fn caching(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, port) = (POPS[0].address, self.layout.http_port);
        writeln!(
            f,
            "\n2. Twice, and look at Cache-Status: MISS (fwd=uri-miss), then HIT (hit), of which the origin hears nothing:"
        )?;
        writeln!(f, "  {}", self.curl(0, "/app.css"))?;
        writeln!(f, "\n3. 20 MiB, through fra and from the origin, equal to {}:", self.video)?;
        writeln!(f, "  curl -s http://{address}:{port}/video.bin | sha256sum")?;
        writeln!(f, "  curl -s http://{ORIGIN}:{port}/video.bin | sha256sum")?;
        writeln!(f, "\n4. Purge on all PoPs; the next answer of 2. is a MISS again:")?;
        writeln!(f, "  {}", self.command(format_args!("purge --config CONFIG http://{DOMAIN}/app.css")))
    }

    fn failing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let boston = self.dig(0, &VISITORS[1]);
        let pid = |index: usize| self.pids.get(index).copied().unwrap_or_default();
        writeln!(f, "\n5. Take iad out of the answers; Boston goes to 127.0.0.11 (fra). Then let it back in:")?;
        writeln!(f, "  {}", self.command("drain --config CONFIG iad"))?;
        writeln!(f, "  {boston}")?;
        writeln!(f, "  {}", self.command("drain --config CONFIG iad --auto"))?;
        writeln!(
            f,
            "\n6. Kill iad; within 4 s Boston goes to 127.0.0.11 (fra). Then start it again (in a terminal of its"
        )?;
        writeln!(f, "   own; Ctrl-C ends it there); 2 s later Boston is back at 127.0.0.12 (iad):")?;
        writeln!(f, "  kill -9 {}", pid(1))?;
        writeln!(f, "  {boston}")?;
        writeln!(f, "  {}", self.command("run --config CONFIG --pop iad"))?;
        writeln!(
            f,
            "\n7. Stop sin in order, and start it again when this terminal says that it has ended: what it had"
        )?;
        writeln!(f, "   before is a HIT, as its cache is on disk:")?;
        writeln!(f, "  {}", self.curl(2, "/app.js"))?;
        writeln!(f, "  kill {}", pid(2))?;
        writeln!(f, "  {}", self.command("run --config CONFIG --pop sin"))?;
        writeln!(f, "  {}", self.curl(2, "/app.js"))
    }
}

impl fmt::Display for Guide<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fleet(f)?;
        self.steering(f)?;
        self.caching(f)?;
        self.failing(f)?;
        writeln!(f, "\n8. What each node knows:\n  {}", self.command("status --config CONFIG"))?;
        writeln!(f, "\nCtrl-C here ends all of it.")
    }
}

/// A path as a shell reads it back.
fn quote(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nearcast_dns::{DnsMetrics, View, explain};
    use nearcast_shared::clock::Clock;
    use nearcast_shared::geo::builtin;
    use nearcast_shared::health::HealthTable;
    use nearcast_shared::metrics::Metrics;

    use super::super::layout::tests::{config, layout};
    use super::*;

    #[test]
    fn visitors_go_where_the_guide_says() {
        let geo = Arc::new(builtin::load().unwrap());
        for pop in POPS {
            let view = View::compile(&config(pop.name), geo.clone(), &DnsMetrics::register(&Metrics::new())).unwrap();
            for visitor in &VISITORS {
                let network = visitor.network.split('/').next().unwrap();
                for address in [visitor.address, network] {
                    let it =
                        explain(&view, DOMAIN, address.parse().unwrap(), &HealthTable::default(), Clock::System.now())
                            .unwrap();
                    assert_eq!(it.pop.as_deref(), Some(visitor.pop), "{address}: {}", it.why);
                }
            }
        }
    }

    #[test]
    fn boston_without_iad_goes_to_fra() {
        let geo = Arc::new(builtin::load().unwrap());
        let view = View::compile(&config("sin"), geo, &DnsMetrics::register(&Metrics::new())).unwrap();
        let address = VISITORS[1].address.parse().unwrap();
        let it = explain(&view, DOMAIN, address, &HealthTable::default(), Clock::System.now()).unwrap();
        let ranking: Vec<&str> = it.ranking.iter().map(|pop| pop.name.as_str()).collect();
        assert_eq!(ranking, ["iad", "fra", "sin"]);
    }

    #[test]
    fn commands_are_real_ones() {
        let layout = layout(Path::new("/tmp/a demo"));
        let guide = Guide { program: "/opt/nearcast".into(), layout: &layout, pids: vec![11, 12, 13], video: "e3b0" };
        let text = guide.to_string();
        for line in [
            "dig @127.0.0.11 -p 5300 www.cdn.example.net +short +subnet=137.132.21.0/24",
            "curl -s -o /dev/null -D - -H 'Host: www.cdn.example.net' http://127.0.0.11:8080/app.css",
            "/opt/nearcast purge --config '/tmp/a demo/demo.toml' http://www.cdn.example.net/app.css",
            "/opt/nearcast drain --config '/tmp/a demo/demo.toml' iad --auto",
            "/opt/nearcast run --config '/tmp/a demo/demo.toml' --pop sin",
            "kill -9 12",
            "kill 13",
        ] {
            assert!(text.lines().any(|found| found.trim_start().starts_with(line)), "{line} in\n{text}");
        }
        assert!(!text.contains("CONFIG "), "{text}");
    }

    #[test]
    fn quoting() {
        assert_eq!(quote(Path::new("/tmp/nearcast-demo-x1/demo.toml")), "/tmp/nearcast-demo-x1/demo.toml");
        assert_eq!(quote(Path::new("/home/o'neil/x")), r"'/home/o'\''neil/x'");
    }
}
