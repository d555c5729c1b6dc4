//! The many ways to write one meaning down: case, order, quotes, lines, and things in between that nobody knows.

use std::time::{Duration, UNIX_EPOCH};

use super::answer::{AnswerSpec, Control, Expires, Number, Scope, Tag, Targeted, Vary};
use super::ask::{AskControl, AskSpec, Color, Language, MaxStale, Tags};

type Lines = Vec<(String, String)>;

/// Makes choices; with seed 0 always the first.
pub(super) struct Pen(u64);

impl Pen {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        if self.0 == 0 {
            return 0;
        }
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15) | 1;
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// One time in `n`; never in plain writing.
    fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    fn cased(&mut self, name: &str) -> String {
        match self.below(6) {
            4 => name.to_uppercase(),
            5 => name.split_inclusive('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect(),
            _ => name.to_owned(),
        }
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            if self.0 != 0 {
                items.swap(last, self.below(last + 1));
            }
        }
    }

    /// One to three lines that make up a list.
    fn list(&mut self, name: &str, items: Vec<String>) -> Lines {
        let mut lines: Vec<Vec<String>> = vec![Vec::new()];
        for item in items {
            if self.rarely(6) && lines.len() < 3 && lines.last().is_some_and(|line| !line.is_empty()) {
                lines.push(Vec::new());
            }
            lines.last_mut().expect("there is one").push(item);
        }
        let comma = self.one(&[", ", ", ", ",", " , "]);
        lines.into_iter().map(|line| (self.cased(name), line.join(comma))).collect()
    }
}

fn numeral(pen: &mut Pen, name: &str, number: Number) -> String {
    let name = pen.cased(name);
    match number {
        Number::Seconds(seconds) => match pen.below(5) {
            3 => format!("{name}=\"{seconds}\""),
            4 => format!("{name}=0{seconds}"),
            _ => format!("{name}={seconds}"),
        },
        Number::Huge => format!("{name}={}", pen.one(&["9999999999", "2147483648", "99999999999999999999999"])),
        Number::Invalid => format!("{name}{}", pen.one(&["=soon", "", "=-5", "=1.5", "=1h", "=\"\""])),
    }
}

/// `Cache-Control` of an answer.
fn control(pen: &mut Pen, control: &Control) -> Lines {
    let mut items = Vec::new();
    for (name, number) in numbers(control) {
        if let Some(number) = number {
            items.push(numeral(pen, name, number));
        }
    }
    for (name, said) in flags(control) {
        if said {
            items.push(pen.cased(name));
        }
    }
    for (name, scope) in [("no-cache", control.no_cache), ("private", control.private)] {
        match scope {
            Scope::Nothing => {}
            Scope::Whole => items.push(pen.cased(name)),
            Scope::Secret => {
                let fields = pen.one(&["\"x-secret\"", "\"X-Secret\"", "\"x-other, x-secret\"", "x-secret"]);
                items.push(format!("{}={fields}", pen.cased(name)));
            }
        }
    }
    pen.shuffle(&mut items);
    if pen.rarely(5) {
        // Only the first of several counts; whether that is the first that can be read is said of lifetimes only.
        for (name, number) in numbers(control) {
            let windows = name.starts_with("stale");
            if number.is_some_and(|number| !windows || number != Number::Invalid) {
                items.push(format!("{name}={}", pen.one(&["7", "99999"])));
            }
        }
    }
    noise(pen, &mut items);
    pen.list("cache-control", items)
}

