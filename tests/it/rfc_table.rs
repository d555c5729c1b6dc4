//! docs/rfc9111.md names tests: they exist, and no rule is without one.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::conformance;

/// At least so many rules of each RFC. When rows are added, these grow.
const ROWS_MIN: [(&str, usize); 4] = [("RFC 9111: ", 170), ("RFC 5861: ", 12), ("RFC 9213: ", 18), ("RFC 9211: ", 22)];

const LEVELS: [&str; 10] =
    ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "OPTIONAL", "ought", "should", "may", "is"];

/// One row of a table.
struct Row {
    line: usize,
    /// The RFC's heading.
    rfc: String,
    cells: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn rows() -> Vec<Row> {
    let text = read(&root().join("docs/rfc9111.md")).expect("docs/rfc9111.md");
    let (mut rfc, mut rows) = (String::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut rfc);
        }
        let is_frame = line.starts_with("| rule |") || line.starts_with("|---");
        let Some(cells) = line.strip_prefix('|').filter(|_| !is_frame) else { continue };
        let cells = cells.strip_suffix('|').unwrap_or(cells).split('|').map(|cell| cell.trim().to_owned()).collect();
        rows.push(Row { line: number + 1, rfc: rfc.clone(), cells });
    }
    rows
}

/// The names in the last cell; `None` when there is something else.
fn names(cell: &str) -> Option<Vec<&str>> {
    cell.split(", ").map(|name| name.strip_prefix('`')?.strip_suffix('`').filter(|name| !name.is_empty())).collect()
}

/// Whether the file has a test of that name: of its own, or one of `mod tests` within it.
fn has_test(file: &Path, name: &str) -> bool {
    let Some(text) = read(file) else { return false };
    let begins =
        |line: &str| line.trim_start().strip_prefix("fn ").is_some_and(|rest| rest.split('(').next() == Some(name));
    let lines: Vec<&str> = text.lines().collect();
    let is_marked = |at: usize| {
        // Attributes and comments may stand between; in proptest! blocks, too.
        let above = lines[..at].iter().rev().map(|line| line.trim_start());
        above.take_while(|line| line.starts_with("#[") || line.starts_with("//")).any(|line| line == "#[test]")
    };
    lines.iter().enumerate().any(|(at, line)| begins(line) && is_marked(at))
}

/// `edge policy::reuse::tests::table` is in edge/src/policy/reuse.rs, `cache::x` in tests/it/cache.rs, and `conformance::..` is
/// a case, or a test of tests/it/conformance/.
fn exists(name: &str, cases: &HashSet<String>) -> bool {
    if cases.contains(name) {
        return true;
    }
    let (folder, path) = match name.split_once(' ') {
        Some((member, path)) => (root().join(member).join("src"), path),
        None => (root().join("tests/it"), name),
    };
    let Some((modules, test)) = path.rsplit_once("::") else { return false };
    let file = modules.strip_suffix("::tests").unwrap_or(modules).replace("::", "/");
    has_test(&folder.join(file).with_extension("rs"), test)
}

#[test]
fn rfc_rows_are_whole_and_their_tests_exist() {
    let cases: HashSet<String> = conformance::names().into_iter().collect();
    let mut wrong = Vec::new();
    for Row { line, cells, .. } in rows() {
        let [rule, level, deed, tests] = cells.as_slice() else {
            wrong.push(format!("{line}: {} cells", cells.len()));
            continue;
        };
        if [rule, level, deed, tests].iter().any(|cell| cell.is_empty()) {
            wrong.push(format!("{line}: an empty cell"));
        }
        if !LEVELS.contains(&level.as_str()) {
            wrong.push(format!("{line}: {level} is no level"));
        }
        match names(tests) {
            None => wrong.push(format!("{line}: {tests} are no names")),
            Some(names) => {
                let unknown = names.into_iter().filter(|name| !exists(name, &cases));
                wrong.extend(unknown.map(|name| format!("{line}: there is no {name}")));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/rfc9111.md\n{}", wrong.join("\n"));
}

#[test]
fn rfc_rows_do_not_get_lost() {
    let rows = rows();
    for (rfc, least) in ROWS_MIN {
        let count = rows.iter().filter(|row| row.rfc.starts_with(rfc)).count();
        assert!(count >= least, "{rfc}{count} rows, not {least}");
    }
    let mut known = HashSet::new();
    let twice = rows.iter().find(|row| !known.insert((&row.rfc, &row.cells[0])));
    assert_eq!(twice.map(|row| row.line), None, "a rule stands twice");
}

#[test]
fn a_name_is_looked_for_and_not_guessed() {
    let cases = HashSet::from(["conformance::a::b".to_owned()]);
    for name in ["conformance::a::b", "cache::only_if_cached", "edge policy::reuse::tests::table"] {
        assert!(exists(name, &cases), "{name}");
    }
    for name in
        ["conformance::a::c", "cache::start", "cache", "cache::", "edge policy::reuse::tests::said", "edge nothing::x"]
    {
        assert!(!exists(name, &cases), "{name}");
    }
    assert_eq!(names("`a`, `b c`"), Some(vec!["a", "b c"]));
    for cell in ["a", "`a` `b`, c", "``", "`a`,`b"] {
        assert_eq!(names(cell), None, "{cell}");
    }
}