fn numbers(control: &Control) -> [(&'static str, Option<Number>); 4] {
    [
        ("max-age", control.max_age),
        ("s-maxage", control.s_maxage),
        ("stale-while-revalidate", control.stale_while_revalidate),
        ("stale-if-error", control.stale_if_error),
    ]
}

fn flags(control: &Control) -> [(&'static str, bool); 5] {
    [
        ("no-store", control.no_store),
        ("public", control.public),
        ("must-revalidate", control.must_revalidate),
        ("proxy-revalidate", control.proxy_revalidate),
        ("must-understand", control.must_understand),
    ]
}

/// Puts things in between that mean nothing.
fn noise(pen: &mut Pen, items: &mut Vec<String>) {
    const NOISE: [&str; 7] = [
        "foo",
        "x-max-age=1",
        "max-ageing=1",
        "foo=\"no-store, private, max-age=1\"",
        "",
        "no-stored",
        "bar=\"a\\\"b\"",
    ];
    if items.is_empty() {
        items.push("foo".to_owned());
    }
    while pen.rarely(3) {
        let place = pen.below(items.len() + 1);
        items.insert(place, pen.one(&NOISE).to_owned());
    }
}

/// `CDN-Cache-Control`, a Structured Field: lower case, and the last of several counts.
fn targeted(pen: &mut Pen, targeted: &Targeted) -> Lines {
    let control = match targeted {
        Targeted::Valid(control) => control,
        Targeted::Invalid => {
            let value = pen.one(&["max-age=", "Max-Age=600", "max-age=600, &", "max-age=600,", "\"max-age=600\"", ""]);
            return vec![(pen.cased("cdn-cache-control"), value.to_owned())];
        }
    };
    let mut items = Vec::new();
    for (name, number) in numbers(control) {
        let Some(number) = number else { continue };
        let value = match number {
            Number::Seconds(seconds) => format!("={seconds}{}", pen.one(&["", "", ";a=b", ";a"])),
            Number::Huge => "=9999999999".to_owned(),
            Number::Invalid => pen.one(&["=\"600\"", "=soon", "", "=1.5"]).to_owned(),
        };
        if pen.rarely(5) && number != Number::Invalid {
            items.insert(0, format!("{name}=7"));
        }
        items.push(format!("{name}{value}"));
    }
    for (name, said) in flags(control) {
        if said {
            items.push(format!("{name}{}", pen.one(&["", "", "=?1", ";a"])));
        }
    }
    for (name, scope) in [("no-cache", control.no_cache), ("private", control.private)] {
        if scope != Scope::Nothing {
            items.push(name.to_owned());
        }
    }
    if items.is_empty() {
        items.push("foo".to_owned());
    }
    let comma = pen.one(&[", ", ",", " , ", ",   "]);
    vec![(pen.cased("cdn-cache-control"), items.join(comma))]
}

/// An HTTP-date in one of its three forms.
fn date(pen: &mut Pen, seconds: i64) -> String {
    let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).expect("after 1970"));
    let fixdate = httpdate::fmt_http_date(at);
    let words: Vec<&str> = fixdate.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let [weekday, day, month, year, time, _gmt] = words[..] else { panic!("not a date: {fixdate}") };
    match pen.below(6) {
        4 => {
            let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
            let weekday = days.into_iter().find(|long| long.starts_with(weekday)).expect("a weekday");
            format!("{weekday}, {day}-{month}-{} {time} GMT", &year[2..])
        }
        5 => format!("{weekday} {month} {:>2} {time} {year}", day.trim_start_matches('0')),
        _ => fixdate,
    }
}

/// An answer's fields. `at` is in milliseconds, as is `began`; `urls` are the targets of the history.
pub(super) fn answer(spec: &AnswerSpec, at: i64, began: i64, urls: &[String]) -> Lines {
    let pen = &mut Pen::new(spec.spelling);
    let mut lines = Lines::new();
    let add = |lines: &mut Lines, name: &str, value: String| lines.push((name.to_owned(), value));
    let sent = at.div_euclid(1000) + spec.date.unwrap_or(0);
    if spec.date.is_some() {
        add(&mut lines, "date", date(pen, sent));
    }
    if let Some(directives) = &spec.control {
        lines.extend(control(pen, directives));
    }
    if let Some(directives) = &spec.targeted {
        lines.extend(targeted(pen, directives));
    }
    match spec.expires {
        None => {}
        Some(Expires::In(seconds)) => add(&mut lines, "expires", date(pen, sent + seconds)),
        Some(Expires::Invalid) => {
            let wrong = pen.one(&["0", "-1", "", "soon", "Thu, 01 Jan 2099 00:00:00", "Thu, 1 Jan 2099 00:00:00 GMT"]);
            add(&mut lines, "expires", wrong.to_owned());
        }
        Some(Expires::Twice(seconds)) => {
            add(&mut lines, "expires", date(pen, sent + seconds));
            add(&mut lines, "expires", date(pen, sent + seconds + 1));
        }
    }
    match spec.age {
        None => {}
        Some(Number::Invalid) => add(&mut lines, "age", pen.one(&["soon", "-5", "1.5", "", "\"9\""]).to_owned()),
        Some(age) => {
            let seconds = age.seconds();
            add(&mut lines, "age", format!("{seconds}{}", pen.one(&["", "", ", 7"])));
            if pen.rarely(4) {
                add(&mut lines, "age", "7".to_owned());
            }
        }
    }
    if let Some(tag) = spec.etag {
        add(&mut lines, "etag", tag.text().to_owned());
    }
    if let Some(before) = spec.modified {
        add(&mut lines, "last-modified", date(pen, began.div_euclid(1000) - before));
    }
    lines.extend(vary(pen, spec.vary));
    if spec.cookie {
        add(&mut lines, "set-cookie", "a=b".to_owned());
    }
    if spec.secret {
        add(&mut lines, "x-secret", "s".to_owned());
    }
    for (name, url) in [("location", spec.location), ("content-location", spec.content_location)] {
        if let Some(url) = url {
            add(&mut lines, name, urls[url].clone());
        }
    }
    if pen.rarely(6) {
        add(&mut lines, "pragma", "no-cache".to_owned());
    }
    // Whitespace around a value is no part of it.
    lines.into_iter().map(|(name, value)| (name, value.trim().to_owned())).collect()
}

fn vary(pen: &mut Pen, vary: Vary) -> Lines {
    let names: &[&str] = match vary {
        Vary::Nothing => return Lines::new(),
        Vary::Color => &["x-color"],
        Vary::Language => &["accept-language"],
        Vary::Both => &["x-color", "accept-language"],
        Vary::Star => return vec![("vary".to_owned(), pen.one(&["*", "x-color, *", "*, x-color"]).to_owned())],
    };
    let mut items: Vec<String> = names.iter().map(|name| pen.cased(name)).collect();
    pen.shuffle(&mut items);
    pen.list("vary", items)
}

/// `If-None-Match` of a client.
fn tags(pen: &mut Pen, tags: &Tags) -> String {
    let Tags::Of(tags) = tags else { return "*".to_owned() };
    let mut items: Vec<String> = tags.iter().map(|tag| tag_or_weak(pen, *tag)).collect();
    pen.shuffle(&mut items);
    items.join(pen.one(&[", ", ",", " , ", ",,"]))
}

/// The comparison is weak: a strong tag may be called weak.
fn tag_or_weak(pen: &mut Pen, tag: Tag) -> String {
    let weak = if tag != Tag::C && pen.rarely(4) { "W/" } else { "" };
    format!("{weak}{}", tag.text())
}

fn ask_control(pen: &mut Pen, control: &AskControl) -> Lines {
    let mut items = Vec::new();
    for (name, said) in
        [("no-cache", control.no_cache), ("no-store", control.no_store), ("only-if-cached", control.only_if_cached)]
    {
        if said {
            items.push(pen.cased(name));
        }
    }
    for (name, seconds) in [("max-age", control.max_age), ("min-fresh", control.min_fresh)] {
        if let Some(seconds) = seconds {
            items.push(numeral(pen, name, Number::Seconds(seconds)));
        }
    }
    match control.max_stale {
        None => {}
        Some(MaxStale::Any) => items.push(pen.cased("max-stale")),
        Some(MaxStale::Seconds(seconds)) => items.push(numeral(pen, "max-stale", Number::Seconds(seconds))),
    }
    pen.shuffle(&mut items);
    noise(pen, &mut items);
    pen.list("cache-control", items)
}

/// A request's fields.
pub(super) fn ask(spec: &AskSpec, began: i64) -> Lines {
    let pen = &mut Pen::new(spec.spelling);
    let mut lines = Lines::new();
    let mut add = |name: &str, value: String| lines.push((name.to_owned(), value));
    if spec.pragma {
        add("pragma", "no-cache".to_owned());
    }
    if let Some(wanted) = &spec.if_none_match {
        add("if-none-match", tags(pen, wanted));
    }
    if let Some(before) = spec.if_modified_since {
        add("if-modified-since", date(pen, began.div_euclid(1000) - before));
    }
    match spec.selecting.color {
        Color::Absent => {}
        Color::Empty => add("x-color", String::new()),
        Color::Red => add("x-color", "red".to_owned()),
        Color::RedBlue if pen.rarely(3) => {
            add("x-color", "red".to_owned());
            add("x-color", "blue".to_owned());
        }
        Color::RedBlue => add("x-color", "red, blue".to_owned()),
    }
    match spec.selecting.language {
        Language::Absent => {}
        Language::German => add("accept-language", pen.one(&["de", "DE", "De"]).to_owned()),
        Language::GermanEnglish => {
            let spelled = pen.one(&["de,en;q=0.5", "de, en;q=0.5", "DE , en; q=0.5"]);
            add("accept-language", spelled.to_owned());
        }
    }
    if spec.authorization {
        add("authorization", "Basic YTpi".to_owned());
    }
    if let Some(directives) = &spec.control {
        lines.extend(ask_control(pen, directives));
    }
    lines
}
